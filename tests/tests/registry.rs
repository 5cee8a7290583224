//! The registry over a real PostgreSQL: what may be added, what may never change, and who outlives a restart. And a patient's erasure,
//! command by command.
#![cfg(feature = "live")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use schemas::{DatasetId, ModelVersion};
use tests::stand::{Stand, files};
use warehouse::{
    Champion, Deed, Export, KeepingError, NewModel, Registry, RegistryError, RegistrySettings, StoreSettings, Subject, Traces, Weights,
    WeightsSettings,
};

/// Every table whose lines nobody may change or remove, and one of its columns.
const APPEND_ONLY: [(&str, &str); 5] =
    [("models", "dataset_id"), ("evaluations", "task"), ("model_history", "by"), ("exports", "by"), ("erasures", "by")];

fn settings(url: &str, owner_url: &str) -> anyhow::Result<RegistrySettings> {
    Ok(serde_json::from_value(serde_json::json!({"url": url, "owner_url": owner_url}))?)
}

fn export() -> Export {
    Export {
        at: jiff::Timestamp::UNIX_EPOCH,
        by: "test".to_owned(),
        kind: "meds".to_owned(),
        dataset_id: schemas::DatasetId("0123456789abcdef".to_owned()),
        watermark: jiff::Timestamp::UNIX_EPOCH,
        details: serde_json::json!({}),
    }
}

/// Says each statement; all must be refused.
async fn are_refused(client: &tokio_postgres::Client, statements: &[String], because: &str) -> anyhow::Result<()> {
    for statement in statements {
        let Err(refused) = client.batch_execute(statement).await else { anyhow::bail!("{statement} was done") };
        let said = refused.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
        ensure!(said.contains(because), "{statement}: {said}");
    }
    Ok(())
}

async fn connected(url: &str) -> anyhow::Result<(tokio_postgres::Client, tokio::task::JoinSet<()>)> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let mut kept = tokio::task::JoinSet::new();
    kept.spawn(async move { drop(connection.await) });
    Ok((client, kept))
}

/// Makes the role of the services.
const WARD: &str = "CREATE ROLE ward LOGIN PASSWORD 'secret'";

/// The address as that role.
fn as_ward(owner_url: &str) -> anyhow::Result<String> {
    let (scheme, rest) = owner_url.split_once("://").context("a URL")?;
    let (_, place) = rest.split_once('@').context("a user")?;
    Ok(format!("{scheme}://ward:secret@{place}"))
}

/// Services that start together find an empty database: one makes the schema, the others wait and find it made.
#[test]
fn services_that_start_at_once_make_the_schema_once() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    let url = stand.address("postgres")?;
    let (server, _) = url.rsplit_once('/').context("a URL with a database")?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let (owner, _kept) = connected(&url).await?;
        for round in 0..8 {
            owner.batch_execute(&format!("CREATE DATABASE fresh{round}")).await?;
            let settings = settings(&format!("{server}/fresh{round}"), "")?;
            let mut services = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let settings = settings.clone();
                services.spawn(async move { Registry::connect(&settings).await.map(drop) });
            }
            while let Some(opened) = services.join_next().await {
                opened?.with_context(|| format!("round {round}"))?;
            }
        }
        Ok(())
    })
}

/// A service that starts waits for a PostgreSQL that is not there yet, and not for one that will never let it in.
#[test]
fn what_passes_by_itself_is_told_from_what_somebody_must_mend() -> anyhow::Result<()> {
    let mut stand = Stand::start()?;
    let url = stand.address("postgres")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let fails = |url: &str| -> anyhow::Result<bool> {
        let Err(error) = runtime.block_on(Registry::connect(&settings(url, "")?)) else { anyhow::bail!("{url} was reached") };
        Ok(error.is_passing())
    };
    let (scheme, rest) = url.split_once("://").context("a URL")?;
    let (_, place) = rest.split_once('@').context("a user")?;
    let (server, _) = url.rsplit_once('/').context("a database")?;
    ensure!(!fails(&format!("{scheme}://nobody:wrong@{place}"))?, "a user who is not known does not pass");
    ensure!(!fails(&format!("{server}/nothing"))?, "a database that is not there does not pass");
    ensure!(!fails("nonsense")?, "no address does not pass");
    stand.stop_services()?;
    ensure!(fails(&url)?, "a server that is away passes");
    Ok(())
}

