//! Sending as engines do: late, out of order, repeated, corrected, cancelled, merged; a file a month and feed.

mod north;
mod south;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use jiff::{Timestamp, tz::TimeZone};
use schemas::Task;

use crate::chance::Chance;
use crate::plan::Plan;
use crate::process::{self, Patient};
use crate::truth::{self, TruthLine, ceiling};

/// The simulation could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write {}", path.display())]
pub struct SimulateError {
    path: PathBuf,
    source: std::io::Error,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Stays that stand.
    pub stays: usize,
    /// Records of all feeds, repeats included.
    pub records: usize,
    /// Versions of notes.
    pub notes: usize,
}

/// Which file a record goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Channel {
    Hl7,
    Claims,
    Fhir,
}

/// A record and when it is sent.
struct Record {
    at: Timestamp,
    channel: Channel,
    bytes: Vec<u8>,
}

/// What a patient's stays make the engine send.
struct Outbox {
    records: Vec<Record>,
    notes: usize,
}

impl Outbox {
    fn send(&mut self, at: Timestamp, channel: Channel, mut bytes: Vec<u8>) {
        if channel != Channel::Hl7 {
            bytes.push(b'\n');
        }
        self.records.push(Record { at, channel, bytes });
    }

    /// Two in a hundred records are sent again within the hour, byte for byte.
    fn repeat(&mut self, chance: &mut Chance) {
        let mut again = Vec::new();
        for record in &self.records {
            if chance.hit(0.02) {
                again.push(Record { at: chance.after(record.at, 0.01, 1.0), channel: record.channel, bytes: record.bytes.clone() });
            }
        }
        self.records.extend(again);
    }
}

/// Simulates a plan into a folder: `hl7/YYYY-MM.hl7`, `hl7/YYYY-MM.claims.ndjson`, `fhir/YYYY-MM.ndjson`, `truth.jsonl`.
///
/// # Errors
/// Where a file cannot be written.
pub fn simulate(plan: &Plan, out: &Path) -> Result<Sent, SimulateError> {
    let mut sent = Sent::default();
    let mut records = Vec::new();
    let mut lines = Vec::new();
    for number in 0..plan.patients {
        let mut chance = Chance::of(plan.seed, number);
        let patient = process::patient(plan, number, &mut chance);
        let mut outbox = Outbox { records: Vec::new(), notes: 0 };
        if patient.north {
            north::speak(plan, &patient, &mut outbox, &mut chance)
        } else {
            south::speak(plan, &patient, &mut outbox, &mut chance)
        }
        outbox.repeat(&mut chance);
        sent.stays += patient.stays.len();
        sent.notes += outbox.notes;
        records.extend(outbox.records);
        lines.extend(patient.stays.iter().enumerate().flat_map(|(index, stay)| truth::lines(&patient, index, stay)));
    }
    records.retain(|record| record.at < process::end(plan));
    records.sort_by(|a, b| (a.at, a.channel, &a.bytes).cmp(&(b.at, b.channel, &b.bytes)));
    sent.records = records.len();
    write_records(&records, out)?;
    write_truth(&lines, &out.join("truth.jsonl"))?;
    Ok(sent)
}

