//! Faults on a running system: what the promises say must survive them does.
#![cfg(feature = "live")]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tests::stand::{Stand, files};

const SMALL: &[&str] = &["--seed", "7", "--patients", "60", "--from", "2019-01-01", "--to", "2020-01-01", "--speak", "both"];
const RAW: &str = "SELECT count(*) FROM messages WHERE topic IN ('hl7.raw', 'fhir.raw')";

/// A process that is killed at any moment repeats work and changes nothing.
#[test]
fn killing_ingest_and_stopping_kafka_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let mut stand = Stand::start()?;
    let feed = stand.hospital(SMALL)?;
    let hl7 = stand.publish("hl7.raw", &feed.join("hl7"))?;
    for pause_ms in [350, 600, 900, 1_300] {
        let ingest = stand.service("ingest")?;
        std::thread::sleep(Duration::from_millis(pause_ms));
        drop(ingest);
    }
    let ingest = stand.service("ingest")?;
    let fhir = stand.publish("fhir.raw", &feed.join("fhir"))?;
    stand.outage(Duration::from_secs(1))?;
    stand.until(RAW, hl7 + fhir)?;
    drop(ingest);
    stand.must(&["verify"])?;
    let doubled = stand
        .count("SELECT count(*) - count(DISTINCT note_version_id || CAST(source_offset AS VARCHAR) || source_topic) FROM note_rows")?;
    assert_eq!(doubled, 0);
    Ok(())
}

const TINY: &str = "[trainer]\nvocabulary = 400\ntokenizer_notes = 100\nfirst_notes = 640\nrefresh_notes = 320\nmeasured_examples = 100\nmin_recent_examples = 10\ncheckpoint_steps = 5";
/// A trainer that dies goes on from its checkpoint and registers one model, while Kafka and PostgreSQL go and come: the one that it registers where nobody
/// disturbs it. A model so small is refused by the gate, and nobody can promote it. No record number of a patient appears in any log.
#[test]
fn a_killed_trainer_goes_on_and_registers_one_model() -> anyhow::Result<()> {
    let mut stand = Stand::start()?;
    stand.configure(TINY)?;
    let feed = stand.hospital(&["--seed", "11", "--patients", "220", "--from", "2019-01-01", "--to", "2021-01-01", "--speak", "both"])?;
    let published = stand.publish("hl7.raw", &feed.join("hl7"))? + stand.publish("fhir.raw", &feed.join("fhir"))?;
    let _ingest = stand.service("ingest")?;
    stand.until(RAW, published)?;
    // Killed on the way to the first checkpoint, and on the way from the second that it writes, however slow the machine is.
    let checkpoint = stand.path().join(".wardstream/trainer/state/learner.safetensors");
    for writes in [0, 2] {
        let trainer = stand.started(&["trainer", "--once"])?;
        std::thread::sleep(Duration::from_millis(1_500));
        for _ in 0..writes {
            until_written(&checkpoint)?;
        }
        drop(trainer);
        stand.outage(Duration::ZERO)?;
    }
    let code = stand.started(&["trainer", "--once"])?.ended()?;
    let went_on = stand.logs()?.split("going on from step ").skip(1).any(|step| !step.starts_with("0 "));
    assert!(went_on, "the last cycle did not go on from a checkpoint");
    assert_eq!(code, Some(1), "a model that is not live is said to be so");
    let versions = stand.must(&["sql", "--format", "csv", "SELECT DISTINCT model_version FROM models"])?;
    let versions: Vec<&str> = versions.lines().skip(1).collect();
    let [version] = versions.as_slice() else { anyhow::bail!("one cycle registers one model, not {versions:?}") };
    let refused = stand.run(&["models", "promote", version])?;
    assert_eq!(refused.status.code(), Some(1));
    // Asked to, it starts from nothing though a champion answers, as before there was one.
    promote_fresh_weights(&stand)?;
    let trained = stand.run(&["train", "--anew"])?;
    let anew: serde_json::Value = serde_json::from_slice(&trained.stdout)?;
    assert_eq!(anew["reason"], "first", "{anew}");
    // Nobody disturbed this one, and it learned the same notes: a version is a digest of the weights.
    assert_eq!(anew["model_version"], *version, "what was killed and went on learned something else");
    let said = String::from_utf8_lossy(&trained.stderr).into_owned();
    let refused = anew["model_version"].as_str().context("a version")?;
    assert!(said.contains(&format!("model {refused} was refused and is not live: ")), "{said}");
    assert_eq!(stand.count("SELECT count(*) FROM models WHERE parent <> ''")?, 0);
    stand.must(&["verify"])?;
    no_patient_in(&stand)
}