#[test]
fn history_is_added_to_and_never_changed_by_the_owner_or_by_the_role_of_the_services() -> anyhow::Result<()> {
    let mut stand = Stand::start()?;
    let owner_url = stand.address("postgres")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let service_url = as_ward(&owner_url)?;
    let registry = runtime.block_on(async {
        let (owner, _kept) = connected(&owner_url).await?;
        owner.batch_execute(WARD).await?;
        let registry = Registry::connect(&settings(&service_url, &owner_url)?).await?;
        registry.record_export(&export(), registry.deeds().await?).await?;
        // Opening it again, by either role alone, finds nothing to do.
        Registry::connect(&settings(&service_url, "")?).await?;
        Registry::connect(&settings(&owner_url, "")?).await?;

        let changes = |(table, column): (&str, &str)| {
            let name = format!("wardstream.{table}");
            [format!("UPDATE {name} SET {column} = {column}"), format!("DELETE FROM {name}"), format!("TRUNCATE {name}")]
        };
        let changes: Vec<String> = APPEND_ONLY.into_iter().flat_map(changes).collect();
        are_refused(&owner, &changes, "append-only").await?;
        let (ward, _ward) = connected(&service_url).await?;
        are_refused(&ward, &changes, "permission denied").await?;
        let worse = [
            "ALTER TABLE wardstream.model_history DISABLE TRIGGER ALL",
            "DROP TABLE wardstream.model_history",
            "INSERT INTO wardstream.schema_version (version) VALUES (98)",
            "SET session_replication_role = 'replica'",
        ];
        for (statement, because) in worse.into_iter().zip(["must be owner", "must be owner", "permission denied", "permission denied"]) {
            are_refused(&ward, &[statement.to_owned()], because).await?;
        }
        anyhow::Ok(registry)
    })?;

    // The pool's connections are dead now, and are made anew.
    stand.outage(Duration::from_millis(200))?;
    ensure!(stand.address("postgres")? == owner_url, "it came back elsewhere");
    runtime.block_on(async {
        registry.record_export(&export(), registry.deeds().await?).await?;
        let (owner, _kept) = connected(&owner_url).await?;
        let exports: i64 = owner.query_one("SELECT count(*) FROM wardstream.exports", &[]).await?.get(0);
        assert_eq!(exports, 2);
        owner.batch_execute("INSERT INTO wardstream.schema_version (version) VALUES (99)").await?;
        let refused = Registry::connect(&settings(&service_url, "")?).await.err().context("a newer release's")?;
        assert!(matches!(refused, RegistryError::Newer { found: 99, .. }), "{refused}");
        anyhow::Ok(())
    })
}

/// Rows were read before an erasure listed what there is, and their line comes after: nobody would know of them.
#[test]
fn an_export_is_listed_by_an_erasure_beside_it_or_refused() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    let url = stand.address("postgres")?;
    let subject = Subject { system: "MRN".to_owned(), value: "1".to_owned(), facility: None };
    tokio::runtime::Runtime::new()?.block_on(async {
        let registry = Registry::connect(&settings(&url, "")?).await?;
        let mut read_before = vec![registry.deeds().await?];
        let begun = Deed::begun(&subject, Timestamp::UNIX_EPOCH, "the officer", "a letter");
        registry.record_deed(&begun).await?;
        read_before.push(registry.deeds().await?);
        // Begun and recorded while it goes on.
        registry.record_export(&export(), registry.deeds().await?).await?;
        let done = begun.done(Timestamp::UNIX_EPOCH, Traces::default());
        let used = registry.record_done(done, Timestamp::UNIX_EPOCH).await?;
        assert_eq!(used.exports.len(), 1, "{used:?}");
        for before in read_before {
            let refused = registry.record_export(&export(), before).await.err().context("it was recorded")?;
            assert!(matches!(refused, RegistryError::Erasing), "{refused}");
        }
        registry.record_export(&export(), registry.deeds().await?).await?;
        anyhow::Ok(())
    })?;
    assert_eq!(stand.count("SELECT count(*) FROM exports")?, 2);
    assert_eq!(stand.count("SELECT count(*) FROM erasures WHERE event = 'done' AND used_by LIKE '%meds 0123456789abcdef%'")?, 1);
    Ok(())
}

