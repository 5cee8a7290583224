//! Everything that survives a restart: Delta tables, the SQL views over them, the registry, the store of weights.
//!
//! Knows no HL7, no Kafka client, no tensor. Only this room sees SQL or a table's path; nobody outside receives a session.

mod append;
mod computed;
mod encode;
mod error;
mod flight;
pub mod functions;
mod layout;
mod maintenance;
pub mod metrics;
pub mod output;
mod pg;
mod positions;
mod read;
mod registry;
mod roles;
mod serve;
mod session;
mod settings;
mod store;
mod stored;
mod template;
pub mod views;
mod weights;

pub use append::{Batch, NEWEST, PredictionRow};
pub use error::{AppendError, CompactError, OpenError, QueryError, ReadError};
pub use functions::CODE_SET;
pub use functions::measures;
pub use output::{Format, render};
pub use read::{AsOf, Example, Gap, Pin};
pub use registry::{Champion, Evaluation, NewModel, Registry, RegistryError, RegistrySettings, Relations, Secret};
pub use roles::{AccountError, Accounts, OPERATOR, Role, SqlSettings, Tls, User};
pub use serve::{Ports, ServeError, serve_sql};
pub use settings::{Period, Settings, Splits, TaskSplits};
pub use store::{Positions, Warehouse, held_by_all};
pub use stored::{Stored, StoredReading};
pub use weights::{Weights, WeightsError};
