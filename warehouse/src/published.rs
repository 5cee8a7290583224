//! The predictions that stand about notes, for a scorer that does not remember what was published.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int32Type};
use jiff::Timestamp;
use schemas::{Mode, ModelVersion, NoteId, NoteVersionId, Prediction, PredictionId, Source, Table};

use crate::error::{QueryError, ReadError};
use crate::read::{column, floats, instants, ints, parsed, texts};
use crate::store::Warehouse;

/// What has come back of what was published about a note.
#[derive(Debug, Default)]
pub struct Published {
    /// The last prediction of each task that nothing takes back or supersedes.
    pub standing: Vec<Prediction>,
    /// Every version that was predicted about, whether that stands or not, with the time of the prediction.
    pub versions: BTreeSet<(NoteVersionId, Timestamp)>,
}

impl Warehouse {
    /// What was published about these notes; a note about which nothing was is not named. Of notes that replace one another all are asked about
    /// together, since a prediction about one supersedes those about the others. One walk over `predictions`, however many notes there are: a scorer
    /// asks between a message and its answer.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn published(&self, notes: &BTreeSet<NoteId>) -> Result<BTreeMap<NoteId, Published>, ReadError> {
        if notes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let listed: Vec<String> = notes.iter().map(|note| format!("'{note}'")).collect();
        self.published_where(&format!("note_id IN ({})", listed.join(", "))).await
    }

    /// The same of all notes about which something was published at `since` or later, by the log's time.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn published_since(&self, since: Timestamp) -> Result<BTreeMap<NoteId, Published>, ReadError> {
        self.published_where(&format!("known_at >= TIMESTAMP '{since}'")).await
    }

    async fn published_where(&self, condition: &str) -> Result<BTreeMap<NoteId, Published>, ReadError> {
        let sql = format!("SELECT * FROM prediction_rows WHERE {condition} ORDER BY source_partition, source_offset");
        let mut rows = Vec::new();
        for batch in self.base_query(Table::Predictions, &sql).await? {
            rows.extend(predictions(&batch).map_err(ReadError::Rows)?);
        }
        Ok(by_note(rows))
    }
}

/// These records, which are in the order of the topic, by note. The text of a version may come back, and what was said of it is said again: what was
/// said last decides. A record that is only repeated was said when it first was. What a prediction about another note supersedes is over, wherever in
/// the topic that one stands: the notes of a line may lie in several partitions, and what was replaced does not come back.
fn by_note(rows: Vec<Prediction>) -> BTreeMap<NoteId, Published> {
    let about: BTreeMap<PredictionId, NoteId> =
        rows.iter().filter(|row| row.retracts.is_none()).map(|row| (row.prediction_id, row.note_id)).collect();
    let by_another = |row: &Prediction| row.supersedes.filter(|id| about.get(id).is_some_and(|note| *note != row.note_id));
    let replaced: BTreeSet<PredictionId> = rows.iter().filter_map(by_another).collect();
    let mut sayings = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        sayings.entry((row.prediction_id, row.predicted_at, row.supersedes, row.retracts)).or_insert(place);
    }
    let (mut said, mut fallen) = (BTreeMap::new(), BTreeMap::new());
    for ((id, _, supersedes, retracts), place) in sayings {
        if retracts.is_none() {
            last(&mut said, id, place);
        }
        retracts.into_iter().chain(supersedes).for_each(|felled| last(&mut fallen, felled, place));
    }
    let mut notes: BTreeMap<NoteId, Published> = BTreeMap::new();
    for (place, row) in rows.into_iter().enumerate().filter(|(_, row)| row.retracts.is_none()) {
        let note = notes.entry(row.note_id).or_default();
        note.versions.insert((row.note_version_id, row.predicted_at));
        let fell = replaced.contains(&row.prediction_id) || fallen.get(&row.prediction_id).is_some_and(|at| *at >= place);
        if said.get(&row.prediction_id) == Some(&place) && !fell {
            note.standing.retain(|earlier| earlier.task != row.task);
            note.standing.push(row);
        }
    }
    notes
}

/// Keeps the last place of a prediction.
fn last(places: &mut BTreeMap<PredictionId, usize>, id: PredictionId, place: usize) {
    places.entry(id).and_modify(|known| *known = place.max(*known)).or_insert(place);
}

