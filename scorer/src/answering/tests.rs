//! A note's life as the scorer sees it, answered by a small model with fresh weights.

mod replaced;

use jiff::Timestamp;
use schemas::{Facility, MappedNote, NoteKind, NoteRow};

use super::*;

const SINCE: Timestamp = Timestamp::UNIX_EPOCH;
const WORDS: &str = "The patient was seen and examined. He walks without help, eats well and goes home today.";

fn live() -> anyhow::Result<Live> {
    let tokenizer = model::train_tokenizer(std::iter::once(WORDS), 400)?;
    let learner = model::Learner::new(model::Config::demo(tokenizer.get_vocab_size(true)), tokenizer, 1)?;
    let folder = tempfile::tempdir()?;
    learner.export(folder.path(), model::Draft::default())?;
    Ok(Live { model: Arc::new(Model::load(folder.path())?), since: SINCE })
}

/// A version of `document` that arrives in this minute after the model's own.
fn arrives(document: &str, (kind, status, text): (NoteKind, NoteStatus, &str), minute: i64) -> Arrived {
    let note = MappedNote {
        document: document.to_owned(),
        patient: None,
        encounter: None,
        kind,
        type_code: None,
        status,
        authored_at: None,
        signed_at: None,
        asserted_at: None,
        text: text.to_owned(),
        replaces: None,
    };
    let source = Source { topic: "hl7.raw".to_owned(), partition: 0, offset: minute };
    let known_at = SINCE + jiff::SignedDuration::from_mins(minute);
    Arrived { note: NoteRow::stamp(note, &Facility::new("north"), known_at, source.clone()).canonical(), source }
}

/// What was said, in short: which predictions, and which of them supersede or take back.
fn said(records: &[Prediction]) -> (usize, usize, usize) {
    let count = |is: fn(&Prediction) -> bool| records.iter().filter(|record| is(record)).count();
    (records.len(), count(|record| record.supersedes.is_some()), count(|record| record.retracts.is_some()))
}

#[test]
fn a_version_supersedes_and_a_retraction_takes_back() -> anyhow::Result<()> {
    use NoteKind::Admission;
    let (live, mut answering) = (live()?, Answering::new(10));
    let tasks = Task::of(Admission).count();
    let changed = format!("{WORDS} He has a fever now.");
    let mut says = |status, text: &str, minute| -> anyhow::Result<Vec<Prediction>> {
        Ok(answering.answer(&live, &[arrives("A", (Admission, status, text), minute)])?)
    };
    let first = says(NoteStatus::Preliminary, WORDS, 1)?;
    assert_eq!(said(&first), (tasks, 0, 0));
    assert_eq!(said(&says(NoteStatus::Preliminary, WORDS, 2)?), (0, 0, 0), "a repeat says nothing");
    let second = says(NoteStatus::Final, &changed, 3)?;
    assert_eq!(said(&second), (tasks, tasks, 0));
    assert_eq!(
        second.iter().map(|record| record.supersedes).collect::<Vec<_>>(),
        first.iter().map(|record| Some(record.prediction_id)).collect::<Vec<_>>()
    );
    let taken = says(NoteStatus::Retracted, &changed, 4)?;
    assert_eq!(said(&taken), (tasks, 0, tasks));
    assert_eq!(said(&says(NoteStatus::Final, WORDS, 0)?), (0, 0, 0), "what was known before the first model is history");
    Ok(())
}

/// A preliminary note that was filed under the wrong type is asked other questions once that is mended; the answers of before are taken back with it.
#[test]
fn a_retraction_takes_back_what_was_said_when_the_note_was_of_another_kind() -> anyhow::Result<()> {
    use NoteKind::{Admission, Discharge};
    let (live, mut answering) = (live()?, Answering::new(10));
    let tasks = [Admission, Discharge].map(|kind| Task::of(kind).count());
    let mut says = |kind, status, text: &str, minute| -> anyhow::Result<Vec<Prediction>> {
        Ok(answering.answer(&live, &[arrives("A", (kind, status, text), minute)])?)
    };
    assert_eq!(said(&says(Admission, NoteStatus::Final, WORDS, 1)?), (tasks[0], 0, 0));
    assert_eq!(said(&says(Discharge, NoteStatus::Amended, CHANGED, 2)?), (tasks[1], 0, 0));
    assert_eq!(said(&says(Discharge, NoteStatus::Amended, CHANGED, 2)?), (0, 0, 0), "a repeat says nothing");
    let all: usize = tasks.iter().sum();
    assert_eq!(said(&says(Discharge, NoteStatus::Retracted, "", 3)?), (all, 0, all));
    Ok(())
}

