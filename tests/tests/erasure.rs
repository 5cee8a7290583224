//! What an erasure refuses.
#![cfg(feature = "live")]

use anyhow::{Context as _, ensure};
use tests::stand::{Stand, files};

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
