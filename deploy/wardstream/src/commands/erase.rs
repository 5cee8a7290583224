//! `erase`: what the tables hold of a patient, and its removal. The identifier goes into no output.

use std::process::ExitCode;

use anyhow::Context as _;
use warehouse::{Deed, EraseError, Registry, Subject, Traces, UsedBy, Warehouse};

use super::{is_our_own, open};
use crate::cli::Erase;
use crate::config::Config;
use crate::embedded::Postgres;
use crate::{output, services};

/// What is begun is finished by the same command, also where nothing of the patient is left to be found.
const UNRECORDED: &str = "could not record the erasure; give the same command again, which goes on from here";

pub async fn run(config: &Config, wanted: Erase) -> anyhow::Result<ExitCode> {
    let value = if wanted.value == "-" { typed()? } else { wanted.value.clone() };
    let subject = Subject { system: wanted.system.clone(), value, facility: wanted.facility.clone() };
    let registry = registry(config).await?;
    let warehouse = open(config).await?;
    if let Some(registry) = &registry {
        services::caught_up(&warehouse, registry).await.context("nothing was changed of the patient; give the same command again")?;
    }
    let erasing = Erasing { config, wanted: &wanted, subject: &subject, warehouse: &warehouse, registry: registry.as_ref() };
    match warehouse.traces(&subject).await {
        Ok(traces) => erasing.shown(traces).await,
        // Whoever died behind the last table left nobody to be found.
        Err(EraseError::Nobody) if wanted.confirm => erasing.finished().await,
        Err(error) => Err(error).context("could not look for the patient"),
    }
}

/// Who keeps the audit, and knows what used the patient. Where it is away nothing is looked for, let alone changed; where there is none at all, the audit is kept
/// beside the tables, and whoever erases is told.
async fn registry(config: &Config) -> anyhow::Result<Option<Registry>> {
    let (folder, is_set) = (config.state.folder.display(), !config.registry.url.is_empty());
    if !is_set && Postgres::was_made(&config.state.folder) {
        anyhow::bail!("{}", of_our_own(&folder));
    }
    if !is_set {
        output::progress(
            "registry.url is not set, and no PostgreSQL of our own was ever started here: models and exports that used the patient are not listed, and the audit \
             is kept beside the tables; a service that starts with the registry takes it from there",
        );
        return Ok(None);
    }
    match Registry::connect(&config.registry).await {
        Ok(registry) => Ok(Some(registry)),
        Err(error) if error.is_passing() && is_our_own(config) => Err(error).context(of_our_own(&folder)),
        Err(error) => Err(error)
            .context("could not open the registry, which keeps the audit; nothing was changed: give the same command again once it can be"),
    }
}

/// What to do about a registry of our own that does not run.
fn of_our_own(folder: &impl std::fmt::Display) -> String {
    format!(
        "the registry, which keeps the audit, is the PostgreSQL of our own in {folder}, and it does not answer; nothing was changed: \
         start `wardstream services` or `wardstream up` and give the same command again"
    )
}

/// One patient's erasure.
struct Erasing<'a> {
    config: &'a Config,
    wanted: &'a Erase,
    subject: &'a Subject,
    warehouse: &'a Warehouse,
    registry: Option<&'a Registry>,
}

