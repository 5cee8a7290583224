//! Weights in an object store: a folder a model version, written before the row that names it, removed after the line that says so.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::buffered::BufWriter;
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path as Key};
use schemas::ModelVersion;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt as _, BufReader};
use url::Url;

use crate::objects::{self, StoreError, StoreSettings};

/// Bytes that are sent to the store at once.
const PART_BYTES: usize = 16 << 20;
/// Bytes that are read of a local file at once.
const READ_BYTES: usize = 1 << 20;

/// The `[weights]` part of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WeightsSettings {
    /// Where models' weights lie: a folder or an object store's URL.
    pub url: String,
    /// So many of the newest versions that the gate let pass keep their weights, and so many of those that it refused; 0 removes nobody's.
    pub keep_versions: usize,
    /// Days for which weights are kept in any case after they were made, were promoted or were live; at least 1.
    pub keep_days: u32,
}

impl Default for WeightsSettings {
    fn default() -> Self {
        Self { url: ".wardstream/models".to_owned(), keep_versions: 10, keep_days: 30 }
    }
}

/// Weights could not be kept, fetched or removed: try again, or mend the address.
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
    /// Nothing lies where the registry says.
    #[error("the store of weights has nothing under {uri}; restore the folder, or promote another version")]
    Absent {
        /// As the registry names it.
        uri: String,
    },
    /// The store.
    #[error("could not reach the store of weights")]
    Store(#[from] object_store::Error),
    /// The local folder.
    #[error("could not read or write {}", path.display())]
    Local {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The store of weights.
pub struct Weights {
    store: Arc<dyn ObjectStore>,
    root: Key,
    /// The same place, where it is a folder of this machine: an object store has no folders that would stay behind empty.
    folder: Option<PathBuf>,
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
        let folder = (parsed.scheme() == "file").then(|| parsed.to_file_path().map_err(|()| address())).transpose()?;
        Ok(Self { store, root, folder })
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
    /// Where the store or the folder fails, or the store has nothing there.
    pub async fn fetch_folder(&self, uri: &str, to: &Path) -> Result<(), WeightsError> {
        let local = |source| WeightsError::Local { path: to.to_owned(), source };
        std::fs::create_dir_all(to).map_err(local)?;
        let prefix = self.root.clone().join(uri);
        let files: Vec<_> = self.store.list(Some(&prefix)).boxed().try_collect().await?;
        if files.is_empty() {
            return Err(WeightsError::Absent { uri: uri.to_owned() });
        }
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

    /// Names of the folders that lie in the store: uris that [`Self::put_folder`] gave, and whatever else somebody keeps there.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn folders(&self) -> Result<BTreeSet<String>, WeightsError> {
        let listed = self.store.list_with_delimiter(Some(&self.root)).await?;
        Ok(listed.common_prefixes.iter().filter_map(|folder| folder.filename().map(str::to_owned)).collect())
    }

    /// Removes one of [`Self::folders`] with all that lies in it. Where another process does the same, both succeed; where one dies over it, what
    /// is left is a folder still.
    pub(crate) async fn remove_folder(&self, name: &str) -> Result<(), WeightsError> {
        if let Some(folder) = &self.folder {
            let path = folder.join(name);
            return match tokio::fs::remove_dir_all(&path).await {
                Err(source) if source.kind() != ErrorKind::NotFound => Err(WeightsError::Local { path, source }),
                _ => Ok(()),
            };
        }
        let prefix = self.root.clone().join(name);
        let files: Vec<_> = self.store.list(Some(&prefix)).map_ok(|file| file.location).try_collect().await?;
        let mut removals = self.store.delete_stream(stream::iter(files.into_iter().map(Ok)).boxed());
        while let Some(removed) = removals.next().await {
            match removed {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What the writer of a store says comes as an I/O error.
fn sent(error: std::io::Error) -> WeightsError {
    WeightsError::Store(object_store::Error::Generic { store: "weights", source: Box::new(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folders: &BTreeSet<String>) -> Vec<&str> {
        folders.iter().map(String::as_str).collect()
    }

    #[tokio::test]
    async fn a_folder_goes_whole_and_alone_though_its_removal_was_broken_off() {
        let (place, model) = (tempfile::tempdir().expect("room"), tempfile::tempdir().expect("room"));
        for name in ["config.json", "model.safetensors"] {
            std::fs::write(model.path().join(name), "{}").expect("a file");
        }
        let weights = Weights::open(place.path().to_str().expect("a name"), &StoreSettings::default()).expect("opens");
        for version in ["a1", "a1-adapters", "a12"] {
            weights.put_folder(model.path(), &ModelVersion(version.to_owned())).await.expect("kept");
        }
        // What somebody broke off: a file less, and one that is half written, which the store does not list.
        std::fs::remove_file(place.path().join("a1/model.safetensors")).expect("was there");
        std::fs::write(place.path().join("a1/model.safetensors#1"), "{").expect("a file");
        weights.remove_folder("a1").await.expect("removed");
        assert_eq!(names(&weights.folders().await.expect("listed")), ["a1-adapters", "a12"]);
        weights.remove_folder("a1").await.expect("another process was faster");
        weights.fetch_folder("a12", &model.path().join("back")).await.expect("the others are whole");
        let absent = weights.fetch_folder("a1", &model.path().join("gone")).await.expect_err("nothing is there");
        assert_eq!(absent.to_string(), "the store of weights has nothing under a1; restore the folder, or promote another version");
    }
}