/// A model that learned from rows up to that instant.
fn learned(name: &str, watermark: &str) -> NewModel {
    NewModel {
        model_version: version(name),
        dataset_id: DatasetId("0123456789abcdef".to_owned()),
        parent: None,
        weights_uri: name.to_owned(),
        created_at: Timestamp::UNIX_EPOCH,
        details: serde_json::json!({"pin": {"watermark": watermark}}),
        evaluations: Vec::new(),
    }
}

/// A cycle learns for hours from rows that it pinned: an erasure that ends meanwhile lists what is registered by then, and no more.
#[test]
fn a_model_is_listed_by_an_erasure_since_its_rows_were_pinned_however_late_it_is_registered() -> anyhow::Result<()> {
    const NEW: &str = "2020-06-01T00:00:00Z";
    let stand = Stand::start()?;
    let url = stand.address("postgres")?;
    let subject = Subject { system: "MRN".to_owned(), value: "1".to_owned(), facility: None };
    let known: Timestamp = "2020-03-01T00:00:00Z".parse()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let registry = Registry::connect(&settings(&url, "")?).await?;
        let before = registry.deeds().await?;
        let begun = Deed::begun(&subject, Timestamp::UNIX_EPOCH, "the officer", "a letter");
        let begun = Deed { traces: Traces { first_known_at: Some(known), ..Traces::default() }, ..begun };
        registry.record_deed(&begun).await?;
        let between = registry.deeds().await?;
        assert_eq!(registry.register(&learned("beside", NEW), None, before).await?, 1, "it began since");
        assert_eq!(registry.register(&learned("begun-later", NEW), None, between).await?, 0, "the line that ends it lists this");
        let traces = begun.traces.clone();
        let used = registry.record_done(begun.done(Timestamp::UNIX_EPOCH, traces), known).await?;
        assert_eq!(used.models, ["begun-later", "beside"]);
        let after = registry.deeds().await?;
        assert_eq!(registry.register(&learned("late", NEW), None, before).await?, 1);
        assert_eq!(registry.register(&learned("late", NEW), None, before).await?, 0, "it is registered, and listed, already");
        assert_eq!(registry.register(&learned("refused", NEW), Some("collapsed_output"), between).await?, 1);
        assert_eq!(registry.register(&learned("of-earlier-rows", "2020-02-29T23:59:59Z"), None, before).await?, 0);
        assert_eq!(registry.register(&learned("after", NEW), None, after).await?, 0);
        // What lists a model ends nothing that an export reads.
        registry.record_export(&export(), after).await?;
        assert!(registry.open_deeds().await?.is_empty());
        anyhow::Ok(())
    })?;
    let listed = "SELECT count(*) FROM erasures AS l JOIN erasures AS d ON d.salt = l.salt AND d.subject = l.subject \
                  WHERE l.event = 'listed' AND d.event = 'done'";
    assert_eq!(stand.count(listed)?, 3);
    for name in ["beside", "late", "refused"] {
        assert_eq!(stand.count(&format!("{listed} AND l.used_by LIKE '%\"{name}\"%'"))?, 1, "{name}");
    }
    Ok(())
}

/// Whoever registers while another process ends an erasure is in that list, or sees its line.
#[test]
fn a_model_that_comes_as_an_erasure_ends_is_named_once() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    let url = stand.address("postgres")?;
    let subject = Subject { system: "MRN".to_owned(), value: "1".to_owned(), facility: None };
    tokio::runtime::Runtime::new()?.block_on(async {
        let registry = Registry::connect(&settings(&url, "")?).await?;
        for round in 0..12 {
            let name = format!("raced-{round}");
            let begun = Deed::begun(&subject, Timestamp::UNIX_EPOCH, "the officer", "a letter");
            registry.record_deed(&begun).await?;
            let (model, before) = (learned(&name, "2020-06-01T00:00:00Z"), registry.deeds().await?);
            let ending = registry.record_done(begun.done(Timestamp::UNIX_EPOCH, Traces::default()), Timestamp::UNIX_EPOCH);
            let registering = registry.register(&model, None, before);
            let (used, listed) = if round % 2 == 0 {
                tokio::join!(ending, registering)
            } else {
                let (listed, used) = tokio::join!(registering, ending);
                (used, listed)
            };
            let is_in_its_list = used?.models.contains(&name);
            assert_eq!(listed?, usize::from(!is_in_its_list), "{name}");
        }
        anyhow::Ok(())
    })
}

