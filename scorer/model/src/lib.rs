//! From the text of a note to the probabilities of its answers, and how such a model learns.
//!
//! One forward pass of a Llama serves and trains; prompt, tokenizer and weights share one [`ModelVersion`](schemas::ModelVersion). This
//! room knows no warehouse, no Kafka, no tokio, no clock; what it is told are texts, tasks and labels.

mod attention;
mod config;
mod folder;
mod kernels;
mod layout;
mod learner;
mod loss;
mod matmul;
mod model;
mod network;
mod page;
pub mod prompt;
#[cfg(test)]
mod reference;
mod tokens;

pub use config::{Config, ConfigError};
pub use folder::{Draft, LoadError, MAX_NOTE_TOKENS, Manifest, SaveError};
pub use learner::{LearnError, Learner, Lesson, Recipe, StepReport};
pub use model::{Answer, Asked, Model, ScoreError};
pub use tokens::{TokenizerError, train_tokenizer};
