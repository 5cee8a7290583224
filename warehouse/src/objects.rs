//! Object stores: how one is addressed and unlocked, and whether it keeps the one promise that commits rest on.
//!
//! Formats no table and knows no path below the root. Settings carry the names that the `object_store` crate gives them.

mod keys;
mod local;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use deltalake_core::logstore::{
    LogStore, LogStoreFactory, ObjectStoreFactory, ObjectStoreRef, StorageConfig, default_logstore, logstore_factories,
    object_store_factories,
};
use deltalake_core::{DeltaResult, DeltaTableError};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::registry::Secret;

/// Schemes of URLs that are read as object stores.
const SCHEMES: [&str; 9] = ["s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "https"];
/// The scheme of a local folder.
const FOLDER: &str = "file";
/// Where it is tried whether the store refuses to overwrite.
const PROBE: &str = "_wardstream/conditional-put";
/// Prefixes of environment variables that concern object stores.
const PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// The `[warehouse.store]` part of the configuration: one object store for tables and weights.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// Settings of the store: `aws_endpoint`, `aws_region`, `aws_allow_http`, `aws_virtual_hosted_style_request`, `azure_...`, `google_...`.
    /// Shown only where the value is known to be harmless: a secret may stand here until the start refuses it.
    #[serde(serialize_with = "keys::serialize")]
    pub options: BTreeMap<String, String>,
    /// Settings whose value is a secret: each names the file that holds it.
    pub secret_files: BTreeMap<String, PathBuf>,
    /// What the environment says (`AWS_ACCESS_KEY_ID` and kin).
    #[serde(skip)]
    environment: BTreeMap<String, Secret>,
}

/// The store cannot be used as it is configured: mend the configuration. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is none.
    #[error("`{url}` is neither a folder nor an object store's URL (s3://bucket/path, az://container/path, gs://bucket/path)")]
    Address {
        /// As configured.
        url: String,
        /// Why.
        source: object_store::Error,
    },
    /// No store knows the setting.
    #[error(
        "warehouse.store.options has `{key}`, which no object store knows; names are those of the environment in small letters, such as aws_endpoint"
    )]
    Option {
        /// Which.
        key: String,
    },
    /// A secret stands in the configuration.
    #[error("warehouse.store.options must not hold `{key}`: name a file in warehouse.store.secret_files, or set {} in the environment", key.to_uppercase())]
    Secret {
        /// Which.
        key: String,
    },
    /// A file of secrets cannot be read.
    #[error("could not read {}, which warehouse.store.secret_files names", path.display())]
    SecretFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Two writers would overwrite each other's commits.
    #[error(
        "the store of `{url}` overwrites what it is told to create only (If-None-Match: *), so two writers could lose rows; use a store with conditional puts"
    )]
    Overwrites {
        /// As configured.
        url: String,
    },
    /// It does not answer, or not to us.
    #[error("could not reach the store of `{url}`; see warehouse.store.options (endpoint, region) and its keys")]
    Unreachable {
        /// As configured.
        url: String,
        /// Why.
        source: object_store::Error,
    },
}

impl std::fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("StoreSettings");
        shown.field("options", &keys::shown(&self.options)).field("secret_files", &self.secret_files);
        shown.field("environment", &self.environment).finish()
    }
}

impl StoreSettings {
    /// Takes what the environment says of object stores; the configuration's own words weigh more.
    pub fn resolve(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        let concerns = |name: &str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let stated = environment.into_iter().filter(|(name, _)| concerns(name)).map(|(name, value)| (name.to_lowercase(), value));
        self.environment = stated.filter(|(key, _)| keys::is_known(key)).map(|(key, value)| (key, value.into())).collect();
    }

