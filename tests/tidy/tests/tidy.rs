//! What no lint can guard: names, lengths, homes of dependencies, the crate graph, and that everything in `deploy` parses.

use std::error::Error;
use std::process::Command;

use tidy::{SourceFile, files, graph, homes, manifests, root, top_level};

type Checked = Result<(), Box<dyn Error>>;

const LINE_LIMIT: usize = 500;
const BANNED_NAMES: [&str; 12] =
    ["util", "utils", "common", "helper", "helpers", "misc", "shared", "type", "types", "manager", "managers", "mod"];
/// Each heavy dependency, and the only crates that may depend on it. `tests` breaks brokers, and needs the client's mock for it.
const HOMES: [(&str, &[&str]); 9] = [
    ("rdkafka", &["bus", "tests"]),
    ("deltalake-core", &["warehouse"]),
    ("datafusion", &["warehouse"]),
    ("datafusion-postgres", &["warehouse"]),
    ("deadpool-postgres", &["warehouse"]),
    ("candle-core", &["model"]),
    ("candle-nn", &["model"]),
    ("candle-transformers", &["model"]),
    ("tokenizers", &["model"]),
];

/// Fails with all offences, so that one run shows them all.
fn none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}\n  {}", offences.join("\n  "));
}

fn rust() -> Result<Vec<SourceFile>, Box<dyn Error>> {
    let rust: Vec<SourceFile> = files()?.into_iter().filter(|file| file.path.ends_with(".rs")).collect();
    assert!(rust.len() > 10, "the walk has lost its way");
    Ok(rust)
}

fn offenders(files: &[SourceFile], offends: impl Fn(&SourceFile) -> bool) -> Vec<String> {
    files.iter().filter(|file| offends(file)).map(|file| file.path.clone()).collect()
}

#[test]
fn the_top_level_is_as_the_owners_fixed_it() -> Checked {
    let fixed =
        ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "deploy", "ingest", "schemas", "scorer", "tests", "trainer", "warehouse"];
    assert_eq!(top_level()?, fixed);
    Ok(())
}

#[test]
fn no_file_or_folder_has_a_name_that_takes_anything_in() -> Checked {
    let banned = |part: &str| BANNED_NAMES.contains(&part.split('.').next().unwrap_or(part));
    none(&offenders(&rust()?, |file| file.path.split('/').any(banned)), "a line that fits no room is a design question");
    Ok(())
}

#[test]
fn every_source_file_begins_with_what_it_owns() -> Checked {
    none(&offenders(&rust()?, |file| !file.text.starts_with("//! ")), "the first line begins with `//! `");
    Ok(())
}

#[test]
fn no_source_file_is_longer_than_the_limit() -> Checked {
    none(&offenders(&rust()?, |file| file.text.lines().count() > LINE_LIMIT), "at most 500 lines; split by subject");
    Ok(())
}

#[test]
fn no_lint_is_silenced_and_no_test_is_ignored() -> Checked {
    let words = [["#[", "allow("].concat(), ["#![", "allow("].concat(), ["#[", "ignore"].concat()];
    let offends = |file: &SourceFile| words.iter().any(|word| file.text.contains(word.as_str()));
    none(&offenders(&rust()?, offends), "use `#[expect(.., reason = \"..\")]`; a test that is not run is removed");
    Ok(())
}

#[test]
fn every_heavy_dependency_stays_at_home() -> Checked {
    let manifests = manifests()?;
    let heavy: Vec<&str> = HOMES.iter().map(|(dependency, _)| *dependency).collect();
    let found = homes(&manifests, &heavy);
    let mut offences = Vec::new();
    for (dependency, allowed) in HOMES {
        let strays = found.get(dependency).into_iter().flatten().filter(|home| !allowed.contains(home));
        offences.extend(strays.map(|home| format!("{home} depends on {dependency}")));
    }
    none(&offences, "one home for each heavy dependency");
    Ok(())
}

