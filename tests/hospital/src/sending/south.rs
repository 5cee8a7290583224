//! South's server: FHIR R4, a resource or a Bundle a record.

use jiff::Timestamp;
use serde_json::Value;

use super::notes::{self, Writing};
use super::{Channel, Outbox, Random, department_gone};
use crate::chance::{Chance, hours_after};
use crate::fhir::{self, Visit};
use crate::plan::Plan;
use crate::process::{Patient, Stay};
use crate::prose::Kind;
use crate::truth::visit_number;

pub fn speak(plan: &Plan, patient: &Patient, outbox: &mut Outbox, random: &mut Random) {
    let first = format!("pat-{:07}", patient.number);
    let second = format!("pat-9{:06}", patient.number);
    for (index, stay) in patient.stays.iter().enumerate() {
        let renamed = patient.second_number_from == Some(index);
        let visit = visit_number(patient, index);
        let voice = Voice { plan, patient, stay, id: if renamed { &second } else { &first }, visit: &visit };
        voice.movements(outbox, &mut random.sending);
        for writing in notes::of_stay(plan, patient, stay, &visit, random) {
            outbox.signed(&writing);
            put(outbox, writing.sent_at, &voice.note(&writing, &mut random.sending));
        }
        if !stay.codes.is_empty() {
            let coded_at = random.sending.after(stay.discharged_at, 24.0, 240.0);
            put(outbox, coded_at, &fhir::conditions(voice.id, &visit, &stay.codes, coded_at));
        }
        let bill = fhir::Bill { patient: voice.id, visit: &visit };
        fhir::billing(&bill, stay, &mut random.sending, &mut |at, resource| put(outbox, at, resource));
        if renamed {
            let at = random.sending.after(stay.admitted_at, 4.0, 90.0);
            put(outbox, at, &fhir::patient(&first, patient, at, Some(&second)));
        } else if random.sending.hit(0.012) {
            voice.phantom(outbox, &mut random.sending);
        }
        if index == 0 && random.sending.hit(0.2) {
            voice.clinic(outbox, &mut random.sending);
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
        let department = if department_gone(self.plan, self.patient, self.stay, at) { "" } else { self.stay.department };
        let admitted_at = Some(self.stay.admitted_at);
        Visit { id: self.visit, patient: self.id, class: "IMP", department, status, admitted_at, ended }
    }

    fn movements(&self, outbox: &mut Outbox, chance: &mut Chance) {
        let Stay { admitted_at, discharged_at, .. } = *self.stay;
        let late = if chance.hit(0.05) { 30.0 } else { 0.5 };
        let begun_at = chance.after(admitted_at, 0.01, late);
        let mut last = begun_at;
        let mut version = 1;
        let mut say = |visit: &Visit<'_>, at: Timestamp| {
            let encounter = fhir::encounter(visit, at, version);
            version += 1;
            encounter
        };
        if chance.hit(0.03) {
            let at = chance.after(admitted_at, -200.0, -20.0);
            put(outbox, at, &say(&Visit { admitted_at: None, ..self.visit_now(at, "planned", None) }, at));
        }
        let person = fhir::patient(self.id, self.patient, begun_at, None);
        let begun = say(&self.visit_now(admitted_at, "in-progress", None), begun_at);
        if chance.hit(0.1) {
            put(outbox, begun_at, &fhir::message(vec![person, begun], begun_at));
        } else {
            put(outbox, chance.after(admitted_at, 0.01, 0.2), &person);
            put(outbox, begun_at, &begun);
        }
        if chance.hit(0.012) {
            // Discharged too early on paper, and taken back.
            let hours = discharged_at.duration_since(admitted_at).as_secs_f64() / 3_600.0;
            let wrong = chance.after(admitted_at, hours * 0.3, hours * 0.5).max(hours_after(begun_at, 0.01));
            let back = chance.after(wrong, 0.3, hours * 0.2);
            put(outbox, wrong, &say(&self.visit_now(wrong, "finished", Some((wrong, "home"))), wrong));
            put(outbox, back, &say(&self.visit_now(back, "in-progress", None), back));
            last = back;
        }
        let disposition = if self.stay.died { "exp" } else { chance.pick(&["home", "home", "home", "snf", "other-hcf"]) };
        let late = if chance.hit(0.08) { 40.0 } else { 1.0 };
        // A server stamps versions in order, however late an engine sends.
        let ended_at = chance.after(discharged_at, 0.01, late).max(hours_after(last, 0.01));
        put(outbox, ended_at, &say(&self.visit_now(discharged_at, "finished", Some((discharged_at, disposition))), ended_at));
    }

    /// A DocumentReference; reports as DiagnosticReport, some progress notes as Composition.
    fn note(&self, writing: &Writing<'_>, chance: &mut Chance) -> Value {
        match writing.kind {
            Kind::Report => fhir::report(self.id, self.visit, writing),
            Kind::Progress if chance.hit(0.2) => fhir::composition(self.id, writing),
            _ => fhir::document(self.id, writing),
        }
    }

    /// An admission that never was.
    fn phantom(&self, outbox: &mut Outbox, chance: &mut Chance) {
        let at = chance.after(self.stay.discharged_at, 200.0, 600.0);
        let back = chance.after(at, 0.2, 5.0);
        let id = format!("{}-x", self.visit);
        for (version, (status, sent_at)) in [("in-progress", at), ("entered-in-error", back)].into_iter().enumerate() {
            let visit = Visit { id: &id, admitted_at: Some(at), ..self.visit_now(at, status, None) };
            put(outbox, sent_at, &fhir::encounter(&visit, sent_at, u32::from(version == 1) + 1));
        }
    }

    /// A clinic visit that is no stay.
    fn clinic(&self, outbox: &mut Outbox, chance: &mut Chance) {
        let at = chance.after(self.stay.discharged_at, 24.0, 600.0);
        let id = format!("{}-c", self.visit);
        let visit = Visit {
            id: &id,
            class: "AMB",
            department: "CLI",
            admitted_at: Some(at),
            ended: Some((hours_after(at, 0.5), "")),
            ..self.visit_now(at, "finished", None)
        };
        let sent_at = chance.after(at, 0.6, 1.0);
        put(outbox, sent_at, &fhir::encounter(&visit, sent_at, 1));
    }
}
