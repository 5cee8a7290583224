//! Who may ask, what they see and how much they may use: users, roles and limits, the same for every protocol.
//!
//! Nobody may write: what a role decides is whether texts and raw messages are shown, and when a statement is stopped.

pub(crate) mod bounded;
mod catalogue;
mod definitions;
pub(crate) mod desk;
mod explained;
mod extent;
pub(crate) mod fault;
pub(crate) mod gate;
mod information;
pub(crate) mod instants;
pub(crate) mod moments;
pub(crate) mod parse;
pub(crate) mod strangers;
mod texts;
pub(crate) mod tls;
pub(crate) mod turn;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::registry::Secret;

/// Name of the role that is always there and sees everything.
pub const OPERATOR: &str = "operator";

/// The `[sql]` part of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SqlSettings {
    /// Address of the PostgreSQL protocol.
    pub listen: SocketAddr,
    /// Address of Arrow Flight SQL.
    pub flight_listen: SocketAddr,
    /// The user whose role is `operator`; empty for none.
    pub user: String,
    /// File that holds the user's password; made with a random one where it does not exist.
    pub password_file: PathBuf,
    /// Connections of the PostgreSQL protocol at most.
    pub connections: usize,
    /// Statements that run at the same time; the others wait in the order in which they came.
    pub statements: usize,
    /// Disk that one statement may use where its memory does not suffice.
    pub spill_limit_mb: u64,
    /// Certificate and key; without them nothing is encrypted.
    pub tls: Option<Tls>,
    /// What users may see and use.
    pub roles: Vec<Role>,
    /// Who may connect.
    pub users: Vec<User>,
}

/// TLS of both protocols.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// File of the certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// File of the private key, PEM.
    pub key: PathBuf,
    /// File of the authorities that clients' certificates are from, PEM.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Connections without TLS are refused.
    #[serde(default)]
    pub required: bool,
}

/// What users of a role see, and where their statements are stopped. A limit of 0 is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// By which users name it.
    pub name: String,
    /// Whether notes' texts and the bytes, keys and headers of messages are shown.
    #[serde(default)]
    pub notes: bool,
    /// Time that a statement may take, its waiting included.
    #[serde(default = "Role::statement_timeout_ms")]
    pub statement_timeout_ms: u64,
    /// Memory that a statement may use.
    #[serde(default = "Role::memory_limit_mb")]
    pub memory_limit_mb: usize,
    /// Rows that a statement may give.
    #[serde(default)]
    pub row_limit: u64,
}

/// A user: a password, a certificate, or either.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User name.
    pub name: String,
    /// Name of the role.
    pub role: String,
    /// File that holds the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Environment variable that holds the password.
    #[serde(default)]
    pub password_env: Option<String>,
    /// Common name of the client's certificate that needs no password.
    #[serde(default)]
    pub certificate: Option<String>,
}

impl Role {
    fn statement_timeout_ms() -> u64 {
        60_000
    }

    fn memory_limit_mb() -> usize {
        512
    }

    /// The role that sees everything.
    fn operator() -> Self {
        Self { name: OPERATOR.to_owned(), notes: true, statement_timeout_ms: 3_600_000, memory_limit_mb: 1_024, row_limit: 0 }
    }
}

impl Default for SqlSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5433)),
            flight_listen: SocketAddr::from(([127, 0, 0, 1], 5434)),
            user: "wardstream".to_owned(),
            password_file: ".wardstream/sql-password".into(),
            connections: 100,
            statements: 8,
            spill_limit_mb: 4_096,
            tls: None,
            roles: Vec::new(),
            users: Vec::new(),
        }
    }
}

/// One who may connect.
pub(crate) struct Account {
    pub name: String,
    pub role: Arc<Role>,
    pub password: Option<Secret>,
    pub certificate: Option<String>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Account({}, {})", self.name, self.role.name)
    }
}

/// All who may connect, by name.
#[derive(Clone, Debug, Default)]
pub struct Accounts(pub(crate) BTreeMap<String, Arc<Account>>);

/// The users of the configuration cannot be told apart or let in: mend it.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A user's role is not there.
    #[error("sql.users: {user} has the role {role}, which is none of {known}")]
    Role {
        /// Of whom.
        user: String,
        /// As configured.
        role: String,
        /// Those there are.
        known: String,
    },
    /// A user could not be let in.
    #[error("sql.users: {user} has neither password_file, password_env nor certificate")]
    Nothing {
        /// Who.
        user: String,
    },
    /// The password is not where it should be.
    #[error("sql.users: the password of {user} could not be read from {place}")]
    Password {
        /// Of whom.
        user: String,
        /// A file or a variable.
        place: String,
    },
    /// Two of one name.
    #[error("sql.{list}: {name} is there twice")]
    Twice {
        /// `users` or `roles`.
        list: &'static str,
        /// The name.
        name: String,
    },
}

