//! Who is let in: TLS where it is required, a certificate or SCRAM-SHA-256, and only then a place among the connections.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use datafusion_postgres::pgwire::api::auth::sasl::SASLAuthStartupHandler;
use datafusion_postgres::pgwire::api::auth::sasl::scram::{ScramAuth, gen_salted_password};
use datafusion_postgres::pgwire::api::auth::{
    AuthSource, LoginInfo, Password, ServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use datafusion_postgres::pgwire::api::{ClientInfo, PgWireConnectionState, PidSecretKeyGenerator};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::startup::{SecretKey, Startup};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use futures::Sink;
use x509_certificate::X509Certificate;

use super::answer::fatal;
use super::connection::Connection;
use crate::roles::fault::Refusal;
use crate::roles::{Account, Accounts};

/// Rounds of PBKDF2 for SCRAM.
const ROUNDS: usize = 4_096;

/// Passwords as SCRAM compares them, made once.
#[derive(Clone, Debug)]
pub(super) struct Passwords(Arc<BTreeMap<String, Password>>);

impl Passwords {
    pub(super) fn of(accounts: &Accounts) -> Self {
        let salted = |account: &Arc<Account>| {
            let password = account.password.as_ref()?;
            // The salt is derived from the account: it must differ between accounts, not be secret.
            let salt: Vec<u8> = schemas::Digest::of(account.name.as_bytes()).to_string().into_bytes().into_iter().take(16).collect();
            let hashed = gen_salted_password(password.reveal(), &salt, ROUNDS);
            Some((account.name.clone(), Password::new(Some(salt), hashed)))
        };
        Self(Arc::new(accounts.0.values().filter_map(salted).collect()))
    }
}

#[async_trait]
impl AuthSource for Passwords {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let user = login.user().unwrap_or_default();
        self.0.get(user).cloned().ok_or_else(|| PgWireError::InvalidPassword(user.to_owned()))
    }
}

/// What the client is told of the session at its start.
struct Told(Arc<Connection>);

impl ServerParameterProvider for Told {
    fn server_parameters<C: ClientInfo>(&self, _: &C) -> Option<std::collections::HashMap<String, String>> {
        Some(self.0.told().into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// Gives the connection the number and the key by which its statements are cancelled.
struct Keys(Arc<Connection>);

impl PidSecretKeyGenerator for Keys {
    fn generate(&self, client: &dyn ClientInfo) -> (i32, SecretKey) {
        self.0.keys(client)
    }
}

/// The door of one connection.
pub(super) struct Door {
    connection: Arc<Connection>,
    /// Messages by which the client has shown its password so far.
    shown: AtomicUsize,
    sasl: SASLAuthStartupHandler<Told>,
}

impl Door {
    pub(super) fn new(connection: &Arc<Connection>, passwords: &Passwords) -> Self {
        let mut scram = ScramAuth::new(Arc::new(passwords.clone()));
        scram.set_iterations(ROUNDS);
        let sasl = SASLAuthStartupHandler::new(Arc::new(Told(Arc::clone(connection))))
            .with_scram(scram)
            .with_pid_secret_key_generator(Arc::new(Keys(Arc::clone(connection))));
        Self { connection: Arc::clone(connection), shown: AtomicUsize::new(0), sasl }
    }

    /// The account, where the first message alone does not refuse it.
    fn account<C: ClientInfo>(&self, client: &C, startup: &Startup) -> Result<Option<Arc<Account>>, Refusal> {
        if self.connection.server.tls_required && !client.is_secure() {
            return Err(Refusal::new("28000", "connections without TLS are refused").with_hint("connect with sslmode=require"));
        }
        if startup.parameters.keys().any(|name| name == "replication") {
            return Err(Refusal::new("0A000", "replication is not supported"));
        }
        let settings = startup.parameters.iter().filter(|(name, _)| !name.starts_with("_pq_."));
        let (options, settings): (Vec<_>, Vec<_>) =
            settings.filter(|(name, _)| !["user", "database"].contains(&name.as_str())).partition(|(name, _)| *name == "options");
        for (name, value) in settings {
            self.connection.preset(name, value)?;
        }
        for (_, text) in options {
            for (name, value) in options_of(text) {
                self.connection.preset(&name, &value)?;
            }
        }
        let user = startup.parameters.get("user").map(String::as_str).unwrap_or_default();
        self.connection.authorize(user);
        Ok(self.connection.server.accounts.0.get(user).cloned())
    }
}

/// `-c name=value` and `--name=value`.
fn options_of(text: &str) -> Vec<(String, String)> {
    // A blank within a value stands behind a backslash.
    let text = text.replace("\\ ", "\u{0}");
    let mut words = text.split_whitespace();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c") {
            Some("") => words.next(),
            Some(rest) => Some(rest),
            None => word.strip_prefix("--"),
        };
        if let Some((name, value)) = setting.and_then(|setting| setting.split_once('=')) {
            found.push((name.replace('-', "_"), value.replace('\u{0}', " ")));
        }
    }
    found
}

/// Whether the client showed, under TLS, a certificate of the account's name. The authorities were asked in the handshake.
fn is_certified<C: ClientInfo>(client: &C, account: &Account) -> bool {
    let Some(wanted) = &account.certificate else { return false };
    let shown = client.client_certificates().and_then(|chain| chain.first().map(|first| first.to_vec()));
    let name = shown.and_then(|der| X509Certificate::from_der(der).ok()).and_then(|certificate| certificate.subject_common_name());
    name.as_ref() == Some(wanted)
}

#[async_trait]
impl StartupHandler for Door {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if let PgWireFrontendMessage::Startup(startup) = &message {
            let account = self.account(client, startup).map_err(fatal)?;
            if let Some(account) = account {
                let certified = is_certified(client, &account);
                if !certified && account.password.is_none() {
                    return Err(fatal(Refusal::new("28000", format!("certificate authentication failed for user \"{}\"", account.name))));
                }
                if certified {
                    self.connection.enter().map_err(fatal)?;
                    protocol_negotiation(client, startup).await?;
                    save_startup_parameters_to_metadata(client, startup);
                    let (pid, key) = self.connection.keys(client);
                    client.set_pid_and_secret_key(pid, key);
                    finish_authentication(client, &Told(Arc::clone(&self.connection))).await?;
                    self.connection.let_in(account);
                    return Ok(());
                }
            }
        }
        let is_password = matches!(message, PgWireFrontendMessage::PasswordMessageFamily(_));
        // The second message holds the proof, and a wrong one ends the connection: nobody has a place for long without it.
        if is_password && self.shown.fetch_add(1, Ordering::Relaxed) == 1 {
            self.connection.enter().map_err(fatal)?;
        }
        let done = self.sasl.on_startup(client, message).await;
        // A failed attempt is the last: it may not be followed by another on the same connection.
        done.map_err(|error| match error {
            PgWireError::InvalidPassword(_) => {
                let user = self.connection.variables().get("session_authorization").unwrap_or_default();
                fatal(Refusal::new("28P01", format!("password authentication failed for user \"{user}\"")))
            }
            other => other,
        })?;
        if matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            let login = LoginInfo::from_client_info(client);
            if let Some(account) = self.connection.server.accounts.0.get(login.user().unwrap_or_default()) {
                self.connection.let_in(Arc::clone(account));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_postgresql_reads_them() {
        let found = options_of("-c wardstream.as_known_at=2024-01-01 -cstatement_timeout=5s --search-path=a\\ b");
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, [("wardstream.as_known_at", "2024-01-01"), ("statement_timeout", "5s"), ("search_path", "a b")]);
    }
}
