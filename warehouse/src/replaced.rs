//! Which notes took the place of which, for a scorer that did not read them itself.

use jiff::Timestamp;
use schemas::{EncounterId, NoteId, PatientId, Table};

use crate::error::{QueryError, ReadError};
use crate::read::{parsed, texts};
use crate::store::Warehouse;

/// A note that took the place of another one, under a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The note that stands now.
    pub note_id: NoteId,
    /// The note in whose place it stands.
    pub replaces: NoteId,
    /// The patient of the one that stands, before merges.
    pub patient_id: Option<PatientId>,
    /// Its stay, where the sender named it.
    pub encounter_id: Option<EncounterId>,
}

impl Warehouse {
    /// The replacements that became known at `since` or later, by the log's time and in its order. A note that takes itself back replaces nothing.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn replacements_since(&self, since: Timestamp) -> Result<Vec<Replacement>, ReadError> {
        let sql = format!(
            "SELECT note_id, replaces, patient_id, encounter_id FROM note_rows \
             WHERE replaces IS NOT NULL AND replaces <> note_id AND status <> 'retracted' AND known_at >= TIMESTAMP '{since}' \
             ORDER BY known_at, source_topic, source_partition, source_offset, note_id"
        );
        let mut found = Vec::new();
        for batch in self.base_query(Table::Notes, &sql).await? {
            let (notes, replaced) = (texts(&batch, "note_id")?, texts(&batch, "replaces")?);
            let (patients, encounters) = (texts(&batch, "patient_id")?, texts(&batch, "encounter_id")?);
            for row in 0..batch.num_rows() {
                found.push(Replacement {
                    note_id: parsed(&notes, row, "note_id")?,
                    replaces: parsed(&replaced, row, "replaces")?,
                    patient_id: optional(&patients, row, "patient_id")?,
                    encounter_id: optional(&encounters, row, "encounter_id")?,
                });
            }
        }
        Ok(found)
    }
}

/// An id that a row need not have.
fn optional<T: std::str::FromStr>(values: &[Option<String>], row: usize, column: &'static str) -> Result<Option<T>, QueryError> {
    let stated = values.get(row).is_some_and(Option::is_some);
    stated.then(|| parsed(values, row, column)).transpose()
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use schemas::{Facility, MappedNote, NoteStatus};

    use super::*;
    use crate::store::tests::{BEGAN, Record, Ward, identifier, note};

    /// One that is about nobody, one of another patient, one of itself and one that was taken back; by time, the first is left out.
    #[tokio::test]
    async fn what_takes_the_place_of_another_is_told_in_the_logs_order() {
        let mut ward = Ward::empty().await;
        let north = Facility::new("north");
        let of = |document: &str| NoteId::derive(&north, document);
        let replacing = |document: &str, patient: &str, replaced: &str| MappedNote {
            replaces: Some(replaced.to_owned()),
            encounter: Some("V1".to_owned()),
            ..note(document, patient, &format!("the words of {document}"))
        };
        let record = |note: MappedNote| Record::of(Vec::new()).with_note(note);
        ward.arrives(vec![
            record(note("A", "1", "the words of A")),
            record(replacing("B", "1", "A")),
            record(MappedNote { patient: None, encounter: None, ..replacing("C", "1", "B") }),
            record(replacing("D", "1", "D")),
            record(MappedNote { status: NoteStatus::Retracted, ..replacing("E", "1", "A") }),
            record(replacing("F", "2", "A")),
        ])
        .await;
        let patient = |value: &str| Some(PatientId::derive(&north, &identifier(value)));
        let stay = Some(EncounterId::derive(&north, "V1"));
        let began = BEGAN.parse::<Timestamp>().expect("an instant");
        let told = ward.warehouse.replacements_since(began).await.expect("can be asked");
        let expected = [
            Replacement { note_id: of("B"), replaces: of("A"), patient_id: patient("1"), encounter_id: stay },
            Replacement { note_id: of("C"), replaces: of("B"), patient_id: None, encounter_id: None },
            Replacement { note_id: of("F"), replaces: of("A"), patient_id: patient("2"), encounter_id: stay },
        ];
        assert_eq!(told, expected);
        assert_eq!(ward.warehouse.replacements_since(began + 2.minutes()).await.expect("can be asked"), expected[1..]);
    }
}