/// What comes back within one batch, behind a retraction or an amendment that is undone, is answered anew: between two batches or not.
#[test]
fn what_is_undone_within_a_batch_is_said_again() -> anyhow::Result<()> {
    let live = live()?;
    let version = |status, text: &str, minute| arrives("A", (NoteKind::Admission, status, text), minute);
    let tasks = Task::of(NoteKind::Admission).count();
    for (status, text, undone) in
        [(NoteStatus::Retracted, WORDS, (2 * tasks, 0, tasks)), (NoteStatus::Final, CHANGED, (2 * tasks, 2 * tasks, 0))]
    {
        let mut answering = Answering::new(10);
        let first = answering.answer(&live, &[version(NoteStatus::Final, WORDS, 1)])?;
        let batch = [version(status, text, 2), version(NoteStatus::Final, WORDS, 3)];
        let records = answering.answer(&live, &batch)?;
        assert_eq!(said(&records), undone);
        let (again, ids) = (records.iter().skip(tasks), first.iter().map(|record| record.prediction_id));
        assert_eq!(again.map(|record| record.prediction_id).collect::<Vec<_>>(), ids.collect::<Vec<_>>());
        assert!(answering.answer(&live, &batch[1..])?.is_empty(), "a repeat says nothing");
    }
    Ok(())
}

/// A group whose offsets are gone reads all that the topic still holds: of notes that are older than what was heard the warehouse knows more.
#[test]
fn a_note_that_is_older_than_what_was_heard_is_asked_about() {
    let note = |status, minute| arrives("A", (NoteKind::Admission, status, WORDS), minute).note;
    let (old, new) = (note(NoteStatus::Final, 1), note(NoteStatus::Final, 2));
    let heard = Some(new.known_at);
    let answering = Answering::new(10);
    let itself = BTreeSet::from([old.note_id]);
    assert_eq!(answering.touched(&old, heard), itself);
    assert!(answering.touched(&new, heard).is_empty() && answering.touched(&old, None).is_empty());
    assert_eq!(answering.touched(&note(NoteStatus::Amended, 3), heard), itself);
}

/// As the warehouse has it: a placeholder is no prompt, the words that take its place are, and a correction that takes them away takes nothing back.
#[test]
fn what_says_nothing_is_not_answered_and_changes_no_answer() -> anyhow::Result<()> {
    let (live, mut answering) = (live()?, Answering::new(10));
    let tasks = Task::of(NoteKind::Admission).count();
    let mut says = |status, text: &str, minute| -> anyhow::Result<Vec<Prediction>> {
        Ok(answering.answer(&live, &[arrives("A", (NoteKind::Admission, status, text), minute)])?)
    };
    assert_eq!(said(&says(NoteStatus::Final, "See dictation.", 1)?), (0, 0, 0));
    let words = says(NoteStatus::Amended, WORDS, 2)?;
    assert_eq!(said(&words), (tasks, 0, 0));
    assert!(words.iter().all(|record| record.predicted_at == SINCE + jiff::SignedDuration::from_mins(2)));
    assert_eq!(said(&says(NoteStatus::Amended, "<NA> <NA> <NA>", 3)?), (0, 0, 0));
    Ok(())
}

/// A version under another type answers other questions: the answers to the first ones stand beside them, and go with the note.
#[test]
fn a_retraction_takes_back_what_any_version_was_asked() -> anyhow::Result<()> {
    let (live, mut answering) = (live()?, Answering::new(10));
    let mut says = |kind, status, minute| answering.answer(&live, &[arrives("A", (kind, status, WORDS), minute)]);
    let first = says(NoteKind::Admission, NoteStatus::Final, 1)?;
    let second = says(NoteKind::Discharge, NoteStatus::Amended, 2)?;
    let taken = says(NoteKind::Discharge, NoteStatus::Retracted, 3)?;
    let retracted: BTreeSet<_> = taken.iter().filter_map(|record| record.retracts).collect();
    let made: BTreeSet<_> = first.iter().chain(&second).map(|record| record.prediction_id).collect();
    assert_eq!(retracted, made);
    Ok(())
}

/// What the warehouse says of these records.
fn published(records: &[Prediction], standing: &[Prediction]) -> Published {
    let versions = records.iter().map(|record| (record.note_version_id, record.predicted_at)).collect();
    Published { standing: standing.to_vec(), versions }
}

/// A scorer that has heard this about the note of `records`.
fn hearing(about: &[Prediction], said: Published) -> Answering {
    let mut answering = Answering::new(10);
    answering.hear(BTreeMap::from([(about[0].note_id, said)]), Vec::new());
    answering
}

fn links(records: &[Prediction]) -> Vec<(schemas::PredictionId, Option<schemas::PredictionId>)> {
    records.iter().map(|record| (record.prediction_id, record.supersedes)).collect()
}

const CHANGED: &str = "He has a fever now, and stays here until it is gone; his wife was told so today.";

