//! Settings of object stores, and the warehouse over one that speaks S3.

use std::collections::BTreeMap;
use std::time::Duration;

use schemas::{EventCode, Source, Table, TopicPartition};

use super::s3::Server;
use super::*;
use crate::read::AsOf;
use crate::store::tests::{BEGAN, Record, fact, rows, told_at};
use crate::{Batch, OpenError, Settings, Warehouse, Weights};

fn settings(options: &[(&str, &str)]) -> StoreSettings {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    StoreSettings { options, ..StoreSettings::default() }
}

#[test]
fn an_unknown_setting_is_named_and_a_secret_is_not_taken_from_the_configuration() {
    assert!(matches!(settings(&[("aws_endpont", "x")]).all(), Err(StoreError::Option { key }) if key == "aws_endpont"));
    let refused = settings(&[("aws_secret_access_key", "planted")]).all().expect_err("a secret");
    assert!(!format!("{refused} {refused:?}").contains("planted"), "{refused}");
}

#[test]
fn a_secret_is_refused_under_each_of_its_names_and_shown_under_none() {
    let secrets = [
        "aws_secret_access_key",
        "secret_access_key",
        "aws_session_token",
        "session_token",
        "aws_token",
        "token",
        "aws_sse_customer_key_base64",
        "sse_customer_key_base64",
        "azure_storage_account_key",
        "azure_storage_access_key",
        "azure_storage_master_key",
        "account_key",
        "access_key",
        "azure_client_secret",
        "azure_storage_sas_token",
        "sas_key",
        "azure_storage_token",
        "bearer_token",
        "azure_fabric_session_token",
        "google_service_account_key",
        "Azure_Storage_Access_Key",
    ];
    for key in secrets {
        let settings = settings(&[(key, "planted")]);
        assert!(matches!(settings.all(), Err(StoreError::Secret { key: named }) if named == key.to_lowercase()), "{key}");
        let shown = format!("{settings:?} {}", toml::to_string(&settings).expect("is TOML"));
        assert!(!shown.contains("planted") && shown.contains("(hidden)"), "{shown}");
    }
}

#[test]
fn of_settings_that_are_no_secrets_only_harmless_values_are_shown() {
    let said = [
        ("aws_endpoint", "https://s3.example.org:9000"),
        ("AWS_REGION", "north"),
        ("google_bucket", "ward"),
        ("azure_storage_account_name", "ward"),
        ("allow_http", "true"),
    ];
    let shown = toml::to_string(&settings(&said)).expect("is TOML");
    assert!(said.iter().all(|(_, value)| shown.contains(value)), "{shown}");
    for (key, value) in [
        ("aws_endpoint", "https://somebody:planted@s3.example.org"),
        ("proxy_url", "http://planted.example.org"),
        ("aws_access_key_id", "planted"),
        ("aws_endpont", "planted"),
    ] {
        let shown = toml::to_string(&settings(&[(key, value)])).expect("is TOML");
        assert!(!shown.contains("planted") && shown.contains(key), "{shown}");
    }
    // The kinds of encryption are no keys.
    assert!(settings(&[("aws_server_side_encryption", "AES256"), ("aws_sse_kms_key_id", "arn:aws:kms:x")]).all().is_ok());
}

