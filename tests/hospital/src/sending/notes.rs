//! What is written down during a stay, and what becomes of it: corrected, replaced, added to, taken back.

use jiff::Timestamp;

use super::{Random, age, visit_gone};
use crate::chance::{Chance, hours_after};
use crate::plan::{Plan, ShiftKind};
use crate::process::{COUNT, Patient, Stay, feed_shifted};
use crate::prose::{self, Kind, Template};

/// What happens to a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is signed.
    Write,
    /// It gets a new text under its own number.
    Correct,
    /// Another note takes its place.
    Replace,
    /// Another note is added to it.
    Append,
    /// It was about somebody else, and is taken back.
    Retract,
}

/// Something written down and sent.
pub struct Writing<'a> {
    pub act: Act,
    pub kind: Kind,
    /// Number of this note.
    pub document: String,
    /// The note that this one replaces or adds to.
    pub parent: Option<String>,
    pub written_at: Timestamp,
    pub sent_at: Timestamp,
    /// Visit number; `None` where the engine leaves it out.
    pub visit: Option<&'a str>,
    pub text: String,
}

/// Number of a stay's first note of a kind. Each stay has one standing admission note and one standing discharge summary.
pub fn number(kind: Kind, visit: &str) -> String {
    match kind {
        Kind::Admission => format!("{visit}-hp"),
        Kind::Discharge => format!("{visit}-ds"),
        Kind::Progress => format!("{visit}-pn"),
        Kind::Report => format!("{visit}-rad"),
    }
}

/// The notes of one stay, in no order.
pub fn of_stay<'a>(plan: &Plan, patient: &Patient, stay: &Stay, visit: &'a str, random: &mut Random) -> Vec<Writing<'a>> {
    let mut desk = Desk { plan, patient, stay, visit, written: Vec::new() };
    desk.admission(random);
    if random.sending.hit(0.4) {
        let at = random.sending.after(stay.admitted_at, 2.0, 2.9);
        desk.sign(Kind::Progress, at, at, random);
    }
    if random.sending.hit(0.3) {
        let at = random.sending.after(stay.admitted_at, 1.0, 2.9);
        desk.sign(Kind::Report, at, at, random);
    }
    let written_at = random.sending.after(stay.discharged_at, -1.0, 1.0);
    let sent_at = random.sending.after(stay.discharged_at, 1.1, 36.0);
    desk.sign(Kind::Discharge, written_at, sent_at, random);
    desk.second_thoughts(Kind::Discharge, random);
    desk.written
}

struct Desk<'a, 'b> {
    plan: &'b Plan,
    patient: &'b Patient,
    stay: &'b Stay,
    visit: &'a str,
    written: Vec<Writing<'a>>,
}

impl Desk<'_, '_> {
    fn admission(&mut self, random: &mut Random) {
        let written_at = random.sending.after(self.stay.admitted_at, 1.0, 2.5);
        let mut sent_at = random.sending.after(written_at, 0.1, 9.0);
        if random.sending.hit(0.006) {
            // Somebody else's note, taken back before the right one comes.
            let document = format!("{}x", number(Kind::Admission, self.visit));
            let text = self.prose(Kind::Admission, &[false; COUNT], sent_at, &mut random.prose);
            let wrong = Writing {
                act: Act::Write,
                kind: Kind::Admission,
                document,
                parent: None,
                written_at,
                sent_at,
                visit: Some(self.visit),
                text,
            };
            let back = random.sending.after(sent_at, 0.2, 2.0);
            let taken_back =
                Writing { act: Act::Retract, document: wrong.document.clone(), parent: None, sent_at: back, text: String::new(), ..wrong };
            self.written.extend([wrong, taken_back]);
            sent_at = random.sending.after(back, 0.1, 1.0);
        }
        self.sign(Kind::Admission, written_at, sent_at, random);
        self.second_thoughts(Kind::Admission, random);
    }

    fn prose(&self, kind: Kind, factors: &[bool; COUNT], at: Timestamp, chance: &mut Chance) -> String {
        let template = if feed_shifted(self.plan, ShiftKind::Template, at) { Template::Renewed } else { Template::Classic };
        prose::write(kind, template, factors, age(self.patient, self.stay.admitted_at), chance)
    }

    fn sign(&mut self, kind: Kind, written_at: Timestamp, sent_at: Timestamp, random: &mut Random) {
        let text = self.prose(kind, &self.stay.factors, sent_at, &mut random.prose);
        let late = kind == Kind::Discharge && sent_at > hours_after(self.stay.discharged_at, 20.0);
        let lost = late && self.patient.north && random.sending.hit(0.15);
        let gone = matches!(kind, Kind::Admission | Kind::Discharge) && visit_gone(self.plan, self.patient, sent_at, &mut random.sending);
        self.written.push(Writing {
            act: Act::Write,
            kind,
            document: number(kind, self.visit),
            parent: None,
            written_at,
            sent_at,
            visit: (!lost && !gone).then_some(self.visit),
            text,
        });
    }

    /// What becomes of the note that was just signed. Whatever it is, it says no less of the patient than the note did.
    fn second_thoughts(&mut self, kind: Kind, random: &mut Random) {
        let act = match random.sending.between(0.0, 1.0) {
            drawn if drawn < 0.03 => Act::Correct,
            drawn if drawn < 0.04 => Act::Replace,
            drawn if drawn < 0.06 => Act::Append,
            _ => return,
        };
        let sent = match kind {
            Kind::Admission => random.sending.after(self.stay.admitted_at, 14.0, 34.0),
            _ => random.sending.after(self.stay.discharged_at, 37.0, 60.0),
        };
        let Some(first) = self.written.last() else { return };
        let (document, parent, text) = match act {
            Act::Correct => (first.document.clone(), None, format!("{}Corrected: vital signs were rechecked.\n", first.text)),
            Act::Replace => (
                format!("{}-r", first.document),
                Some(first.document.clone()),
                format!("{}This note replaces an earlier one.\n", first.text),
            ),
            _ => (
                format!("{}-a", first.document),
                Some(first.document.clone()),
                "ADDENDUM\nThe pending culture is final without growth, the plan is unchanged and the team agrees.\n".to_owned(),
            ),
        };
        let more = Writing { act, kind, document, parent, written_at: first.written_at, sent_at: sent, visit: first.visit, text };
        self.written.push(more);
    }
}
