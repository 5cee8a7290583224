//! A small warehouse behind the port, and clients of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use schemas::{Digest, EventCode, EventStamp, Facility, Fact, Identifier, MappedNote, Message, NoteKind, NoteRow, NoteStatus, Source};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;

use crate::pg::serve_on;
use crate::roles::desk::Desk;
use crate::store::tests::message;
use crate::{Batch, Role, Settings, SqlSettings, User, Warehouse};

/// Words that stand in texts and in bytes, keys and headers of messages alone.
pub const PLANTED: [&str; 4] = ["sesquipedalian", "antediluvian", "borborygmus", "quockerwodger"];

static STANDS: AtomicU32 = AtomicU32::new(0);

/// A served warehouse. Roles: `reader` sees no notes; `nurse` does; `small` may have 5 rows, 200 ms and 1 MB.
pub struct Stand {
    pub warehouse: Warehouse,
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub tasks: JoinSet<()>,
    folder: PathBuf,
}

/// Record `offset`: a stay admitted, and its note.
fn batch(offset: i64) -> Batch {
    let facility = Facility::new("ward");
    let known_at: Timestamp = format!("2024-01-{:02}T08:00:00Z", offset + 1).parse().expect("an instant");
    let source = Source { topic: "hl7.raw".to_owned(), partition: 0, offset };
    let [text, payload, key, headers] = PLANTED;
    let message = Message {
        key: Some(key.into()),
        headers: format!("{{\"h\":\"{headers}\"}}"),
        payload: Some(payload.into()),
        digest: Digest::of(offset.to_string().as_bytes()).to_string(),
        facility: facility.name.clone(),
        events: 1,
        notes: 1,
        ..message(source.clone(), known_at)
    };
    let (patient, visit) = (Identifier { system: "H".into(), value: format!("p{offset}") }, format!("V{offset}"));
    let fact = Fact {
        code: EventCode::EncounterAdmitted,
        time: Some(known_at),
        asserted_at: Some(known_at),
        patient: Some(patient.clone()),
        encounter: Some(visit.clone()),
        numeric_value: None,
        text_value: None,
        related: None,
    };
    let note = MappedNote {
        document: format!("D{offset}"),
        patient: Some(patient),
        encounter: Some(visit),
        kind: NoteKind::Admission,
        type_code: None,
        status: NoteStatus::Final,
        authored_at: Some(known_at),
        signed_at: None,
        asserted_at: Some(known_at),
        text: format!("The patient is {text}."),
        replaces: None,
    };
    let digest = Digest::of(offset.to_string().as_bytes());
    let mut batch = Batch::default();
    batch.upto.insert(source.topic_partition(), offset);
    batch.events.push(EventStamp::new(&facility, &digest, known_at, &source).event(fact));
    batch.notes.push(NoteRow::stamp(note, &facility, known_at, source));
    batch.messages.push(message);
    batch
}

fn role(name: &str, notes: bool) -> Role {
    Role { name: name.to_owned(), notes, statement_timeout_ms: 60_000, memory_limit_mb: 256, row_limit: 0 }
}

fn user(name: &str) -> User {
    User { name: name.to_owned(), role: name.to_owned(), password_file: None, password_env: Some("PW".to_owned()), certificate: None }
}

/// The roles and users of every stand.
pub fn settings() -> SqlSettings {
    let small = Role { statement_timeout_ms: 200, memory_limit_mb: 1, row_limit: 5, ..role("small", false) };
    SqlSettings {
        roles: vec![role("reader", false), role("nurse", true), small],
        users: vec![user("reader"), user("nurse"), user("small")],
        connections: 4,
        ..SqlSettings::default()
    }
}

impl Stand {
    /// A warehouse of two records.
    pub async fn new() -> Self {
        Self::of(settings()).await
    }

    /// As [`Stand::new`], served with these settings.
    pub async fn of(settings: SqlSettings) -> Self {
        let number = STANDS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("wardstream-port-{}-{number}", std::process::id()));
        let warehouse = Warehouse::open(&Settings { url: folder.display().to_string(), ..Settings::default() }).await.expect("opens");
        for offset in 0..2 {
            warehouse.append(&mut batch(offset)).await.expect("appends");
        }
        let accounts = settings.accounts(None, |name| (name == "PW").then(|| "open sesame".to_owned())).expect("they fit");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, stop) = (listener.local_addr().expect("bound"), CancellationToken::new());
        let desk = Desk::open(warehouse.clone(), &settings).await.expect("opens");
        let mut tasks = JoinSet::new();
        let stopped = stop.clone();
        tasks.spawn(async move { serve_on(listener, desk, &settings, accounts, stopped).await.expect("serves") });
        Self { warehouse, address, stop, tasks, folder }
    }

    /// One more record.
    pub async fn append(&self, offset: i64) {
        self.warehouse.append(&mut batch(offset)).await.expect("appends");
    }

    /// A client; the error where it is not let in.
    pub async fn connect(&mut self, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
        let text = format!("host=127.0.0.1 port={} user={user} password='{password}' dbname=wardstream", self.address.port());
        let (client, connection) = tokio_postgres::connect(&text, NoTls).await?;
        self.tasks.spawn(async move {
            let _ended = connection.await;
        });
        Ok(client)
    }

    /// A client of this user.
    pub async fn client(&mut self, user: &str) -> Client {
        self.connect(user, "open sesame").await.expect("is let in")
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}

/// The rows of a text's statements, values joined by `|`.
pub async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {}", said(&error)));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|column| row.get(column).unwrap_or("NULL")).collect::<Vec<_>>().join("|")),
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

/// The class of what a text is refused with, and its place.
pub async fn refused(client: &Client, sql: &str) -> (String, Option<u32>) {
    client.simple_query(sql).await.err().map_or_else(|| ("answered".to_owned(), None), |error| class(&error))
}

/// Class and place of an error.
pub fn class(error: &tokio_postgres::Error) -> (String, Option<u32>) {
    let Some(error) = error.as_db_error() else { panic!("no error of the server: {error}") };
    let place = match error.position() {
        Some(tokio_postgres::error::ErrorPosition::Original(place)) => Some(*place),
        _ => None,
    };
    (error.code().code().to_owned(), place)
}

/// An error in full.
pub fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| format!("{} {} {:?}", error.code().code(), error.message(), error.hint()))
}
