//! The maps against messages that we did not write: the corpus folder, where it is present.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use schemas::{EventCode, Facility, Format, Outcome};

use crate::{Mapped, map_record, split};

/// The folder `name` of the corpus; where it is absent, the test says so and has nothing to test.
pub(super) fn folder(name: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus");
    let folder = PathBuf::from(option_env!("WARDSTREAM_CORPUS").unwrap_or(beside)).join(name);
    if !folder.is_dir() {
        eprintln!("the corpus is absent, so nothing was tested against it: name its folder in WARDSTREAM_CORPUS when building");
    }
    folder.is_dir().then_some(folder)
}

/// The messages below `folder`, in order.
pub(super) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "hl7" || extension == "out") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn parts(path: &Path) -> io::Result<Vec<Mapped>> {
    let bytes = std::fs::read(path)?;
    Ok(split::records(&bytes).into_iter().flat_map(|record| map_record(record, &Facility::new("corpus"))).collect())
}

#[test]
fn what_others_send_is_read_and_what_cannot_be_is_said() -> io::Result<()> {
    let Some(folder) = folder("hl7v2") else { return Ok(()) };
    let mut rejected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in files(&folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parts = parts(&path)?;
        assert!(!parts.is_empty(), "{name}");
        for part in parts.iter().filter(|part| part.outcome == Outcome::Rejected) {
            let said = part.rejects.iter().map(|reject| format!("{}: {}", reject.position, reject.reason));
            rejected.entry(name.clone()).or_default().extend(said);
        }
    }
    let names: Vec<&str> = rejected.keys().map(String::as_str).collect();
    // No header; no patient and no stay; segment names that are none; a message that holds nothing but a damaged attachment.
    assert_eq!(
        names,
        [
            "fixtures__edge-empty-segments.hl7",
            "fixtures__invalid-missing-msh.hl7",
            "fixtures__invalid-segment-header-length.hl7",
            "malformed__no-msh-segment.hl7",
            "obx__OBX-to-Observation-ed-value.hl7",
        ]
    );
    assert!(rejected.values().all(|said| !said.is_empty()));
    Ok(())
}

#[test]
fn a_file_is_as_many_records_as_it_holds() -> io::Result<()> {
    let Some(hl7) = folder("hl7v2") else { return Ok(()) };
    let Some(bulk) = folder("fhir/bulk-10-patients") else { return Ok(()) };
    let count = |path: PathBuf| std::fs::read(path).map(|bytes| split::records(&bytes).len());
    assert_eq!(count(hl7.join("simhospital-sample/artifacts__messages.out"))?, 1_013);
    assert_eq!(count(hl7.join("cosyte-sample/batch__single-batch.hl7"))?, 2);
    assert_eq!(count(bulk.join("Patient.ndjson"))?, 13);
    assert_eq!(count(bulk.join("Encounter.ndjson"))?, 1_215);
    assert_eq!(count(bulk.join("DocumentReference.ndjson"))?, 1_215);
    Ok(())
}

#[test]
fn a_simulated_hospital_is_understood() -> io::Result<()> {
    let Some(folder) = folder("hl7v2/simhospital-sample") else { return Ok(()) };
    let parts = parts(&folder.join("artifacts__messages.out"))?;
    let patients: std::collections::BTreeSet<_> =
        parts.iter().flat_map(|part| &part.facts).filter_map(|fact| fact.patient.clone()).collect();
    let facts = |code: EventCode| parts.iter().flat_map(|part| &part.facts).filter(|fact| fact.code == code).count();
    assert!(parts.iter().all(|part| part.format == Format::Hl7v2 && part.sent_at.is_some() && part.rejects.is_empty()));
    assert_eq!((facts(EventCode::EncounterAdmitted), facts(EventCode::PatientMerged)), (400, 1));
    assert!(patients.len() >= 400, "{}", patients.len());
    Ok(())
}
