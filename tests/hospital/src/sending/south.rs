//! South's server: FHIR R4, a resource or a Bundle a record.

use jiff::Timestamp;
use serde_json::Value;

use super::{Channel, Outbox, age};
use crate::chance::{Chance, hours_after};
use crate::fhir::{self, Decision, Document, Visit};
use crate::plan::{Plan, ShiftKind};
use crate::process::{COUNT, Patient, Stay, feed_shifted};
use crate::prose::{self, Kind, Template};
use crate::truth::visit_number;

const ADMISSION_NOTE: &str = "34117-2";
const DISCHARGE_NOTE: &str = "18842-5";
const PROGRESS_NOTE: &str = "11506-3";

pub fn speak(plan: &Plan, patient: &Patient, outbox: &mut Outbox, chance: &mut Chance) {
    let first = format!("pat-{:07}", patient.number);
    let second = format!("pat-9{:06}", patient.number);
    let birth = patient.birth.to_string();
    for (index, stay) in patient.stays.iter().enumerate() {
        let renamed = patient.second_number_from == Some(index);
        let id = if renamed { &second } else { &first };
        let visit = visit_number(patient, index);
        let known_at = chance.after(stay.admitted_at, 0.01, 0.2);
        put(outbox, known_at, &fhir::patient(id, &birth, patient.female, patient.race, known_at, None));
        let voice = Voice { plan, patient, stay, id, visit: &visit };
        voice.movements(outbox, chance);
        voice.notes(outbox, chance);
        let coded_at = chance.after(stay.discharged_at, 24.0, 240.0);
        put(outbox, coded_at, &fhir::conditions(id, &visit, &stay.codes, coded_at));
        claims(id, &visit, stay, chance, &mut |at, resource| put(outbox, at, resource));
        if renamed {
            let at = chance.after(stay.admitted_at, 4.0, 90.0);
            put(outbox, at, &fhir::patient(&first, &birth, patient.female, patient.race, at, Some(&second)));
        } else if chance.hit(0.012) {
            voice.phantom(outbox, chance);
        }
    }
}

fn put(outbox: &mut Outbox, at: Timestamp, resource: &Value) {
    outbox.send(at, Channel::Fhir, resource.to_string().into_bytes());
}

struct Voice<'a> {
    plan: &'a Plan,
    patient: &'a Patient,
    stay: &'a Stay,
    id: &'a str,
    visit: &'a str,
}

