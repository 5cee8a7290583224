//! A dataset: examples at a pinned version, by note, with an id that says what they are.

use std::collections::BTreeMap;

use schemas::{DatasetId, Digest, NoteVersionId, Task};
use warehouse::{Example, Pin};

/// Rules that stand in code rather than in a table; raised when they change.
const RULES: &str = "five tasks, joint, prompt note's first version, rules 1";

/// Sixteen digits over tasks, table versions, code set, rules and periods.
pub fn id(pin: &Pin, periods: &str) -> DatasetId {
    let tasks: Vec<&str> = Task::ALL.iter().map(|task| task.as_str()).collect();
    let versions: Vec<String> = pin.versions.iter().map(|(table, version)| format!("{}={version}", table.as_str())).collect();
    let whole = [tasks.join(","), versions.join(","), warehouse::CODE_SET.to_owned(), RULES.to_owned(), periods.to_owned()].join("\u{1f}");
    DatasetId(Digest::of(whole.as_bytes()).to_string().chars().take(16).collect())
}

/// One note with every question about it whose answer is known.
pub struct Known<'a> {
    /// Its text.
    pub text: &'a str,
    /// The answers.
    pub answers: Vec<(Task, i32)>,
}

/// Examples that `keep` lets through, one entry a note, in the order of prediction time.
pub fn by_note<'a>(examples: &'a [Example], keep: impl Fn(&Example) -> bool) -> Vec<Known<'a>> {
    let mut order: Vec<NoteVersionId> = Vec::new();
    let mut notes: BTreeMap<NoteVersionId, Known<'a>> = BTreeMap::new();
    for example in examples.iter().filter(|example| keep(example)) {
        let known = notes.entry(example.note_version_id).or_insert_with(|| {
            order.push(example.note_version_id);
            Known { text: &example.text, answers: Vec::new() }
        });
        known.answers.push((example.task, example.label));
    }
    order.iter().filter_map(|note| notes.remove(note)).collect()
}
