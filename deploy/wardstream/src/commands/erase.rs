//! `erase`: what the tables hold of a patient, and its removal. The identifier goes into no output.

use std::process::ExitCode;

use anyhow::Context as _;
use warehouse::{Deed, Registry, Subject, UsedBy, Warehouse};

use super::open;
use crate::cli::Erase;
use crate::config::Config;
use crate::{output, services};

pub async fn run(config: &Config, wanted: Erase) -> anyhow::Result<ExitCode> {
    let value = if wanted.value == "-" { typed()? } else { wanted.value };
    let subject = Subject { system: wanted.system, value, facility: wanted.facility };
    let warehouse = open(config).await?;
    let registry = if config.registry.url.is_empty() {
        None
    } else {
        Some(Registry::connect(&config.registry).await.context("could not reach the registry, which keeps the audit")?)
    };
    let traces = warehouse.traces(&subject).await.context("could not look for the patient")?;
    let used_by = match (&registry, traces.first_known_at) {
        (Some(registry), Some(since)) => registry.used_since(since).await.context("could not list what used the patient")?,
        _ => UsedBy::default(),
    };
    output::line(serde_json::json!({"found": traces, "used_by": used_by}));
    if traces.namesakes > 0 {
        output::progress(format_args!(
            "the same value names {} others under another authority or facility; if they are the same person, erase them too",
            traces.namesakes
        ));
    }
    if !wanted.confirm {
        output::progress("nothing was changed; the same command with --confirm erases this");
        return Ok(ExitCode::SUCCESS);
    }
    let begun =
        Deed { traces, used_by: serde_json::to_value(&used_by)?, ..Deed::begun(&subject, services::now(), &wanted.by, &wanted.reason) };
    record(&warehouse, registry.as_ref(), &begun).await?;
    let erased = warehouse.erase(&subject).await.context("could not erase the patient")?;
    output::line(serde_json::json!({"erased": erased}));
    if wanted.now {
        warehouse
            .forget_erased(services::now())
            .await
            .context("erased, but could not remove the earlier versions; the next vacuum does")?;
    }
    record(&warehouse, registry.as_ref(), &begun.done(services::now(), erased)).await?;
    let days = config.warehouse.erasure_within_days;
    output::progress(if wanted.now {
        "erased, in every version of the tables".to_owned()
    } else {
        format!("erased; earlier versions of the tables are removed within {days} days, while `wardstream up` or `ingest` runs")
    });
    Ok(ExitCode::SUCCESS)
}

async fn record(warehouse: &Warehouse, registry: Option<&Registry>, deed: &Deed) -> anyhow::Result<()> {
    match registry {
        Some(registry) => registry.record_deed(deed).await.context("could not record the erasure"),
        None => warehouse.record_deed(deed).await.context("could not record the erasure"),
    }
}

/// The identifier from stdin.
fn typed() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("could not read the identifier from stdin")?;
    Ok(line.trim().to_owned())
}
