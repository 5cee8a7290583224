//! What a note means for its predictions: which are made, superseded or taken back. No Kafka and no waiting here.
//!
//! Of the versions of a note, and of notes that replace one another, one prediction stands for each question: that about the last that says something.
//! It supersedes the one before it, and takes none back. So the words that were there to be read at first stay answered: a stay is judged by them.

mod lines;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use model::{Answer, Asked, Model, ScoreError};
use schemas::{CanonicalNote, Mode, NoteId, NoteStatus, NoteVersionId, Prediction, PredictionId, Source, Task, TopicPartition};
use warehouse::{Published, Replacement};

use self::lines::{Lines, Whose};

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
    lines: Lines,
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

    /// Whether this version was answered, at whatever time it was known.
    fn has_read(&self, version: NoteVersionId) -> bool {
        self.versions.iter().any(|(read, _)| *read == version)
    }

    /// The prediction that answers this question of a patient.
    fn answer_to(&self, task: Task, whose: Whose) -> Option<&Prediction> {
        self.predictions.iter().find(|standing| standing.task == task && !Whose::of_prediction(standing).is_anothers(whose))
    }
}

impl Answering {
    /// Remembers the predictions about up to `limit` notes, and as many replacements.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { standing: BTreeMap::new(), order: VecDeque::new(), limit, lines: Lines::new(limit) }
    }

    /// Notes about which something stands that this one may change, or that may change what is said of this one: a first version that replaces nothing,
    /// and was not replaced before it came, has none. Itself, too, where it was known before `heard`, from when on what others published was taken in: a
    /// group that has lost its offsets reads the topic from its beginning.
    #[must_use]
    pub fn touched(&self, note: &CanonicalNote, heard: Option<Timestamp>) -> BTreeSet<NoteId> {
        let line = std::iter::once(note.note_id).chain(replaced(note)).flat_map(|one| self.lines.all(one));
        let old = heard.filter(|heard| note.known_at < *heard).map(|_| note.note_id);
        earlier(note).chain(line).chain(old).collect()
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
    /// one, supersedes that, too, and is not worth a question to the warehouse. What was read here stays, and is forgotten last. Of `replacements`, in
    /// the order in which they became known, nobody is asked again: a note that comes late does not say that another one has its place.
    pub fn hear(&mut self, published: BTreeMap<NoteId, Published>, replacements: Vec<Replacement>) {
        replacements.into_iter().for_each(|replacement| self.lines.join(replacement));
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
        let mut touched = BTreeSet::new();
        let asked: Vec<(usize, Vec<Task>)> = arrived
            .iter()
            .enumerate()
            .filter_map(|(index, one)| self.asks(live, &one.note, &mut touched).map(|tasks| (index, tasks)))
            .collect();
        let notes: Vec<Asked<'_>> =
            asked.iter().filter_map(|(index, tasks)| arrived.get(*index).map(|one| Asked { text: &one.note.text, tasks })).collect();
        let mut answers: BTreeMap<usize, Vec<Answer>> = asked.iter().map(|(index, _)| *index).zip(live.model.score(&notes)?).collect();
        let mut records = Vec::new();
        for (index, one) in arrived.iter().enumerate() {
            if let Some(replaces) = replaced(&one.note) {
                let CanonicalNote { note_id, patient_id, encounter_id, .. } = one.note;
                self.lines.join(Replacement { note_id, replaces, patient_id, encounter_id });
            }
            if one.note.known_at <= live.since {
                continue;
            }
            if one.note.status == NoteStatus::Retracted {
                self.take_back(one, &mut records);
                continue;
            }
            self.take_back_anothers(one, &mut records);
            if let Some(answers) = answers.remove(&index) {
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

    /// The tasks that are asked about a note; `None` where there are none or they are answered already. Of a note that something before it in the batch has
    /// `touched`, a retraction that is undone or another version, what stands now does not say whether it will be answered still.
    fn asks(&self, live: &Live, note: &CanonicalNote, touched: &mut BTreeSet<NoteId>) -> Option<Vec<Task>> {
        let tasks: Vec<Task> = Task::of(note.kind).collect();
        let due = !tasks.is_empty() && note.known_at > live.since && note.status != NoteStatus::Retracted;
        let is_first = !touched.contains(&note.note_id);
        touched.extend(note.replaces.into_iter().chain([note.note_id]));
        let is_done = is_first && self.is_done_with(note, &tasks);
        (due && !is_done && schemas::cleaning::worth_reading(&note.text)).then_some(tasks)
    }

    /// Whether nothing is left to say about this version. One that another note has replaced is answered all the same, once: a stay may be judged by it,
    /// and the answer gives way at once. What was about somebody else is not.
    fn is_done_with(&self, note: &CanonicalNote, tasks: &[Task]) -> bool {
        if self.lines.is_replaced_by_anothers(note) {
            return true;
        }
        let Some(standing) = self.standing.get(&note.note_id) else { return false };
        let version = note.note_version_id;
        let mut own = standing.predictions.iter().filter(|own| own.note_version_id == version).peekable();
        // A scorer that died amid a batch may have left some of a replaced version's answers, or all, beside those that they should have given way to.
        let is_left = own.peek().is_some();
        let is_in_the_way = own.any(|own| self.answer_of_later(note, own.task).is_some());
        let is_over = self.lines.is_replaced(note.note_id) && standing.has_read(version) && !is_left;
        !is_in_the_way && (is_over || standing.answers(note, tasks))
    }

    /// What stands about the notes that took this one's place.
    fn answer_of_later(&self, note: &CanonicalNote, task: Task) -> Option<&Prediction> {
        self.lines.later(note.note_id).find_map(|later| self.standing.get(&later)?.answer_to(task, Whose::of_note(note)))
    }

    fn put(&mut self, live: &Live, one: &Arrived, answers: Vec<Answer>, records: &mut Vec<Prediction>) {
        let note = &one.note;
        let tasks: Vec<Task> = answers.iter().map(|answer| answer.task).collect();
        if self.is_done_with(note, &tasks) {
            // The same version twice in one batch.
            return;
        }
        let mut standing = self.standing.get(&note.note_id).cloned().unwrap_or_default();
        let mut again = Vec::new();
        for answer in answers {
            let made = predict(live, one, answer);
            let superseded = self.gives_way(note, &made, &mut standing);
            let said = sayings(&made, &superseded);
            match self.answer_of_later(note, made.task) {
                Some(later) => again.push(Prediction { supersedes: Some(made.prediction_id), ..later.clone() }),
                None => standing.predictions.extend(said.last().cloned()),
            }
            records.extend(said);
        }
        // Behind all answers: whoever reads the batch again finds either some of them standing, or nothing left to say.
        records.extend(again);
        standing.versions.insert((note.note_version_id, note.known_at));
        standing.partition = Some(one.source.topic_partition());
        self.remember(note.note_id, standing);
    }

    /// The predictions in whose place `made` stands, about earlier versions of the note, whose `standing` is, and about notes that it replaces. They stand
    /// no longer.
    fn gives_way(&mut self, note: &CanonicalNote, made: &Prediction, standing: &mut Standing) -> Vec<PredictionId> {
        let mut superseded = Vec::new();
        for own in standing.predictions.extract_if(.., |own| own.task == made.task) {
            // One that was published before its scorer died says the same again.
            superseded.extend(if own.prediction_id == made.prediction_id { own.supersedes } else { Some(own.prediction_id) });
        }
        let whose = Whose::of_note(note);
        for earlier in self.lines.earlier(note.note_id) {
            let Some(standing) = self.standing.get_mut(&earlier) else { continue };
            let fell =
                standing.predictions.extract_if(.., |other| other.task == made.task && !Whose::of_prediction(other).is_anothers(whose));
            superseded.extend(fell.map(|other| other.prediction_id));
        }
        let mut seen = BTreeSet::new();
        superseded.retain(|id| seen.insert(*id));
        superseded
    }

    fn take_back(&mut self, one: &Arrived, records: &mut Vec<Prediction>) {
        let standing = self.standing.get(&one.note.note_id).cloned().unwrap_or_default();
        records.extend(standing.predictions.iter().map(|prediction| retraction(prediction, one)));
        let partition = Some(one.source.topic_partition());
        self.remember(one.note.note_id, Standing { partition, predictions: Vec::new(), versions: standing.versions });
    }

    /// Takes back what was said from a note that this one replaces, where that was said of another patient.
    fn take_back_anothers(&mut self, one: &Arrived, records: &mut Vec<Prediction>) {
        let Some(standing) = replaced(&one.note).and_then(|note| self.standing.get_mut(&note)) else { return };
        let whose = Whose::of_note(&one.note);
        let wrong = standing.predictions.extract_if(.., |prediction| Whose::of_prediction(prediction).is_anothers(whose));
        records.extend(wrong.map(|prediction| retraction(&prediction, one)));
    }
}

/// The other note in whose place this one stands. One that is taken back stands in nobody's.
fn replaced(note: &CanonicalNote) -> Option<NoteId> {
    note.replaces.filter(|replaced| *replaced != note.note_id && note.status != NoteStatus::Retracted)
}

/// Notes whose predictions this one may touch, by what it says itself, other than a first version's own.
fn earlier(note: &CanonicalNote) -> impl Iterator<Item = NoteId> {
    let changes = matches!(note.status, NoteStatus::Amended | NoteStatus::Retracted);
    changes.then_some(note.note_id).into_iter().chain(replaced(note))
}

/// The records of a prediction: one for each that it supersedes, or one alone.
fn sayings(made: &Prediction, superseded: &[PredictionId]) -> Vec<Prediction> {
    if superseded.is_empty() {
        return vec![made.clone()];
    }
    superseded.iter().map(|id| Prediction { supersedes: Some(*id), ..made.clone() }).collect()
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
