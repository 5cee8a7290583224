//! How much one record may give. Rows repeat what their record says once, the numbers of its patient above all, and attachments unfold: what they
//! take is bounded by how long the record is. No sender comes near it, and one that does costs the rest of its record, not the process.

use std::ops::Deref;

use schemas::{Fact, MappedNote};

use crate::Mapped;

/// Bytes of rows that any record may give,
const FREE: usize = 256 << 10;
/// and for each byte of it. A diagnosis takes 300 bytes as a fact, and 30 as a segment.
const FOR_A_BYTE: usize = 12;
/// Bytes that the attachments of a record may unfold to beside what it holds of them.
const UNFOLDED: usize = 64 << 20;
/// What is said of a record that gives more.
pub(crate) const TOO_MUCH: &str = "it says more than a record of its length may; what follows is not read";

/// What is left to a record, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) facts: usize,
    pub(crate) notes: usize,
    pub(crate) attachments: usize,
}

impl Allowance {
    /// That of a record of so many bytes.
    pub(crate) fn of(record: usize) -> Self {
        let facts = record.saturating_mul(FOR_A_BYTE).saturating_add(FREE);
        Self { facts, notes: facts.saturating_add(UNFOLDED), attachments: record.saturating_add(UNFOLDED) }
    }

    /// What is left after a part of the record.
    pub(crate) fn less(self, part: &Mapped) -> Self {
        fn taken<T: Row>(rows: &[T]) -> usize {
            rows.iter().map(Row::bytes).sum()
        }
        let (facts, notes) = (taken(&part.facts), taken(&part.notes));
        Self { facts: self.facts.saturating_sub(facts), notes: self.notes.saturating_sub(notes), ..self }
    }
}

/// What a record gives.
pub(crate) trait Row {
    /// The memory that it takes.
    fn bytes(&self) -> usize;
}

impl Row for Fact {
    fn bytes(&self) -> usize {
        let patient = self.patient.as_ref().map_or(0, |patient| patient.system.len() + patient.value.len());
        size_of::<Self>() + patient + length([&self.encounter, &self.text_value, &self.related])
    }
}

impl Row for MappedNote {
    fn bytes(&self) -> usize {
        let patient = self.patient.as_ref().map_or(0, |patient| patient.system.len() + patient.value.len());
        let texts = self.document.len() + self.text.len() + length([&self.encounter, &self.type_code, &self.replaces]);
        size_of::<Self>() + patient + texts
    }
}

fn length(texts: [&Option<String>; 3]) -> usize {
    texts.into_iter().flatten().map(String::len).sum()
}

/// Rows of one part, as many as its record may give.
pub(crate) struct Rows<T> {
    rows: Vec<T>,
    left: usize,
    are_more: bool,
}

impl<T: Row> Rows<T> {
    /// None yet, of at most so many bytes.
    pub(crate) fn within(bytes: usize) -> Self {
        Self { rows: Vec::new(), left: bytes, are_more: false }
    }

    /// Adds a row; the first that is too much is left out, and all after it.
    pub(crate) fn push(&mut self, row: T) {
        match self.left.checked_sub(row.bytes()).filter(|_| !self.are_more) {
            Some(left) => {
                self.left = left;
                self.rows.push(row);
            }
            None => self.are_more = true,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
    }

    /// Whether some were left out.
    pub(crate) fn are_more(&self) -> bool {
        self.are_more
    }

    pub(crate) fn into_vec(self) -> Vec<T> {
        self.rows
    }
}

impl<T> Deref for Rows<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64::Engine as _;
    use schemas::{Facility, Outcome};

    use super::*;
    use crate::map_record;

    /// The rows of a record take no more than its allowance, whatever it repeats, and it says where it was cut.
    #[track_caller]
    fn is_bounded(record: &[u8], allowed: usize) {
        let parts = map_record(record, &Facility::new("north"));
        let facts: usize = parts.iter().flat_map(|part| &part.facts).map(Row::bytes).sum();
        let notes: usize = parts.iter().flat_map(|part| &part.notes).map(Row::bytes).sum();
        assert!(facts + notes > 0 && facts <= Allowance::of(record.len()).facts && notes <= allowed, "{facts} and {notes}");
        let told = |part: &Mapped| part.outcome != Outcome::Mapped && !part.rejects.is_empty();
        assert!(parts.iter().any(told), "nothing says that there was more");
    }

    #[test]
    fn a_message_that_repeats_long_numbers_costs_itself() {
        let (number, segments) = ("1".repeat(1_000), "DG1|1||A01\r".repeat(100_000));
        let message =
            format!("MSH|^~\\&|||||2020||ADT^A01|1|P|2.5\rPID|1||{number}^^^{number}^MR\rPV1|1|I|||||||||||||||||{number}\r{segments}");
        is_bounded(message.as_bytes(), 0);
        let one = format!(
            "MSH|^~\\&|||||2020||ADT^A01|1|P|2.5\rPID|1||{number}^^^{number}^MR\rPV1|1|I|||||||||||||||||{number}\r{}",
            "DG1|1||A01\r".repeat(200)
        );
        is_bounded(one.repeat(100).as_bytes(), 0);
    }

    #[test]
    fn a_resource_that_repeats_a_long_id_costs_itself() {
        let identifiers = "{\"value\":\"1\"},".repeat(2_000);
        let patient = format!("{{\"resourceType\":\"Patient\",\"id\":\"{}\",\"identifier\":[{identifiers}{{}}]}}", "1".repeat(100_000));
        is_bounded(patient.as_bytes(), 0);
        is_bounded([patient.as_str(); 5].join("\n").as_bytes(), 0);
    }

    #[test]
    fn attachments_unfold_to_no_more_than_a_record_may() {
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped.write_all(&b"words and more words\n".repeat(1_500_000)).expect("memory takes it");
        let zipped = base64::engine::general_purpose::STANDARD.encode(zipped.finish().expect("memory takes it"));
        let document = |id: usize, attachment: &str| {
            format!(
                "{{\"resource\":{{\"resourceType\":\"DocumentReference\",\"id\":\"d{id}\",\"status\":\"current\",\"subject\":{{\"reference\":\"Patient/1\"}},\
                 \"content\":[{{\"attachment\":{{\"contentType\":\"text/plain\",{attachment}}}}}]}}}}"
            )
        };
        let bundle =
            |entries: Vec<String>| format!("{{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{}]}}", entries.join(","));
        let allowed = |record: &str| Allowance::of(record.len()).attachments + 20_000;
        let inline = bundle((0..4).map(|id| document(id, &format!("\"data\":\"{zipped}\""))).collect());
        is_bounded(inline.as_bytes(), allowed(&inline));
        let binary =
            format!("{{\"resource\":{{\"resourceType\":\"Binary\",\"id\":\"b\",\"contentType\":\"text/plain\",\"data\":\"{zipped}\"}}}}");
        let referred = bundle([binary].into_iter().chain((0..4).map(|id| document(id, "\"url\":\"Binary/b\""))).collect());
        is_bounded(referred.as_bytes(), allowed(&referred));
    }
}
