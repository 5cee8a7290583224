//! Which note took the place of which. Notes that replace one another are one line, as the versions of one note are: the last stands.
//!
//! Only the order of the notes is kept here; what was predicted about them is not.

use std::collections::{BTreeMap, VecDeque};

use schemas::{CanonicalNote, EncounterId, NoteId, PatientId, Prediction};
use warehouse::Replacement;

/// Whose a note says that it is.
#[derive(Clone, Copy, Default)]
pub struct Whose {
    patient: Option<PatientId>,
    encounter: Option<EncounterId>,
}

impl Whose {
    /// Whose this note is.
    pub fn of_note(note: &CanonicalNote) -> Self {
        Self { patient: note.patient_id, encounter: note.encounter_id }
    }

    /// Whose the note is that was predicted about.
    pub fn of_prediction(prediction: &Prediction) -> Self {
        Self { patient: prediction.patient_id, encounter: prediction.encounter_id }
    }

    /// Whether these are two patients: both say so, and not of one visit. As the warehouse's view `note_states` has it.
    pub fn is_anothers(self, other: Self) -> bool {
        let patients = self.patient.zip(other.patient).is_some_and(|(one, other)| one != other);
        let one_visit = self.encounter.zip(other.encounter).is_some_and(|(one, other)| one == other);
        patients && !one_visit
    }
}

/// Up to so many replacements; the oldest are forgotten first.
pub struct Lines {
    /// Of a note that was replaced: what took its place, and whose that is where the note itself was named.
    later: BTreeMap<NoteId, (NoteId, Whose)>,
    earlier: BTreeMap<NoteId, Vec<NoteId>>,
    order: VecDeque<NoteId>,
    limit: usize,
}

impl Lines {
    /// None yet.
    pub fn new(limit: usize) -> Self {
        Self { later: BTreeMap::new(), earlier: BTreeMap::new(), order: VecDeque::new(), limit }
    }

    /// Takes in a replacement. What was replaced before stands no longer, and the new note goes behind what does. Notes of one line stay in the order
    /// in which they are, so that no line runs in a circle.
    pub fn join(&mut self, Replacement { note_id, replaces, patient_id, encounter_id }: Replacement) {
        let last = self.last(replaces);
        if last == self.last(note_id) {
            return;
        }
        let whose = if last == replaces { Whose { patient: patient_id, encounter: encounter_id } } else { Whose::default() };
        self.later.insert(last, (note_id, whose));
        self.earlier.entry(note_id).or_default().push(last);
        self.order.push_back(last);
        while self.order.len() > self.limit {
            self.forget_oldest();
        }
    }

    /// Whether another note stands in its place.
    pub fn is_replaced(&self, note: NoteId) -> bool {
        self.later.contains_key(&note)
    }

    /// Whether another patient's note stands in its place, so that it was about somebody else.
    pub fn is_replaced_by_anothers(&self, note: &CanonicalNote) -> bool {
        self.later.get(&note.note_id).is_some_and(|(_, whose)| whose.is_anothers(Whose::of_note(note)))
    }

    /// The notes that took its place, one after the other.
    pub fn later(&self, note: NoteId) -> impl Iterator<Item = NoteId> {
        std::iter::successors(self.after(note), move |note| self.after(*note))
    }

    /// The notes in whose place it stands.
    pub fn earlier(&self, note: NoteId) -> Vec<NoteId> {
        let mut found = self.earlier.get(&note).cloned().unwrap_or_default();
        let mut next = 0;
        while let Some(more) = found.get(next).map(|note| self.earlier.get(note).cloned().unwrap_or_default()) {
            found.extend(more);
            next += 1;
        }
        found
    }

    /// All notes of its line; none where it is the only one.
    pub fn all(&self, note: NoteId) -> Vec<NoteId> {
        let last = self.last(note);
        let mut all = self.earlier(last);
        if !all.is_empty() {
            all.push(last);
        }
        all
    }

    fn after(&self, note: NoteId) -> Option<NoteId> {
        self.later.get(&note).map(|(later, _)| *later)
    }

    fn last(&self, note: NoteId) -> NoteId {
        self.later(note).last().unwrap_or(note)
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front() else { return };
        let Some((later, _)) = self.later.remove(&oldest) else { return };
        if let Some(earlier) = self.earlier.get_mut(&later) {
            earlier.retain(|note| *note != oldest);
            if earlier.is_empty() {
                self.earlier.remove(&later);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Facility, Identifier};

    use super::*;

    fn of(document: &str) -> NoteId {
        NoteId::derive(&Facility::new("north"), document)
    }

    fn patient(number: &str) -> Option<PatientId> {
        Some(PatientId::derive(&Facility::new("north"), &Identifier { system: "H".to_owned(), value: number.to_owned() }))
    }

    fn stay(visit: &str) -> Option<EncounterId> {
        Some(EncounterId::derive(&Facility::new("north"), visit))
    }

    /// Lines of these replacements, `BA` being that B took the place of A.
    fn lines(told: &[&str], limit: usize) -> Lines {
        let mut lines = Lines::new(limit);
        for pair in told {
            let (note_id, replaces) = pair.split_at(1);
            lines.join(Replacement { note_id: of(note_id), replaces: of(replaces), patient_id: None, encounter_id: None });
        }
        lines
    }

    fn later(lines: &Lines, note: &str) -> Vec<NoteId> {
        lines.later(of(note)).collect()
    }

    #[test]
    fn a_line_is_the_same_in_whatever_order_it_is_told() {
        for told in [["BA", "CB"], ["CB", "BA"]] {
            let lines = lines(&told, 9);
            assert_eq!(later(&lines, "A"), [of("B"), of("C")]);
            assert_eq!(lines.earlier(of("C")), [of("B"), of("A")]);
            assert_eq!(lines.all(of("B")), [of("B"), of("A"), of("C")]);
            assert!(lines.is_replaced(of("B")) && !lines.is_replaced(of("C")));
            assert!(lines.all(of("D")).is_empty());
        }
    }

    #[test]
    fn what_is_replaced_twice_gives_one_line_and_a_circle_stays_open() {
        let twice = lines(&["BA", "CA", "BA"], 9);
        assert_eq!(later(&twice, "A"), [of("B"), of("C")]);
        let circle = lines(&["BA", "AB", "CB", "AC"], 9);
        assert_eq!(later(&circle, "A"), [of("B"), of("C")]);
        assert!(!circle.is_replaced(of("C")));
        // One that stands in two places.
        let both = lines(&["CA", "CB"], 9);
        assert_eq!(both.all(of("A")), [of("A"), of("B"), of("C")]);
    }

    #[test]
    fn the_oldest_replacement_is_forgotten_first() {
        let lines = lines(&["BA", "CB", "DC"], 2);
        assert!(later(&lines, "A").is_empty());
        assert_eq!(lines.all(of("D")), [of("C"), of("B"), of("D")]);
    }

    #[test]
    fn two_patients_are_two_where_both_are_stated_and_no_visit_says_otherwise() {
        let whose = |number, visit| Whose { patient: number, encounter: visit };
        let one = whose(patient("1"), stay("V1"));
        assert!(one.is_anothers(whose(patient("2"), stay("V2"))) && one.is_anothers(whose(patient("2"), None)));
        assert!(!one.is_anothers(whose(patient("2"), stay("V1"))), "a number that changed within the visit");
        assert!(!one.is_anothers(whose(patient("1"), stay("V2"))) && !one.is_anothers(whose(None, None)));
    }
}
