//! Services of our own where no address is configured: one Apache Kafka node and one private PostgreSQL, as child processes.
//!
//! They live in a state folder, listen on loopback alone, and end with us. What a crash left behind is stopped before a new start.
//! The folder's `services.json` says where they are. Nothing here knows what they are used for.

pub mod kafka;
pub mod postgres;
mod process;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use kafka::Kafka;
pub use postgres::Postgres;

/// How long a service may take until it answers.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// How long a service may take to end by itself before it is killed.
const END_WITHIN: Duration = Duration::from_secs(20);
const SERVICES: &str = "services.json";

/// Why a service of our own does not run. A person reads it, and the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Something that must be installed is not.
    #[error("{what} is missing at {place}: run deploy/setup, or {instead}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// Where it was looked for.
        place: PathBuf,
        /// What may be done otherwise.
        instead: &'static str,
    },
    /// A file, a folder or a process of the state folder could not be handled.
    #[error("could not {action} {place}")]
    State {
        /// What was tried.
        action: &'static str,
        /// On what.
        place: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A command of the service failed.
    #[error("{program} failed; see {log}")]
    Failed {
        /// The program.
        program: String,
        /// Where its words are.
        log: PathBuf,
    },
    /// The service runs and does not answer, or ended.
    #[error("{service} did not answer on {address} within {seconds} s; see {log}")]
    Silent {
        /// Which.
        service: &'static str,
        /// Where it should answer.
        address: String,
        /// How long was waited.
        seconds: u64,
        /// Where its words are.
        log: PathBuf,
    },
}

impl EmbeddedError {
    pub(crate) fn state(action: &'static str, place: &Path) -> impl FnOnce(io::Error) -> Self {
        let place = place.to_owned();
        move |source| Self::State { action, place, source }
    }
}

/// Where the services of a state folder answer. `None` where the service is not ours.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Services {
    /// `host:port` of Kafka.
    pub kafka: Option<String>,
    /// Connection string of PostgreSQL, password included: the file is for its owner alone, and `Debug` is blind.
    pub postgres: Option<String>,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("kafka", &self.kafka).field("postgres", &self.postgres.is_some()).finish()
    }
}

impl Services {
    /// Writes `services.json`, whole or not at all.
    pub fn write(&self, state: &Path) -> Result<(), EmbeddedError> {
        let place = state.join(SERVICES);
        let fresh = state.join("services.json.new");
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::from).map_err(EmbeddedError::state("encode", &place))?;
        let _ = std::fs::remove_file(&fresh);
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).and_then(|mut file| file.write_all(&text));
        written.map_err(EmbeddedError::state("write", &fresh))?;
        std::fs::rename(&fresh, &place).map_err(EmbeddedError::state("write", &place))
    }

    /// Reads what a running process wrote; `None` where there is none.
    pub fn read(state: &Path) -> Result<Option<Self>, EmbeddedError> {
        let place = state.join(SERVICES);
        match std::fs::read(&place) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::from).map_err(EmbeddedError::state("read", &place)),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(EmbeddedError::State { action: "read", place, source }),
        }
    }

    /// Takes `services.json` away when the services end.
    pub fn remove(state: &Path) -> Result<(), EmbeddedError> {
        let place = state.join(SERVICES);
        match std::fs::remove_file(&place) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(EmbeddedError::State { action: "remove", place, source }),
            _ => Ok(()),
        }
    }
}

/// Which services are to be started.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// Kafka.
    pub kafka: bool,
    /// PostgreSQL.
    pub postgres: bool,
}

/// The services that were started, and where they answer.
pub struct Embedded {
    kafka: Option<Kafka>,
    postgres: Option<Postgres>,
    state: PathBuf,
    addresses: Services,
}

