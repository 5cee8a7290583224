//! What was known at a moment stays what it was, for every view and over random histories: what became known later changes none of it.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::history::{Line, OF_THE_LOG, batch, instant, rows, tied_history};
use crate::settings::Settings;
use crate::{AsOf, Format, Warehouse, render};

async fn append(warehouse: &Warehouse, lines: &[Line], offset: usize) {
    for (place, part) in lines.chunks(400).enumerate() {
        warehouse.append(&mut batch(part, offset + place * 400)).await.expect("appends");
    }
}

/// Every how many histories are asked by the functions too: what they read is the session's, and planning them is most of the time that this takes.
const BY_FUNCTIONS: u64 = 4;

/// One history: what its first part says in every view is what all of it says as known then. Of how many views the rest says something new.
async fn stays_what_it_was(seed: u64) -> usize {
    let folder = std::env::temp_dir().join(format!("wardstream-views-then-{}-{seed}", std::process::id()));
    let settings = Settings { url: folder.display().to_string(), ..Settings::default() };
    let warehouse = Warehouse::open(&settings).await.expect("opens");
    let lines = tied_history(seed, 45);
    let mut cut = lines.len() * 6 / 10;
    // Everything of one instant is known together.
    while lines[cut].known == lines[cut - 1].known {
        cut += 1;
    }
    let then = instant(lines[cut - 1].known);
    append(&warehouse, &lines[..cut], 0).await;
    let views: Vec<&str> = super::names().filter(|view| !OF_THE_LOG.contains(view)).collect();
    let mut stood = BTreeMap::new();
    for view in views {
        stood.insert(view, rows(&warehouse, view, &AsOf::default()).await);
    }
    append(&warehouse, &lines[cut..], cut).await;
    let at = AsOf { known_at: Some(then), ..AsOf::default() };
    let mut said = 0;
    for (view, stood) in &stood {
        said += usize::from(&rows(&warehouse, view, &AsOf::default()).await != stood);
        assert_eq!(&rows(&warehouse, view, &at).await, stood, "{view} as known at {then}, seed {seed}");
        if seed.is_multiple_of(BY_FUNCTIONS) {
            let function = format!("{view}_at(TIMESTAMP '{then}')");
            assert_eq!(&rows(&warehouse, &function, &AsOf::default()).await, stood, "{function}, seed {seed}");
        }
    }
    std::fs::remove_dir_all(&folder).expect("was made");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_known_later_changes_no_view_as_it_was_known() {
    let mut histories: JoinSet<usize> = JoinSet::new();
    for seed in 3..=12 {
        histories.spawn(stays_what_it_was(seed));
    }
    for said in histories.join_all().await {
        assert!(said > 15, "the rest of a history says something new in {said} views only");
    }
}

#[tokio::test]
async fn a_moment_is_an_instant_and_never_beyond_the_sessions_own() {
    let folder = std::env::temp_dir().join(format!("wardstream-moments-{}", std::process::id()));
    let settings = Settings { url: folder.display().to_string(), ..Settings::default() };
    let warehouse = Warehouse::open(&settings).await.expect("opens");
    let lines = tied_history(5, 20);
    append(&warehouse, &lines, 0).await;
    let half = instant(lines[lines.len() / 2].known);
    let last = instant(lines[lines.len() - 1].known);
    let ask = async |sql: &str, at: &AsOf| warehouse.query(sql, at).await.map(|batches| render(&batches, Format::Csv).expect("csv"));
    let at = AsOf { known_at: Some(half), ..AsOf::default() };
    let all = ask("SELECT count(*) AS n FROM encounters", &AsOf::default()).await.expect("answers");
    let then = ask("SELECT count(*) AS n FROM encounters", &at).await.expect("answers");
    assert_ne!(all, then);
    let count = |moment: &str| format!("SELECT count(*) AS n FROM encounters_at({moment})");
    // A text, an expression, an alias with a filter, and two moments beside each other.
    assert_eq!(ask(&count(&format!("'{half}'")), &AsOf::default()).await.expect("answers"), then);
    assert_eq!(
        ask(&count(&format!("TIMESTAMP '{half}' + INTERVAL '1 hour' - INTERVAL '60 minutes'")), &AsOf::default()).await.expect("answers"),
        then
    );
    let joined = format!(
        "SELECT count(*) AS n FROM encounters_at('{half}') AS e JOIN encounters_at('{last}') AS f ON f.encounter_id = e.encounter_id WHERE e.admitted_at < '2099-01-01T00:00:00Z'"
    );
    assert!(!ask(&joined, &AsOf::default()).await.expect("answers").contains("\n0\n"));
    // The session of an earlier moment sees no further by asking for a later one.
    assert_eq!(ask(&count(&format!("'{last}'")), &at).await.expect("answers"), then);
    for wrong in ["encounters_at()", "encounters_at(NULL)", "encounters_at('soon')", "encounters_at(1.5 || 'x')"] {
        let error = ask(&format!("SELECT * FROM {wrong}"), &AsOf::default()).await.expect_err("no instant");
        assert!(error.to_string().contains("encounters_at"), "{wrong}: {error}");
    }
    std::fs::remove_dir_all(&folder).expect("was made");
}
