//! Everything that survives a restart: Delta tables, the SQL views over them, the registry, the store of weights.
//!
//! Knows no HL7, no Kafka client, no tensor. Only this room sees SQL or a table's path; nobody outside receives a session.

mod append;
mod begun;
pub mod claimed;
mod columnar;
mod compact;
mod computed;
mod computing;
mod dataset;
mod durable;
mod encode;
mod erasure;
mod error;
mod evolution;
mod filled;
mod flight;
pub mod functions;
mod guard;
mod heap;
mod held;
mod history;
mod kept;
mod landmarks;
mod lateral;
mod layout;
mod literal;
mod maintenance;
mod meds;
pub mod metrics;
mod mistakes;
mod moments;
mod numbering;
mod objects;
pub mod output;
mod partitions;
mod passing;
mod pg;
mod pools;
mod positions;
mod published;
mod read;
mod registry;
mod renewal;
mod replaced;
mod roles;
mod serve;
mod session;
mod settings;
mod spelling;
mod staged;
mod statement;
mod store;
mod stored;
mod tasks;
mod template;
mod transactions;
mod tying;
pub mod views;
mod weights;
mod widths;
mod written;
mod yielding;

pub use append::{Batch, NEWEST, PredictionRow};
pub use begun::Begun;
pub use columnar::RowsError;
pub use dataset::{ALL as ALL_TASKS, DatasetDraft, DatasetError, Manifest, Outside};
pub use erasure::{Deed, Subject, Traces};
pub use error::{AppendError, CompactError, EraseError, OpenError, QueryError, ReadError, VacuumError};
pub use functions::CODE_SET;
pub use functions::measures;
pub use guard::Guard;
pub use heap::Heap;
pub use landmarks::Landmark;
pub use meds::{MedsDraft, MedsError, MedsExport};
pub use objects::{StoreError, StoreSettings};
pub use output::{Format, render, render_texts};
pub use pg::variables::{INSTANTS, instant};
pub use published::Published;
pub use read::{AsOf, Example, Gap, Pin};
pub use registry::{
    Champion, Deeds, Evaluation, Export, KeepingError, NewModel, Registry, RegistryError, RegistrySettings, Relations, Secret, UsedBy,
};
pub use replaced::Replacement;
pub use roles::tls::TlsError;
pub use roles::{AccountError, Accounts, OPERATOR, Role, SqlSettings, Tls, User};
pub use serve::{Ports, ServeError, serve_sql};
pub use settings::{
    Departments, Period, Retention, Settings, Splits, SplitsError, TaskSettings, TaskSplits, TemporalTest, Unit, said as said_of_toml,
};
pub use store::{Positions, Warehouse, held_by_all};
pub use stored::{Stored, StoredReading};
pub use tasks::{TaskError, Tasks};
pub use views::questions;
pub use weights::{Weights, WeightsError, WeightsSettings};
