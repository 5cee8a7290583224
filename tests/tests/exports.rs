//! What leaves the warehouse in folders is known to the registry, so that an erasure can say where a patient's rows went.
#![cfg(feature = "live")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tests::stand::{Stand, files};

const SMALL: &[&str] = &["--seed", "5", "--patients", "40", "--from", "2019-01-01", "--to", "2020-01-01", "--speak", "hl7"];

/// The tables hold a small hospital.
fn filled(stand: &Stand) -> anyhow::Result<()> {
    let feed = stand.hospital(SMALL)?;
    backfilled(stand, &files(&feed.join("hl7"))?)
}

/// The tables hold these files too.
fn backfilled(stand: &Stand, files: &[PathBuf]) -> anyhow::Result<()> {
    let names = files.iter().map(|file| file.to_str().context("a name")).collect::<Result<Vec<_>, _>>()?;
    stand.must(&[&["backfill", "--facility", "north"][..], &names].concat()).map(drop)
}

/// Merges the tables' files, as `ingest` does beside its appends; how many commits that took.
fn merged(stand: &Stand) -> anyhow::Result<usize> {
    let url = stand.path().join(".wardstream/warehouse");
    let commits = || -> anyhow::Result<usize> {
        let logs = ["messages", "events", "notes"].map(|table| url.join(table).join("_delta_log"));
        logs.iter().map(|log| anyhow::Ok(files(log)?.len())).sum()
    };
    let before = commits()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let settings = warehouse::Settings { url: url.display().to_string(), compact_files: 2, ..warehouse::Settings::default() };
        warehouse::Warehouse::open(&settings).await?.compact().await.context("could not merge")
    })?;
    Ok(commits()? - before)
}

/// Every file of a folder with its bytes.
fn bytes(folder: &Path) -> anyhow::Result<BTreeMap<OsString, Vec<u8>>> {
    files(folder)?.iter().map(|file| anyhow::Ok((file.file_name().context("a name")?.to_owned(), std::fs::read(file)?))).collect()
}

/// Processes share nothing but the tables, whose files lie otherwise when the second one reads them.
#[test]
fn two_processes_write_the_same_bytes_of_a_dataset_however_the_files_lie() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    let feed = stand.hospital(SMALL)?;
    // In two parts, so that there are files to merge.
    let all = files(&feed.join("hl7"))?;
    for part in all.chunks(all.len().div_ceil(2)) {
        backfilled(&stand, part)?;
    }
    let made: serde_json::Value = serde_json::from_str(&stand.must(&["dataset", "all", "--out", "first"])?)?;
    ensure!(made["counts"]["train"]["examples"].as_u64() > Some(20), "{made}");
    ensure!(merged(&stand)? >= 3, "messages, events and notes were to be merged");
    stand.must(&["dataset", "all", "--out", "second"])?;
    let (first, second) = (bytes(&stand.path().join("first"))?, bytes(&stand.path().join("second"))?);
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for (name, bytes) in &first {
        ensure!(second.get(name) == Some(bytes), "{} is another file", name.display());
    }
    Ok(())
}

/// An export that nobody noted down could never be found again.
#[test]
fn datasets_and_exports_are_recorded_and_an_erasure_lists_them() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    filled(&stand)?;
    let made: serde_json::Value = serde_json::from_str(&stand.must(&["dataset", "mortality", "--out", "set"])?)?;
    let id = made["dataset_id"].as_str().context("a dataset has an id")?;
    let exported: serde_json::Value = serde_json::from_str(&stand.must(&["export", "meds", "meds"])?)?;
    let version = exported["dataset_version"].as_str().context("an export has a version")?;
    let kinds = "SELECT count(*) FROM exports WHERE watermark <> '' AND details LIKE";
    assert_eq!(stand.count(&format!("{kinds} '%/set\"%' AND kind = 'dataset' AND dataset_id = '{id}'"))?, 1);
    assert_eq!(stand.count(&format!("{kinds} '%/meds\"%' AND kind = 'meds' AND dataset_id = '{version}'"))?, 1);
    // Before anything was known: nothing that the patient could be in.
    stand.must(&["export", "meds", "before", "--as-known-at", "2000-01-01T00:00:00Z"])?;
    let named =
        stand.must(&["sql", "--format", "csv", "SELECT system, value FROM identifiers WHERE system <> '' ORDER BY known_at LIMIT 1"])?;
    let (system, value) = named.lines().nth(1).and_then(|row| row.split_once(',')).context("a patient")?;
    let shown = stand.must(&["erase", "--system", system, "--value", value, "--reason", "asked by letter"])?;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    let listed: Vec<&str> =
        shown["used_by"]["exports"].as_array().context("a list")?.iter().filter_map(serde_json::Value::as_str).collect();
    ensure!(listed.iter().any(|export| export.starts_with(&format!("dataset {id} "))), "{listed:?}");
    ensure!(listed.iter().any(|export| export.starts_with(&format!("meds {version} "))), "{listed:?}");
    ensure!(listed.len() == 2, "what ends before the patient began is listed: {listed:?}");
    Ok(())
}

/// Rows do not leave unseen where somebody is to see them, and where nobody is, it is said.
#[test]
fn an_export_says_that_nobody_records_it_and_is_not_made_where_somebody_should() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    filled(&stand)?;
    let made = stand.run(&["dataset", "mortality", "--out", "set"])?;
    let said = String::from_utf8(made.stderr)?;
    ensure!(made.status.success() && stand.path().join("set/manifest.json").exists(), "{said}");
    ensure!(said.contains("not recorded") && said.contains("registry.url"), "{said}");

    stand.configure("[registry]\nurl = \"postgresql://nobody@127.0.0.1:1/nothing\"")?;
    for asked in [&["dataset", "mortality", "--out", "unseen"][..], &["export", "meds", "unseen"]] {
        let refused = stand.run(asked)?;
        ensure!(refused.status.code() == Some(1), "{asked:?} was done");
        ensure!(!stand.path().join("unseen").exists(), "{asked:?} left a folder");
        ensure!(String::from_utf8(refused.stderr)?.contains("could not reach the registry"), "{asked:?}");
    }
    Ok(())
}

/// The files are empty and the command succeeds: without a word the site would look for its examples elsewhere.
#[test]
fn a_dataset_of_other_years_than_the_configured_ones_says_so() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    filled(&stand)?;
    stand.configure(
        "[warehouse.splits.default]\nmain = { from = \"2150-01-01T00:00:00Z\", until = \"2160-01-01T00:00:00Z\" }\nfolds = [8, 1, 1]",
    )?;
    let made = stand.run(&["dataset", "mortality", "--out", "set"])?;
    let said = String::from_utf8(made.stderr)?;
    ensure!(made.status.success() && stand.path().join("set/train.parquet").exists(), "{said}");
    for words in ["lie from 2019-", "[warehouse.splits.default] has main from 2150-01-01 until 2160-01-01"] {
        ensure!(said.contains(words), "{words}: {said}");
    }
    Ok(())
}
