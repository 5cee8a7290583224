//! One function a subcommand. `main` is the match; what takes more than a page lives in a file of its own.

mod bench;
mod check;
mod datasets;
mod doctor;
mod erase;
mod evaluate;
mod files;
mod models;
mod notes;
mod rows;
mod score;

pub use files::outgoing;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mllp::MllpError;
use trainer::Reason;
use warehouse::{AsOf, Heap, OpenError, RegistryError, Secret, Warehouse};

use crate::cli::{Command, Topics};
use crate::config::Config;
use crate::services::{self, Services};
use crate::{demo, embedded, output, spill};

/// Does what the command line asked; `heap` tells what the threads of a question hold.
///
/// # Errors
/// Where it could not be done; the message says what to do.
pub async fn run(command: Command, config: Config, heap: Option<Arc<dyn Heap>>) -> anyhow::Result<ExitCode> {
    let (config, unread) = match services::addresses(config.clone()) {
        Ok(config) => (config, None),
        // Told among the rest of what is wrong.
        Err(error) if matches!(command, Command::Doctor { .. }) => (config, Some(error)),
        Err(error) => return Err(error),
    };
    match command {
        Command::Up => services::up(config).await,
        Command::Services => services::embedded_alone(&config).await,
        Command::Ingest => services::alone(config, |services| services.start_ingest()).await,
        Command::Scorer => services::alone(config, Services::start_scorer).await,
        Command::Trainer { once: false, .. } => services::alone(config, Services::start_trainer).await,
        Command::Trainer { once: true, anew: false } | Command::Train { anew: false } => services::train_once(config, None).await,
        Command::Trainer { once: true, anew: true } | Command::Train { anew: true } => {
            services::train_once(config, Some(Reason::First)).await
        }
        Command::Serve => services::serve(config).await,
        Command::Mllp => services::mllp_alone(config).await,
        Command::Publish(publish) => files::publish(&config, &publish).await,
        Command::Map { facility, files } => files::map(&config, &facility, &files),
        Command::Backfill { facility, files } => files::backfill(&config, &facility, &files).await,
        Command::Sql { as_known_at, version, format, out, query } => {
            let at = AsOf { known_at: as_known_at, version, ..AsOf::default() };
            rows::sql(&config, &rows::Question { query: &query, at: &at, format, out: out.as_deref() }, heap).await
        }
        Command::Dataset(wanted) => datasets::dataset(&config, &wanted).await,
        Command::Export { what } => datasets::export(&config, &what).await,
        Command::Replay(wanted) => files::replay(&config, wanted).await,
        Command::Erase(wanted) => erase::run(&config, wanted).await,
        Command::Bench { what } => bench::run(config, what).await,
        Command::Verify => rows::verify(&config).await,
        Command::Models { what } => models::run(&config, what).await,
        Command::Score(wanted) => score::run(&wanted),
        Command::Evaluate(wanted) => evaluate::run(&wanted),
        Command::Topics { what: Topics::Create } => services::topics::create(&config).await.map(|()| ExitCode::SUCCESS),
        Command::Doctor { format } => doctor::run(&config, unread.as_ref(), format).await,
        Command::CheckConfig => check::run(&config).await,
        Command::Demo(args) => demo::run(config, &args).await,
    }
}

/// Whether the command answers one question and does nothing else.
pub fn is_question(command: &Command) -> bool {
    matches!(command, Command::Sql { .. })
}

/// How long threads are waited for that still compute when a command has ended. Of what the doctor gave up nothing comes any more.
pub fn grace(command: &Command) -> Duration {
    Duration::from_secs(if matches!(command, Command::Doctor { .. }) { 1 } else { 5 })
}

/// The exit code of a command that could not do what it was asked: whether the configuration, or a file that it names, is wrong.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let is_configuration = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<OpenError>().is_some_and(OpenError::is_configuration)
            || matches!(cause.downcast_ref(), Some(bus::BusError::Property { .. }))
            || matches!(cause.downcast_ref(), Some(RegistryError::Address(_)))
            || matches!(cause.downcast_ref(), Some(MllpError::NoPort | MllpError::Limit { .. } | MllpError::Certificate { .. }))
    };
    if error.chain().any(is_configuration) { output::WRONG_USAGE } else { output::FAILED }
}

/// Opens the warehouse of the configuration.
async fn open(config: &Config) -> anyhow::Result<Warehouse> {
    let opened = Warehouse::open(&config.warehouse).await;
    spill_at_home(config);
    opened.with_context(|| format!("could not open the warehouse {}", config.warehouse.url))
}

/// Puts what does not fit into memory into the state folder. Whoever only asks a store elsewhere gets no state folder by it.
fn spill_at_home(config: &Config) {
    if config.state.folder.is_dir() {
        spill::within(&config.state.folder);
    }
}

/// Whether the registry is the one that `wardstream up` or `services` started: where they were killed, its address is still written down.
fn is_our_own(config: &Config) -> bool {
    let noted = embedded::Services::read(&config.state.folder).ok().flatten().and_then(|services| services.postgres);
    noted.is_some_and(|url| Secret::from(url) == config.registry.url)
}

/// The facility of that name as the configuration knows it, else one with defaults.
fn facility(config: &Config, name: &str) -> schemas::Facility {
    let known = config.ingest.routes.iter().map(|route| &route.facility).find(|facility| facility.name == name);
    known.cloned().unwrap_or_else(|| schemas::Facility::new(name))
}
