//! The registry over a real PostgreSQL: what may be added, what may never change, and who outlives a restart. And a patient's erasure,
//! command by command.
#![cfg(feature = "live")]

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tests::stand::Stand;
use warehouse::{Export, Registry, RegistryError, RegistrySettings};

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
    let (scheme, rest) = owner_url.split_once("://").context("a URL")?;
    let (_, place) = rest.split_once('@').context("a user")?;
    let service_url = format!("{scheme}://ward:secret@{place}");
    let registry = runtime.block_on(async {
        let (owner, _kept) = connected(&owner_url).await?;
        owner.batch_execute("CREATE ROLE ward LOGIN PASSWORD 'secret'").await?;
        let registry = Registry::connect(&settings(&service_url, &owner_url)?).await?;
        registry.record_export(&export()).await?;
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
        registry.record_export(&export()).await?;
        let (owner, _kept) = connected(&owner_url).await?;
        let exports: i64 = owner.query_one("SELECT count(*) FROM wardstream.exports", &[]).await?.get(0);
        assert_eq!(exports, 2);
        owner.batch_execute("INSERT INTO wardstream.schema_version (version) VALUES (99)").await?;
        let refused = Registry::connect(&settings(&service_url, "")?).await.err().context("a newer release's")?;
        assert!(matches!(refused, RegistryError::Newer { found: 99, .. }), "{refused}");
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
