//! Notes that replace one another under numbers of their own: whatever the order, and wherever a scorer dies, one prediction of a line stands for each
//! question, and every version that says something was answered.

use schemas::{EncounterId, Identifier, PatientId};

use super::*;

fn of(document: &str) -> NoteId {
    NoteId::derive(&Facility::new("north"), document)
}

fn patient(number: &str) -> Option<PatientId> {
    Some(PatientId::derive(&Facility::new("north"), &Identifier { system: "H".to_owned(), value: number.to_owned() }))
}

/// An admission note with words of its own; `replaces` is the number of another, or empty.
fn admission(document: &str, replaces: &str, minute: i64) -> Arrived {
    told(document, replaces, (NoteKind::Admission, NoteStatus::Final, &format!("{WORDS} So {document} has it.")), minute)
}

fn told(document: &str, replaces: &str, what: (NoteKind, NoteStatus, &str), minute: i64) -> Arrived {
    let mut arrived = arrives(document, what, minute);
    arrived.note.replaces = Some(replaces).filter(|replaces| !replaces.is_empty()).map(of);
    arrived
}

fn of_patient(number: &str, visit: &str, arrived: Arrived) -> Arrived {
    let encounter_id = Some(EncounterId::derive(&Facility::new("north"), visit));
    Arrived { note: CanonicalNote { patient_id: patient(number), encounter_id, ..arrived.note }, ..arrived }
}

/// What a reader of the topic makes of these records, which say nothing a second time once it fell.
fn heard(records: &[Prediction]) -> BTreeMap<NoteId, Published> {
    let fell: BTreeSet<PredictionId> = records.iter().flat_map(|record| record.supersedes.into_iter().chain(record.retracts)).collect();
    let mut notes: BTreeMap<NoteId, Published> = BTreeMap::new();
    for record in records.iter().filter(|record| record.retracts.is_none()) {
        let note = notes.entry(record.note_id).or_default();
        note.versions.insert((record.note_version_id, record.predicted_at));
        if !fell.contains(&record.prediction_id) {
            note.standing.retain(|earlier| earlier.task != record.task);
            note.standing.push(record.clone());
        }
    }
    notes
}

/// The notes whose predictions stand, a question each.
fn in_force(records: &[Prediction]) -> Vec<(Task, NoteId)> {
    let notes = heard(records);
    let mut standing: Vec<_> = notes.values().flat_map(|note| &note.standing).map(|standing| (standing.task, standing.note_id)).collect();
    standing.sort_unstable();
    standing
}

/// All that is asked of an admission note, answered by this one.
fn answered_by(document: &str) -> Vec<(Task, NoteId)> {
    let mut asked: Vec<_> = Task::of(NoteKind::Admission).map(|task| (task, of(document))).collect();
    asked.sort_unstable();
    asked
}

fn ids(records: &[Prediction]) -> Vec<Option<PredictionId>> {
    records.iter().map(|record| Some(record.prediction_id)).collect()
}

fn superseded(records: &[Prediction]) -> Vec<Option<PredictionId>> {
    records.iter().map(|record| record.supersedes).collect()
}

#[test]
fn a_replacement_supersedes_as_a_version_does() -> anyhow::Result<()> {
    let (live, mut answering) = (live()?, Answering::new(10));
    let tasks = Task::of(NoteKind::Admission).count();
    let mut says = |one: Arrived| answering.answer(&live, &[one]);
    let first = says(admission("A", "", 1))?;
    let second = says(admission("B", "A", 2))?;
    assert_eq!(said(&second), (tasks, tasks, 0), "nothing is taken back");
    assert_eq!(superseded(&second), ids(&first));
    assert_eq!(superseded(&says(admission("C", "B", 3))?), ids(&second));
    // The first one's number again: what stands by now gives way.
    let fourth = says(admission("D", "A", 4))?;
    assert_eq!((said(&fourth), fourth[0].note_id), ((tasks, tasks, 0), of("D")));
    let text = format!("{WORDS} Corrected.");
    let corrected = says(told("D", "A", (NoteKind::Admission, NoteStatus::Amended, &text), 5))?;
    assert_eq!(superseded(&corrected), ids(&fourth));
    // What was replaced is sent again, as FHIR servers do to say so, and is taken back.
    assert_eq!(said(&says(admission("A", "", 6))?), (0, 0, 0));
    assert_eq!(said(&says(told("A", "", (NoteKind::Admission, NoteStatus::Retracted, ""), 7))?), (0, 0, 0));
    assert_eq!(said(&says(told("D", "A", (NoteKind::Admission, NoteStatus::Retracted, ""), 8))?), (tasks, 0, tasks));
    Ok(())
}