impl Erasing<'_> {
    /// Shows what there is of the patient, and removes it where that is confirmed.
    async fn shown(&self, traces: Traces) -> anyhow::Result<ExitCode> {
        let used_by = match (self.registry, traces.first_known_at) {
            (Some(registry), Some(since)) => registry.used_since(since).await.context("could not list what used the patient")?,
            _ => UsedBy::default(),
        };
        output::line(serde_json::json!({"found": traces, "used_by": used_by}));
        let shared: Vec<String> =
            traces.shared_identifiers.iter().map(|(system, others)| format!("`{system}` ({others} others)")).collect();
        if traces.namesakes > 0 {
            output::progress(format_args!(
                "the same value names {} others under another authority or facility; if they are the same person, erase them too",
                traces.namesakes
            ));
        }
        if !shared.is_empty() {
            output::progress(format_args!(
                "others carry an identifier of the same number from {}, which names nobody then: what they and their records say of it is left alone",
                shared.join(", ")
            ));
        }
        if !self.wanted.confirm {
            output::progress("nothing was changed; the same command with --confirm erases this");
            return Ok(ExitCode::SUCCESS);
        }
        let mut deeds = self.open_deeds().await?;
        let (by, reason) = (&self.wanted.by, &self.wanted.reason);
        let begun = Deed { traces, used_by: serde_json::to_value(&used_by)?, ..Deed::begun(self.subject, services::now(), by, reason) };
        self.record(&begun).await?;
        deeds.push(begun);
        let erased = self.warehouse.erase(self.subject).await.context("could not erase the patient")?;
        output::line(serde_json::json!({"erased": erased}));
        self.forgotten().await?;
        for deed in deeds {
            self.done(deed, erased.clone()).await?;
        }
        self.told();
        Ok(ExitCode::SUCCESS)
    }

    /// Ends what an earlier run began on a patient of whom no row is left: one that died, or one whose earlier versions are to go now.
    async fn finished(&self) -> anyhow::Result<ExitCode> {
        let deeds = self.open_deeds().await?;
        if deeds.is_empty() && !self.wanted.now {
            return Err(EraseError::Nobody).context("could not look for the patient");
        }
        if !deeds.is_empty() {
            self.warehouse.end_erasure().await.context("could not end the erasure that an earlier run began")?;
        }
        self.forgotten().await?;
        output::line(serde_json::json!({"finished": deeds.len()}));
        if deeds.is_empty() {
            output::progress("no patient is known by that identifier; earlier versions that hold what was erased before were removed");
            return Ok(ExitCode::SUCCESS);
        }
        for deed in deeds {
            let traces = deed.traces.clone();
            self.done(deed, traces).await?;
        }
        self.told();
        Ok(ExitCode::SUCCESS)
    }

    /// Lines of the audit that were begun about the patient and not done.
    async fn open_deeds(&self) -> anyhow::Result<Vec<Deed>> {
        let open = match self.registry {
            Some(registry) => registry.open_deeds().await.context("could not read the audit")?,
            None => self.warehouse.open_deeds().await.context("could not read the audit")?,
        };
        Ok(open.into_iter().filter(|deed| deed.is_about(self.subject)).collect())
    }

    /// Removes the earlier versions, where that is to be done at once.
    async fn forgotten(&self) -> anyhow::Result<()> {
        if self.wanted.now {
            let forgotten = self.warehouse.forget_erased(services::now()).await;
            forgotten
                .context("erased, but could not remove the earlier versions; run the same command again, or leave it to the next vacuum")?;
        }
        Ok(())
    }

    async fn record(&self, deed: &Deed) -> anyhow::Result<()> {
        match self.registry {
            Some(registry) => registry.record_deed(deed).await.context(UNRECORDED),
            None => self.warehouse.record_deed(deed).await.context(UNRECORDED),
        }
    }

    /// Records that what was begun is done. What was exported meanwhile may hold the patient's rows: it is listed again.
    async fn done(&self, deed: Deed, traces: Traces) -> anyhow::Result<()> {
        let since = deed.traces.first_known_at.into_iter().chain(traces.first_known_at).min();
        let deed = deed.done(services::now(), traces);
        let (Some(registry), Some(since)) = (self.registry, since) else { return self.record(&deed).await };
        let before = deed.used_by.clone();
        let used_by = registry.record_done(deed, since).await.context(UNRECORDED)?;
        if serde_json::to_value(&used_by)? != before {
            output::line(serde_json::json!({"used_by": used_by}));
        }
        Ok(())
    }

    fn told(&self) {
        let days = self.config.warehouse.erasure_within_days;
        output::progress(if self.wanted.now {
            "erased, in every version of the tables".to_owned()
        } else {
            format!("erased; earlier versions of the tables are removed within {days} days, while `wardstream up` or `ingest` runs")
        });
    }
}

/// The identifier from stdin.
fn typed() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("could not read the identifier from stdin")?;
    Ok(line.trim().to_owned())
}
