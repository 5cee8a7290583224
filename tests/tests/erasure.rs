//! What an erasure lists, over a real PostgreSQL: what came of a listed model, and what was recorded while no registry was there. And what it refuses.
#![cfg(feature = "live")]

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use schemas::{DatasetId, ModelVersion};
use tests::stand::{Stand, files};
use warehouse::{Deed, NewModel, Registry, Subject, Traces};

/// Behind everything that any patient here did.
const NEW: &str = "2030-01-01T00:00:00Z";
/// Before it.
const OLD: &str = "2000-01-01T00:00:00Z";
const LISTED: &str = "SELECT count(*) FROM erasures WHERE event = 'listed'";

async fn connected(url: &str) -> anyhow::Result<Registry> {
    Ok(Registry::connect(&serde_json::from_value(serde_json::json!({"url": url}))?).await?)
}

/// A model that started from that parent's weights and learned from rows up to that instant.
fn learned(name: &str, parent: Option<&str>, watermark: &str) -> NewModel {
    NewModel {
        model_version: ModelVersion(name.to_owned()),
        dataset_id: DatasetId("0123456789abcdef".to_owned()),
        parent: parent.map(|parent| ModelVersion(parent.to_owned())),
        weights_uri: name.to_owned(),
        created_at: Timestamp::UNIX_EPOCH,
        details: serde_json::json!({"pin": {"watermark": watermark}}),
        evaluations: Vec::new(),
    }
}

/// Registers a model whose rows are pinned now; how many lines list it.
async fn registered(registry: &Registry, name: &str, parent: Option<&str>, watermark: &str) -> anyhow::Result<usize> {
    Ok(registry.register(&learned(name, parent, watermark), None, registry.deeds().await?).await?)
}

/// Records the erasure of somebody who was known by that instant; the models that it lists.
async fn erased(registry: &Registry, value: &str, known: Timestamp) -> anyhow::Result<Vec<String>> {
    let subject = Subject { system: "MRN".to_owned(), value: value.to_owned(), facility: None };
    let begun = Deed::begun(&subject, Timestamp::UNIX_EPOCH, "the officer", "a letter");
    let begun = Deed { traces: Traces { first_known_at: Some(known), ..Traces::default() }, ..begun };
    registry.record_deed(&begun).await?;
    let traces = begun.traces.clone();
    Ok(registry.record_done(begun.done(Timestamp::UNIX_EPOCH, traces), known).await?.models)
}

/// A refresh learns from rows that hold the patient no more, and starts from weights that learned from them.
#[test]
fn what_comes_of_a_listed_model_is_listed_whenever_it_is_registered() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    let url = stand.address("postgres")?;
    let known: Timestamp = "2020-03-01T00:00:00Z".parse()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let registry = connected(&url).await?;
        registered(&registry, "before", None, OLD).await?;
        registered(&registry, "first", None, NEW).await?;
        // It says that its own rows end before the patient began.
        registered(&registry, "tuned", Some("first"), OLD).await?;
        let listed = erased(&registry, "1", known).await?;
        assert_eq!(listed, ["first", "tuned"], "what comes of one that was there is in the erasure's own list");
        assert_eq!(registered(&registry, "refresh", Some("first"), NEW).await?, 1);
        assert_eq!(registered(&registry, "refresh", Some("first"), NEW).await?, 0, "it is registered, and listed, already");
        assert_eq!(registered(&registry, "second-refresh", Some("refresh"), NEW).await?, 1, "and so on");
        assert_eq!(registered(&registry, "of-tuned", Some("tuned"), NEW).await?, 1);
        assert_eq!(registered(&registry, "of-before", Some("before"), NEW).await?, 0);
        assert_eq!(registered(&registry, "anew", None, NEW).await?, 0);
        assert_eq!(registered(&registry, "of-anew", Some("anew"), NEW).await?, 0);
        // Another erasure lists all that there are; what comes now is named beside both, or beside the one that lists its parent.
        erased(&registry, "2", known).await?;
        assert_eq!(registered(&registry, "third-refresh", Some("second-refresh"), NEW).await?, 2);
        assert_eq!(registered(&registry, "second-of-anew", Some("of-anew"), NEW).await?, 1);
        assert_eq!(registry.catch_up(Vec::new()).await?, 0, "nothing is missing");

        // As a release left it that lists no descendants.
        let (owner, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
        let mut kept = tokio::task::JoinSet::new();
        kept.spawn(connection);
        let row = "INSERT INTO wardstream.models VALUES ('unseen', 'then', 'rows', 'first', 'unseen', '{}'), \
                   ('unseen-refresh', 'then', 'rows', 'unseen', 'unseen-refresh', '{}')";
        owner.batch_execute(row).await?;
        assert_eq!(registry.catch_up(Vec::new()).await?, 4, "both, beside both erasures");
        assert_eq!(registry.catch_up(Vec::new()).await?, 0);
        anyhow::Ok(())
    })?;
    assert_eq!(stand.count(LISTED)?, 3 + 3 + 4);
    for (name, parent, lines) in [("refresh", "first", 1), ("third-refresh", "second-refresh", 2), ("unseen-refresh", "unseen", 2)] {
        let because = format!("reason LIKE '%started from the weights of {parent}, %' AND used_by LIKE '%\"models\": [\"{name}\"]%'");
        assert_eq!(stand.count(&format!("{LISTED} AND {because}"))?, lines, "{name}");
    }
    assert_eq!(stand.count(&format!("{LISTED} AND used_by LIKE '%0123456789abcdef%'"))?, 0, "their rows hold nobody who was erased");
    Ok(())
}

