//! `doctor`: what is wrong here, a line for each thing that could be, with what to do about it. It looks, and makes nothing that was not there; whatever does not
//! answer holds it up for a few seconds at most. Tables alone are opened as every command opens them: those of an earlier release get this one's columns, and an
//! object store without tables gets them.

mod brokers;
mod finding;
mod machine;
mod models;
mod tables;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::Rows;
use crate::commands::{check, spill_at_home};
use crate::config::Config;
use crate::output;
use finding::{Finding, render};

/// Time in which everything that is asked must have answered.
const WITHIN: Duration = Duration::from_secs(6);

/// Looks. `unread` is why the addresses of our own services are not known, where they cannot be read.
pub async fn run(config: &Config, unread: Option<&anyhow::Error>, format: Rows) -> anyhow::Result<ExitCode> {
    let Some(format) = format.text() else {
        output::progress("what is wrong is told in texts: choose --format table, csv, json or ndjson");
        return Ok(ExitCode::from(output::WRONG_USAGE));
    };
    let deadline = Instant::now() + WITHIN;
    // Before anything is fetched: a model may be larger than the system's folder, and what a killed process leaves at home is removed.
    spill_at_home(config);
    let (settings, tables, brokers, models) =
        tokio::join!(settings(config), tables::look(config, deadline), brokers::look(config, deadline), models::look(config, deadline));
    let findings: Vec<Finding> = std::iter::once(settings)
        .chain(machine::look(config, unread))
        .chain(tables)
        .chain(std::iter::once(brokers))
        .chain(models)
        .collect();
    output::block(&render(&findings, format)?);
    Ok(if findings.iter().any(Finding::is_wrong) { ExitCode::from(output::FAILED) } else { ExitCode::SUCCESS })
}

/// The configuration and the files that it names.
async fn settings(config: &Config) -> Finding {
    const CHECK: &str = "configuration";
    let wrong = check::wrong(config).await;
    if wrong.is_empty() {
        return Finding::ok(CHECK, "it and the files that it names can be used");
    }
    Finding::wrong(CHECK, wrong.join("; "), "mend what is named; `wardstream check-config` says whether that did it")
}

/// What is asked, where it answers in time.
async fn in_time<T>(deadline: Instant, asked: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let late = || anyhow::anyhow!("it did not answer within {} s", WITHIN.as_secs());
    tokio::time::timeout_at(deadline, asked).await.unwrap_or_else(|_| Err(late()))
}

/// The folder of this machine that an address names, if it names one.
fn local(url: &str) -> Option<&Path> {
    let path = url.strip_prefix("file://").unwrap_or(url);
    (!path.contains("://")).then(|| Path::new(path))
}

/// Whether `within`, a file or a folder, is not there yet in the folder of this machine that an address names: to open that would make it.
fn is_not_there_yet(url: &str, within: &str) -> bool {
    local(url).is_some_and(|folder| !folder.join(within).exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;
    use crate::commands::grace;

    /// With two seconds for the start, and for what is asked of the machine itself.
    #[test]
    fn it_looks_no_longer_than_ten_seconds() {
        let command = Command::Doctor { format: Rows::Table };
        assert!(WITHIN + grace(&command) + Duration::from_secs(2) < Duration::from_secs(10));
    }

    #[test]
    fn a_folder_without_tables_is_no_warehouse_yet() -> std::io::Result<()> {
        let place = tempfile::tempdir()?;
        let (plain, url) = (place.path().display().to_string(), format!("file://{}", place.path().display()));
        assert_eq!([&plain, &url].map(|url| is_not_there_yet(url, "messages/_delta_log")), [true; 2]);
        assert_eq!([&plain, &url].map(|url| is_not_there_yet(url, "")), [false; 2]);
        std::fs::create_dir_all(place.path().join("messages/_delta_log"))?;
        assert_eq!([&plain, &url].map(|url| is_not_there_yet(url, "messages/_delta_log")), [false; 2]);
        assert!(!is_not_there_yet("s3://bucket/path", "messages/_delta_log"), "nobody knows without asking");
        Ok(())
    }

    #[tokio::test]
    async fn what_never_answers_is_left_in_time() {
        let asked = Instant::now();
        let never = in_time(asked + Duration::from_millis(20), std::future::pending::<anyhow::Result<()>>()).await;
        assert!(never.is_err_and(|error| error.to_string() == "it did not answer within 6 s"));
        assert!(asked.elapsed() < WITHIN);
        assert_eq!(in_time(asked + WITHIN, async { anyhow::Ok(7) }).await.ok(), Some(7));
    }
}
