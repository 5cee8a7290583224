//! The corpus of messages that we did not write: what comes out of it is held here, where it lies beside the project.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use schemas::{Facility, NoteKind, NoteStatus, Outcome};

use crate::Mapped;

/// The files of a sub-folder in the order of their names; `None`, with a plain word about it, where the corpus is absent.
pub(super) fn files(sub: &str) -> Option<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(option_env!("WARDSTREAM_CORPUS").unwrap_or("../shared/corpus"))
        .join("fhir")
        .join(sub);
    let Ok(listing) = std::fs::read_dir(&folder) else {
        let word =
            "the corpus is absent (WARDSTREAM_CORPUS at build time, or ../shared/corpus): its FHIR records are not held against anything\n";
        std::io::stderr().write_all(word.as_bytes()).expect("stderr takes a line");
        return None;
    };
    let mut files: Vec<_> = listing.filter_map(|file| Some(file.ok()?.path())).collect();
    files.sort();
    Some(files.iter().map(|file| std::fs::read(file).expect("a file of the corpus can be read")).collect())
}

/// All parts of all files of a sub-folder.
fn mapped(sub: &str) -> Option<Vec<Mapped>> {
    let facility = Facility::new("south");
    Some(files(sub)?.iter().flat_map(|file| super::map(file, &facility)).collect())
}

fn facts(parts: &[Mapped]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for fact in parts.iter().flat_map(|part| &part.facts) {
        *counts.entry(fact.code.as_str()).or_default() += 1;
    }
    counts
}

fn decisions(parts: &[Mapped]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for fact in parts.iter().flat_map(|part| &part.facts).filter(|fact| fact.code == schemas::EventCode::ClaimDecided) {
        *counts.entry(fact.text_value.clone().unwrap_or_default()).or_default() += 1;
    }
    counts
}

fn rejects(parts: &[Mapped]) -> usize {
    parts.iter().map(|part| part.rejects.len()).sum()
}

#[test]
fn every_encounter_and_note_of_the_bulk_export_comes_out() {
    let Some(parts) = mapped("bulk-10-patients") else { return };
    let counts = facts(&parts);
    assert_eq!(rejects(&parts), 0);
    assert_eq!((counts["encounter.admitted"], counts["encounter.registered"], counts["encounter.discharged"]), (51, 1_164, 51));
    assert_eq!((counts["patient.sex"], counts["patient.died"], counts["encounter.diagnosed"]), (13, 3, 555));
    let notes: Vec<_> = parts.iter().flat_map(|part| &part.notes).collect();
    assert_eq!(notes.len(), 1_215);
    assert_eq!(notes.iter().filter(|note| note.kind == NoteKind::Admission).count(), 912);
    assert!(notes.iter().all(|note| note.encounter.is_some() && note.patient.is_some() && note.authored_at.is_some()));
    assert!(notes.iter().all(|note| note.status == NoteStatus::Final && note.text.len() > 100 && note.text.contains("# Chief Complaint")));
}

#[test]
fn claims_of_synthea_bundles_are_tied_to_their_stays() {
    let Some(parts) = mapped("synthea-bundles") else { return };
    let counts = facts(&parts);
    assert_eq!(rejects(&parts), 0);
    assert_eq!((parts.len(), counts["encounter.registered"], counts["claim.submitted"], counts["claim.decided"]), (10, 138, 166, 138));
    assert!(parts.iter().all(|part| part.trigger.as_deref() == Some("Bundle/transaction") && part.stated_at.is_some()));
    let has_stay = |code: schemas::EventCode| {
        let facts = parts.iter().flat_map(|part| &part.facts);
        facts.filter(|fact| fact.code == code && fact.encounter.is_some() && fact.related.is_some()).count()
    };
    assert_eq!((has_stay(schemas::EventCode::ClaimSubmitted), has_stay(schemas::EventCode::ClaimDecided)), (166, 138));
    let names_nobody = |fact: &&schemas::Fact| fact.patient.is_none();
    assert_eq!(parts.iter().flat_map(|part| &part.facts).filter(names_nobody).count(), 0);
    assert_eq!(decisions(&parts), BTreeMap::from([("paid".to_owned(), 138)]));
}

#[test]
fn what_a_payer_sends_is_no_denial_where_it_paid() {
    let Some(parts) = mapped("bluebutton-eob") else { return };
    assert_eq!(rejects(&parts), 0);
    assert_eq!(decisions(&parts), BTreeMap::from([("paid".to_owned(), 23)]));
}

#[test]
fn examples_are_mapped_or_say_why_not() {
    let Some(mut parts) = mapped("us-core") else { return };
    parts.extend(mapped("official-r4").unwrap_or_default());
    for part in &parts {
        let has_reason = !part.rejects.is_empty();
        assert_eq!(has_reason, matches!(part.outcome, Outcome::Partly | Outcome::Rejected), "{:?}", part.trigger);
        let known = [
            "attachment is not text",
            "attachment lies outside this record",
            "it does not say when it began",
            "it is finished and does not say when it ended",
        ];
        assert!(part.rejects.iter().all(|reject| known.contains(&reject.reason.as_ref())), "{:?}", part.rejects);
    }
    let counts = facts(&parts);
    assert_eq!((counts["encounter.admitted"], counts["encounter.diagnosed"], counts["patient.race"]), (3, 8, 4));
    assert_eq!(parts.iter().map(|part| part.notes.len()).sum::<usize>(), 4);
}