    /// All settings, secrets among them, for the store's client.
    pub(crate) fn all(&self) -> Result<HashMap<String, String>, StoreError> {
        let mut all: HashMap<String, String> =
            self.environment.iter().map(|(key, value)| (key.clone(), value.reveal().to_owned())).collect();
        for (key, value) in &self.options {
            let key = key.to_lowercase();
            if !keys::is_known(&key) {
                return Err(StoreError::Option { key });
            }
            if keys::is_secret(&key) {
                return Err(StoreError::Secret { key });
            }
            all.insert(key, value.clone());
        }
        for (key, path) in &self.secret_files {
            let key = key.to_lowercase();
            if !keys::is_known(&key) {
                return Err(StoreError::Option { key });
            }
            let value = std::fs::read_to_string(path).map_err(|source| StoreError::SecretFile { path: path.clone(), source })?;
            all.insert(key, value.trim().to_owned());
        }
        Ok(all)
    }
}

/// The store of a URL, and the path of the URL within it.
pub(crate) fn open(url: &Url, settings: &StoreSettings) -> Result<(Arc<dyn ObjectStore>, Path), StoreError> {
    let address = |source| StoreError::Address { url: url.to_string(), source };
    at(url, settings.all()?).map_err(address)
}

/// The store at a URL, a folder's with writes that last.
fn at(url: &Url, options: HashMap<String, String>) -> object_store::Result<(Arc<dyn ObjectStore>, Path)> {
    let (store, path) = object_store::parse_url_opts(url, options)?;
    let store: Arc<dyn ObjectStore> = if url.scheme() == FOLDER { Arc::new(local::Lasting::default()) } else { Arc::from(store) };
    Ok((store, path))
}

/// Refuses a store that overwrites where it was told to create: every commit is such a put. A reader without the right to write finds
/// nothing out and needs not to.
pub(crate) async fn refuse_overwriting(url: &Url, settings: &StoreSettings) -> Result<(), StoreError> {
    if url.scheme() == FOLDER {
        return Ok(());
    }
    let (store, root) = open(url, settings)?;
    let key = PROBE.split('/').fold(root, |path, part| path.join(part));
    for _ in 0..2 {
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match store.put_opts(&key, b"this object is created once and never overwritten\n".as_slice().into(), create).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => return Ok(()),
            Err(object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) => {
                return store.head(&key).await.map_or_else(|source| readable(url, source), |_| Ok(()));
            }
            Err(source) => return Err(StoreError::Unreachable { url: url.to_string(), source }),
        }
    }
    Err(StoreError::Overwrites { url: url.to_string() })
}

/// A store that may be read but not written says that there is no probe, or that it may not be seen.
fn readable(url: &Url, source: object_store::Error) -> Result<(), StoreError> {
    match source {
        object_store::Error::NotFound { .. } => Ok(()),
        source => Err(StoreError::Unreachable { url: url.to_string(), source }),
    }
}

/// Makes Delta open the same stores. Their commits are conditional puts, so the plain log is safe for many writers.
pub(crate) fn make_known_to_delta() {
    let stores = Arc::new(Stores);
    for scheme in SCHEMES {
        if let Ok(scheme) = Url::parse(&format!("{scheme}://")) {
            object_store_factories().insert(scheme.clone(), Arc::<Stores>::clone(&stores));
            logstore_factories().insert(scheme, Arc::<Stores>::clone(&stores));
        }
    }
    if let Ok(scheme) = Url::parse(&format!("{FOLDER}://")) {
        object_store_factories().insert(scheme, stores);
    }
}

struct Stores;

impl ObjectStoreFactory for Stores {
    fn parse_url_opts(&self, url: &Url, config: &StorageConfig) -> DeltaResult<(ObjectStoreRef, Path)> {
        at(url, config.raw.clone()).map_err(DeltaTableError::from)
    }
}

impl LogStoreFactory for Stores {
    fn with_options(
        &self,
        prefixed_store: ObjectStoreRef,
        root_store: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(prefixed_store, root_store, location, options))
    }
}

#[cfg(test)]
mod s3;
#[cfg(test)]
mod tests;