/// As a correction that takes words away, or a version under another type: the old answers stand until something answers in their place.
#[test]
fn a_replacement_that_answers_nothing_takes_no_answers_place() -> anyhow::Result<()> {
    let live = live()?;
    let summary = told("S", "A", (NoteKind::Discharge, NoteStatus::Final, WORDS), 2);
    let short = || told("B", "A", (NoteKind::Admission, NoteStatus::Final, "See dictation."), 2);
    let gone = told("B", "A", (NoteKind::Admission, NoteStatus::Retracted, WORDS), 3);
    for (between, answered) in [(summary, 1), (short(), 0), (gone, 0)] {
        let mut answering = Answering::new(10);
        let first = answering.answer(&live, &[admission("A", "", 1)])?;
        assert_eq!(said(&answering.answer(&live, &[between])?), (answered, 0, 0));
        let taken = answering.answer(&live, &[told("A", "", (NoteKind::Admission, NoteStatus::Retracted, ""), 4)])?;
        assert_eq!(taken.iter().map(|record| record.retracts).collect::<Vec<_>>(), ids(&first));
    }
    // The next one does.
    let mut answering = Answering::new(10);
    let first = answering.answer(&live, &[admission("A", "", 1), short()])?;
    assert_eq!(superseded(&answering.answer(&live, &[admission("C", "B", 3)])?), ids(&first));
    Ok(())
}

/// A stay is judged by the note that was known first, whichever is read first: so each is answered, and the last one of the line stands.
#[test]
fn a_note_that_comes_behind_its_replacement_is_answered_and_gives_way() -> anyhow::Result<()> {
    let (live, mut answering) = (live()?, Answering::new(10));
    let tasks = Task::of(NoteKind::Admission).count();
    let third = answering.answer(&live, &[admission("C", "B", 3)])?;
    let first = answering.answer(&live, &[admission("A", "", 1)])?;
    assert_eq!(in_force(&[third.clone(), first.clone()].concat()).len(), 2 * tasks, "nothing says yet that they are one line");
    let second = answering.answer(&live, &[admission("B", "A", 2)])?;
    let (own, again) = second.split_at(tasks);
    assert_eq!((superseded(own), superseded(again)), (ids(&first), ids(own)));
    assert_eq!(ids(again), ids(&third));
    assert_eq!(in_force(&[third, first, second].concat()), answered_by("C"));
    assert!(answering.answer(&live, &[admission("B", "A", 2), admission("B", "A", 4), admission("A", "", 5)])?.is_empty());
    Ok(())
}

