//! What a note means for its predictions: which are made, superseded or taken back. No Kafka and no waiting here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use model::{Answer, Asked, Model, ScoreError};
use schemas::{CanonicalNote, Mode, NoteId, NoteStatus, NoteVersionId, Prediction, Source, Task, TopicPartition};
use warehouse::Published;

/// The model that answers now.
#[derive(Clone)]
pub struct Live {
    /// Its weights, tokenizer and prompt.
    pub model: Arc<Model>,
    /// Notes known at or before this instant are history, not work: the first model was not there yet.
    pub since: Timestamp,
}

/// A note with the record of `clinical.note.v1` it came from.
pub struct Arrived {
    /// The note.
    pub note: CanonicalNote,
    /// Where its record stood.
    pub source: Source,
}

/// The last predictions about recent notes, so that a new version supersedes and a retraction takes back.
pub struct Answering {
    standing: BTreeMap<NoteId, Standing>,
    order: VecDeque<NoteId>,
    limit: usize,
}

/// What is known of one note.
#[derive(Clone, Default)]
pub struct Standing {
    /// Where this process read the note; `None` of what the warehouse said, which others may have changed since.
    partition: Option<TopicPartition>,
    predictions: Vec<Prediction>,
    /// Every version that was answered, and when it was known: one that is delivered again is not answered behind the one that superseded it.
    versions: BTreeSet<(NoteVersionId, Timestamp)>,
}

impl Standing {
    /// What the warehouse remembers about a note.
    #[must_use]
    pub fn of(published: Published) -> Self {
        let Published { standing: predictions, versions } = published;
        Self { partition: None, predictions, versions }
    }

    /// Whether all that is asked about this version of the note was answered. A scorer that died amid a batch may have published some answers to
    /// the newest version alone; those before it were answered before it.
    fn answers(&self, note: &CanonicalNote, tasks: &[Task]) -> bool {
        let version = note.note_version_id;
        let newest = self.predictions.iter().max_by_key(|prediction| prediction.predicted_at);
        if newest.map(|prediction| prediction.note_version_id) != Some(version) {
            return self.versions.contains(&(version, note.known_at));
        }
        let is_answered = |task: &Task| self.predictions.iter().any(|known| known.task == *task && known.note_version_id == version);
        tasks.iter().all(is_answered)
    }

    fn answered_at(&self) -> Option<Timestamp> {
        self.versions.iter().map(|(_, at)| *at).max()
    }
}

