//! TLS of the port: who is let in with it, by password or by certificate, and who is not.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::stand::{Stand, class, rows, settings};
use crate::roles::Tls;
use crate::roles::tls::acceptor;
use crate::{SqlSettings, User};

/// Writes an authority, and certificates of these names from it.
fn certify(folder: &Path, authority: &str, names: &[&str]) {
    let mut params = CertificateParams::new(Vec::new()).expect("an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, authority);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signs itself");
    std::fs::write(folder.join(format!("{authority}.pem")), issuer.pem()).expect("writes");
    for name in names {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a certificate");
        params.distinguished_name.push(DnType::CommonName, *name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("is signed");
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("writes");
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("writes");
    }
}

fn tls(folder: &Path) -> Tls {
    Tls {
        certificate: folder.join("server.pem"),
        key: folder.join("server.key"),
        client_ca: Some(folder.join("house.pem")),
        required: true,
    }
}

/// A port with TLS, whose user `analyst` has a certificate and no password.
async fn stand() -> (Stand, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    certify(folder.path(), "house", &["server", "analyst-7", "another"]);
    certify(folder.path(), "stranger", &["forged"]);
    let mut settings = SqlSettings { tls: Some(tls(folder.path())), ..settings() };
    settings.users.push(User {
        name: "analyst".to_owned(),
        role: "reader".to_owned(),
        password_file: None,
        password_env: None,
        certificate: Some("analyst-7".to_owned()),
    });
    (Stand::of(settings).await, folder)
}

/// Connects over TLS, with the certificate of this name where there is one.
async fn connect(stand: &mut Stand, folder: &Path, login: &str, shown: Option<&str>) -> Result<Client, tokio_postgres::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("house.pem")).expect("reads")).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).expect("reads")];
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).expect("reads");
            builder.with_client_auth_cert(chain, key).expect("they fit")
        }
    };
    let text = format!("host=localhost hostaddr=127.0.0.1 port={} {login} dbname=wardstream sslmode=require", stand.address.port());
    let (client, connection) = tokio_postgres::connect(&text, MakeRustlsConnect::new(config)).await?;
    stand.tasks.spawn(async move {
        let _ended = connection.await;
    });
    Ok(client)
}

/// A password is let in over TLS alone, where TLS is required.
#[tokio::test]
async fn a_password_is_taken_over_tls_and_refused_without_it() {
    let (mut stand, folder) = stand().await;
    let client = connect(&mut stand, folder.path(), "user=reader password='open sesame'", None).await.expect("is let in");
    assert_eq!(rows(&client, "SELECT count(*) FROM events").await, ["2"]);
    let wrong = connect(&mut stand, folder.path(), "user=reader password=wrong", None).await.expect_err("is not let in");
    assert_eq!(class(&wrong).0, "28P01");
    let plain = stand.connect("reader", "open sesame").await.expect_err("is not let in");
    assert_eq!(class(&plain).0, "28000");
}

/// A certificate of the user's name needs no password; another's, none, and one from elsewhere are refused.
#[tokio::test]
async fn a_certificate_of_the_users_name_needs_no_password_and_no_other_does() {
    let (mut stand, folder) = stand().await;
    let client = connect(&mut stand, folder.path(), "user=analyst", Some("analyst-7")).await.expect("is let in");
    assert_eq!(rows(&client, "SELECT current_user").await, ["analyst"]);
    for shown in [Some("another"), None] {
        let refused = connect(&mut stand, folder.path(), "user=analyst", shown).await.expect_err("is not let in");
        assert_eq!(class(&refused).0, "28000", "{shown:?}");
    }
    let forged = connect(&mut stand, folder.path(), "user=analyst", Some("forged")).await.expect_err("is not let in");
    assert!(forged.as_db_error().is_none(), "the handshake itself fails");
}

/// What cannot be used is named by its file, before the port opens.
#[tokio::test]
async fn a_key_of_another_certificate_and_an_authority_that_is_none_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    certify(folder.path(), "house", &["server", "another"]);
    let swapped = Tls { key: folder.path().join("another.key"), ..tls(folder.path()) };
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").expect("writes");
    let no_authority = Tls { client_ca: Some(empty), ..tls(folder.path()) };
    for (tls, file) in [(swapped, "server.pem"), (no_authority, "empty.pem")] {
        let refused = acceptor(&tls, &[b"postgresql"]).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains(file), "{refused}");
    }
}
