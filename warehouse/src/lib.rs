//! Everything that survives a restart: Delta tables, the SQL views over them, the registry, the store of weights.
//!
//! Knows no HL7, no Kafka client, no tensor. Only this room sees SQL or a table's path; nobody outside receives a session.

mod append;
mod columnar;
mod computed;
mod dataset;
mod encode;
mod error;
pub mod functions;
mod layout;
mod maintenance;
mod meds;
pub mod metrics;
pub mod output;
pub mod pg;
mod positions;
mod read;
mod registry;
mod session;
mod settings;
mod staged;
mod store;
mod stored;
mod template;
pub mod views;
mod weights;

pub use append::{Batch, NEWEST, PredictionRow};
pub use columnar::RowsError;
pub use dataset::{ALL as ALL_TASKS, DatasetError, Manifest};
pub use error::{AppendError, CompactError, OpenError, QueryError, ReadError};
pub use functions::CODE_SET;
pub use functions::measures;
pub use meds::{MedsError, MedsExport, readmission as meds_readmission};
pub use output::{Format, render};
pub use read::{AsOf, Example, Gap, Pin};
pub use registry::{Champion, Evaluation, NewModel, Registry, RegistryError, RegistrySettings, Relations, Secret};
pub use settings::{Period, Settings, Splits, SplitsError, TaskSplits, TemporalTest, Unit};
pub use store::{Positions, Warehouse, held_by_all};
pub use stored::{Stored, StoredReading};
pub use weights::{Weights, WeightsError};