impl Voice<'_> {
    fn visit_now(&self, at: Timestamp, status: &'static str, ended: Option<(Timestamp, &'static str)>) -> Visit<'_> {
        let department = if feed_shifted(self.plan, ShiftKind::Field, at) { "" } else { self.stay.department };
        Visit { id: self.visit, patient: self.id, department, status, admitted_at: self.stay.admitted_at, ended }
    }

    fn movements(&self, outbox: &mut Outbox, chance: &mut Chance) {
        let Stay { admitted_at, discharged_at, .. } = *self.stay;
        let late = if chance.hit(0.05) { 30.0 } else { 0.5 };
        let begun_at = chance.after(admitted_at, 0.01, late);
        put(outbox, begun_at, &fhir::encounter(&self.visit_now(admitted_at, "in-progress", None), begun_at, 1));
        let mut version = 2;
        if chance.hit(0.012) {
            let hours = discharged_at.duration_since(admitted_at).as_secs_f64() / 3_600.0;
            let wrong = chance.after(admitted_at, hours * 0.3, hours * 0.5);
            let back = chance.after(wrong, 0.3, hours * 0.2);
            put(outbox, wrong, &fhir::encounter(&self.visit_now(wrong, "finished", Some((wrong, "home"))), wrong, version));
            put(outbox, back, &fhir::encounter(&self.visit_now(back, "in-progress", None), back, version + 1));
            version += 2;
        }
        let disposition = if self.stay.died { "exp" } else { chance.pick(&["home", "home", "home", "snf", "other-hcf"]) };
        let late = if chance.hit(0.08) { 40.0 } else { 1.0 };
        let ended_at = chance.after(discharged_at, 0.01, late);
        // A server stamps versions in order, however late an engine sends.
        let ended_at = ended_at.max(hours_after(begun_at, 0.01));
        put(
            outbox,
            ended_at,
            &fhir::encounter(&self.visit_now(discharged_at, "finished", Some((discharged_at, disposition))), ended_at, version),
        );
    }

    fn document<'a>(&'a self, id: &'a str, loinc: &'a str, written_at: Timestamp, text: &'a str) -> Document<'a> {
        Document { id, patient: self.id, encounter: Some(self.visit), loinc, written_at, text, status: "current", doc_status: "final" }
    }

    fn notes(&self, outbox: &mut Outbox, chance: &mut Chance) {
        let stay = self.stay;
        let years = age(self.patient, stay.admitted_at);
        let template = |at| if feed_shifted(self.plan, ShiftKind::Template, at) { Template::Renewed } else { Template::Classic };
        let missing = |at, chance: &mut Chance| feed_shifted(self.plan, ShiftKind::Field, at) && chance.hit(0.6);
        let written_at = chance.after(stay.admitted_at, 1.0, 2.5);
        let mut sent_at = chance.after(written_at, 0.1, 9.0);
        if chance.hit(0.006) {
            let wrong = prose::write(Kind::Admission, template(sent_at), &[false; COUNT], years, chance);
            let id = format!("doc-{}-hpx", self.visit);
            let document = self.document(&id, ADMISSION_NOTE, written_at, &wrong);
            put(outbox, sent_at, &fhir::document(&document, sent_at, 1));
            let back = chance.after(sent_at, 0.2, 2.0);
            put(outbox, back, &fhir::document(&Document { status: "entered-in-error", ..document }, back, 2));
            sent_at = chance.after(back, 0.1, 1.0);
            outbox.notes += 2;
        }
        let text = prose::write(Kind::Admission, template(sent_at), &stay.factors, years, chance);
        let id = format!("doc-{}-hp", self.visit);
        let encounter = (!missing(sent_at, chance)).then_some(self.visit);
        let document = Document { encounter, ..self.document(&id, ADMISSION_NOTE, written_at, &text) };
        put(outbox, sent_at, &fhir::document(&document, sent_at, 1));
        outbox.notes += 1;
        if chance.hit(0.03) {
            let at = chance.after(sent_at, 1.0, 20.0);
            let corrected = format!("{text}\nCorrected: vital signs were rechecked.");
            put(
                outbox,
                at,
                &fhir::document(
                    &Document {
                        text: &corrected,
                        doc_status: "amended",
                        encounter,
                        ..self.document(&id, ADMISSION_NOTE, written_at, &text)
                    },
                    at,
                    2,
                ),
            );
            outbox.notes += 1;
        }
        if chance.hit(0.4) {
            let at = chance.after(stay.admitted_at, 2.0, 2.9);
            let text = prose::write(Kind::Progress, template(at), &stay.factors, years, chance);
            put(outbox, at, &fhir::document(&self.document(&format!("doc-{}-pn", self.visit), PROGRESS_NOTE, at, &text), at, 1));
            outbox.notes += 1;
        }
        if chance.hit(0.3) {
            let at = chance.after(stay.admitted_at, 1.0, 2.9);
            let text = prose::write(Kind::Report, template(at), &stay.factors, years, chance);
            put(outbox, at, &fhir::report(&format!("rep-{}", self.visit), self.id, self.visit, at, &text));
            outbox.notes += 1;
        }
        let written_at = chance.after(stay.discharged_at, -1.0, 1.0);
        let sent_at = chance.after(stay.discharged_at, 1.1, 36.0);
        let text = prose::write(Kind::Discharge, template(sent_at), &stay.factors, years, chance);
        let id = format!("doc-{}-ds", self.visit);
        let encounter = (!missing(sent_at, chance)).then_some(self.visit);
        put(outbox, sent_at, &fhir::document(&Document { encounter, ..self.document(&id, DISCHARGE_NOTE, written_at, &text) }, sent_at, 1));
        outbox.notes += 1;
    }

    /// An admission that never was.
    fn phantom(&self, outbox: &mut Outbox, chance: &mut Chance) {
        let at = chance.after(self.stay.discharged_at, 200.0, 600.0);
        let back = chance.after(at, 0.2, 5.0);
        let id = format!("{}-x", self.visit);
        let visit = |status| Visit { id: &id, patient: self.id, department: self.stay.department, status, admitted_at: at, ended: None };
        put(outbox, at, &fhir::encounter(&visit("in-progress"), at, 1));
        put(outbox, back, &fhir::encounter(&visit("entered-in-error"), back, 2));
    }
}

/// The claim of a stay, the decision, and in half of the denials an appeal.
pub fn claims(patient: &str, visit: &str, stay: &Stay, chance: &mut Chance, put: &mut dyn FnMut(Timestamp, &Value)) {
    let submitted_at = chance.after(stay.discharged_at, 72.0, 360.0);
    let decided_at = chance.after(submitted_at, 240.0, 1_440.0);
    let claim = format!("clm-{visit}");
    put(submitted_at, &fhir::claim(&claim, patient, visit, submitted_at));
    let decision = if stay.denied { Decision::Denied } else { Decision::Paid };
    put(decided_at, &fhir::response(&format!("rsp-{visit}-1"), &claim, patient, decision, decided_at));
    if stay.denied && chance.hit(0.5) {
        let appealed_at = chance.after(decided_at, 480.0, 960.0);
        let decision = if chance.hit(0.5) { Decision::AppealWon } else { Decision::AppealLost };
        put(appealed_at, &fhir::response(&format!("rsp-{visit}-2"), &claim, patient, decision, appealed_at));
    }
}
