//! A note's life as the scorer sees it, answered by a small model with fresh weights.

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

/// What a scorer published before it died amid a batch is neither lost nor said otherwise by the next one.
#[test]
fn a_note_whose_answers_are_not_all_published_is_answered_again() -> anyhow::Result<()> {
    let live = live()?;
    let version = |text, minute| arrives("A", (NoteKind::Admission, NoteStatus::Final, text), minute);
    let first = Answering::new(10).answer(&live, &[version(WORDS, 1)])?;
    let knowing = |standing: Vec<Prediction>| {
        let mut answering = Answering::new(10);
        answering.remember(first[0].note_id, Standing::of(standing));
        answering
    };
    let second = knowing(first.clone()).answer(&live, &[version("He has a fever now, and stays until it is gone.", 2)])?;
    assert_eq!(said(&second), (first.len(), first.len(), 0));
    assert!(knowing(first.clone()).answer(&live, &[version(WORDS, 3)])?.is_empty());
    // One answer of the second version came out, and the first version's others stand still.
    let amid = second[..1].iter().chain(&first[1..]).cloned().collect();
    let again = knowing(amid).answer(&live, &[version("He has a fever now, and stays until it is gone.", 2)])?;
    let links = |records: &[Prediction]| records.iter().map(|record| (record.prediction_id, record.supersedes)).collect::<Vec<_>>();
    assert_eq!(links(&again), links(&second));
    Ok(())
}

/// The warehouse is asked between a message and its answer, so only about notes that it may know more of.
#[test]
fn a_first_version_is_remembered_even_where_nothing_is_asked() -> anyhow::Result<()> {
    let (live, mut answering) = (live()?, Answering::new(10));
    let progress = |status, minute| arrives("P", (NoteKind::Progress, status, WORDS), minute);
    let note = progress(NoteStatus::Final, 1).note.note_id;
    assert!(answering.answer(&live, &[progress(NoteStatus::Amended, 1)])?.is_empty());
    assert!(answering.forgets(note), "an amendment says nothing of what came before it");
    assert!(answering.answer(&live, &[progress(NoteStatus::Final, 2)])?.is_empty());
    assert!(!answering.forgets(note));
    assert_eq!(earlier(&progress(NoteStatus::Final, 3).note).count(), 0);
    assert_eq!(earlier(&progress(NoteStatus::Retracted, 3).note).collect::<Vec<_>>(), [note]);
    Ok(())
}
