//! `check-config`: what the configuration resolves to, and whether the files that it names can be used. Reaches nothing over a network, and makes nothing.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::config::Config;
use crate::output;
use crate::services::accounts;

pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    output::block(&toml::to_string_pretty(config).context("could not show the configuration")?);
    let wrong = wrong(config).await;
    for sentence in &wrong {
        output::progress(format_args!("wardstream: {sentence}"));
    }
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(output::WRONG_USAGE) })
}

/// What is wrong, a sentence each.
pub async fn wrong(config: &Config) -> Vec<String> {
    let facilities = config.ingest.routes.iter().filter_map(|route| ingest::settings::refusal(&route.facility));
    let checked: [anyhow::Result<()>; 8] = [
        config.warehouse.check().await.map_err(Into::into),
        accounts::check(&config.sql),
        config.sql.check_tls().map_err(Into::into),
        config.mllp.check_certificates().map_err(Into::into),
        ingest::Routes::new(&config.ingest.routes).map(drop).map_err(Into::into),
        envelope::Envelopes::open(&config.ingest.envelope).map(drop).map_err(Into::into),
        // Without an address there is nothing to speak with, and its own service is started.
        if config.bus.brokers.is_empty() { Ok(()) } else { config.bus.check().map_err(Into::into) },
        if config.mllp.ports.is_empty() { Ok(()) } else { config.mllp.check().map_err(Into::into) },
    ];
    let refused = checked.into_iter().filter_map(Result::err);
    refused.map(|error| sentence(&error)).chain(facilities).collect()
}

/// The error with its causes, on one line.
fn sentence(error: &anyhow::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}