impl Answering {
    /// Remembers the predictions about up to `limit` notes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { standing: BTreeMap::new(), order: VecDeque::new(), limit }
    }

    /// Whether what stands about `note` is known for certain, and the warehouse need not be asked before it is changed.
    #[must_use]
    pub fn knows(&self, note: NoteId) -> bool {
        self.standing.get(&note).is_some_and(|standing| standing.partition.is_some())
    }

    /// Takes in what stands about a note.
    pub fn remember(&mut self, note: NoteId, standing: Standing) {
        if self.standing.insert(note, standing).is_none() {
            self.order.push_back(note);
        }
        while self.order.len() > self.limit {
            if let Some(oldest) = self.order.pop_front() {
                self.standing.remove(&oldest);
            }
        }
    }

    /// Takes in what others published of late, in place of what they had before: a version that is no amendment, a final one behind a preliminary
    /// one, supersedes that, too, and is not worth a question to the warehouse. What was read here stays, and is forgotten last.
    pub fn hear(&mut self, published: BTreeMap<NoteId, Published>) {
        self.retain(|standing| standing.partition.is_some());
        let others = published.into_iter().filter(|(note, _)| !self.standing.contains_key(note));
        let mut heard: Vec<(NoteId, Standing)> = others.map(|(note, published)| (note, Standing::of(published))).collect();
        heard.sort_by_key(|(_, standing)| std::cmp::Reverse(standing.answered_at()));
        heard.truncate(self.limit.saturating_sub(self.order.len()));
        heard.iter().for_each(|(note, _)| self.order.push_front(*note));
        self.standing.extend(heard);
    }

    /// Forgets the notes of these partitions, about which another process publishes from now on.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        self.retain(|standing| standing.partition.as_ref().is_none_or(|partition| !partitions.contains(partition)));
    }

    fn retain(&mut self, keep: impl Fn(&Standing) -> bool) {
        self.standing.retain(|_, standing| keep(standing));
        self.order.retain(|note| self.standing.contains_key(note));
    }

    /// The records that these notes call for, in order. Repeats of a version that was answered call for none.
    ///
    /// # Errors
    /// Where the model cannot answer.
    pub fn answer(&mut self, live: &Live, arrived: &[Arrived]) -> Result<Vec<Prediction>, ScoreError> {
        let asked: Vec<(usize, Vec<Task>)> =
            arrived.iter().enumerate().filter_map(|(index, one)| self.asks(live, &one.note).map(|tasks| (index, tasks))).collect();
        let notes: Vec<Asked<'_>> =
            asked.iter().filter_map(|(index, tasks)| arrived.get(*index).map(|one| Asked { text: &one.note.text, tasks })).collect();
        let mut answers: BTreeMap<usize, Vec<Answer>> = asked.iter().map(|(index, _)| *index).zip(live.model.score(&notes)?).collect();
        let mut records = Vec::new();
        for (index, one) in arrived.iter().enumerate() {
            if one.note.known_at <= live.since {
                continue;
            }
            if let Some(replaced) = one.note.replaces.filter(|replaced| *replaced != one.note.note_id) {
                self.take_back(replaced, one, &mut records);
            }
            if one.note.status == NoteStatus::Retracted {
                self.take_back(one.note.note_id, one, &mut records);
            } else if let Some(answers) = answers.remove(&index) {
                self.put(live, one, answers, &mut records);
            } else if self.is_never_asked(&one.note) {
                self.remember(one.note.note_id, Standing { partition: Some(one.source.topic_partition()), ..Standing::default() });
            }
        }
        Ok(records)
    }

    /// Whether this is the first that is heard of a note of a kind about which nothing is asked: whatever amends it finds nothing to supersede, which
    /// the warehouse need not be asked.
    fn is_never_asked(&self, note: &CanonicalNote) -> bool {
        Task::of(note.kind).next().is_none() && earlier(note).next().is_none() && !self.standing.contains_key(&note.note_id)
    }

    /// The tasks that are asked about a note; `None` where there are none or they are answered already.
    fn asks(&self, live: &Live, note: &CanonicalNote) -> Option<Vec<Task>> {
        let tasks: Vec<Task> = Task::of(note.kind).collect();
        let answered = self.standing.get(&note.note_id).is_some_and(|standing| standing.answers(note, &tasks));
        let due = !tasks.is_empty() && !answered && note.known_at > live.since && note.status != NoteStatus::Retracted;
        (due && schemas::cleaning::worth_reading(&note.text)).then_some(tasks)
    }

    fn put(&mut self, live: &Live, one: &Arrived, answers: Vec<Answer>, records: &mut Vec<Prediction>) {
        let before = self.standing.get(&one.note.note_id).cloned().unwrap_or_default();
        let tasks: Vec<Task> = answers.iter().map(|answer| answer.task).collect();
        if before.answers(&one.note, &tasks) {
            // The same version twice in one batch.
            return;
        }
        let predictions: Vec<Prediction> = answers
            .into_iter()
            .map(|answer| {
                let earlier = before.predictions.iter().find(|earlier| earlier.task == answer.task);
                let made = predict(live, one, answer);
                // One that was published before its scorer died says the same again.
                let supersedes = earlier.and_then(|earlier| {
                    if earlier.prediction_id == made.prediction_id { earlier.supersedes } else { Some(earlier.prediction_id) }
                });
                Prediction { supersedes, ..made }
            })
            .collect();
        records.extend(predictions.iter().cloned());
        let mut versions = before.versions;
        versions.insert((one.note.note_version_id, one.note.known_at));
        let partition = Some(one.source.topic_partition());
        self.remember(one.note.note_id, Standing { partition, predictions, versions });
    }

    fn take_back(&mut self, note: NoteId, one: &Arrived, records: &mut Vec<Prediction>) {
        let standing = self.standing.get(&note).cloned().unwrap_or_default();
        records.extend(standing.predictions.iter().map(|prediction| retraction(prediction, one)));
        // A note that another one replaces may be read elsewhere.
        let partition = (note == one.note.note_id).then(|| one.source.topic_partition());
        self.remember(note, Standing { partition, versions: standing.versions, ..Standing::default() });
    }
}

/// Notes whose predictions this one may touch, other than a first version's own.
pub fn earlier(note: &CanonicalNote) -> impl Iterator<Item = NoteId> {
    let changes = matches!(note.status, NoteStatus::Amended | NoteStatus::Retracted);
    changes.then_some(note.note_id).into_iter().chain(note.replaces)
}

fn predict(live: &Live, one: &Arrived, answer: Answer) -> Prediction {
    let manifest = live.model.manifest();
    let version = live.model.version().clone();
    let best = answer.probabilities.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class);
    let binary = answer.task.classes() == 2;
    let probability = answer.probabilities.get(if binary { 1 } else { best }).copied();
    let threshold = manifest.thresholds.get(&answer.task).copied().filter(|_| binary);
    let decision = match (threshold, probability) {
        (Some(threshold), Some(probability)) => Some(i32::from(probability >= threshold)),
        _ => i32::try_from(best).ok(),
    };
    Prediction {
        prediction_id: schemas::PredictionId::derive(answer.task.as_str(), one.note.note_version_id, &version),
        task: answer.task,
        encounter_id: one.note.encounter_id,
        patient_id: one.note.patient_id,
        note_id: one.note.note_id,
        note_version_id: one.note.note_version_id,
        predicted_at: one.note.known_at,
        model_version: version,
        dataset_id: manifest.dataset_id.clone(),
        probabilities: answer.probabilities,
        probability,
        threshold,
        decision,
        mode: Mode::Live,
        tokens_read: answer.tokens_read,
        truncated: answer.truncated,
        supersedes: None,
        retracts: None,
        source: one.source.clone(),
    }
}

/// The record that takes `prediction` back, known since the note that did so.
fn retraction(prediction: &Prediction, one: &Arrived) -> Prediction {
    Prediction {
        prediction_id: prediction.prediction_id.retraction(),
        predicted_at: one.note.known_at,
        probabilities: Vec::new(),
        probability: None,
        threshold: None,
        decision: None,
        supersedes: None,
        retracts: Some(prediction.prediction_id),
        source: one.source.clone(),
        ..prediction.clone()
    }
}

#[cfg(test)]
mod tests;
