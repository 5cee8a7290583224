//! North's engine: HL7 v2, and claims as FHIR on the same topic.

use jiff::Timestamp;
use serde_json::Value;

use super::{Channel, Outbox, age};
use crate::chance::Chance;
use crate::hl7::{Message, Person, stamp};
use crate::plan::{Plan, ShiftKind};
use crate::process::{Patient, Stay, feed_shifted};
use crate::prose::{self, Kind, Template};
use crate::truth::visit_number;

/// One stay as the engine knows it.
struct Voice<'a> {
    plan: &'a Plan,
    patient: &'a Patient,
    stay: &'a Stay,
    number: String,
    visit: String,
    birth: String,
}

pub fn speak(plan: &Plan, patient: &Patient, outbox: &mut Outbox, chance: &mut Chance) {
    let first = format!("N{:07}", patient.number);
    let second = format!("N9{:06}", patient.number);
    for (index, stay) in patient.stays.iter().enumerate() {
        let renamed = patient.second_number_from == Some(index);
        let voice = Voice {
            plan,
            patient,
            stay,
            number: if renamed { second.clone() } else { first.clone() },
            visit: visit_number(patient, index),
            birth: patient.birth.strftime("%Y%m%d").to_string(),
        };
        voice.movements(outbox, chance);
        voice.notes(outbox, chance);
        voice.money(outbox, chance);
        if renamed {
            let at = chance.after(stay.admitted_at, 4.0, 90.0);
            let merge = Voice { number: first.clone(), ..voice }.message("ADT", "A40", at, at).segment(format!("MRG|{second}^^^NORTH^MR"));
            outbox.send(at, Channel::Hl7, merge.framed());
        } else if chance.hit(0.012) {
            voice.phantom(index, outbox, chance);
        }
    }
    if patient.stays.is_empty() {
        return;
    }
    outpatient(plan, patient, &first, outbox, chance);
}

/// A clinic visit that is no stay.
fn outpatient(plan: &Plan, patient: &Patient, number: &str, outbox: &mut Outbox, chance: &mut Chance) {
    let Some(stay) = patient.stays.first().filter(|_| chance.hit(0.2)) else { return };
    let at = chance.after(stay.discharged_at, 24.0, 600.0);
    let visit = format!("C{:07}", patient.number);
    let voice =
        Voice { plan, patient, stay, number: number.to_owned(), visit: visit.clone(), birth: patient.birth.strftime("%Y%m%d").to_string() };
    let registered = voice.message("ADT", "A04", at, at).segment(format!("PV1|1|O|CLINIC^^^NORTH|||||||CLI|||||||||{visit}"));
    outbox.send(at, Channel::Hl7, registered.framed());
}