/// Whatever came out of a batch before its scorer died, the one that reads the batch again leaves one prediction in force for each question, and says
/// what it said before.
#[test]
fn a_batch_of_replacements_that_is_read_again_ends_as_if_it_was_read_once() -> anyhow::Result<()> {
    let live = live()?;
    let notes = [("A", "", 1), ("B", "A", 2), ("C", "B", 3)];
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [2, 0, 1]] {
        let batch: Vec<Arrived> =
            order.iter().map(|place| notes[*place]).map(|(one, other, minute)| admission(one, other, minute)).collect();
        let all = Answering::new(10).answer(&live, &batch)?;
        assert_eq!(in_force(&all), answered_by("C"), "in the order {order:?}");
        let known: BTreeSet<PredictionId> = all.iter().map(|record| record.prediction_id).collect();
        let links = || {
            let link = |(note_id, replaces)| Replacement { note_id, replaces, patient_id: None, encounter_id: None };
            [(of("B"), of("A")), (of("C"), of("B"))].map(link).to_vec()
        };
        for cut in 0..=all.len() {
            let (out, _) = all.split_at(cut);
            let mut next = Answering::new(10);
            next.hear(heard(out), links());
            let topic = [out, next.answer(&live, &batch)?.as_slice()].concat();
            assert_eq!(in_force(&topic), answered_by("C"), "in the order {order:?}, {cut} records out");
            let said: BTreeSet<PredictionId> = topic.iter().map(|record| record.prediction_id).collect();
            assert_eq!(said, known, "in the order {order:?}, {cut} records out");
        }
        let mut next = Answering::new(10);
        next.hear(heard(&all), links());
        assert!(next.answer(&live, &batch)?.is_empty(), "all was said in the order {order:?}");
    }
    Ok(())
}

/// What another patient's note replaces was about somebody else. A patient's number that changes within a visit makes no other patient.
#[test]
fn what_another_patients_note_replaces_is_taken_back() -> anyhow::Result<()> {
    let live = live()?;
    let tasks = Task::of(NoteKind::Admission).count();
    let first = || of_patient("1", "V1", admission("A", "", 1));
    let others = || of_patient("2", "V2", admission("B", "A", 2));
    let mut answering = Answering::new(10);
    let wrong = answering.answer(&live, &[first()])?;
    let right = answering.answer(&live, &[others()])?;
    assert_eq!(said(&right), (2 * tasks, 0, tasks));
    assert_eq!(right[..tasks].iter().map(|record| record.retracts).collect::<Vec<_>>(), ids(&wrong));
    assert!(answering.answer(&live, &[others(), first()])?.is_empty());
    // The wrong one comes late.
    let mut answering = Answering::new(10);
    answering.answer(&live, &[others()])?;
    assert!(answering.answer(&live, &[first()])?.is_empty());
    // One visit.
    let mut answering = Answering::new(10);
    let first = answering.answer(&live, &[first()])?;
    let second = answering.answer(&live, &[of_patient("2", "V1", admission("B", "A", 2))])?;
    assert_eq!(superseded(&second), ids(&first));
    Ok(())
}

/// Two notes that say of each other that they stand in its place: the one that said it first has.
#[test]
fn notes_that_replace_each_other_leave_one_in_force() -> anyhow::Result<()> {
    let records = Answering::new(10).answer(&live()?, &[admission("A", "B", 1), admission("B", "A", 2), admission("A", "B", 3)])?;
    assert_eq!(in_force(&records), answered_by("A"));
    Ok(())
}

/// The warehouse is asked about a whole line, and about none where there is none.
#[test]
fn a_note_touches_its_line() -> anyhow::Result<()> {
    let (live, mut answering) = (live()?, Answering::new(10));
    assert!(answering.touched(&admission("A", "", 1).note, None).is_empty());
    assert_eq!(answering.touched(&admission("B", "A", 2).note, None), BTreeSet::from([of("A")]));
    answering.answer(&live, &[admission("B", "A", 2)])?;
    let line = BTreeSet::from([of("A"), of("B")]);
    assert_eq!(answering.touched(&admission("A", "", 1).note, None), line);
    assert_eq!(answering.touched(&admission("C", "A", 3).note, None), line);
    let itself = told("D", "D", (NoteKind::Admission, NoteStatus::Final, WORDS), 4);
    assert!(answering.touched(&itself.note, None).is_empty());
    assert!(answering.touched(&told("E", "A", (NoteKind::Admission, NoteStatus::Retracted, ""), 5).note, None).contains(&of("E")));
    Ok(())
}