#[test]
fn the_configuration_weighs_more_than_the_environment_and_keys_stay_blind() {
    let mut settings = settings(&[("aws_region", "north")]);
    let environment = [("AWS_REGION", "south"), ("AWS_SECRET_ACCESS_KEY", "planted"), ("AWS_UNHEARD_OF", "x"), ("HOME", "/")];
    settings.resolve(environment.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let all = settings.all().expect("known settings");
    assert_eq!(all.get("aws_region").map(String::as_str), Some("north"));
    assert_eq!(all.get("aws_secret_access_key").map(String::as_str), Some("planted"));
    assert_eq!(all.len(), 2);
    assert!(!format!("{settings:?}").contains("planted"));
}

#[test]
fn every_kind_of_store_opens_by_its_settings() {
    let azure = [("azure_storage_account_name", "ward"), ("azure_storage_use_emulator", "true")];
    for (url, options) in [
        ("s3://bucket/ward", settings(&[("aws_region", "eu"), ("aws_endpoint", "http://127.0.0.1:1"), ("aws_allow_http", "true")])),
        ("az://container/ward", settings(&azure)),
        ("gs://bucket/ward", settings(&[("google_skip_signature", "true")])),
    ] {
        let (_, root) = open(&Url::parse(url).expect("a URL"), &options).unwrap_or_else(|error| panic!("{url}: {error:?}"));
        assert_eq!(root.as_ref(), "ward", "{url}");
    }
}

#[tokio::test]
async fn a_folder_is_written_so_that_it_lasts_by_the_tables_and_by_weights() {
    let folder = tempfile::tempdir().expect("room");
    let settings = Settings { url: folder.path().display().to_string(), ..Settings::default() };
    let warehouse = Warehouse::open(&settings).await.expect("opens");
    for table in Table::ALL {
        let delta = warehouse.snapshot(table).await.expect("is there");
        let store = delta.log_store().root_object_store(None).to_string();
        assert!(store.contains("lasting"), "{store}");
    }
    let url = Url::from_directory_path(folder.path()).expect("a folder");
    let (store, _) = open(&url, &StoreSettings::default()).expect("opens");
    assert!(store.to_string().contains("lasting"), "{store}");
}

fn over(server: &Server) -> Settings {
    let mut store = settings(&[("aws_endpoint", &server.endpoint()), ("aws_region", "north"), ("aws_allow_http", "true")]);
    store.resolve(
        [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")].map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    Settings { url: "s3://ward/warehouse".to_owned(), compact_files: 6, checkpoint_commits: 10, store, ..Settings::default() }
}

fn record(partition: i32, offset: i64) -> Batch {
    let source = Source { topic: "hl7.raw".to_owned(), partition, offset };
    let record = Record::of(vec![fact(EventCode::PatientSex, &format!("{partition}-{offset}"), None, None)]);
    rows(record, source, BEGAN.parse().expect("an instant"))
}

/// One process that believes to own a partition: after every refusal it goes on where the tables are.
async fn consume(warehouse: &Warehouse, partition: i32, records: i64) {
    let owned = TopicPartition { topic: "hl7.raw".to_owned(), partition };
    let (mut next, mut begun) = (0, BTreeMap::new());
    while next < records {
        let mut batch = record(partition, next);
        for later in next + 1..(next + 3).min(records) {
            batch.append(record(partition, later));
        }
        batch.resume(&begun);
        if warehouse.append(&mut batch).await.is_ok() {
            next = batch.upto[&owned] + 1;
        } else {
            let held = warehouse.held(&[owned.clone()].into()).await.expect("the logs can be read");
            next = crate::held_by_all(held.get(&owned)) + 1;
            begun = warehouse.begun(&[owned.clone()].into()).await.expect("the logs can be read");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_writers_over_an_s3_store_lose_and_double_nothing_though_answers_are_lost() {
    const RECORDS: i64 = 24;
    // Every fifth commit is kept, and the answer that says so is lost: whoever asks again hears that somebody was faster.
    let server = Server::start(5).await;
    let settings = over(&server);
    let mut processes = Vec::new();
    for opened in futures::future::join_all((0..4).map(|_| Warehouse::open(&settings))).await {
        processes.push(opened.expect("opens, though all make the tables at once"));
    }
    let merges = async {
        for _ in 0..8 {
            // Where another commit comes first, the next turn tries again.
            let _ = processes[3].compact().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Two of them believe to own the same partition.
    tokio::join!(consume(&processes[0], 0, RECORDS), consume(&processes[1], 1, RECORDS), consume(&processes[2], 1, RECORDS), merges);
    let gaps = processes[0].verify().await.expect("can be verified");
    assert!(gaps.is_empty(), "{}", serde_json::to_string(&gaps).expect("JSON"));
    // Rows of an attempt that another one overtook are history.
    let counted = "SELECT count(*), count(DISTINCT patient_value) FROM standing_events";
    assert_eq!(told_at(&processes[0], counted, &AsOf::default()).await, format!("{0},{0}\n", 2 * RECORDS));
    assert!(server.refusals() > 0 && server.lost() > 0, "nobody was ever too late: the story says nothing");
    // What is there is found by a process that comes later, through the checkpoint.
    // A merge whose answer is lost says that somebody was faster; it was itself.
    let mut merged = false;
    for _ in 0..5 {
        merged |= processes[3].compact().await.is_ok();
    }
    assert!(merged, "nobody is in its way");
    let later = Warehouse::open(&settings).await.expect("opens");
    assert_eq!(told_at(&later, counted, &AsOf::default()).await, format!("{0},{0}\n", 2 * RECORDS));
    later.vacuum("2026-01-02T00:00:00Z".parse().expect("an instant")).await.expect("vacuums");
    assert!(later.verify().await.expect("can be verified").is_empty());
}

#[tokio::test]
async fn a_store_that_overwrites_what_it_should_only_create_is_refused() {
    let server = Server::careless().await;
    let refused = Warehouse::open(&over(&server)).await.map(|_| ()).expect_err("two writers would lose rows");
    assert!(matches!(refused, OpenError::Store(StoreError::Overwrites { .. })), "{refused}");
    assert!(server.keys().iter().all(|key| key.ends_with(PROBE)), "no table was made");
}

#[tokio::test]
async fn weights_come_back_from_an_s3_store_as_they_went_in_parts_or_whole() {
    let server = Server::start(0).await;
    let folder = tempfile::tempdir().expect("room");
    let large: Vec<u8> = (0..18_u32 << 20).map(|at| u8::try_from(at % 251).expect("small")).collect();
    std::fs::write(folder.path().join("model.safetensors"), &large).expect("a file");
    std::fs::write(folder.path().join("config.json"), "{}").expect("a file");
    let weights = Weights::open("s3://ward/models", &over(&server).store).expect("opens");
    let uri = weights.put_folder(folder.path(), &schemas::ModelVersion("abc".to_owned())).await.expect("kept");
    let back = tempfile::tempdir().expect("room");
    weights.fetch_folder(&uri, back.path()).await.expect("fetched");
    assert!(std::fs::read(back.path().join("model.safetensors")).expect("a file") == large);
    assert_eq!(std::fs::read(back.path().join("config.json")).expect("a file"), b"{}");
    assert!(server.parts() >= 2, "a file larger than a part is sent in parts");
}

#[tokio::test]
async fn weights_are_removed_from_an_s3_store_a_folder_at_a_time() {
    let server = Server::start(0).await;
    let folder = tempfile::tempdir().expect("room");
    // More than a page of a list.
    for shard in 0..9 {
        std::fs::write(folder.path().join(format!("model-{shard}.safetensors")), "{}").expect("a file");
    }
    let weights = Weights::open("s3://ward/models", &over(&server).store).expect("opens");
    for version in ["a1", "a1-adapters", "a12"] {
        weights.put_folder(folder.path(), &schemas::ModelVersion(version.to_owned())).await.expect("kept");
    }
    weights.remove_folder("a1").await.expect("removed");
    let left: Vec<String> = weights.folders().await.expect("listed").into_iter().collect();
    assert_eq!(left, ["a1-adapters", "a12"]);
    assert_eq!(server.keys().len(), 18, "{:?}", server.keys());
    weights.remove_folder("a1").await.expect("there is nothing to be done");
}
