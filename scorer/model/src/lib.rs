//! From the text of a note to the probabilities of its answers, and how such a model learns.
//!
//! One forward pass of a Llama serves and trains; prompt, tokenizer and weights share one [`ModelVersion`](schemas::ModelVersion). This
//! room knows no warehouse, no Kafka, no tokio, no clock but [`bench`]'s; what it is told are texts, tasks and labels.

mod adapters;
mod attention;
pub mod bench;
pub mod bits;
mod config;
mod device;
mod division;
mod folder;
mod gguf;
#[cfg(test)]
mod goldens;
mod held;
mod kernels;
mod layout;
mod learner;
#[cfg(test)]
mod learning;
mod load_error;
mod loss;
mod memory;
mod model;
mod network;
mod next_tokens;
mod packed;
mod page;
mod pass;
mod products;
pub mod prompt;
#[cfg(test)]
mod reference;
mod scoring;
mod small_file;
mod tokens;
mod vectorised;
mod weights;
mod works;

pub use adapters::{Lora, LoraError, Target};
pub use config::{Config, ConfigError};
pub use device::{Device, DeviceError, Devices, UnknownDevice, UnknownDevices};
pub use folder::{Draft, INT8_SHIFT, MAX_NOTE_TOKENS, Manifest, SaveError};
pub use learner::{Arithmetic, Computing, LearnError, Learner, Lesson, Recipe, StepReport, UnknownArithmetic, Watch};
pub use load_error::LoadError;
pub use model::{Answer, Asked, Model, ScoreError, TooCoarse};
pub use next_tokens::{Foretold, NextTokens};
pub use packed::{InstructionSet, Precision, UnknownName};
pub use scoring::{PoolError, Prompt, Scorer, Settings};
pub use tokens::{TokenizerError, train_tokenizer};