#[test]
fn arrows_between_rooms_go_one_way() -> Checked {
    let forbidden = [
        ("schemas", &["bus", "maps", "model", "warehouse", "ingest", "scorer", "trainer", "tokio"] as &[&str]),
        ("model", &["warehouse", "bus", "tokio", "ingest", "scorer", "trainer"]),
        ("maps", &["warehouse", "bus", "tokio", "model"]),
        ("bus", &["warehouse", "maps", "model"]),
        ("measures", &["schemas", "warehouse", "arrow", "datafusion", "tokio"]),
        ("cohorts", &["schemas", "warehouse", "datafusion", "tokio"]),
        ("envelope", &["warehouse", "bus", "model", "ingest", "scorer", "trainer"]),
        ("mllp", &["warehouse", "maps", "model", "ingest", "scorer", "trainer"]),
        ("warehouse", &["bus", "maps", "model", "ingest", "scorer", "trainer"]),
        ("ingest", &["scorer", "trainer", "model"]),
        ("scorer", &["ingest", "trainer", "maps"]),
        ("trainer", &["ingest", "scorer", "bus", "maps"]),
        ("hospital", &["bus", "maps", "model", "warehouse", "ingest", "scorer", "trainer"]),
    ];
    let manifests = manifests()?;
    let mut offences = Vec::new();
    for (room, refused) in forbidden {
        let manifest = manifests.iter().find(|manifest| manifest.name == room).ok_or(room)?;
        let arrows = manifest.dependencies.iter().filter(|name| refused.contains(&name.as_str()));
        offences.extend(arrows.map(|name| format!("{room} -> {name}")));
    }
    none(&offences, "every arrow goes from a room to something it may use");
    Ok(())
}

#[test]
fn the_crate_graph_is_the_reviewed_one() -> Checked {
    let heavy: Vec<&str> = HOMES.iter().map(|(dependency, _)| *dependency).collect();
    let drawn = graph(&manifests()?, &heavy);
    let golden = std::fs::read_to_string(root().join("tests/tidy/crate-graph.txt"))?;
    assert!(drawn == golden, "the crate graph changed; if it should have, tests/tidy/crate-graph.txt becomes:\n{drawn}");
    Ok(())
}

#[test]
fn every_view_says_its_grain_and_shows_its_rows() -> Checked {
    let files = files()?;
    let views =
        files.iter().filter(|file| file.path.starts_with("warehouse/") && file.path.contains("views/") && file.path.ends_with(".sql"));
    let mut offences = Vec::new();
    for view in views {
        let name = view.path.rsplit('/').next().and_then(|name| name.strip_suffix(".sql")).unwrap_or_default();
        if !view.text.starts_with(&format!("-- {name}: ")) {
            offences.push(format!("{} does not begin with `-- {name}: <its grain>`", view.path));
        }
        let shown = view.path.replace(".sql", ".slt");
        if !files.iter().any(|file| file.path == shown) {
            offences.push(format!("{shown} is missing"));
        }
    }
    none(&offences, "a view states its grain, and its .slt shows the rows it must give");
    Ok(())
}

#[test]
fn everything_in_deploy_parses() -> Checked {
    let mut offences = Vec::new();
    let scripts = ["tests/run", "tests/clients", "tests/cuda-check"];
    for file in files()?.iter().filter(|file| file.path.starts_with("deploy/") || scripts.contains(&file.path.as_str())) {
        let extension = file.path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension);
        let parses = match extension {
            Some("toml") => file.text.parse::<toml::Table>().is_ok(),
            Some("json") => serde_json::from_str::<serde_json::Value>(&file.text).is_ok(),
            Some("xml") => is_well_formed(&file.text),
            _ if file.text.starts_with("#!/usr/bin/env bash") => {
                file.text.contains("set -euo pipefail") && Command::new("bash").arg("-n").arg(root().join(&file.path)).status()?.success()
            }
            _ => true,
        };
        if !parses {
            offences.push(file.path.clone());
        }
    }
    none(&offences, "must parse; scripts begin with `set -euo pipefail`");
    Ok(())
}

/// Enough of XML for the manifests here: every element that opens closes, in order.
fn is_well_formed(text: &str) -> bool {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('<') {
        let end = if after.starts_with("!--") { "-->" } else { ">" };
        let Some((tag, further)) = after.split_once(end) else { return false };
        rest = further;
        let name = tag.trim_start_matches('/').split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
        if tag.starts_with('!') || tag.starts_with('?') || tag.ends_with('/') {
            continue;
        }
        if !tag.starts_with('/') {
            open.push(name);
        } else if open.pop() != Some(name) {
            return false;
        }
    }
    open.is_empty()
}

/// The well-formedness check can fail.
#[test]
fn broken_xml_is_noticed() {
    assert!(is_well_formed("<?xml version=\"1.0\"?><!-- a > b --><a x=\"1\"><b/><c>t</c></a>"));
    assert!(!is_well_formed("<a><b></a></b>"));
    assert!(!is_well_formed("<a>"));
}