/// Waits until a file is written, for the first time or again.
fn until_written(file: &Path) -> anyhow::Result<()> {
    let written = || std::fs::metadata(file).and_then(|file| file.modified()).ok();
    let (before, patience) = (written(), Instant::now() + Duration::from_secs(120));
    while written().is_none() || written() == before {
        anyhow::ensure!(Instant::now() < patience, "{} is not written", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Registers and promotes a model of fresh weights, as if from before the log began: what is tested is who answers, not how well.
fn promote_fresh_weights(stand: &Stand) -> anyhow::Result<schemas::ModelVersion> {
    let postgres = stand.address("postgres")?;
    let tokenizer = model::train_tokenizer(std::iter::once("The patient was seen and examined."), 400)?;
    let learner = model::Learner::new(model::Config::demo(tokenizer.get_vocab_size(true)), tokenizer, 1)?;
    let folder = stand.path().join("fresh");
    let model_version = learner.export(&folder, model::Draft::default())?;
    let at = jiff::Timestamp::UNIX_EPOCH;
    tokio::runtime::Runtime::new()?.block_on(async {
        let folder_of_weights = stand.path().join(".wardstream/models");
        let url = folder_of_weights.to_str().context("a folder has a name")?;
        let weights = warehouse::Weights::open(url, &warehouse::StoreSettings::default())?;
        let weights_uri = weights.put_folder(&folder, &model_version).await?;
        let registry = warehouse::Registry::connect(&serde_json::from_value(serde_json::json!({"url": postgres}))?).await?;
        let row = warehouse::NewModel {
            model_version: model_version.clone(),
            dataset_id: schemas::DatasetId("none".to_owned()),
            parent: None,
            weights_uri,
            created_at: at,
            details: serde_json::Value::Null,
            evaluations: Vec::new(),
        };
        registry.register(&row, None, registry.deeds().await?).await?;
        registry.promote(&model_version, at, "test", "somebody must answer").await?;
        Ok(model_version)
    })
}

const LORA: &str = "[trainer.lora]\nrank = 4\nalpha = 8.0\ndropout = 0.1\ntargets = [\"q_proj\", \"v_proj\", \"down_proj\"]";

/// An alarm is an order that outlives the process that raised it: a trainer that starts later answers it. Here it learns adapters, which are kept
/// beside the model that they were merged into.
#[test]
fn an_alarm_about_the_champion_is_answered_by_a_trainer_that_starts_later() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    stand.configure(&format!("{TINY}\n{LORA}"))?;
    let feed = stand.hospital(&["--seed", "13", "--patients", "120", "--from", "2019-01-01", "--to", "2020-01-01", "--speak", "fhir"])?;
    let champion = promote_fresh_weights(&stand)?;
    stand.configure("[scorer]\nprecision = \"f32\"")?;
    let told = stand.must(&["doctor", "--format", "csv"])?;
    assert!(told.contains(&format!("champion,ok,\"{champion} loads, in f32 on cpu; ")), "{told}");
    let _ingest = stand.service("ingest")?;
    let published = stand.publish("fhir.raw", &feed.join("fhir"))?;
    let month: jiff::Timestamp = "2019-03-01T00:00:00Z".parse()?;
    let kind = schemas::DriftKind::Performance;
    let alarm = schemas::DriftAlert {
        alert_id: schemas::DriftAlert::derive_id("mortality", &champion.0, month, kind, "auroc"),
        task: "mortality".to_owned(),
        model_version: champion.0,
        month,
        kind,
        measure: "auroc".to_owned(),
        value: 0.5,
        low: None,
        high: None,
        limit: 0.7,
        alarmed_at: month,
    };
    let folder = stand.path().join("alarms");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("not-an-alarm.ndjson"), "{}\n")?;
    std::fs::write(folder.join("the-alarm.ndjson"), serde_json::to_string(&alarm)?)?;
    assert_eq!(stand.publish(schemas::topic::DRIFT_ALERT, &folder)?, 2);
    stand.until(RAW, published)?;
    let models = "SELECT count(DISTINCT model_version) FROM models";
    stand.until(models, 1)?;
    let _trainer = stand.service("trainer")?;
    stand.until(models, 2)?;
    let folders = std::fs::read_dir(stand.path().join(".wardstream/models"))?.filter_map(Result::ok);
    let adapters: Vec<_> = folders.filter(|folder| folder.file_name().to_string_lossy().ends_with("-adapters")).collect();
    let [adapters] = adapters.as_slice() else { anyhow::bail!("one refresh keeps its adapters once, not {adapters:?}") };
    anyhow::ensure!(adapters.path().join("adapter_model.safetensors").exists(), "adapters are kept as peft reads them");
    Ok(())
}

/// Every note that asks is answered, each answer once, though the scorer dies over and over, and Kafka and PostgreSQL go and come.
#[test]
fn a_killed_scorer_answers_every_note_and_none_twice() -> anyhow::Result<()> {
    let mut stand = Stand::start()?;
    let feed = stand.hospital(&["--seed", "5", "--patients", "300", "--from", "2019-01-01", "--to", "2020-06-01", "--speak", "both"])?;
    promote_fresh_weights(&stand)?;
    let ingest = stand.service("ingest")?;
    let published = stand.publish("hl7.raw", &feed.join("hl7"))?;
    for pause_ms in [700, 1_100, 1_600, 2_300] {
        let scorer = stand.service("scorer")?;
        std::thread::sleep(Duration::from_millis(pause_ms));
        drop(scorer);
    }
    let scorer = stand.service("scorer")?;
    let published = published + stand.publish("fhir.raw", &feed.join("fhir"))?;
    stand.outage(Duration::from_secs(1))?;
    stand.until(RAW, published)?;
    let asked = "FROM labels AS l LEFT JOIN predictions AS p ON p.note_id = l.note_id AND p.task = l.task WHERE l.note_id IS NOT NULL";
    assert!(stand.count(&format!("SELECT count(*) {asked}"))? > 500);
    stand.until(&format!("SELECT count(*) {asked} AND p.prediction_id IS NULL"), 0)?;
    // Each stay is judged by what was said of its prompt, once, and one whose note was replaced since is no exception.
    let judged =
        "FROM labels AS l LEFT JOIN scored_prompts AS s ON s.task = l.task AND s.encounter_id = l.encounter_id WHERE l.note_id IS NOT NULL";
    let replaced = "l.note_id IN (SELECT replaces FROM note_versions WHERE replaces IS NOT NULL)";
    assert!(stand.count(&format!("SELECT count(*) {judged} AND {replaced}"))? > 0);
    stand.until(&format!("SELECT count(*) {judged} AND s.encounter_id IS NULL"), 0)?;
    assert_eq!(stand.count(&format!("SELECT count(*) - count(DISTINCT (l.task || l.encounter_id)) {judged}"))?, 0);
    drop((scorer, ingest));
    let standing = "FROM predictions AS p WHERE retracts IS NULL AND NOT retracted AND prediction_id NOT IN (SELECT supersedes FROM predictions WHERE supersedes IS NOT NULL)";
    assert_eq!(stand.count(&format!("SELECT count(*) - count(DISTINCT (note_id || task)) {standing}"))?, 0);
    stand.must(&["verify"])?;
    no_patient_in(&stand)
}

/// One record that was stamped years ahead moves the log's watermark there. A promotion that was recorded at that would make history of every note until then,
/// which no scorer answers.
#[test]
fn a_record_from_the_future_moves_no_decision_there() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    let version = promote_fresh_weights(&stand)?;
    let file = stand.path().join("ahead.hl7");
    std::fs::write(&file, "MSH|^~\\&|A|B|C|D|20990101||ADT^A01|9|P|2.5\rPID|1||1^^^H^MR\rPV1|1|I\r")?;
    stand.must(&["backfill", "--facility", "north", file.to_str().context("a file has a name")?])?;
    assert_eq!(stand.count("SELECT count(*) FROM watermarks WHERE watermark > TIMESTAMP '2098-01-01'")?, 1);
    stand.must(&["models", "promote", &version.0])?;
    assert_eq!(stand.count("SELECT count(*) FROM model_history WHERE by = 'operator' AND at < TIMESTAMP '2098-01-01'")?, 1);
    Ok(())
}