/// What a scorer published before it died, all of a batch or a part, is neither lost nor said otherwise by the one that reads the batch again.
#[test]
fn what_is_delivered_again_says_nothing_new() -> anyhow::Result<()> {
    let live = live()?;
    let version = |text, minute| arrives("A", (NoteKind::Admission, NoteStatus::Final, text), minute);
    let both = || [version(WORDS, 1), version(CHANGED, 2)];
    let all = Answering::new(10).answer(&live, &both())?;
    let (first, second) = all.split_at(all.len() / 2);
    assert_eq!(said(second), (first.len(), first.len(), 0));
    // All of it came out, and so it did where the note was taken back since.
    assert!(hearing(&all, published(&all, second)).answer(&live, &both())?.is_empty());
    assert!(hearing(&all, published(&all, &[])).answer(&live, &both())?.is_empty());
    // The first version alone.
    let again = hearing(&all, published(first, first)).answer(&live, &both())?;
    assert_eq!(links(&again), links(second));
    // One answer to the second version, and the first version's others stand still.
    let standing: Vec<Prediction> = second[..1].iter().chain(&first[1..]).cloned().collect();
    let again = hearing(&all, published(&[first, &second[..1]].concat(), &standing)).answer(&live, &both())?;
    assert_eq!(links(&again), links(second));
    // The words of the first version come back later: that is news.
    assert_eq!(said(&hearing(&all, published(&all, second)).answer(&live, &[version(WORDS, 3)])?), (first.len(), first.len(), 0));
    Ok(())
}

/// What others publish changes while this process reads something else, so that it is no knowledge on which anything is taken back.
#[test]
fn what_was_heard_of_others_is_asked_about_again() -> anyhow::Result<()> {
    let live = live()?;
    let version = |document, minute| arrives(document, (NoteKind::Admission, NoteStatus::Final, WORDS), minute);
    let [kept, gone, heard] = ["A", "B", "C"].map(|document| version(document, 1));
    let gone = Arrived { source: Source { partition: 1, ..gone.source }, ..gone };
    let notes = [kept.note.note_id, gone.note.note_id, heard.note.note_id];
    let partition = gone.source.topic_partition();
    let told = Answering::new(10).answer(&live, &[heard])?;
    let mut answering = hearing(&told, published(&told, &told));
    answering.answer(&live, &[kept, gone])?;
    assert_eq!(notes.map(|note| answering.knows(note)), [true, true, false]);
    assert!(answering.answer(&live, &[version("C", 1)])?.is_empty(), "what was heard is enough not to answer twice");
    answering.forget(&[partition]);
    assert_eq!(notes.map(|note| answering.knows(note)), [true, false, false]);
    answering.hear(BTreeMap::new(), Vec::new());
    assert_eq!(answering.answer(&live, &[version("C", 1)])?.len(), told.len(), "what was heard before counts no more");
    Ok(())
}

/// Memory is bounded, and what was heard of others makes room for what was read here.
#[test]
fn what_was_heard_is_forgotten_first_and_the_oldest_of_it_before() -> anyhow::Result<()> {
    let live = live()?;
    let version = |document: &str, minute| arrives(document, (NoteKind::Admission, NoteStatus::Final, WORDS), minute);
    let told = ["1", "2", "3"].map(|document| Answering::new(9).answer(&live, &[version(document, document.parse().unwrap_or(9))]));
    let told = told.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut answering = Answering::new(3);
    answering.answer(&live, &[version("own", 9)])?;
    answering.hear(told.iter().map(|records| (records[0].note_id, published(records, records))).collect(), Vec::new());
    let holds = |answering: &Answering| -> Vec<bool> {
        let known = told.iter().map(|records| records[0].note_id).chain([version("own", 9).note.note_id]);
        known.map(|note| answering.standing.contains_key(&note)).collect()
    };
    assert_eq!(holds(&answering), [false, true, true, true]);
    answering.answer(&live, &[version("another", 10)])?;
    assert_eq!(holds(&answering), [false, false, true, true]);
    Ok(())
}

/// The warehouse is asked between a message and its answer, so only about notes that it may know more of.
#[test]
fn a_first_version_of_a_kind_that_is_never_asked_about_is_known() -> anyhow::Result<()> {
    let (live, mut answering) = (live()?, Answering::new(10));
    let progress = |status, minute| arrives("P", (NoteKind::Progress, status, WORDS), minute);
    let note = progress(NoteStatus::Final, 1).note.note_id;
    assert!(answering.answer(&live, &[progress(NoteStatus::Amended, 1)])?.is_empty());
    assert!(!answering.knows(note), "an amendment says nothing of what came before it");
    assert!(answering.answer(&live, &[progress(NoteStatus::Final, 2)])?.is_empty());
    assert!(answering.knows(note));
    // Too few words for a question; an earlier version may have had more.
    let short = arrives("S", (NoteKind::Admission, NoteStatus::Final, "He is well."), 3);
    assert!(answering.answer(&live, std::slice::from_ref(&short))?.is_empty());
    assert!(!answering.knows(short.note.note_id));
    assert_eq!(earlier(&progress(NoteStatus::Final, 3).note).count(), 0);
    assert_eq!(earlier(&progress(NoteStatus::Retracted, 3).note).collect::<Vec<_>>(), [note]);
    Ok(())
}
