//! `check-config`: what the configuration resolves to, and whether the files that it names can be used. Reaches nothing over a network, and makes nothing.

use std::process::ExitCode;

use anyhow::Context as _;
use model::{Device, InstructionSet};

use crate::config::Config;
use crate::output;
use crate::services::accounts;

pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    output::block(&toml::to_string_pretty(config).context("could not show the configuration")?);
    let wrong = wrong(config).await;
    for sentence in &wrong {
        output::progress(format_args!("wardstream: {sentence}"));
    }
    let answering = config.scorer.answering();
    // One configuration may serve machines of several kinds: this is told and not wrong.
    if let Some(sentence) = narrower(answering.instructions, answering.instructions()).filter(|_| answering.device == Device::Cpu) {
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

/// That the scorer multiplies with others than the instructions that are asked for.
fn narrower(asked: Option<InstructionSet>, used: InstructionSet) -> Option<String> {
    let asked = asked.filter(|asked| *asked != used)?.as_str();
    Some(format!("scorer.instructions is {asked}, which this processor does not have: the scorer uses {} here", used.as_str()))
}

/// The error with its causes, on one line.
fn sentence(error: &anyhow::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_that_give_way_are_named() {
        let told = narrower(Some(InstructionSet::Amx), InstructionSet::Avx2);
        assert!(told.is_some_and(|told| told.contains("scorer.instructions is amx") && told.contains("uses avx2")));
        assert_eq!(narrower(Some(InstructionSet::Avx2), InstructionSet::Avx2), None);
        assert_eq!(narrower(None, InstructionSet::Portable), None);
    }
}