/// Registers and promotes a model whose weights are recorded as removed, which the registry itself refuses. They lie in the store all the same: what
/// counts is the line.
fn promote_removed_weights(stand: &Stand, like: &schemas::ModelVersion) -> anyhow::Result<()> {
    let models = stand.path().join(".wardstream/models");
    std::fs::create_dir(models.join("b0"))?;
    for file in files(&models.join(&like.0))? {
        std::fs::copy(&file, models.join("b0").join(file.file_name().context("a file has a name")?))?;
    }
    let postgres = stand.address("postgres")?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let (client, connection) = tokio_postgres::connect(&postgres, tokio_postgres::NoTls).await?;
        let mut kept = tokio::task::JoinSet::new();
        kept.spawn(async move { drop(connection.await) });
        let sql = "INSERT INTO wardstream.models VALUES ('b0', '1970-01-01T00:00:00Z', 'none', NULL, 'b0', '{}'); \
                   INSERT INTO wardstream.model_history (model_version, event, at, by, reason) VALUES \
                   ('b0', 'registered', '1970-01-01T00:00:00Z', 'test', 'the gate let it pass'), \
                   ('b0', 'weights_removed', '1970-01-02T00:00:00Z', 'test', 'past the rules'), \
                   ('b0', 'promoted', '1970-01-03T00:00:00Z', 'test', 'past the rules')";
        client.batch_execute(sql).await.context("could not write past the rules")
    })
}