impl Voice<'_> {
    /// The header and the patient; control ids are unique a message.
    fn message(&self, kind: &str, trigger: &str, sent_at: Timestamp, happened_at: Timestamp) -> Message {
        let control = format!("{}{}{}", self.visit, trigger, sent_at.as_second());
        let sex = if self.patient.female { "F" } else { "M" };
        Message::new(kind, trigger, &control, sent_at, happened_at).person(&Person {
            number: &self.number,
            birth: &self.birth,
            sex,
            race: self.patient.race,
        })
    }

    fn department(&self, at: Timestamp) -> &str {
        if feed_shifted(self.plan, ShiftKind::Field, at) { "" } else { self.stay.department }
    }

    /// Admission, transfer, update, discharge, and what is taken back of them.
    fn movements(&self, outbox: &mut Outbox, chance: &mut Chance) {
        let Stay { admitted_at, discharged_at, .. } = *self.stay;
        let disposition = if self.stay.died { "20" } else { chance.pick(&["01", "01", "01", "03", "06"]) };
        let mut adt = |trigger: &str, at: Timestamp, late: f64, disposition: &str, discharged: Option<Timestamp>, chance: &mut Chance| {
            let sent_at = chance.after(at, 0.01, late);
            let message = self.message("ADT", trigger, sent_at, at).visit(
                &self.visit,
                self.department(at),
                disposition,
                Some(admitted_at),
                discharged,
            );
            outbox.send(sent_at, Channel::Hl7, message.framed());
        };
        let late = if chance.hit(0.05) { 30.0 } else { 0.5 };
        adt("A01", admitted_at, late, "", None, chance);
        if chance.hit(0.25) {
            let at = chance.after(admitted_at, 1.0, 2.9);
            adt("A02", at, 2.0, "", None, chance);
        }
        if chance.hit(0.3) {
            let at = chance.after(admitted_at, 1.0, 2.9);
            adt("A08", at, 1.0, "", None, chance);
        }
        if chance.hit(0.012) {
            // Discharged too early on paper, and taken back.
            let hours = discharged_at.duration_since(admitted_at).as_secs_f64() / 3_600.0;
            let wrong = chance.after(admitted_at, hours * 0.3, hours * 0.5);
            let back = chance.after(wrong, 0.3, hours * 0.2);
            adt("A03", wrong, 0.2, "01", Some(wrong), chance);
            adt("A13", back, 0.2, "", None, chance);
        }
        let late = if chance.hit(0.08) { 40.0 } else { 1.0 };
        adt("A03", discharged_at, late, disposition, Some(discharged_at), chance);
    }

    fn note(
        &self,
        trigger: &str,
        document: &str,
        kind: (&str, &str),
        written_at: Timestamp,
        sent_at: Timestamp,
        visit: &str,
        text: &str,
    ) -> Vec<u8> {
        let (code, completion) = kind;
        let txa = format!("TXA|1|{code}|TX|{}||||||||{document}|||||{completion}", stamp(written_at));
        self.message("MDM", trigger, sent_at, written_at)
            .segment(format!("PV1|1|I|{}||||||||||||||||{visit}", self.stay.department))
            .segment(txa)
            .text(text)
            .framed()
    }

    fn notes(&self, outbox: &mut Outbox, chance: &mut Chance) {
        let stay = self.stay;
        let years = age(self.patient, stay.admitted_at);
        let template = |at| if feed_shifted(self.plan, ShiftKind::Template, at) { Template::Renewed } else { Template::Classic };
        let missing = |at, chance: &mut Chance| feed_shifted(self.plan, ShiftKind::Field, at) && chance.hit(0.6);
        let written_at = chance.after(stay.admitted_at, 1.0, 2.5);
        let mut sent_at = chance.after(written_at, 0.1, 9.0);
        if chance.hit(0.006) {
            // The wrong patient's note, taken back before the right one comes.
            let wrong = prose::write(Kind::Admission, template(sent_at), &[false; crate::process::COUNT], years, chance);
            let document = format!("{}-HPX", self.visit);
            outbox.send(sent_at, Channel::Hl7, self.note("T02", &document, ("HP", "AU"), written_at, sent_at, &self.visit, &wrong));
            let back = chance.after(sent_at, 0.2, 2.0);
            outbox.send(back, Channel::Hl7, self.note("T11", &document, ("HP", "CA"), written_at, back, &self.visit, ""));
            sent_at = chance.after(back, 0.1, 1.0);
            outbox.notes += 2;
        }
        let text = prose::write(Kind::Admission, template(sent_at), &stay.factors, years, chance);
        let document = format!("{}-HP", self.visit);
        let visit = if missing(sent_at, chance) { "" } else { &self.visit };
        outbox.send(sent_at, Channel::Hl7, self.note("T02", &document, ("HP", "AU"), written_at, sent_at, visit, &text));
        outbox.notes += 1;
        if chance.hit(0.03) {
            let at = chance.after(sent_at, 1.0, 20.0);
            outbox.send(
                at,
                Channel::Hl7,
                self.note(
                    "T08",
                    &document,
                    ("HP", "AU"),
                    written_at,
                    at,
                    visit,
                    &format!("{text}\nCorrected: vital signs were rechecked."),
                ),
            );
            outbox.notes += 1;
        }
        if chance.hit(0.4) {
            let at = chance.after(stay.admitted_at, 2.0, 2.9);
            let text = prose::write(Kind::Progress, template(at), &stay.factors, years, chance);
            outbox.send(at, Channel::Hl7, self.note("T02", &format!("{}-PN", self.visit), ("PN", "AU"), at, at, &self.visit, &text));
            outbox.notes += 1;
        }
        if chance.hit(0.3) {
            let at = chance.after(stay.admitted_at, 1.0, 2.9);
            let text = prose::write(Kind::Report, template(at), &stay.factors, years, chance);
            let report = self.message("ORU", "R01", at, at).visit(&self.visit, stay.department, "", None, None);
            let report =
                report.segment(format!("OBR|1||{}-RAD|71020^Chest radiograph|||{}||||||||||||||||||F", self.visit, stamp(at))).text(&text);
            outbox.send(at, Channel::Hl7, report.framed());
            outbox.notes += 1;
        }
        let written_at = chance.after(stay.discharged_at, -1.0, 1.0);
        let sent_at = chance.after(stay.discharged_at, 1.1, 36.0);
        let text = prose::write(Kind::Discharge, template(sent_at), &stay.factors, years, chance);
        let late = sent_at > crate::chance::hours_after(stay.discharged_at, 20.0);
        let visit = if (late && chance.hit(0.15)) || missing(sent_at, chance) { "" } else { &self.visit };
        outbox.send(
            sent_at,
            Channel::Hl7,
            self.note("T02", &format!("{}-DS", self.visit), ("DS", "AU"), written_at, sent_at, visit, &text),
        );
        outbox.notes += 1;
    }

    /// Codes after discharge, then the claim and what becomes of it.
    fn money(&self, outbox: &mut Outbox, chance: &mut Chance) {
        let coded_at = chance.after(self.stay.discharged_at, 24.0, 240.0);
        let (kind, trigger) = if chance.hit(0.5) { ("DFT", "P03") } else { ("BAR", "P01") };
        let mut message = self.message(kind, trigger, coded_at, coded_at).visit(&self.visit, self.stay.department, "", None, None);
        for (index, code) in self.stay.codes.iter().enumerate() {
            let (system, code) = code.split_once('/').unwrap_or(("", code));
            let system = if system == "ICD9CM" { "I9C" } else { "I10C" };
            message = message.segment(format!("DG1|{}||{code}^^{system}|||F|||||||||{}", index + 1, index + 1));
        }
        outbox.send(coded_at, Channel::Hl7, message.framed());
        let mut put = |at: Timestamp, resource: &Value| outbox.send(at, Channel::Claims, resource.to_string().into_bytes());
        super::south::claims(&self.number, &self.visit, self.stay, chance, &mut put);
    }

    /// An admission that never was.
    fn phantom(&self, index: usize, outbox: &mut Outbox, chance: &mut Chance) {
        let at = chance.after(self.stay.discharged_at, 200.0, 600.0);
        let back = chance.after(at, 0.2, 5.0);
        let visit = format!("X{:06}{index:02}", self.patient.number);
        for (trigger, happened) in [("A01", at), ("A11", back)] {
            let sent_at = chance.after(happened, 0.01, 0.1);
            let message = self.message("ADT", trigger, sent_at, happened).visit(&visit, self.stay.department, "", Some(at), None);
            outbox.send(sent_at, Channel::Hl7, message.framed());
        }
    }
}
