//! Why the listener does not listen, sorted by what the caller does about it.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the listener did not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum MllpError {
    /// No port is configured; a person configures one.
    #[error("mllp.ports is empty: add [[mllp.ports]] with listen = \"0.0.0.0:2575\" and topic = \"hl7.raw\"")]
    NoPort,
    /// A limit cannot work; a person changes it.
    #[error("mllp.{key} is wrong: {reason}")]
    Limit {
        /// The key.
        key: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// The address is taken or not ours; a person names another.
    #[error("could not listen for MLLP on {listen}; set `listen` of [[mllp.ports]] to a free address of this machine")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A certificate or key cannot be used; a person replaces it.
    #[error("could not use {} for TLS on {listen}: {reason}", file.display())]
    Certificate {
        /// The port.
        listen: SocketAddr,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The Kafka client is beyond repair or wrongly configured; start the listener again. Nothing that was acknowledged is lost.
    #[error("could not use the message bus")]
    Bus(#[from] bus::BusError),
}