/// A refresh learns for hours. Whoever promoted or rolled back meanwhile is not overruled by it: it was held against a model that is not live any more.
#[test]
fn a_refresh_takes_the_place_of_the_model_that_it_was_held_against_and_of_no_other() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    let url = stand.address("postgres")?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let registry = Registry::connect(&settings(&url, "")?).await?;
        for name in ["first", "second", "refresh"] {
            registry.register(&learned(name, "2020-06-01T00:00:00Z"), None, registry.deeds().await?).await?;
        }
        let at = Timestamp::UNIX_EPOCH;
        let live = async || anyhow::Ok(registry.champion().await?.map(|champion| champion.model_version.0));
        let succeeds = async |before: Option<&str>, name: &str| {
            registry.succeed(before.map(version).as_ref(), &version(name), at, ("trainer", "a refresh")).await
        };
        assert!(!succeeds(Some("second"), "first").await?, "there is no champion yet");
        assert!(succeeds(None, "first").await?);
        assert!(succeeds(Some("first"), "second").await?);
        // The operator goes back while a refresh of the second learns.
        registry.rollback(at, "operator", "the second calls in vain").await?;
        assert!(!succeeds(Some("second"), "refresh").await?);
        assert_eq!(live().await?.as_deref(), Some("first"));
        assert!(succeeds(Some("first"), "refresh").await?);
        assert_eq!(live().await?.as_deref(), Some("refresh"));
        anyhow::Ok(())
    })
}

#[test]
fn a_patient_is_shown_erased_and_recorded_without_the_identifier() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    let feed = stand.hospital(&["--seed", "5", "--patients", "40", "--from", "2019-01-01", "--to", "2020-01-01", "--speak", "hl7"])?;
    let files = tests::stand::files(&feed.join("hl7"))?;
    let names = files.iter().map(|file| file.to_str().context("a name")).collect::<Result<Vec<_>, _>>()?;
    stand.must(&[&["backfill", "--facility", "north"][..], &names].concat())?;
    let named = stand.must(&[
        "sql",
        "--format",
        "csv",
        "SELECT system, value FROM identifiers WHERE system <> '' ORDER BY known_at, value LIMIT 1",
    ])?;
    let (system, value) = named.lines().nth(1).and_then(|row| row.split_once(',')).context("a patient")?;
    let (system, value) = (system.to_owned(), value.to_owned());
    let asked = ["erase", "--system", &system, "--value", &value, "--reason", "asked by letter"];
    let left = format!("SELECT count(*) FROM identifiers WHERE system = '{system}' AND value = '{value}'");
    let messages = stand.count("SELECT count(*) FROM messages")?;
    let shown: serde_json::Value = serde_json::from_str(&stand.must(&asked)?)?;
    ensure!(shown["found"]["messages"].as_u64() > Some(0), "{shown}");
    assert_eq!(stand.count("SELECT count(*) FROM messages WHERE outcome = 'erased'")?, 0, "looking changes nothing");
    let told = stand.must(&[&asked[..], &["--confirm", "--now"]].concat())?;
    ensure!(!told.contains(&value), "the identifier was shown");
    stand.must(&["verify"])?;
    assert_eq!(stand.count("SELECT count(*) FROM messages")?, messages, "every record still has its row");
    assert_eq!(stand.count(&left)?, 0);
    assert_eq!(stand.count("SELECT count(*) FROM erasures WHERE reason = 'asked by letter'")?, 2, "begun, and done");
    assert_eq!(stand.run(&asked)?.status.code(), Some(1), "nobody is known by that identifier now");
    stand.must(&[&["backfill", "--facility", "north"][..], &names].concat())?;
    assert_eq!(stand.count(&left)?, 0, "a backfill repeated adds nothing");
    stand.must(&["replay", "--force", "--where", "outcome = 'erased'"])?;
    stand.must(&["verify"])?;
    Ok(())
}

