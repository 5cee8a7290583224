//! A dataset's examples, by note. Its id is the warehouse's: `wardstream dataset all` writes the same examples, of the same splits, under the same id.

use std::collections::BTreeMap;

use schemas::{NoteVersionId, Task};
use warehouse::Example;

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
