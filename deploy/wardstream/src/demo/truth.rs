//! The hospital's truth, read from its own file, never from its messages.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

/// What the hospital knows about one (stay, task).
pub struct Known {
    pub label: i32,
    pub probability: Vec<f64>,
}

/// (task, encounter id) to what is known.
pub type Truth = BTreeMap<(String, String), Known>;

#[derive(Deserialize)]
struct Line {
    task: String,
    encounter_id: Option<String>,
    label: Option<i32>,
    #[serde(default)]
    probability: Vec<f64>,
}

/// Reads `truth.jsonl`; lines without a stay tell ceilings and are passed over.
pub fn read(file: &Path) -> anyhow::Result<Truth> {
    let reader = std::io::BufReader::new(std::fs::File::open(file).with_context(|| format!("could not read {}", file.display()))?);
    let mut truth = Truth::new();
    for line in reader.lines() {
        let line: Line = serde_json::from_str(&line?).context("a line of truth.jsonl is not what the hospital writes")?;
        if let (Some(encounter), Some(label)) = (line.encounter_id, line.label) {
            truth.insert((line.task, encounter), Known { label, probability: line.probability });
        }
    }
    Ok(truth)
}