/// The registry as its services see it, and a store of weights beside it.
struct Kept {
    registry: Registry,
    weights: Weights,
    /// What each version consists of.
    model: tempfile::TempDir,
    /// Where it is fetched to.
    back: tempfile::TempDir,
    /// The schema's owner.
    owner: tokio_postgres::Client,
}

fn version(name: &str) -> ModelVersion {
    ModelVersion(name.to_owned())
}

fn opened(folder: &Path) -> anyhow::Result<Weights> {
    Ok(Weights::open(folder.to_str().context("a folder has a name")?, &StoreSettings::default())?)
}

impl Kept {
    /// Puts a version into the store and registers it; where it has a base, with adapters that were learned beside the base's weights.
    async fn made(&self, name: &str, base: Option<&str>) -> anyhow::Result<()> {
        let weights_uri = self.weights.put_folder(self.model.path(), &version(name)).await?;
        let adapters_uri = match base {
            Some(_) => Some(self.weights.put_folder(self.model.path(), &version(&format!("{name}-adapters"))).await?),
            None => None,
        };
        let row = NewModel {
            model_version: version(name),
            dataset_id: DatasetId("none".to_owned()),
            parent: base.map(version),
            weights_uri,
            created_at: Timestamp::UNIX_EPOCH,
            details: serde_json::json!({"adapters_uri": adapters_uri}),
            evaluations: Vec::new(),
        };
        self.registry.register(&row, None, self.registry.deeds().await?).await?;
        Ok(())
    }

    /// Lets a hundred years pass since every line that there is was written.
    async fn aged(&self) -> anyhow::Result<()> {
        let sql = "ALTER TABLE wardstream.model_history DISABLE TRIGGER model_history_is_append_only; \
                   UPDATE wardstream.model_history SET written_at = written_at - interval '100 years'; \
                   ALTER TABLE wardstream.model_history ENABLE ALWAYS TRIGGER model_history_is_append_only";
        Ok(self.owner.batch_execute(sql).await?)
    }

    async fn promoted(&self, name: &str) -> Result<(), RegistryError> {
        self.registry.promote(&version(name), Timestamp::UNIX_EPOCH, "test", "by hand").await
    }

    async fn fetched(&self, name: &str) -> Result<(), KeepingError> {
        let model = Champion { model_version: version(name), weights_uri: name.to_owned(), promoted_at: Timestamp::UNIX_EPOCH };
        self.registry.fetch(&self.weights, &model, self.back.path()).await
    }
}

fn keeping(keep_versions: usize) -> WeightsSettings {
    WeightsSettings { keep_versions, ..WeightsSettings::default() }
}

/// Long after everything here was made, whenever that is.
fn far() -> anyhow::Result<Timestamp> {
    Ok("2200-01-01T00:00:00Z".parse()?)
}

#[test]
fn weights_go_behind_a_line_that_says_so_and_neither_the_champions_nor_what_kept_adapters_need() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    let owner_url = stand.address("postgres")?;
    let store = stand.path().join("weights");
    let runtime = tokio::runtime::Runtime::new()?;
    let (kept, _connection) = runtime.block_on(async {
        let (owner, connection) = connected(&owner_url).await?;
        owner.batch_execute(WARD).await?;
        let registry = Registry::connect(&settings(&as_ward(&owner_url)?, &owner_url)?).await?;
        let model = tempfile::tempdir()?;
        std::fs::write(model.path().join("config.json"), "{}")?;
        anyhow::Ok((Kept { registry, weights: opened(&store)?, model, back: tempfile::tempdir()?, owner }, connection))
    })?;
    runtime.block_on(removed_in_order(&kept, &store))?;
    assert_eq!(stand.count("SELECT count(*) FROM models WHERE weights_removed_at > TIMESTAMP '2199-12-31'")?, 2);
    assert_eq!(stand.count("SELECT count(*) FROM models WHERE weights_removed_at IS NULL")?, 4);
    runtime.block_on(async {
        let gone = "INSERT INTO wardstream.model_history (model_version, event, at, by, reason) \
                    VALUES ('first', 'weights_removed', '2020-01-01T00:00:00Z', 'test', 'past the rules')";
        kept.owner.batch_execute(gone).await?;
        let refused = kept.registry.rollback(Timestamp::UNIX_EPOCH, "test", "by hand").await.err().context("it was done")?;
        assert!(matches!(refused, RegistryError::WeightsRemoved { .. }), "{refused}");
        promoted_or_removed_and_never_both(&kept).await
    })
}