impl Embedded {
    /// Starts what is wanted in the state folder, and writes down where it answers.
    pub async fn start(state: &Path, wanted: Wanted) -> Result<Self, EmbeddedError> {
        std::fs::create_dir_all(state).map_err(EmbeddedError::state("make", state))?;
        let state = std::path::absolute(state).map_err(EmbeddedError::state("find", state))?;
        let postgres = if wanted.postgres { Some(Postgres::start(&state).await?) } else { None };
        let kafka = if wanted.kafka { Some(Kafka::start(&state, &jars()).await?) } else { None };
        let addresses =
            Services { kafka: kafka.as_ref().map(|kafka| kafka.brokers().to_owned()), postgres: postgres.as_ref().map(Postgres::url) };
        if wanted.kafka || wanted.postgres {
            addresses.write(&state)?;
        }
        Ok(Self { kafka, postgres, state, addresses })
    }

    /// Where they answer.
    pub fn addresses(&self) -> &Services {
        &self.addresses
    }

    /// Stops them, Kafka first.
    pub async fn stop(self) {
        let stopped = tokio::task::spawn_blocking(move || {
            let written = self.addresses != Services::default();
            if let Some(Err(error)) = written.then(|| Services::remove(&self.state)) {
                tracing::warn!(%error, "the addresses of stopped services are still written down");
            }
            self.kafka.into_iter().for_each(Kafka::stop);
            self.postgres.into_iter().for_each(Postgres::stop);
        });
        if stopped.await.is_err() {
            tracing::error!("an embedded service did not stop");
        }
    }
}

/// Kafka's jars, as `deploy/setup` lays them down.
#[expect(clippy::disallowed_methods, reason = "the binary is where the environment is read")]
fn jars() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache"))).unwrap_or_default();
    set("WARDSTREAM_KAFKA_LIB").unwrap_or_else(|| cache().join("wardstream/kafka/lib"))
}

/// Writes a secret that only its owner can read.
pub fn write_secret(place: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(place)?.write_all(text.as_bytes())
}

/// A loopback port that nobody uses now. Somebody may take it before we do; the start then fails and says so.
fn free_port() -> Result<u16, EmbeddedError> {
    let asked = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    asked.map(|address| address.port()).map_err(EmbeddedError::state("find a free port on", Path::new("127.0.0.1")))
}

/// The port of an earlier start if it is free, else another: addresses that people noted down stay true.
fn steady_port(note: &Path) -> Result<u16, EmbeddedError> {
    let noted = std::fs::read_to_string(note).ok().and_then(|text| text.trim().parse::<u16>().ok());
    let port = match noted.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()) {
        Some(port) => port,
        None => free_port()?,
    };
    std::fs::write(note, port.to_string()).map_err(EmbeddedError::state("write", note))?;
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other commands find what one process started, and nothing after it ended.
    #[test]
    fn services_are_found_while_they_are_written_down() -> Result<(), Box<dyn std::error::Error>> {
        let state = std::env::temp_dir().join(format!("wardstream-services-{}", std::process::id()));
        std::fs::create_dir_all(&state)?;
        let services = Services { kafka: Some("127.0.0.1:9092".to_owned()), postgres: None };
        assert_eq!(Services::read(&state)?, None);
        services.write(&state)?;
        services.write(&state)?;
        assert_eq!(Services::read(&state)?, Some(services));
        Services::remove(&state)?;
        assert_eq!(Services::read(&state)?, None);
        std::fs::remove_dir_all(&state)?;
        Ok(())
    }

    /// A port survives restarts unless somebody else took it.
    #[test]
    fn a_port_is_kept_while_it_is_free() -> Result<(), Box<dyn std::error::Error>> {
        let note = std::env::temp_dir().join(format!("wardstream-port-{}", std::process::id()));
        let first = steady_port(&note)?;
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first))?;
        let second = steady_port(&note)?;
        assert_ne!(first, second);
        drop(taken);
        assert_eq!(steady_port(&note)?, second);
        std::fs::remove_file(&note)?;
        Ok(())
    }
}
