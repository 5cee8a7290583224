//! North's engine: HL7 v2, and claims as FHIR on the same topic.

use jiff::Timestamp;

use super::notes::{self, Act, Writing};
use super::{Channel, Outbox, Random, department_gone};
use crate::chance::Chance;
use crate::fhir;
use crate::hl7::{Message, Person, Place, stamp};
use crate::plan::Plan;
use crate::process::{Patient, Stay};
use crate::prose::Kind;
use crate::truth::visit_number;

/// One stay as the engine knows it.
struct Voice<'a> {
    plan: &'a Plan,
    patient: &'a Patient,
    stay: &'a Stay,
    number: &'a str,
    visit: &'a str,
    birth: &'a str,
}

pub fn speak(plan: &Plan, patient: &Patient, outbox: &mut Outbox, random: &mut Random) {
    let first = format!("N{:07}", patient.number);
    let second = format!("N9{:06}", patient.number);
    let birth = patient.birth.strftime("%Y%m%d").to_string();
    for (index, stay) in patient.stays.iter().enumerate() {
        let renamed = patient.second_number_from == Some(index);
        let visit = visit_number(patient, index);
        let number = if renamed { &second } else { &first };
        let voice = Voice { plan, patient, stay, number, visit: &visit, birth: &birth };
        if index == 0 {
            voice.person(outbox, &mut random.sending);
        }
        voice.movements(outbox, &mut random.sending);
        for writing in notes::of_stay(plan, patient, stay, &visit, random) {
            outbox.signed(&writing);
            outbox.send(writing.sent_at, Channel::Hl7, voice.note(&writing));
        }
        voice.diagnoses(outbox, &mut random.sending);
        fhir::billing(&voice.bill(), stay, &mut random.sending, &mut |at, resource| {
            outbox.send(at, Channel::Claims, resource.to_string().into_bytes());
        });
        if renamed {
            let at = random.sending.after(stay.admitted_at, 4.0, 90.0);
            let merge = Voice { number: &first, ..voice }.message("ADT", "A40", at, at).segment(format!("MRG|{second}^^^NORTH^MR"));
            outbox.send(at, Channel::Hl7, merge.framed());
        } else if random.sending.hit(0.012) {
            voice.phantom(index, outbox, &mut random.sending);
        }
        if index == 0 && random.sending.hit(0.2) {
            voice.clinic(outbox, &mut random.sending);
        }
    }
}

