//! `wardstream doctor`: what it finds where nothing runs, where something is wrong and where all is well, and that nothing holds it up.
#![cfg(feature = "live")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tests::stand::Stand;

/// It looks no longer than ten seconds; the rest is for a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(serde::Deserialize)]
struct Finding {
    check: String,
    state: String,
    found: String,
    what_to_do: String,
}

/// The findings by check, and the exit code.
fn asked(stand: &Stand) -> anyhow::Result<(BTreeMap<String, Finding>, Option<i32>)> {
    let began = Instant::now();
    let output = stand.run(&["doctor", "--format", "json"])?;
    assert!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
    let findings: Vec<Finding> =
        serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((findings.into_iter().map(|finding| (finding.check.clone(), finding)).collect(), output.status.code()))
}

fn state<'a>(findings: &'a BTreeMap<String, Finding>, check: &str) -> &'a str {
    findings.get(check).map_or("not there", |finding| finding.state.as_str())
}

#[test]
fn where_nothing_runs_nothing_is_wrong_and_nothing_is_made() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    let (findings, code) = asked(&stand)?;
    for check in ["configuration", "disk", "memory", "processor", "clock"] {
        assert_eq!(state(&findings, check), "ok", "{check}");
    }
    for check in ["state folder", "warehouse", "replay", "kafka", "registry", "weights", "champion"] {
        assert_eq!(state(&findings, check), "not asked", "{check}");
    }
    assert_eq!((findings.len(), code), (12, Some(0)));
    assert!(!stand.path().join(".wardstream").exists(), "looking made a folder");
    assert_eq!(stand.run(&["doctor", "--format", "parquet"])?.status.code(), Some(2));
    Ok(())
}

/// As where it lies in another user's folder. Whoever asks what is wrong is told, and of all else.
#[test]
fn addresses_that_cannot_be_read_are_wrong_and_no_end_of_looking() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    std::fs::create_dir(stand.path().join(".wardstream"))?;
    std::fs::write(stand.path().join(".wardstream/services.json"), "{")?;
    let (findings, code) = asked(&stand)?;
    let folder = findings.get("state folder").context("is asked")?;
    assert!(folder.state == "wrong" && folder.found.contains("could not read the addresses"), "{}", folder.found);
    assert_eq!((state(&findings, "memory"), findings.len(), code), ("ok", 12, Some(1)));
    Ok(())
}

#[test]
fn what_does_not_answer_is_wrong_and_holds_nothing_up() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    // Somebody listens there, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let at = silent.local_addr()?;
    stand.configure(&format!(
        "[bus]\nbrokers = \"{at}\"\n[registry]\nurl = \"postgresql://nobody@{at}/nothing\"\n[warehouse]\nmemory_limit_mb = 1000000000"
    ))?;
    let (findings, code) = asked(&stand)?;
    for check in ["kafka", "registry", "memory"] {
        let finding = findings.get(check).context("is asked")?;
        assert_eq!(finding.state, "wrong", "{check}: {}", finding.found);
        assert!(!finding.what_to_do.is_empty() && !finding.found.contains('\n'), "{check}");
    }
    assert_eq!((state(&findings, "champion"), code), ("not asked", Some(1)));
    Ok(())
}

#[test]
fn with_its_services_all_is_well_but_a_topic() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    // Looking brings no schema forward: the second time it finds what the first did.
    for _ in 0..2 {
        let (findings, code) = asked(&stand)?;
        assert_eq!((state(&findings, "registry"), state(&findings, "kafka"), code), ("not asked", "ok", Some(0)));
    }
    assert_eq!(stand.count("SELECT count(*) FROM messages")?, 0);
    let (findings, code) = asked(&stand)?;
    for check in ["state folder", "warehouse", "replay", "kafka", "registry"] {
        let finding = findings.get(check).context("is asked")?;
        assert_eq!(finding.state, "ok", "{check}: {}", finding.found);
    }
    assert_eq!((state(&findings, "champion"), code), ("not asked", Some(0)));
    stand.configure("[[mllp.ports]]\nlisten = \"127.0.0.1:0\"\ntopic = \"hl7.other\"")?;
    let (findings, code) = asked(&stand)?;
    let kafka = findings.get("kafka").context("is asked")?;
    assert!(kafka.state == "wrong" && kafka.found.ends_with("lacks hl7.other") && code == Some(1), "{}", kafka.found);
    stand.must(&["topics", "create"])?;
    let (findings, code) = asked(&stand)?;
    assert_eq!((state(&findings, "kafka"), code), ("ok", Some(0)));
    Ok(())
}
