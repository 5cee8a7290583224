//! Weights in an object store: a folder a model version, written before the row that names it.

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path as Key};
use schemas::ModelVersion;
use url::Url;

/// Weights could not be kept or fetched: try again, or mend the address.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The address is none.
    #[error("weights.url `{url}` is neither a folder nor an object store's URL")]
    Address {
        /// As configured.
        url: String,
    },
    /// The store.
    #[error("could not reach the store of weights")]
    Store(#[from] object_store::Error),
    /// The local folder.
    #[error("could not read or write {}", path.display())]
    Local {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The store of weights.
pub struct Weights {
    store: Arc<dyn ObjectStore>,
    root: Key,
}

impl Weights {
    /// Opens a folder or an object store's URL.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn open(url: &str) -> Result<Self, WeightsError> {
        let address = || WeightsError::Address { url: url.to_owned() };
        let parsed = if url.contains("://") {
            Url::parse(url).map_err(|_| address())?
        } else {
            let folder = std::path::absolute(url).map_err(|_| address())?;
            std::fs::create_dir_all(&folder).map_err(|source| WeightsError::Local { path: folder.clone(), source })?;
            Url::from_directory_path(folder).map_err(|()| address())?
        };
        let (store, root) = object_store::parse_url(&parsed).map_err(|_| address())?;
        Ok(Self { store: Arc::from(store), root })
    }

    /// Keeps every file of `folder` under the model's version; the uri to fetch it by.
    ///
    /// # Errors
    /// Where the folder or the store fails. What was written is harmless: nothing names it yet.
    pub async fn put_folder(&self, folder: &Path, version: &ModelVersion) -> Result<String, WeightsError> {
        let local = |source| WeightsError::Local { path: folder.to_owned(), source };
        for entry in std::fs::read_dir(folder).map_err(local)? {
            let entry = entry.map_err(local)?;
            let bytes = std::fs::read(entry.path()).map_err(local)?;
            let key = self.root.clone().join(version.0.as_str()).join(entry.file_name().to_string_lossy().as_ref());
            self.store.put(&key, bytes.into()).await?;
        }
        Ok(version.0.clone())
    }

    /// Fetches the folder that `uri` names into `to`. Files that are there already are written again.
    ///
    /// # Errors
    /// Where the store or the folder fails.
    pub async fn fetch_folder(&self, uri: &str, to: &Path) -> Result<(), WeightsError> {
        let local = |source| WeightsError::Local { path: to.to_owned(), source };
        std::fs::create_dir_all(to).map_err(local)?;
        let prefix = self.root.clone().join(uri);
        let files: Vec<_> = self.store.list(Some(&prefix)).boxed().try_collect().await?;
        for file in files {
            let bytes = self.store.get(&file.location).await?.bytes().await?;
            let name = file.location.filename().unwrap_or_default().to_owned();
            std::fs::write(to.join(name), bytes).map_err(local)?;
        }
        Ok(())
    }
}