/// Rows of `predictions` as they were published.
fn predictions(batch: &RecordBatch) -> Result<Vec<Prediction>, QueryError> {
    let text = |name| texts(batch, name);
    let (ids, tasks, encounters, patients) = (text("prediction_id")?, text("task")?, text("encounter_id")?, text("patient_id")?);
    let (notes, versions, models, datasets) = (text("note_id")?, text("note_version_id")?, text("model_version")?, text("dataset_id")?);
    let (modes, supersedes, retracts, topics) = (text("mode")?, text("supersedes")?, text("retracts")?, text("source_topic")?);
    let (probability, threshold) = (floats(batch, "probability")?, floats(batch, "threshold")?);
    let (tokens, partitions, offsets) = (ints(batch, "tokens_read")?, ints(batch, "source_partition")?, ints(batch, "source_offset")?);
    let predicted = instants(batch, "predicted_at")?;
    let decisions = column(batch, "decision", &DataType::Int32)?;
    let decisions: Vec<Option<i32>> = decisions.as_primitive::<Int32Type>().iter().collect();
    let truncated = column(batch, "truncated", &DataType::Boolean)?;
    let truncated: Vec<Option<bool>> = truncated.as_boolean().iter().collect();
    let shares = batch.column_by_name("probabilities").and_then(|array| array.as_list_opt::<i32>());
    let shares = shares.ok_or(QueryError::Row { column: "probabilities" })?;
    let shares_of = |row: usize| -> Result<Vec<f64>, QueryError> {
        let row = cast(&shares.value(row), &DataType::Float64).map_err(|_| QueryError::Row { column: "probabilities" })?;
        Ok(row.as_primitive::<Float64Type>().iter().flatten().collect())
    };
    let one = |column: &[Option<String>], row: usize| column.get(row).cloned().flatten();
    (0..batch.num_rows())
        .map(|row| {
            Ok(Prediction {
                prediction_id: parsed(&ids, row, "prediction_id")?,
                task: parsed(&tasks, row, "task")?,
                encounter_id: one(&encounters, row).and_then(|id| id.parse().ok()),
                patient_id: one(&patients, row).and_then(|id| id.parse().ok()),
                note_id: parsed(&notes, row, "note_id")?,
                note_version_id: parsed(&versions, row, "note_version_id")?,
                predicted_at: predicted.get(row).copied().flatten().ok_or(QueryError::Row { column: "predicted_at" })?,
                model_version: ModelVersion(one(&models, row).unwrap_or_default()),
                dataset_id: one(&datasets, row).map(schemas::DatasetId),
                probabilities: shares_of(row)?,
                probability: probability.get(row).copied().flatten(),
                threshold: threshold.get(row).copied().flatten(),
                decision: decisions.get(row).copied().flatten(),
                mode: if one(&modes, row).as_deref() == Some("silent") { Mode::Silent } else { Mode::Live },
                tokens_read: tokens.get(row).copied().flatten().and_then(|tokens| u32::try_from(tokens).ok()).unwrap_or_default(),
                truncated: truncated.get(row).copied().flatten().unwrap_or_default(),
                supersedes: one(&supersedes, row).and_then(|id| id.parse().ok()),
                retracts: one(&retracts, row).and_then(|id| id.parse().ok()),
                source: Source {
                    topic: one(&topics, row).unwrap_or_default(),
                    partition: partitions.get(row).copied().flatten().and_then(|number| i32::try_from(number).ok()).unwrap_or_default(),
                    offset: offsets.get(row).copied().flatten().unwrap_or_default(),
                },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use schemas::Task;

    use super::*;
    use crate::store::tests::{BEGAN, Record, Ward, note};

    /// A record that says of `about` what `change` makes of it.
    fn predicted(document: &str, change: impl FnOnce(&mut Prediction)) -> Record {
        let mut record = Record::predicted(&note(document, "1", "the words"));
        change(&mut record.predictions[0]);
        record
    }

    fn numbered(number: u32) -> PredictionId {
        format!("00000000-0000-0000-0000-{number:012}").parse().expect("an id")
    }

    /// The first text comes back behind an amendment, and behind a retraction; then the log repeats what it said before.
    #[tokio::test]
    async fn a_text_that_comes_back_stands_again() {
        let mut ward = Ward::empty().await;
        let at = |hour: i64| BEGAN.parse::<Timestamp>().expect("an instant") + hour.hours();
        let said = |document: &str, number: u32, hour: i64, supersedes: Option<u32>| {
            predicted(document, |row| {
                (row.prediction_id, row.predicted_at, row.supersedes) = (numbered(number), at(hour), supersedes.map(numbered));
            })
        };
        let records = vec![
            said("A", 1, 1, None),
            said("A", 2, 2, Some(1)),
            said("A", 1, 3, Some(2)),
            said("A", 2, 2, Some(1)),
            said("B", 3, 1, None),
            predicted("B", |row| {
                (row.prediction_id, row.predicted_at, row.retracts) = (numbered(3).retraction(), at(2), Some(numbered(3)));
            }),
            said("B", 3, 3, None),
            // An amendment whose sender's clock goes back.
            said("C", 4, 5, None),
            said("C", 5, 4, Some(4)),
        ];
        let notes: Vec<NoteId> = [0, 4, 7].iter().map(|record| records[*record].predictions[0].note_id).collect();
        ward.arrives(records).await;
        let found = ward.warehouse.published(&notes.iter().copied().collect()).await.expect("can be asked");
        let standing = |note: &NoteId| found[note].standing.iter().map(|row| (row.prediction_id, row.supersedes)).collect::<Vec<_>>();
        let expected =
            [(1, Some(2)), (3, None), (5, Some(4))].map(|(number, supersedes)| vec![(numbered(number), supersedes.map(numbered))]);
        assert_eq!(notes.iter().map(standing).collect::<Vec<_>>(), expected);
    }

    /// What was replaced stays so: said again, and wherever in the topic the other note's prediction stands. Taking that one back changes nothing of it.
    #[tokio::test]
    async fn what_another_notes_prediction_supersedes_does_not_come_back() {
        let mut ward = Ward::empty().await;
        let at = |hour: i64| BEGAN.parse::<Timestamp>().expect("an instant") + hour.hours();
        let said = |document: &str, number: u32, hour: i64, supersedes: Option<u32>| {
            predicted(document, |row| {
                (row.prediction_id, row.predicted_at, row.supersedes) = (numbered(number), at(hour), supersedes.map(numbered));
            })
        };
        let records = vec![
            said("B", 2, 2, Some(1)),
            said("A", 1, 1, None),
            said("A", 1, 3, None),
            // A text that comes back in its own note does.
            said("C", 3, 1, None),
            said("C", 4, 2, Some(3)),
            said("C", 3, 3, Some(4)),
            said("D", 5, 4, Some(3)),
            predicted("D", |row| {
                (row.prediction_id, row.predicted_at, row.retracts) = (numbered(5).retraction(), at(5), Some(numbered(5)));
            }),
        ];
        let notes: Vec<NoteId> = [1, 0, 3, 6].iter().map(|record| records[*record].predictions[0].note_id).collect();
        ward.arrives(records).await;
        let found = ward.warehouse.published(&notes.iter().copied().collect()).await.expect("can be asked");
        let standing = |note: &NoteId| found[note].standing.iter().map(|row| row.prediction_id).collect::<Vec<_>>();
        let expected = [vec![], vec![numbered(2)], vec![], vec![]];
        assert_eq!(notes.iter().map(standing).collect::<Vec<_>>(), expected);
        // Of one note alone its own records are read.
        let alone = ward.warehouse.published(&BTreeSet::from([notes[2]])).await.expect("can be asked");
        assert_eq!(alone[&notes[2]].standing[0].prediction_id, numbered(3));
    }

    /// A scorer that has forgotten must supersede and take back as one that remembers would: what stands is the last of each question that nothing
    /// takes back or supersedes, whatever was published twice, and about the notes that were asked about alone.
    #[tokio::test]
    async fn what_stands_is_told_as_it_was_published() {
        let mut ward = Ward::empty().await;
        let records = vec![
            // Superseded, and the record repeated behind the one that did so.
            predicted("A", |row| row.prediction_id = numbered(1)),
            predicted("A", |row| (row.prediction_id, row.supersedes) = (numbered(2), Some(numbered(1)))),
            predicted("A", |row| row.prediction_id = numbered(1)),
            // Two questions, of which one is taken back.
            predicted("B", |row| (row.prediction_id, row.task) = (numbered(3), Task::Mortality)),
            predicted("B", |row| (row.prediction_id, row.task, row.probability) = (numbered(4), Task::Readmission, Some(0.75))),
            predicted("B", |row| {
                (row.prediction_id, row.task, row.retracts) = (numbered(3).retraction(), Task::Mortality, Some(numbered(3)));
            }),
            // Two scorers that knew nothing of each other: the last one counts.
            predicted("C", |row| row.prediction_id = numbered(6)),
            predicted("C", |row| row.prediction_id = numbered(5)),
            // Nothing stands, and yet it was answered.
            predicted("D", |row| row.prediction_id = numbered(7)),
            predicted("D", |row| (row.prediction_id, row.retracts) = (numbered(7).retraction(), Some(numbered(7)))),
        ];
        let told: Vec<Prediction> = records.iter().flat_map(|record| record.predictions.clone()).collect();
        ward.arrives(records).await;
        let [a, b, c, d] = [0, 3, 6, 8].map(|record| told[record].note_id);
        let nobody = "00000000-0000-0000-0000-000000000009".parse().expect("an id");
        let found = ward.warehouse.published(&BTreeSet::from([a, b, d, nobody])).await.expect("can be asked");
        let standing: BTreeMap<NoteId, Vec<PredictionId>> =
            found.iter().map(|(note, told)| (*note, told.standing.iter().map(|row| row.prediction_id).collect())).collect();
        assert_eq!(standing, BTreeMap::from([(a, vec![numbered(2)]), (b, vec![numbered(4)]), (d, Vec::new())]));
        assert!(found[&d].versions.contains(&(told[8].note_version_id, told[8].predicted_at)));
        let row = &found[&b].standing[0];
        let whole = Prediction { source: row.source.clone(), ..told[4].clone() };
        assert_eq!(format!("{row:?}"), format!("{whole:?}"));
        assert!(ward.warehouse.published(&BTreeSet::new()).await.expect("nothing is asked").is_empty());
        // By time: the records of the last four minutes.
        let since = BEGAN.parse::<Timestamp>().expect("an instant") + 6.minutes();
        let found = ward.warehouse.published_since(since).await.expect("can be asked");
        assert_eq!((found.len(), found[&c].standing.len(), found[&c].standing[0].prediction_id), (2, 1, numbered(5)));
    }
}
