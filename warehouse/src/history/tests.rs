//! Versions that are kept, and versions that are not.

use std::time::Duration;

use deltalake_core::operations::vacuum::VacuumMode;
use schemas::EventCode;

use super::*;
use crate::read::{AsOf, Pin};
use crate::store::tests::{Record, Ward, fact, told_at};

fn at(version: i64) -> AsOf {
    AsOf { version: Some(version), ..AsOf::default() }
}

fn pinned(pin: &Pin) -> AsOf {
    AsOf { pin: Some(pin.clone()), ..AsOf::default() }
}

/// Removes every file that only earlier versions need.
async fn vacuum_all(ward: &Ward, table: Table) {
    let delta = ward.warehouse.snapshot(table).await.expect("a table");
    let vacuum = delta.vacuum().with_mode(VacuumMode::Lite).with_retention_period(chrono::Duration::zero());
    tokio::time::sleep(Duration::from_millis(5)).await;
    vacuum.with_enforce_retention_duration(false).await.expect("vacuums");
}

const COUNT: &str = "SELECT count(*) FROM message_rows";

#[tokio::test]
async fn a_version_is_read_as_it_was_until_its_files_are_gone_and_then_refused_in_one_sentence() {
    let mut ward = Ward::told(|settings| settings.compact_files = 2).await;
    for patient in 0..5 {
        ward.arrives(vec![Record::of(vec![fact(EventCode::PatientSex, &patient.to_string(), None, None)])]).await;
    }
    let pin = ward.warehouse.pin().await.expect("a pin");
    ward.warehouse.compact().await.expect("merges");
    assert_eq!(told_at(&ward.warehouse, COUNT, &at(3)).await, "3\n");
    assert_eq!(told_at(&ward.warehouse, "SELECT count(*) FROM events", &pinned(&pin)).await, "5\n");

    vacuum_all(&ward, Table::Messages).await;
    vacuum_all(&ward, Table::Events).await;
    // The merge was version 6, which needs none of the files that are gone; the vacuum's own notes in the log come after it.
    let refused = ward.warehouse.query(COUNT, &at(3)).await.expect_err("its files are gone");
    assert_eq!(
        refused.to_string(),
        "table messages can no longer be read at version 3: its files were removed after warehouse.keep_days (30), or by an erasure; \
         the oldest version that can be read is 6"
    );
    assert_eq!(told_at(&ward.warehouse, COUNT, &at(6)).await, "5\n");
    // A pin is refused before anything of it is read, whichever of its tables is gone.
    let refused = ward.warehouse.query("SELECT 1", &pinned(&pin)).await.expect_err("its files are gone");
    assert!(refused.to_string().contains("can no longer be read at version 5"), "{refused}");
    let refused = ward.warehouse.query(COUNT, &at(99)).await.expect_err("not yet");
    assert!(refused.to_string().starts_with("table messages has no version 99; its newest is "), "{refused}");
}

#[tokio::test]
async fn a_version_whose_log_was_cleared_away_is_refused_the_same_way() {
    let mut ward = Ward::told(|settings| settings.checkpoint_commits = 1).await;
    for patient in 0..4 {
        ward.arrives(vec![Record::of(vec![fact(EventCode::PatientSex, &patient.to_string(), None, None)])]).await;
    }
    ward.warehouse.compact().await.expect("sums up");
    let log = ward.folder.path().join("messages/_delta_log");
    for version in 0..4 {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).expect("a commit");
    }
    let refused = ward.warehouse.query(COUNT, &at(1)).await.expect_err("its log is gone");
    assert!(refused.to_string().ends_with("the oldest version that can be read is 4"), "{refused}");
    assert_eq!(told_at(&ward.warehouse, COUNT, &at(4)).await, "4\n");
}
