//! Weights in an object store: a folder a model version, written before the row that names it.

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::buffered::BufWriter;
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path as Key};
use schemas::ModelVersion;
use tokio::io::{AsyncWriteExt as _, BufReader};
use url::Url;

use crate::objects::{self, StoreError, StoreSettings};

/// Bytes that are sent to the store at once.
const PART_BYTES: usize = 16 << 20;
/// Bytes that are read of a local file at once.
const READ_BYTES: usize = 1 << 20;

/// Weights could not be kept or fetched: try again, or mend the address.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The address is none.
    #[error("weights.url `{url}` is neither a folder nor an object store's URL")]
    Address {
        /// As configured.
        url: String,
    },
    /// The store cannot be used as it is configured.
    #[error(transparent)]
    Settings(#[from] StoreError),
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
    pub fn open(url: &str, settings: &StoreSettings) -> Result<Self, WeightsError> {
        let address = || WeightsError::Address { url: url.to_owned() };
        let parsed = if url.contains("://") {
            Url::parse(url).map_err(|_| address())?
        } else {
            let folder = std::path::absolute(url).map_err(|_| address())?;
            std::fs::create_dir_all(&folder).map_err(|source| WeightsError::Local { path: folder.clone(), source })?;
            Url::from_directory_path(folder).map_err(|()| address())?
        };
        let (store, root) = objects::open(&parsed, settings)?;
        Ok(Self { store, root })
    }

    /// Keeps every file of `folder` under the model's version; the uri to fetch it by.
    ///
    /// # Errors
    /// Where the folder or the store fails. What was written is harmless: nothing names it yet.
    pub async fn put_folder(&self, folder: &Path, version: &ModelVersion) -> Result<String, WeightsError> {
        let local = |source| WeightsError::Local { path: folder.to_owned(), source };
        for entry in std::fs::read_dir(folder).map_err(local)? {
            let entry = entry.map_err(local)?;
            let key = self.root.clone().join(version.0.as_str()).join(entry.file_name().to_string_lossy().as_ref());
            // A part at a time: weights are larger than one request may be.
            let mut from = tokio::fs::File::open(entry.path()).await.map_err(local)?;
            let mut into = BufWriter::with_capacity(Arc::clone(&self.store), key, PART_BYTES).with_max_concurrency(2);
            tokio::io::copy_buf(&mut BufReader::with_capacity(READ_BYTES, &mut from), &mut into).await.map_err(sent)?;
            into.shutdown().await.map_err(sent)?;
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
            let mut bytes = self.store.get(&file.location).await?.into_stream();
            let name = file.location.filename().unwrap_or_default().to_owned();
            let mut into = tokio::fs::File::create(to.join(name)).await.map_err(local)?;
            while let Some(part) = bytes.try_next().await? {
                into.write_all(&part).await.map_err(local)?;
            }
            into.flush().await.map_err(local)?;
        }
        Ok(())
    }
}

/// What the writer of a store says comes as an I/O error.
fn sent(error: std::io::Error) -> WeightsError {
    WeightsError::Store(object_store::Error::Generic { store: "weights", source: Box::new(error) })
}
