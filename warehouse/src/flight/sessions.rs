//! Who asks: a name and a password with every call, or the token that was given for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use datafusion::arrow::array::RecordBatch;
use schemas::Digest;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::roles::{Account, Accounts};

/// Tokens of one account that are known at once; the one that was used longest ago is forgotten first.
const SESSIONS: usize = 100;
/// Names and passwords come with padding and without: Go's drivers leave it out.
const BASIC: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
/// Statements that a session may hold prepared, and the bytes of all their texts and parameters.
const PREPARED: usize = 64;
const PREPARED_BYTES: usize = 4 << 20;

/// A statement that was prepared, with its parameters once they are put.
#[derive(Clone, Default)]
pub(super) struct Prepared {
    pub query: String,
    pub parameters: Option<RecordBatch>,
}

/// A statement that is kept, and how long its parameters were when they were put.
struct Kept {
    statement: Prepared,
    put_bytes: usize,
}

/// What is kept of one who asks.
pub(super) struct Session {
    pub account: Arc<Account>,
    prepared: Mutex<(u64, BTreeMap<u64, Kept>)>,
}

/// Whether a session has room for so many bytes more.
fn room(kept: &BTreeMap<u64, Kept>, bytes: usize) -> Result<(), Status> {
    let held: usize = kept.values().map(|kept| kept.statement.query.len() + kept.put_bytes).sum();
    if held.saturating_add(bytes) > PREPARED_BYTES {
        return Err(Status::resource_exhausted(format!(
            "53400: prepared statements and their parameters take more than {PREPARED_BYTES} bytes"
        )));
    }
    Ok(())
}

impl Session {
    fn new(account: Arc<Account>) -> Arc<Self> {
        Arc::new(Self { account, prepared: Mutex::default() })
    }

    /// Keeps a statement; its handle.
    pub(super) fn prepare(&self, query: String) -> Result<Vec<u8>, Status> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if prepared.1.len() >= PREPARED {
            return Err(Status::resource_exhausted(format!("53400: more than {PREPARED} statements are prepared")));
        }
        room(&prepared.1, query.len())?;
        prepared.0 += 1;
        let handle = prepared.0;
        prepared.1.insert(handle, Kept { statement: Prepared { query, parameters: None }, put_bytes: 0 });
        Ok(handle.to_string().into_bytes())
    }

    pub(super) fn prepared(&self, handle: &[u8]) -> Result<Prepared, Status> {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        number(handle).and_then(|handle| prepared.1.get(&handle)).map(|kept| kept.statement.clone()).ok_or_else(unknown)
    }

    /// The parameters of a statement, in the place of those that were put before; so many bytes long.
    pub(super) fn bind(&self, handle: &[u8], parameters: Option<RecordBatch>, bytes: usize) -> Result<(), Status> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let found = number(handle).and_then(|handle| prepared.1.get_mut(&handle)).ok_or_else(unknown)?;
        found.statement.parameters = None;
        found.put_bytes = 0;
        room(&prepared.1, bytes)?;
        if let Some(found) = number(handle).and_then(|handle| prepared.1.get_mut(&handle)) {
            found.statement.parameters = parameters;
            found.put_bytes = bytes;
        }
        Ok(())
    }

    pub(super) fn close(&self, handle: &[u8]) {
        if let Some(handle) = number(handle) {
            self.prepared.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&handle);
        }
    }
}

fn number(handle: &[u8]) -> Option<u64> {
    std::str::from_utf8(handle).ok()?.parse().ok()
}

fn unknown() -> Status {
    Status::not_found("26000: the prepared statement does not exist")
}

/// All who ask.
pub(super) struct Sessions {
    accounts: Accounts,
    /// By token, and by name for those who send their password with every call; the last used is last.
    known: Mutex<Vec<(String, Arc<Session>)>>,
}

impl Sessions {
    pub(super) fn new(accounts: Accounts) -> Self {
        Self { accounts, known: Mutex::default() }
    }

