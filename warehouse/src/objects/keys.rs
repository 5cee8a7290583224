//! The settings that object stores know by name, and of which the value may be seen.
//!
//! A setting has several names, and a name may mean one thing to one store and another to the next: names are read as the stores read them, and never
//! compared as texts. A value is a secret if it is one to any store, and may be seen only if it is harmless to every store that knows the name.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use object_store::ClientConfigKey;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use serde::Serializer;

/// The first name of the key with which S3 encrypts at the customer's word. Its kind has no name outside the crate.
const CUSTOMER_KEY: &str = "aws_sse_customer_key_base64";
/// What stands in place of a value that is not shown.
const HIDDEN: &str = "(hidden)";

/// What a value is to a store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Secret,
    /// It may be shown.
    Harmless,
    /// It is no secret by its name, and yet may hold one.
    Other,
}

fn of_client(key: ClientConfigKey) -> Kind {
    match key {
        // A proxy's address may hold a password.
        ClientConfigKey::ProxyUrl | ClientConfigKey::ProxyCaCertificate => Kind::Other,
        ClientConfigKey::AllowHttp
        | ClientConfigKey::AllowInvalidCertificates
        | ClientConfigKey::ConnectTimeout
        | ClientConfigKey::DefaultContentType
        | ClientConfigKey::Http1Only
        | ClientConfigKey::Http2Only
        | ClientConfigKey::PoolIdleTimeout
        | ClientConfigKey::PoolMaxIdlePerHost
        | ClientConfigKey::Timeout
        | ClientConfigKey::UserAgent => Kind::Harmless,
        _ => Kind::Other,
    }
}

fn of_s3(key: AmazonS3ConfigKey) -> Kind {
    match key {
        AmazonS3ConfigKey::SecretAccessKey | AmazonS3ConfigKey::Token => Kind::Secret,
        AmazonS3ConfigKey::Encryption(_) if key.as_ref() == CUSTOMER_KEY => Kind::Secret,
        AmazonS3ConfigKey::Region
        | AmazonS3ConfigKey::DefaultRegion
        | AmazonS3ConfigKey::Bucket
        | AmazonS3ConfigKey::Endpoint
        | AmazonS3ConfigKey::S3Endpoint
        | AmazonS3ConfigKey::StsEndpoint
        | AmazonS3ConfigKey::MetadataEndpoint
        | AmazonS3ConfigKey::ImdsV1Fallback
        | AmazonS3ConfigKey::VirtualHostedStyleRequest
        | AmazonS3ConfigKey::UnsignedPayload
        | AmazonS3ConfigKey::Checksum
        | AmazonS3ConfigKey::RoleArn
        | AmazonS3ConfigKey::SkipSignature
        | AmazonS3ConfigKey::CopyIfNotExists
        | AmazonS3ConfigKey::ConditionalPut
        | AmazonS3ConfigKey::DisableTagging
        | AmazonS3ConfigKey::S3Express
        | AmazonS3ConfigKey::RequestPayer => Kind::Harmless,
        AmazonS3ConfigKey::Client(key) => of_client(key),
        _ => Kind::Other,
    }
}

fn of_azure(key: AzureConfigKey) -> Kind {
    match key {
        AzureConfigKey::AccessKey
        | AzureConfigKey::ClientSecret
        | AzureConfigKey::SasKey
        | AzureConfigKey::Token
        | AzureConfigKey::FabricSessionToken => Kind::Secret,
        AzureConfigKey::AccountName
        | AzureConfigKey::AuthorityId
        | AzureConfigKey::AuthorityHost
        | AzureConfigKey::UseEmulator
        | AzureConfigKey::Endpoint
        | AzureConfigKey::MsiEndpoint
        | AzureConfigKey::UseFabricEndpoint
        | AzureConfigKey::UseAzureCli
        | AzureConfigKey::SkipSignature
        | AzureConfigKey::ContainerName
        | AzureConfigKey::DisableTagging => Kind::Harmless,
        AzureConfigKey::Client(key) => of_client(key),
        _ => Kind::Other,
    }
}

fn of_google(key: GoogleConfigKey) -> Kind {
    match key {
        GoogleConfigKey::ServiceAccountKey => Kind::Secret,
        GoogleConfigKey::Bucket | GoogleConfigKey::BaseUrl | GoogleConfigKey::SkipSignature => Kind::Harmless,
        GoogleConfigKey::Client(key) => of_client(key),
        _ => Kind::Other,
    }
}

/// What the value of a setting is to the stores that know its name.
fn kinds(key: &str) -> impl Iterator<Item = Kind> {
    let s3 = AmazonS3ConfigKey::from_str(key).ok().map(of_s3);
    let azure = AzureConfigKey::from_str(key).ok().map(of_azure);
    let google = GoogleConfigKey::from_str(key).ok().map(of_google);
    [s3, azure, google].into_iter().flatten()
}

/// Whether some store knows a setting of that name, in small letters.
pub fn is_known(key: &str) -> bool {
    kinds(key).next().is_some()
}

/// Whether its value is a secret to some store.
pub fn is_secret(key: &str) -> bool {
    kinds(key).any(|kind| kind == Kind::Secret)
}

/// Whether its value may be seen: known to be harmless, and no address with a user in it.
fn is_shown(key: &str, value: &str) -> bool {
    is_known(key) && kinds(key).all(|kind| kind == Kind::Harmless) && !value.contains('@')
}

/// The settings as they are shown.
pub fn shown(options: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let shown = |key: &str, value| if is_shown(&key.to_lowercase(), value) { value } else { HIDDEN };
    options.iter().map(|(key, value)| (key.as_str(), shown(key, value.as_str()))).collect()
}

/// The settings as `check-config` prints them.
pub fn serialize<S: Serializer>(options: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(shown(options))
}