impl SqlSettings {
    /// Reads certificate, key and authorities of TLS, where it is configured.
    ///
    /// # Errors
    /// With the file that cannot be used, and why.
    pub fn check_tls(&self) -> Result<(), tls::TlsError> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls::acceptor(tls, &[]).map(drop))
    }

    /// Users with their roles and passwords. `own` is the password of `user`; `environment` is asked for the others'.
    ///
    /// # Errors
    /// Where a role is unknown, a name is there twice or a password cannot be read.
    pub fn accounts(&self, own: Option<Secret>, environment: impl Fn(&str) -> Option<String>) -> Result<Accounts, AccountError> {
        let mut roles = BTreeMap::from([(OPERATOR, Arc::new(Role::operator()))]);
        for role in &self.roles {
            let before = roles.insert(role.name.as_str(), Arc::new(role.clone()));
            // The operator's own limits may be configured.
            if before.is_some() && role.name != OPERATOR {
                return Err(AccountError::Twice { list: "roles", name: role.name.clone() });
            }
        }
        let mut accounts = BTreeMap::new();
        if let (Some(password), Some(role)) = (own.filter(|_| !self.user.is_empty()), roles.get(OPERATOR)) {
            let account = Account { name: self.user.clone(), role: Arc::clone(role), password: Some(password), certificate: None };
            accounts.insert(self.user.clone(), Arc::new(account));
        }
        for user in &self.users {
            let role = roles.get(user.role.as_str()).ok_or_else(|| AccountError::Role {
                user: user.name.clone(),
                role: user.role.clone(),
                known: roles.keys().copied().collect::<Vec<_>>().join(", "),
            })?;
            let password = user.password(&environment)?;
            if password.is_none() && user.certificate.is_none() {
                return Err(AccountError::Nothing { user: user.name.clone() });
            }
            let account = Account { name: user.name.clone(), role: Arc::clone(role), password, certificate: user.certificate.clone() };
            if accounts.insert(user.name.clone(), Arc::new(account)).is_some() {
                return Err(AccountError::Twice { list: "users", name: user.name.clone() });
            }
        }
        Ok(Accounts(accounts))
    }
}

impl User {
    fn password(&self, environment: impl Fn(&str) -> Option<String>) -> Result<Option<Secret>, AccountError> {
        let unreadable = |place: String| AccountError::Password { user: self.name.clone(), place };
        let text = match (&self.password_file, &self.password_env) {
            (Some(file), _) => Some(std::fs::read_to_string(file).map_err(|_| unreadable(file.display().to_string()))?),
            (None, Some(name)) => Some(environment(name).ok_or_else(|| unreadable(format!("the variable {name}")))?),
            (None, None) => None,
        };
        let text = text.map(|text| text.trim().to_owned());
        if text.as_ref().is_some_and(String::is_empty) {
            return Err(unreadable("an empty text".to_owned()));
        }
        Ok(text.map(Secret::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, role: &str) -> User {
        User { name: name.to_owned(), role: role.to_owned(), password_file: None, password_env: Some("PW".to_owned()), certificate: None }
    }

    fn settings(users: Vec<User>) -> SqlSettings {
        let analyst = Role { name: "analyst".to_owned(), ..Role::operator() };
        SqlSettings { users, roles: vec![analyst], ..SqlSettings::default() }
    }

    #[test]
    fn a_user_needs_a_known_role_and_a_way_in() {
        let environment = |name: &str| (name == "PW").then(|| "secret".to_owned());
        let accounts = settings(vec![user("ann", "analyst")]).accounts(Some("own".to_owned().into()), environment).expect("both fit");
        assert_eq!(accounts.0.keys().collect::<Vec<_>>(), ["ann", "wardstream"]);
        assert!(!format!("{accounts:?}").contains("secret"));

        let refused = |users| settings(users).accounts(None, environment).expect_err("must be refused").to_string();
        assert!(refused(vec![user("ann", "doctor")]).contains("none of analyst, operator"));
        assert!(refused(vec![user("ann", "analyst"), user("ann", "analyst")]).contains("twice"));
        assert!(refused(vec![User { password_env: None, ..user("ann", "analyst") }]).contains("neither"));
        assert!(refused(vec![User { password_env: Some("X".to_owned()), ..user("ann", "analyst") }]).contains("variable X"));
    }
}