/// The tables hold a small hospital; a patient of it.
fn filled(stand: &Stand) -> anyhow::Result<(String, String)> {
    let feed = stand.hospital(&["--seed", "5", "--patients", "40", "--from", "2019-01-01", "--to", "2020-01-01", "--speak", "hl7"])?;
    let files = files(&feed.join("hl7"))?;
    let names = files.iter().map(|file| file.to_str().context("a name")).collect::<Result<Vec<_>, _>>()?;
    stand.must(&[&["backfill", "--facility", "north"][..], &names].concat())?;
    let asked = "SELECT system, value FROM identifiers WHERE system <> '' ORDER BY known_at, value LIMIT 1";
    let named = stand.must(&["sql", "--format", "csv", asked])?;
    let (system, value) = named.lines().nth(1).and_then(|row| row.split_once(',')).context("a patient")?;
    Ok((system.to_owned(), value.to_owned()))
}

/// Who used the patient stands in the registry: an erasure beside it would list nothing.
#[test]
fn an_erasure_is_refused_while_the_registry_of_our_own_does_not_run() -> anyhow::Result<()> {
    let mut stand = Stand::start()?;
    let (system, value) = filled(&stand)?;
    let asked = ["erase", "--system", &system, "--value", &value, "--reason", "asked by letter", "--confirm"];
    let addresses = stand.path().join(".wardstream/services.json");
    let noted = std::fs::read(&addresses)?;
    stand.stop_services()?;
    ensure!(!addresses.exists(), "it was stopped as it should be");
    // Where it was killed, its address is still written down.
    for left in [None, Some(&noted)] {
        if let Some(noted) = left {
            std::fs::write(&addresses, noted)?;
        }
        for asked in [&asked[..asked.len() - 1], &asked] {
            let refused = stand.run(asked)?;
            let said = String::from_utf8(refused.stderr)?;
            ensure!(refused.status.code() == Some(1), "{said}");
            ensure!(said.contains("nothing was changed") && said.contains("start `wardstream services`"), "{said}");
            ensure!(!said.contains(&value), "the identifier was shown");
        }
    }
    assert_eq!(stand.count("SELECT count(*) FROM messages WHERE outcome = 'erased'")?, 0);
    ensure!(!stand.path().join(".wardstream/warehouse/erasures").exists(), "it was recorded beside the tables");
    std::fs::remove_file(&addresses)?;
    stand.start_services()?;
    stand.must(&asked)?;
    assert_eq!(stand.count("SELECT count(*) FROM erasures WHERE event IN ('begun', 'done')")?, 2);
    Ok(())
}

/// Somebody erases where no registry is configured; the registry of those who serve the same tables knows of it once one of them starts.
#[test]
fn what_was_recorded_beside_the_tables_comes_into_the_registry_with_what_used_the_patient() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    let (system, value) = filled(&stand)?;
    let url = stand.address("postgres")?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let registry = connected(&url).await?;
        registered(&registry, "before", None, OLD).await?;
        registered(&registry, "first", None, NEW).await?;
        registered(&registry, "tuned", Some("first"), OLD).await?;
        anyhow::Ok(())
    })?;
    let elsewhere = "[state]\nfolder = \"elsewhere\"\n[warehouse]\nurl = \".wardstream/warehouse\"\n";
    std::fs::write(stand.path().join("elsewhere.toml"), elsewhere)?;
    let asked = ["erase", "--system", &system, "--value", &value, "--reason", "asked by letter"];
    let done = stand.run(&[&asked[..], &["--confirm", "--config", "elsewhere.toml"]].concat())?;
    let said = String::from_utf8(done.stderr)?;
    ensure!(done.status.success() && said.contains("registry.url is not set"), "{said}");
    assert_eq!(stand.count("SELECT count(*) FROM erasures")?, 0);

    let _serve = stand.service("serve")?;
    let whole =
        "SELECT count(*) FROM erasures WHERE reason = 'asked by letter' AND used_by LIKE '%\"models\": [\"first\", \"tuned\"]%' AND event";
    stand.until(&format!("{whole} = 'done'"), 1)?;
    assert_eq!(stand.count(&format!("{whole} = 'begun'"))?, 1);
    // Whoever asks again finds nobody, and the registry takes no line twice.
    assert_eq!(stand.run(&asked)?.status.code(), Some(1));
    assert_eq!(stand.count("SELECT count(*) FROM erasures")?, 2);
    tokio::runtime::Runtime::new()?.block_on(async {
        let registry = connected(&url).await?;
        assert!(registry.open_deeds().await?.is_empty());
        assert_eq!(registered(&registry, "refresh", Some("tuned"), NEW).await?, 1);
        anyhow::Ok(())
    })
}