/// A model that lost its weights before the scorer had them leaves the standing one in its place, and the log says why.
#[test]
fn a_scorer_goes_on_with_its_model_where_the_next_ones_weights_were_removed() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    let feed = stand.hospital(SMALL)?;
    let standing = promote_fresh_weights(&stand)?;
    let _ingest = stand.service("ingest")?;
    let _scorer = stand.service("scorer")?;
    stand.publish("hl7.raw", &feed.join("hl7"))?;
    stand.until("SELECT count(DISTINCT model_version) FROM predictions", 1)?;
    promote_removed_weights(&stand, &standing)?;
    let patience = Instant::now() + Duration::from_secs(60);
    while !stand.logs()?.contains("the weights of model b0 were removed at 1970-01-02T00:00:00Z") {
        anyhow::ensure!(Instant::now() < patience, "the log does not say why: {}", stand.logs()?);
        std::thread::sleep(Duration::from_millis(100));
    }
    // Notes that come only now are answered, by the model that stood.
    stand.publish("fhir.raw", &feed.join("fhir"))?;
    let answered = "FROM predictions AS p JOIN note_rows AS n ON n.note_id = p.note_id WHERE n.source_topic = 'fhir.raw'";
    stand.until(&format!("SELECT CASE WHEN count(*) > 0 THEN 1 ELSE 0 END {answered}"), 1)?;
    assert_eq!(stand.count(&format!("SELECT count(*) {answered} AND p.model_version <> '{standing}'"))?, 0);
    Ok(())
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
    let published = stand.publish("hl7.raw", &folder)?;
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

fn all_files(folder: &Path, found: &mut Vec<String>) -> anyhow::Result<()> {
    for path in files(folder)? {
        if path.is_dir() {
            all_files(&path, found)?;
        } else {
            found.push(path.to_str().context("a file has a name")?.to_owned());
        }
    }
    Ok(())
}

/// Real messages of other people: every record is a row, a second run adds nothing.
#[test]
fn the_whole_corpus_lands_once() -> anyhow::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(option_env!("WARDSTREAM_CORPUS").unwrap_or("../shared/corpus"));
    if !corpus.exists() {
        eprintln!("the corpus is absent, so nothing of it was landed: name its folder in WARDSTREAM_CORPUS when building");
        return Ok(());
    }
    let stand = Stand::folder_only()?;
    for again in [false, true] {
        for (facility, folder) in [("north", "hl7v2"), ("south", "fhir")] {
            let mut names = Vec::new();
            all_files(&corpus.join(folder), &mut names)?;
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let told: serde_json::Value =
                serde_json::from_str(&stand.must(&[&["backfill", "--facility", facility][..], &names].concat())?)?;
            let number = |key: &str| told.get(key).and_then(serde_json::Value::as_u64);
            assert_eq!(number("added"), if again { Some(0) } else { number("records") });
        }
        stand.must(&["verify"])?;
    }
    assert!(stand.count("SELECT count(*) FROM notes")? >= 1_215);
    assert!(stand.count("SELECT count(DISTINCT encounter_id) FROM events WHERE code = 'encounter.class'")? >= 1_215);
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
