//! Faults on a running system: what the promises say must survive them does.
#![cfg(feature = "live")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tests::stand::Stand;

const SMALL: &[&str] = &["--seed", "7", "--patients", "60", "--from", "2019-01-01", "--to", "2020-01-01", "--speak", "both"];
const RAW: &str = "SELECT count(*) FROM messages WHERE topic IN ('hl7.raw', 'fhir.raw')";

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    files.sort();
    Ok(files)
}

fn publish(stand: &Stand, topic: &str, folder: &Path) -> anyhow::Result<u64> {
    let files = files(folder)?;
    let names = files.iter().map(|file| file.to_str().context("a file has a name")).collect::<Result<Vec<_>, _>>()?;
    let told = stand.must(&[&["publish", "--clock", "own", "--topic", topic][..], &names].concat())?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    told.get("published").and_then(serde_json::Value::as_u64).context("publish says how many")
}

/// A process that is killed at any moment repeats work and changes nothing.
#[test]
fn killing_ingest_and_stopping_kafka_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let mut stand = Stand::start()?;
    let feed = stand.hospital(SMALL)?;
    let hl7 = publish(&stand, "hl7.raw", &feed.join("hl7"))?;
    for pause_ms in [350, 600, 900, 1_300] {
        let ingest = stand.service("ingest")?;
        std::thread::sleep(Duration::from_millis(pause_ms));
        drop(ingest);
    }
    let ingest = stand.service("ingest")?;
    let fhir = publish(&stand, "fhir.raw", &feed.join("fhir"))?;
    stand.stop_services()?;
    std::thread::sleep(Duration::from_secs(1));
    stand.start_services()?;
    stand.until(RAW, hl7 + fhir)?;
    drop(ingest);
    stand.must(&["verify"])?;
    let doubled = stand
        .count("SELECT count(*) - count(DISTINCT note_version_id || CAST(source_offset AS VARCHAR) || source_topic) FROM note_rows")?;
    assert_eq!(doubled, 0);
    Ok(())
}

const TINY: &str = "[trainer]\nvocabulary = 400\ntokenizer_notes = 100\nfirst_notes = 640\nmeasured_examples = 100\nmin_recent_examples = 10\ncheckpoint_steps = 5";
/// A trainer that dies goes on from its checkpoint and registers one model, while Kafka and PostgreSQL go and come. A model so
/// small is refused by the gate, and nobody can promote it. No record number of a patient appears in any log.
#[test]
fn a_killed_trainer_goes_on_and_registers_one_model() -> anyhow::Result<()> {
    let mut stand = Stand::start()?;
    stand.configure(TINY)?;
    let feed = stand.hospital(&["--seed", "11", "--patients", "220", "--from", "2019-01-01", "--to", "2021-01-01", "--speak", "both"])?;
    let published = publish(&stand, "hl7.raw", &feed.join("hl7"))? + publish(&stand, "fhir.raw", &feed.join("fhir"))?;
    let _ingest = stand.service("ingest")?;
    stand.until(RAW, published)?;
    for pause_ms in [2_500, 4_000] {
        let trainer = stand.started(&["trainer", "--once"])?;
        std::thread::sleep(Duration::from_millis(pause_ms));
        drop(trainer);
        stand.stop_services()?;
        stand.start_services()?;
    }
    let code = stand.started(&["trainer", "--once"])?.ended()?;
    assert!(stand.logs()?.contains("going on from step"), "the last cycle did not go on from a checkpoint");
    assert_eq!(code, Some(1), "a model that is not live is said to be so");
    let versions = stand.must(&["sql", "--format", "csv", "SELECT DISTINCT model_version FROM models"])?;
    let versions: Vec<&str> = versions.lines().skip(1).collect();
    let [version] = versions.as_slice() else { anyhow::bail!("one cycle registers one model, not {versions:?}") };
    let refused = stand.run(&["models", "promote", version])?;
    assert_eq!(refused.status.code(), Some(1));
    stand.must(&["verify"])?;
    no_patient_in(&stand)
}

/// Holds the logs against every record number that the messages carry.
fn no_patient_in(stand: &Stand) -> anyhow::Result<()> {
    let logs = stand.logs()?;
    assert!(!logs.is_empty(), "the services say nothing");
    let numbers = stand.must(&[
        "sql",
        "--format",
        "csv",
        "SELECT DISTINCT value FROM identifiers UNION SELECT DISTINCT visit_number FROM encounters",
    ])?;
    let words = |text: &str| text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    let said = words(&logs);
    let leaked: Vec<String> = words(&numbers).into_iter().filter(|number| number.len() > 4 && said.contains(number)).collect();
    assert_eq!(leaked, Vec::<String>::new());
    Ok(())
}

/// Whatever arrives is a row in `messages`, and the partition goes on.
#[test]
fn no_bytes_stop_a_partition() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    let _ingest = stand.service("ingest")?;
    let folder = stand.path().join("bad");
    std::fs::create_dir_all(&folder)?;
    let large = [b"MSH|^~\\&|A|B|C|D|20200101||MDM^T02|1|P|2.5\rOBX|1|TX|||".to_vec(), vec![b'x'; 20 << 20]].concat();
    let bad: [&[u8]; 5] = [
        b"\x00\xff\xfe",
        b"MSH|^~",
        b"{\"resourceType\":",
        b"MSH|^~\\&|A|B|C|D|20200101||ADT^A01|9|P|2.5\rPID|1||1^^^H^MR\rPV1|1|I",
        &large,
    ];
    for (index, bytes) in bad.iter().enumerate() {
        std::fs::write(folder.join(format!("{index}.bin")), bytes)?;
    }
    let published = publish(&stand, "hl7.raw", &folder)?;
    assert_eq!(published, 5);
    stand.until(RAW, published)?;
    assert!(stand.count("SELECT count(*) FROM messages WHERE outcome = 'rejected' AND reject_reason IS NOT NULL")? >= 2);
    stand.must(&["verify"])?;
    Ok(())
}

/// Backfilled twice, landed once.
#[test]
fn a_backfill_that_is_repeated_adds_nothing() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    let feed = stand.hospital(SMALL)?;
    let files = files(&feed.join("fhir"))?;
    let names = files.iter().map(|file| file.to_str().context("a file has a name")).collect::<Result<Vec<_>, _>>()?;
    let command = [&["backfill", "--facility", "south"][..], &names].concat();
    stand.must(&command)?;
    let landed = stand.count("SELECT count(*) FROM messages")?;
    assert!(landed > 100);
    let again: serde_json::Value = serde_json::from_str(&stand.must(&command)?)?;
    assert_eq!(again.get("added"), Some(&serde_json::Value::from(0)));
    assert_eq!(stand.count("SELECT count(*) FROM messages")?, landed);
    stand.must(&["verify"])?;
    Ok(())
}

/// A wrong configuration is one clear sentence with file, key and what is allowed.
#[test]
fn a_wrong_configuration_is_one_sentence() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    std::fs::write(stand.path().join("wardstream.toml"), "[bus]\nbroker = \"x:1\"\n")?;
    let output = stand.run(&["check-config"])?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("wardstream.toml") && said.contains("broker") && said.contains("brokers") && said.lines().count() == 1, "{said}");
    Ok(())
}