/// From six versions down to those that something keeps.
async fn removed_in_order(kept: &Kept, store: &Path) -> anyhow::Result<()> {
    let registry = &kept.registry;
    for (name, base) in
        [("first", None), ("base", None), ("middle", Some("base")), ("champion", Some("middle")), ("spare", None), ("newest", None)]
    {
        kept.made(name, base).await?;
    }
    kept.promoted("first").await?;
    kept.promoted("champion").await?;
    let young = Timestamp::UNIX_EPOCH;
    assert_eq!(registry.remove_weights(&kept.weights, &keeping(1), young).await?, 0, "all are young");
    assert_eq!(registry.remove_weights(&kept.weights, &keeping(1), far()?).await?, 0, "one clock that runs ahead makes nothing old");
    kept.aged().await?;
    assert_eq!(registry.remove_weights(&kept.weights, &keeping(0), far()?).await?, 0, "0 removes nothing");
    assert_eq!(files(store)?.len(), 8);

    // The lines are written, and whoever wrote them dies before a byte goes.
    let elsewhere = tempfile::tempdir()?;
    assert_eq!(registry.remove_weights(&opened(elsewhere.path())?, &keeping(1), far()?).await?, 3);
    assert_eq!(files(store)?.len(), 8);
    let refused = kept.promoted("spare").await.err().context("it was promoted")?.to_string();
    assert!(refused.starts_with("the weights of model spare were removed at 2200-01-01T00:00:00Z"), "{refused}");
    let refused = kept.fetched("spare").await.err().context("it was fetched, whole as it still lies there")?;
    assert!(matches!(refused, KeepingError::Registry(RegistryError::WeightsRemoved { .. })), "{refused}");

    // The next turn finishes that, and finds no more to do.
    std::fs::create_dir(store.join("not-ours"))?;
    assert_eq!(registry.remove_weights(&kept.weights, &keeping(1), young).await?, 0);
    let left: BTreeSet<String> = files(store)?.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
    let expected = ["champion", "champion-adapters", "first", "middle", "newest", "not-ours"];
    assert_eq!(left, BTreeSet::from(expected.map(str::to_owned)));
    assert_eq!(registry.remove_weights(&kept.weights, &keeping(1), far()?).await?, 0);
    for name in ["first", "middle", "champion", "newest"] {
        kept.fetched(name).await.with_context(|| name.to_owned())?;
    }
    let used = registry.used_since(Timestamp::UNIX_EPOCH).await?;
    assert_eq!((used.models.len(), used.weights_removed), (6, vec!["base".to_owned(), "spare".to_owned()]));
    Ok(())
}

/// Whoever promotes while another process removes is too late, or keeps the weights by it.
async fn promoted_or_removed_and_never_both(kept: &Kept) -> anyhow::Result<()> {
    for round in 0..12 {
        let (name, newer) = (format!("raced-{round}"), format!("newer-{round}"));
        kept.made(&name, None).await?;
        kept.made(&newer, None).await?;
        kept.aged().await?;
        let (rules, at) = (keeping(1), far()?);
        let removing = kept.registry.remove_weights(&kept.weights, &rules, at);
        let promoting = kept.promoted(&name);
        let (removed, promoted) = if round % 2 == 0 {
            tokio::join!(removing, promoting)
        } else {
            let (promoted, removed) = tokio::join!(promoting, removing);
            (removed, promoted)
        };
        removed?;
        match promoted {
            Ok(()) => kept.fetched(&name).await.with_context(|| format!("{name} is live"))?,
            Err(refused) => assert!(matches!(refused, RegistryError::WeightsRemoved { .. }), "{refused}"),
        }
    }
    Ok(())
}
