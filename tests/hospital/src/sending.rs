//! Sending as engines do: late, out of order, repeated, corrected, cancelled, merged; a file a month and feed.

mod north;
mod notes;
mod south;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use jiff::{Timestamp, tz::TimeZone};
use schemas::Task;

pub use notes::{Act, Writing, number as note_number};

use crate::chance::{Chance, Draw};
use crate::plan::{Plan, ShiftKind, Speak};
use crate::process::{self, Patient, Stay, feed_shifted};
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
#[derive(Default)]
struct Outbox {
    records: Vec<Record>,
    notes: usize,
    /// Numbers of the notes that were sent before the end.
    documents: BTreeSet<String>,
    end: Timestamp,
}

/// How things are sent, and how they are worded.
struct Random {
    sending: Chance,
    prose: Chance,
}

impl Outbox {
    /// Keeps in mind that a note is sent.
    fn signed(&mut self, writing: &Writing<'_>) {
        self.notes += 1;
        if writing.sent_at < self.end {
            self.documents.insert(writing.document.clone());
        }
    }

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
        let patient = process::patient(plan, number, &mut Chance::of(plan.seed, number, Draw::Process));
        let mut outbox = Outbox { end: process::end(plan), ..Outbox::default() };
        let mut random =
            Random { sending: Chance::of(plan.seed, number, Draw::Sending), prose: Chance::of(plan.seed, number, Draw::Prose) };
        if patient.north {
            north::speak(plan, &patient, &mut outbox, &mut random);
        } else {
            south::speak(plan, &patient, &mut outbox, &mut random);
        }
        outbox.repeat(&mut random.sending);
        sent.stays += patient.stays.len();
        sent.notes += outbox.notes;
        records.extend(outbox.records);
        let told = |(index, stay)| truth::lines(&patient, index, stay, &outbox.documents);
        lines.extend(patient.stays.iter().enumerate().flat_map(told));
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
    day.since((jiff::Unit::Year, patient.birth)).map_or(0, |span| i32::from(span.get_years()))
}

/// Whether fields go missing: in north's feed, or in south's where south alone speaks.
fn losing(plan: &Plan, patient: &Patient, at: Timestamp) -> bool {
    (patient.north || plan.speak == Speak::Fhir) && feed_shifted(plan, ShiftKind::Field, at)
}

/// Whether the engine leaves the visit number out.
fn visit_gone(plan: &Plan, patient: &Patient, at: Timestamp, chance: &mut Chance) -> bool {
    chance.hit(0.6) && losing(plan, patient, at)
}

/// Whether the engine leaves the department out; rehabilitation, dialysis and palliative care have systems of their own,
/// which still fill it in.
fn department_gone(plan: &Plan, patient: &Patient, stay: &Stay, at: Timestamp) -> bool {
    losing(plan, patient, at) && !matches!(stay.department, "REH" | "DIA" | "PAL")
}
