//! The `[mllp]` part of the configuration: ports, and a limit with a name for everything that a peer could make grow.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{MllpError, tls};

/// What a record needs on the bus besides its content: headers and the client's own.
const RECORD_OVERHEAD_BYTES: usize = 4 << 10;

/// Where and how to listen.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The ports. Without one there is no listener.
    pub ports: Vec<Port>,
    /// A message may have so many bytes; a longer one is answered `AR` and its connection is closed.
    pub max_message_bytes: usize,
    /// What unfinished messages of all connections may occupy. Whoever finds no room for the rest of a message within the patience is
    /// disconnected.
    pub max_buffered_bytes: usize,
    /// So many connections at a time, over all ports; further ones are closed at once.
    pub max_connections: usize,
    /// So many messages of one connection may wait for Kafka; then nothing more is read from it.
    pub in_flight: usize,
    /// A message that Kafka did not confirm within this time is answered `AE`. Keep it below the time that senders wait.
    pub patience_ms: u64,
    /// A connection on which nothing arrives for so long is closed.
    pub idle_ms: u64,
    /// A peer that does not take its answer for so long is disconnected.
    pub write_ms: u64,
    /// A frame without the last `0x0D` has ended when nothing follows its `0x1C` for so long.
    pub frame_end_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ports: Vec::new(),
            max_message_bytes: 64 << 20,
            max_buffered_bytes: 256 << 20,
            max_connections: 256,
            in_flight: 64,
            // Senders commonly wait for 10 seconds.
            patience_ms: 8_000,
            idle_ms: 3_600_000,
            write_ms: 30_000,
            frame_end_ms: 100,
        }
    }
}

/// One port: `[[mllp.ports]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// `0.0.0.0:2575`.
    pub listen: SocketAddr,
    /// The raw topic that its messages go to.
    pub topic: String,
    /// TLS; without it the port speaks plainly.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// What keeps its order on the topic.
    #[serde(default)]
    pub order: Order,
    /// Which answers are sent.
    #[serde(default)]
    pub answers: Answers,
}

/// TLS of one port. Files are in PEM and read when the listener starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, with those between it and a root that peers know.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Roots of the certificates that peers must show; without it they need not show one.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// What keeps its order on the topic: one partition takes all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// All that one host sends by this port, whatever the connection.
    #[default]
    Peer,
    /// All of one sending application and facility (MSH-3, MSH-4): for an engine that forwards many.
    Sender,
}

/// Which answers a port sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// Those that the message asks for in MSH-15 and MSH-16.
    #[default]
    Asked,
    /// `AA`, `AE` or `AR` for every message: for senders that fill MSH-15 without meaning it.
    Original,
}

impl Settings {
    /// Refuses limits under which nothing could be received.
    ///
    /// # Errors
    /// With the key and what it must be.
    pub fn check(&self) -> Result<(), MllpError> {
        let wrong = |key, reason| Err(MllpError::Limit { key, reason });
        if self.ports.is_empty() {
            return Err(MllpError::NoPort);
        }
        if self.max_message_bytes == 0 || self.max_message_bytes > bus::RECORD_LIMIT_BYTES {
            return wrong("max_message_bytes", "it must be more than 0 and at most 64 MiB, which is the most that the bus carries");
        }
        if self.max_buffered_bytes < 2 * self.max_message_bytes {
            return wrong("max_buffered_bytes", "it must be at least twice max_message_bytes");
        }
        if self.max_connections == 0 || self.in_flight == 0 {
            return wrong("max_connections", "max_connections and in_flight must be more than 0");
        }
        if [self.patience_ms, self.idle_ms, self.write_ms, self.frame_end_ms].contains(&0) {
            return wrong("patience_ms", "patience_ms, idle_ms, write_ms and frame_end_ms must be more than 0");
        }
        Ok(())
    }

    /// Reads the certificates and keys of the ports, and takes none of them.
    ///
    /// # Errors
    /// With the file that cannot be used, and why.
    pub fn check_certificates(&self) -> Result<(), MllpError> {
        let mut certified = self.ports.iter().filter_map(|port| Some((port.tls.as_ref()?, port.listen)));
        certified.try_for_each(|(tls, listen)| tls::acceptor(tls, listen).map(drop))
    }

    /// What the content of a frame may have, so that the record fits on the bus.
    pub(crate) fn content_bytes(&self) -> usize {
        self.max_message_bytes.min(bus::RECORD_LIMIT_BYTES - RECORD_OVERHEAD_BYTES)
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }

    pub(crate) fn write(&self) -> Duration {
        Duration::from_millis(self.write_ms)
    }

    pub(crate) fn frame_end(&self) -> Duration {
        Duration::from_millis(self.frame_end_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_lets_nothing_through_is_refused() {
        let port = Port {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            topic: "hl7.raw".to_owned(),
            tls: None,
            order: Order::Peer,
            answers: Answers::Asked,
        };
        let good = Settings { ports: vec![port], ..Settings::default() };
        assert!(good.check().is_ok());
        assert!(matches!(Settings::default().check(), Err(MllpError::NoPort)));
        let key = |settings: Settings| match settings.check() {
            Err(MllpError::Limit { key, .. }) => key,
            _ => "",
        };
        assert_eq!(key(Settings { max_message_bytes: usize::MAX, ..good.clone() }), "max_message_bytes");
        assert_eq!(key(Settings { max_buffered_bytes: 1, ..good.clone() }), "max_buffered_bytes");
        assert_eq!(key(Settings { in_flight: 0, ..good.clone() }), "max_connections");
        assert_eq!(key(Settings { idle_ms: 0, ..good }), "patience_ms");
    }
}
