//! Why envelopes cannot be opened. A person changes the configuration; no secret stands in a message.

use std::path::PathBuf;

/// What is wrong with the configuration of the schema registry.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The address is none.
    #[error("the schema registry's url is wrong: {0}")]
    Url(&'static str),
    /// Credentials contradict each other.
    #[error("the schema registry's credentials are wrong: {0}")]
    Credentials(&'static str),
    /// A file of a secret or a certificate cannot be used.
    #[error("could not use {} for the schema registry: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The client could not be built.
    #[error("could not build the client of the schema registry")]
    Client(#[source] reqwest::Error),
}
