//! A folder as an object store that keeps what it has said is written, though the power fails.
//!
//! The store of the `object_store` crate leaves bytes and names to the system, which writes them when it likes and in any order: the log of a table
//! could be there and name files that are not, while its offsets say that nothing is missing. Here a write is answered once the file, and the
//! name of it, are on the disk. So a commit never comes before the files that it names.

use std::fmt;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use tokio::runtime::Handle;

use crate::durable;

/// What puts a file, or the names in a folder, on the disk.
type Syncing = Arc<dyn Fn(&FilePath) -> std::io::Result<()> + Send + Sync>;

/// The folder `/`, whose writes last.
#[derive(Clone)]
pub struct Lasting {
    store: LocalFileSystem,
    sync: Syncing,
}

impl Default for Lasting {
    fn default() -> Self {
        Self { store: LocalFileSystem::new(), sync: Arc::new(durable::sync) }
    }
}

impl fmt::Debug for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lasting").field("store", &self.store).finish_non_exhaustive()
    }
}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lasting {}", self.store)
    }
}

/// A file that is written, and the folders in which something new has a name with it: its own, and those above that it is the first in.
struct Written {
    file: PathBuf,
    folders: Vec<PathBuf>,
}

impl Written {
    /// To be asked before the file is there.
    fn at(file: PathBuf) -> Self {
        let mut folders = Vec::new();
        for folder in file.ancestors().skip(1) {
            folders.push(folder.to_owned());
            if folder.is_dir() {
                break;
            }
        }
        Self { file, folders }
    }

    /// Waits until it is on the disk.
    async fn lasts(self, sync: &Syncing) -> Result<()> {
        let sync = Arc::clone(sync);
        let all = move || {
            sync(&self.file)?;
            self.folders.iter().try_for_each(|folder| sync(folder))
        };
        // A disk takes milliseconds, which no other task is to wait for.
        let synced = match Handle::try_current() {
            Ok(runtime) => runtime.spawn_blocking(all).await.unwrap_or_else(|died| Err(std::io::Error::other(died))),
            Err(_) => all(),
        };
        synced.map_err(|source| Error::Generic { store: "folder", source: Box::new(source) })
    }
}

impl Lasting {
    fn written(&self, location: &Path) -> Result<Written> {
        self.store.path_to_filesystem(location).map(Written::at)
    }
}

#[async_trait]
impl ObjectStore for Lasting {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let written = self.written(location)?;
        let put = self.store.put_opts(location, payload, opts).await?;
        written.lasts(&self.sync).await?;
        Ok(put)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let written = self.written(location)?;
        let upload = self.store.put_multipart_opts(location, opts).await?;
        Ok(Box::new(Parts { upload, written: Some(written), sync: Arc::clone(&self.sync) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let written = self.written(to)?;
        self.store.copy_opts(from, to, options).await?;
        written.lasts(&self.sync).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let written = self.written(to)?;
        self.store.rename_opts(from, to, options).await?;
        written.lasts(&self.sync).await
    }
}

/// A file that comes in parts; it is there with the last, and lasts then.
struct Parts {
    upload: Box<dyn MultipartUpload>,
    written: Option<Written>,
    sync: Syncing,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("upload", &self.upload).finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let put = self.upload.complete().await?;
        if let Some(written) = self.written.take() {
            written.lasts(&self.sync).await?;
        }
        Ok(put)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use object_store::{ObjectStoreExt as _, PutMode};

    use super::*;

    /// A store that notes down what it puts on the disk, by the path below `root`, and the folder it is tried in.
    fn noting(root: &FilePath) -> (Lasting, Arc<Mutex<Vec<String>>>) {
        let (noted, root) = (Arc::new(Mutex::new(Vec::new())), root.to_owned());
        let notes = Arc::clone(&noted);
        let sync: Syncing = Arc::new(move |place: &FilePath| {
            let below = place.strip_prefix(&root).expect("within").display().to_string();
            notes.lock().expect("nobody panicked").push(below);
            durable::sync(place)
        });
        (Lasting { store: LocalFileSystem::new(), sync }, noted)
    }

    fn taken(noted: &Mutex<Vec<String>>) -> Vec<String> {
        std::mem::take(&mut *noted.lock().expect("nobody panicked"))
    }

    #[tokio::test]
    async fn what_is_written_is_on_the_disk_with_its_name_before_it_is_said_to_be() {
        let folder = tempfile::tempdir().expect("room");
        let root = folder.path().canonicalize().expect("was made");
        let (store, noted) = noting(&root);
        let at = |name: &str| Path::from_absolute_path(root.join(name)).expect("a path");
        store.put(&at("events/a.parquet"), b"rows".as_slice().into()).await.expect("is put");
        assert_eq!(taken(&noted), ["events/a.parquet", "events", ""], "the folder is new, too");
        store.put(&at("events/b.parquet"), b"rows".as_slice().into()).await.expect("is put");
        assert_eq!(taken(&noted), ["events/b.parquet", "events"]);

        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let commit = at("events/_delta_log/0.json");
        store.put_opts(&commit, b"{}".as_slice().into(), create()).await.expect("is put");
        assert_eq!(taken(&noted), ["events/_delta_log/0.json", "events/_delta_log", "events"]);
        let refused = store.put_opts(&commit, b"{}".as_slice().into(), create()).await.expect_err("is there already");
        assert!(matches!(refused, Error::AlreadyExists { .. }), "{refused}");
        assert!(taken(&noted).is_empty());

        let mut parts = store.put_multipart(&at("events/c.parquet")).await.expect("begins");
        parts.put_part(b"ro".as_slice().into()).await.expect("is taken");
        parts.put_part(b"ws".as_slice().into()).await.expect("is taken");
        assert!(taken(&noted).is_empty());
        parts.complete().await.expect("is put");
        assert_eq!(taken(&noted), ["events/c.parquet", "events"]);
        let found = store.get(&at("events/c.parquet")).await.expect("is there").bytes().await.expect("can be read");
        assert_eq!(&found[..], b"rows");
    }

    #[tokio::test]
    async fn a_disk_that_fails_is_no_commit() {
        let folder = tempfile::tempdir().expect("room");
        let sync: Syncing = Arc::new(|_: &FilePath| Err(std::io::Error::other("the disk is gone")));
        let store = Lasting { store: LocalFileSystem::new(), sync };
        let file = Path::from_absolute_path(folder.path().canonicalize().expect("was made").join("a")).expect("a path");
        assert!(store.put(&file, b"rows".as_slice().into()).await.is_err());
        let mut parts = store.put_multipart(&file).await.expect("begins");
        parts.put_part(b"rows".as_slice().into()).await.expect("is taken");
        assert!(parts.complete().await.is_err());
    }
}