fn write_records(records: &[Record], out: &Path) -> Result<(), SimulateError> {
    for folder in ["hl7", "fhir"] {
        let path = out.join(folder);
        std::fs::create_dir_all(&path).map_err(|source| SimulateError { path, source })?;
    }
    for channel in [Channel::Hl7, Channel::Claims, Channel::Fhir] {
        let mut open: Option<(String, BufWriter<File>)> = None;
        for record in records.iter().filter(|record| record.channel == channel) {
            let month = TimeZone::UTC.to_datetime(record.at).strftime("%Y-%m").to_string();
            let name = match channel {
                Channel::Hl7 => format!("hl7/{month}.hl7"),
                Channel::Claims => format!("hl7/{month}.claims.ndjson"),
                Channel::Fhir => format!("fhir/{month}.ndjson"),
            };
            let path = out.join(&name);
            let failed = |source| SimulateError { path: path.clone(), source };
            if open.as_ref().is_none_or(|(opened, _)| *opened != name) {
                open = Some((name, BufWriter::new(File::create(&path).map_err(failed)?)));
            }
            if let Some((_, file)) = &mut open {
                file.write_all(&record.bytes).map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn write_truth(lines: &[TruthLine], path: &Path) -> Result<(), SimulateError> {
    let failed = |source| SimulateError { path: path.to_owned(), source };
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    for line in lines {
        serde_json::to_writer(&mut file, line).map_err(|error| failed(error.into()))?;
        file.write_all(b"\n").map_err(failed)?;
    }
    for task in Task::ALL {
        let n = lines.iter().filter(|line| line.task == task).count();
        let summary = serde_json::json!({"task": task, "ceiling": ceiling(lines, task), "n": n});
        writeln!(file, "{summary}").map_err(failed)?;
    }
    file.flush().map_err(failed)
}

/// Whole years between birth and an instant.
fn age(patient: &Patient, at: Timestamp) -> i32 {
    let day = TimeZone::UTC.to_datetime(at).date();
    (day.since(patient.birth).map(|span| span.get_days()).unwrap_or(0)) / 365
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Shift, ShiftKind, Speak};

    fn plan(seed: u64) -> Plan {
        let shift = Some(Shift { kind: ShiftKind::Concept, at: jiff::civil::date(2020, 7, 1) });
        Plan { seed, patients: 900, from: jiff::civil::date(2019, 1, 1), to: jiff::civil::date(2021, 1, 1), speak: Speak::Both, shift }
    }

    fn bytes(folder: &Path) -> Vec<u8> {
        let mut all = Vec::new();
        for part in ["hl7", "fhir"] {
            let mut files: Vec<_> =
                std::fs::read_dir(folder.join(part)).expect("was written").map(|entry| entry.expect("reads").path()).collect();
            files.sort();
            files.iter().for_each(|file| all.extend(std::fs::read(file).expect("reads")));
        }
        all.extend(std::fs::read(folder.join("truth.jsonl")).expect("reads"));
        all
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let root = std::env::temp_dir().join(format!("hospital-{}", std::process::id()));
        let make = |name: &str, seed| {
            simulate(&plan(seed), &root.join(name)).expect("writes");
            bytes(&root.join(name))
        };
        let (one, two, other) = (make("one", 5), make("two", 5), make("other", 6));
        std::fs::remove_dir_all(&root).expect("was written");
        assert!(one == two && one != other);
        for trigger in [
            "ADT^A01",
            "ADT^A02",
            "ADT^A03",
            "ADT^A08",
            "ADT^A11",
            "ADT^A13",
            "MDM^T02",
            "MDM^T08",
            "ORU^R01",
            "DFT^P03",
            "DocumentReference",
            "ClaimResponse",
        ] {
            assert!(String::from_utf8_lossy(&one).contains(trigger), "{trigger} is never sent");
        }
    }

    /// A readmission is what happens to the same patient within thirty days, and nothing else.
    #[test]
    fn the_truth_is_the_processs_own() {
        for number in 0..400 {
            let mut chance = Chance::of(11, number);
            let patient = process::patient(&plan(11), number, &mut chance);
            for pair in patient.stays.windows(2) {
                let [stay, next] = pair else { continue };
                let days = next.admitted_at.duration_since(stay.discharged_at).as_secs_f64() / 86_400.0;
                assert_eq!(stay.readmitted, days > 0.0 && days <= 30.0);
                assert!(!stay.died);
            }
        }
    }

    #[test]
    fn every_task_has_a_ceiling_worth_reaching() {
        let lines: Vec<TruthLine> = (0..3_000)
            .flat_map(|number| {
                let mut chance = Chance::of(3, number);
                let patient = process::patient(&plan(3), number, &mut chance);
                patient.stays.iter().enumerate().flat_map(|(index, stay)| truth::lines(&patient, index, stay)).collect::<Vec<_>>()
            })
            .collect();
        for task in Task::ALL {
            let best = ceiling(&lines, task).expect("every class occurs");
            assert!((0.68..0.93).contains(&best), "{task}: {best}");
        }
    }
}