impl Voice<'_> {
    /// The header and the patient; control ids are unique a message.
    fn message(&self, kind: &str, trigger: &str, sent_at: Timestamp, happened_at: Timestamp) -> Message {
        let control = format!("{}{trigger}{}", self.visit, sent_at.as_second());
        let sex = if self.patient.female { "F" } else { "M" };
        let person = Person { number: self.number, birth: self.birth, sex, race: self.patient.race };
        Message::new(kind, trigger, &control, sent_at, happened_at).person(&person)
    }

    fn place(&self, at: Timestamp) -> Place<'_> {
        let department = if department_gone(self.plan, self.patient, self.stay, at) { "" } else { self.stay.department };
        Place { class: "I", visit: self.visit, department, ..Place::default() }
    }

    fn send(&self, trigger: &str, at: Timestamp, sent_at: Timestamp, place: &Place<'_>, outbox: &mut Outbox) {
        outbox.send(sent_at, Channel::Hl7, self.message("ADT", trigger, sent_at, at).place(place).framed());
    }

    /// Some are known before they come, and some are written down anew later.
    fn person(&self, outbox: &mut Outbox, chance: &mut Chance) {
        for (trigger, share, from, until) in [("A28", 0.08, -400.0, -3.0), ("A31", 0.03, 40.0, 2_000.0)] {
            if chance.hit(share) {
                let at = chance.after(self.stay.admitted_at, from, until);
                outbox.send(at, Channel::Hl7, self.message("ADT", trigger, at, at).segment("PV1|1|N".to_owned()).framed());
            }
        }
    }

    /// Admission, transfer, update, discharge, and what is taken back of them.
    fn movements(&self, outbox: &mut Outbox, chance: &mut Chance) {
        let Stay { admitted_at, discharged_at, .. } = *self.stay;
        let during = |at| Place { admitted: Some(admitted_at), ..self.place(at) };
        self.arrival(outbox, chance);
        if chance.hit(0.25) {
            let at = chance.after(admitted_at, 1.0, 2.0);
            let sent_at = chance.after(at, 0.01, 2.0);
            self.send("A02", at, sent_at, &during(at), outbox);
            if chance.hit(0.03) {
                let back = chance.after(at, 0.1, 0.8);
                self.send("A12", back, chance.after(back, 0.01, 0.3), &during(back), outbox);
            }
        }
        if chance.hit(0.3) {
            let at = chance.after(admitted_at, 1.0, 2.9);
            self.send("A08", at, chance.after(at, 0.01, 1.0), &during(at), outbox);
        }
        if chance.hit(0.012) {
            // Discharged too early on paper, and taken back.
            let hours = discharged_at.duration_since(admitted_at).as_secs_f64() / 3_600.0;
            let wrong = chance.after(admitted_at, hours * 0.3, hours * 0.5);
            let back = chance.after(wrong, 0.3, hours * 0.2);
            let place = Place { disposition: "01", discharged: Some(wrong), ..during(wrong) };
            self.send("A03", wrong, chance.after(wrong, 0.01, 0.2), &place, outbox);
            self.send("A13", back, chance.after(back, 0.01, 0.2), &during(back), outbox);
        }
        let disposition = if self.stay.died { "20" } else { chance.pick(&["01", "01", "01", "02", "03", "06"]) };
        let late = if chance.hit(0.08) { 40.0 } else { 1.0 };
        let place = Place { disposition, discharged: Some(discharged_at), ..during(discharged_at) };
        self.send("A03", discharged_at, chance.after(discharged_at, 0.01, late), &place, outbox);
    }

    /// Most are admitted outright; some were announced, some waited in the emergency room.
    fn arrival(&self, outbox: &mut Outbox, chance: &mut Chance) {
        let admitted_at = self.stay.admitted_at;
        let way = chance.between(0.0, 1.0);
        if way < 0.03 {
            let at = chance.after(admitted_at, -200.0, -20.0);
            self.send("A05", at, chance.after(at, 0.01, 0.5), &self.place(at), outbox);
        }
        let waited = way > 0.94;
        if waited {
            let at = chance.after(admitted_at, -6.0, -1.0);
            self.send("A04", at, chance.after(at, 0.01, 0.5), &Place { class: "E", department: "EMR", ..self.place(at) }, outbox);
        }
        let late = if chance.hit(0.05) { 30.0 } else { 0.5 };
        let place = Place { admitted: Some(admitted_at), ..self.place(admitted_at) };
        let trigger = if waited { "A06" } else { "A01" };
        self.send(trigger, admitted_at, chance.after(admitted_at, 0.01, late), &place, outbox);
    }

    fn note(&self, writing: &Writing<'_>) -> Vec<u8> {
        let Writing { written_at, sent_at, document, .. } = writing;
        let visit = writing.visit.unwrap_or_default();
        let place = Place { class: "I", visit, department: self.stay.department, ..Place::default() };
        if writing.kind == Kind::Report {
            let order = format!("OBR|1||{document}|71020^Chest radiograph|||{}||||||||||||||||||F", stamp(*written_at));
            return self.message("ORU", "R01", *sent_at, *written_at).place(&place).segment(order).text(&writing.text).framed();
        }
        let (trigger, completion) = match writing.act {
            Act::Write => ("T02", "AU"),
            Act::Append => ("T06", "AU"),
            Act::Correct => ("T08", "AU"),
            Act::Replace => ("T10", "AU"),
            Act::Retract => ("T11", "CA"),
        };
        let code = match writing.kind {
            Kind::Admission => "HP",
            Kind::Discharge => "DS",
            Kind::Progress | Kind::Report => "PN",
        };
        let parent = writing.parent.as_deref().unwrap_or_default();
        let header = format!("TXA|1|{code}|TX|{}||||||||{document}|{parent}||||{completion}", stamp(*written_at));
        self.message("MDM", trigger, *sent_at, *written_at).place(&place).segment(header).text(&writing.text).framed()
    }

    /// Codes after discharge.
    fn diagnoses(&self, outbox: &mut Outbox, chance: &mut Chance) {
        if self.stay.codes.is_empty() {
            return;
        }
        let coded_at = chance.after(self.stay.discharged_at, 24.0, 240.0);
        let (kind, trigger) = if chance.hit(0.5) { ("DFT", "P03") } else { ("BAR", "P01") };
        let mut message = self.message(kind, trigger, coded_at, coded_at).place(&self.place(coded_at));
        for (index, code) in self.stay.codes.iter().enumerate() {
            let (system, code) = code.split_once('/').unwrap_or(("", code));
            let system = if system == "ICD9CM" { "I9C" } else { "I10C" };
            message = message.segment(format!("DG1|{0}||{code}^^{system}|||F|||||||||{0}", index + 1));
        }
        outbox.send(coded_at, Channel::Hl7, message.framed());
    }

    fn bill(&self) -> fhir::Bill<'_> {
        fhir::Bill { patient: self.number, visit: self.visit }
    }

    /// An admission that never was.
    fn phantom(&self, index: usize, outbox: &mut Outbox, chance: &mut Chance) {
        let at = chance.after(self.stay.discharged_at, 200.0, 600.0);
        let back = chance.after(at, 0.2, 5.0);
        let visit = format!("X{:06}{index:02}", self.patient.number);
        for (trigger, happened) in [("A01", at), ("A11", back)] {
            let place = Place { visit: &visit, admitted: Some(at), ..self.place(happened) };
            self.send(trigger, happened, chance.after(happened, 0.01, 0.1), &place, outbox);
        }
    }

    /// A clinic visit that is no stay.
    fn clinic(&self, outbox: &mut Outbox, chance: &mut Chance) {
        let at = chance.after(self.stay.discharged_at, 24.0, 600.0);
        let visit = format!("C{:07}", self.patient.number);
        let place = Place { class: "O", visit: &visit, department: "CLI", ..Place::default() };
        self.send("A04", at, chance.after(at, 0.01, 0.5), &place, outbox);
    }
}