    /// A token for whoever shows a name and its password.
    pub(super) fn login(&self, metadata: &MetadataMap) -> Result<String, Status> {
        let account = self.by_password(header(metadata)?)?;
        let token = Digest::of(&rand::random::<[u8; 32]>()).to_string();
        self.keep(token.clone(), Session::new(account));
        Ok(token)
    }

    /// The session of a call.
    pub(super) fn of(&self, metadata: &MetadataMap) -> Result<Arc<Session>, Status> {
        let text = header(metadata)?;
        if let Some(token) = text.strip_prefix("Bearer ") {
            return self.known(token).ok_or_else(refused);
        }
        let account = self.by_password(text)?;
        let name = format!("basic {}", account.name);
        Ok(self.known(&name).unwrap_or_else(|| {
            let session = Session::new(account);
            self.keep(name, Arc::clone(&session));
            session
        }))
    }

    fn by_password(&self, text: &str) -> Result<Arc<Account>, Status> {
        let decoded =
            text.strip_prefix("Basic ").and_then(|text| BASIC.decode(text.trim()).ok()).and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or_else(refused)?;
        let (name, password) = decoded.split_once(':').ok_or_else(refused)?;
        let account = self.accounts.0.get(name).ok_or_else(refused)?;
        // Digests are compared: how long it takes says nothing of the password.
        let right = account.password.as_ref().is_some_and(|known| Digest::of(known.reveal().as_bytes()) == Digest::of(password.as_bytes()));
        if right { Ok(Arc::clone(account)) } else { Err(refused()) }
    }

    fn known(&self, key: &str) -> Option<Arc<Session>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let at = known.iter().position(|(other, _)| other == key)?;
        let found = known.remove(at);
        let session = Arc::clone(&found.1);
        known.push(found);
        Some(session)
    }

    fn keep(&self, key: String, session: Arc<Session>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = |other: &Arc<Session>| other.account.name == session.account.name;
        if known.iter().filter(|(_, other)| is_own(other)).count() >= SESSIONS
            && let Some(oldest) = known.iter().position(|(_, other)| is_own(other))
        {
            known.remove(oldest);
        }
        known.push((key, session));
    }
}

fn header(metadata: &MetadataMap) -> Result<&str, Status> {
    metadata.get("authorization").and_then(|value| value.to_str().ok()).ok_or_else(refused)
}

fn refused() -> Status {
    Status::unauthenticated("28P01: a user name and its password are wanted")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::tests::stand::settings;

    fn metadata(authorization: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", authorization.parse().expect("a header"));
        metadata
    }

    fn sessions() -> Sessions {
        Sessions::new(settings().accounts(None, |_| Some("open sesame".to_owned())).expect("they fit"))
    }

    fn basic(user: &str) -> MetadataMap {
        metadata(&format!("Basic {}", base64::Engine::encode(&BASIC, format!("{user}:open sesame"))))
    }

    #[test]
    fn whoever_logs_in_again_and_again_forgets_its_own_tokens_alone() {
        let sessions = sessions();
        let login = |user: &str| metadata(&format!("Bearer {}", sessions.login(&basic(user)).expect("is let in")));
        let (nurse, reader) = (login("nurse"), login("reader"));
        for _ in 0..2_000 {
            login("reader");
        }
        assert!(sessions.of(&nurse).is_ok(), "another's token stays");
        assert!(sessions.of(&reader).is_err(), "its own oldest is forgotten");
    }

    #[test]
    fn what_a_session_keeps_is_bounded() {
        let session = sessions().of(&basic("reader")).expect("is let in");
        let handle = session.prepare("SELECT $1".to_owned()).expect("there is room");
        assert!(session.bind(&handle, None, PREPARED_BYTES / 2).is_ok());
        assert!(session.bind(&handle, None, PREPARED_BYTES / 2).is_ok(), "what is put anew stands in the place of the old");
        assert!(session.prepare("x".repeat(PREPARED_BYTES / 2)).is_err());
        assert!(session.bind(&handle, None, PREPARED_BYTES).is_err());
        assert!(session.prepare("x".repeat(PREPARED_BYTES / 2)).is_ok(), "what was refused takes no room");
    }
}
