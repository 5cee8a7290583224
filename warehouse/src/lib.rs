//! Everything that survives a restart: Delta tables, the SQL views over them, the registry, the store of weights.
//!
//! Knows no HL7, no Kafka client, no tensor. Only this room sees SQL or a table's path; nobody outside receives a session.

mod append;
mod begun;
mod columnar;
mod computed;
mod dataset;
mod encode;
mod erasure;
mod error;
mod evolution;
pub mod functions;
mod history;
mod landmarks;
mod layout;
mod maintenance;
mod meds;
pub mod metrics;
mod moments;
mod objects;
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
mod tasks;
mod template;
pub mod views;
mod weights;

pub use append::{Batch, NEWEST, PredictionRow};
pub use begun::Begun;
pub use columnar::RowsError;
pub use dataset::{ALL as ALL_TASKS, DatasetError, Manifest};
pub use erasure::{Deed, Subject, Traces};
pub use error::{AppendError, CompactError, EraseError, OpenError, QueryError, ReadError, VacuumError};
pub use functions::CODE_SET;
pub use functions::measures;
pub use landmarks::Landmark;
pub use meds::{MedsError, MedsExport, readmission as meds_readmission};
pub use objects::{StoreError, StoreSettings};
pub use output::{Format, render};
pub use read::{AsOf, Example, Gap, Pin};
pub use registry::{Champion, Evaluation, Export, NewModel, Registry, RegistryError, RegistrySettings, Relations, Secret, UsedBy};
pub use settings::{Departments, Period, Retention, Settings, Splits, SplitsError, TaskSettings, TaskSplits, TemporalTest, Unit};
pub use store::{Positions, Warehouse, held_by_all};
pub use stored::{Stored, StoredReading};
pub use tasks::{TaskError, Tasks};
pub use weights::{Weights, WeightsError};
