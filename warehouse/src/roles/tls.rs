//! TLS of the SQL ports. One provider of cryptography is named: two stand in the tree, so that the library knows no default.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::Tls;

/// A certificate, key or authority cannot be used: mend the file.
#[derive(Debug, thiserror::Error)]
#[error("sql.tls: {} cannot be used: {reason}", file.display())]
pub struct TlsError {
    file: PathBuf,
    reason: String,
}

/// Reads certificate, key and authorities, and refuses what does not fit together. Clients may come without a certificate.
pub(crate) fn acceptor(tls: &Tls, protocols: &[&[u8]]) -> Result<TlsAcceptor, TlsError> {
    let refused = |file: &Path, reason: String| TlsError { file: file.to_owned(), reason };
    let chain = certificates(&tls.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| refused(&tls.key, format!("no private key in PEM: {error}")))?;
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&tls.certificate, error.to_string()))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(file)? {
                roots.add(root).map_err(|error| refused(file, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated().build();
            builder.with_client_cert_verifier(verifier.map_err(|error| refused(file, error.to_string()))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| refused(&tls.certificate, error.to_string()))?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refused = |reason: String| TlsError { file: file.to_owned(), reason };
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(refused("it holds no certificate in PEM".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(refused(format!("it cannot be read as certificates in PEM: {error}"))),
    }
}
