//! Clinical facts: what the maps say happened, and the rows they become.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::facility::Facility;
use crate::id::{Digest, EncounterId, EventId, Identifier, PatientId};
use crate::message::Source;

/// Discharge dispositions that mean death, in small letters: FHIR, UB-04 and HL7 table 0112, words, SNOMED. SQL and the configurations of ACES list them, too.
pub const DEATHS: [&str; 12] = ["exp", "expired", "died", "deceased", "dead", "death", "20", "40", "41", "42", "371828006", "419099009"];

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// What kind of fact an event is. The texts stand in `events.code`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum EventCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)+
        }

        impl EventCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The text in `events.code`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

// `text_value` NULL in a code whose meaning is a text: the sender deleted what stood there (`""` in HL7 v2).
codes! {
    /// A patient was named with this identifier. `related`: another identifier of the same person, `system|value`. `text_value`: how
    /// that one stands to the patient's, where the sender gave both to this person alone. `own`: they are of two kinds (authority or type);
    /// `alike`: of one kind, or a type is not stated. `own_now`, `alike_now`, in FHIR: the same of one version of the patient's record, until a
    /// later one leaves it out; `related` is then the number as HL7 v2 names it.
    PatientIdentified = "patient.identified",
    /// `text_value`: birth date, ISO 8601, as precise as it was stated.
    PatientBirthDate = "patient.birth_date",
    /// `text_value`: `male`, `female`, `other`, `unknown`.
    PatientSex = "patient.sex",
    /// `text_value`: race as coded by the sender.
    PatientRace = "patient.race",
    /// `time`: death, where the sender says when. `text_value`: `day` where no hour of it was stated, and `time` is where its day begins.
    PatientDied = "patient.died",
    /// The patient did not die: the sender takes the death back.
    PatientDeathRetracted = "patient.death_retracted",
    /// `related`: the identifier of another record, `system|value`, of the same person or one tied to them; both identities stand
    /// (A24). Where visits are tied: `encounter` and, in `text_value`, the other's visit number.
    PatientLinked = "patient.linked",
    /// The link to `related` is taken back (A37).
    PatientUnlinked = "patient.unlinked",
    /// The sender deleted the person's record (A29). Nothing that was known is forgotten.
    PatientDeleted = "patient.deleted",
    /// `patient` survives; `related` is the identifier that was merged into it, `system|value`.
    PatientMerged = "patient.merged",
    /// `time`: admission, by the trigger that admits (A01, A06), whatever the class.
    EncounterAdmitted = "encounter.admitted",
    /// `time`: admission of an inpatient, as a message about something else states it (A02, A03, A08 and kin). It begins a stay of which
    /// nothing else was heard and corrects the time of one; it never revives a cancelled one.
    EncounterAdmissionStated = "encounter.admission_stated",
    /// `time`: from when on an inpatient's visit goes on as an outpatient's (A07). A later `encounter.admitted` makes it a stay again.
    EncounterMadeOutpatient = "encounter.made_outpatient",
    /// `time`: start of an outpatient or emergency visit (A04).
    EncounterRegistered = "encounter.registered",
    /// `time`: planned admission (A05, A14, FHIR `planned`). No stay yet. `text_value`, in HL7 v2: `planned` (A05), `pending` (A14).
    EncounterPreadmitted = "encounter.preadmitted",
    /// `time`: transfer; `text_value`: the department moved to, NULL where the sender does not say.
    EncounterTransferred = "encounter.transferred",
    /// `time`: discharge; `text_value`: disposition as coded by the sender, NULL where this message says none (no news).
    EncounterDischarged = "encounter.discharged",
    /// `text_value`: disposition as coded, stated without a discharge; NULL: deleted.
    EncounterDisposition = "encounter.disposition",
    /// The admission never happened (A11, FHIR `cancelled` or `entered-in-error`). `time`: when it was cancelled.
    EncounterAdmissionCancelled = "encounter.admission_cancelled",
    /// The discharge never happened (A13). `time`: when it was cancelled.
    EncounterDischargeCancelled = "encounter.discharge_cancelled",
    /// The transfer never happened (A12).
    EncounterTransferCancelled = "encounter.transfer_cancelled",
    /// The planned admission is taken back. `text_value`, in HL7 v2: `planned` (A38), `pending` (A27).
    EncounterPreadmissionCancelled = "encounter.preadmission_cancelled",
    /// The visit's record was deleted (A23): it counts as cancelled.
    EncounterDeleted = "encounter.deleted",
    /// `time`: the patient goes on leave of absence (A21).
    EncounterLeaveBegan = "encounter.leave_began",
    /// `time`: and comes back (A22).
    EncounterLeaveEnded = "encounter.leave_ended",
    /// The leave never began (A52) or never ended (A53). `text_value`: `began`, `ended`.
    EncounterLeaveCancelled = "encounter.leave_cancelled",
    /// `time`: a transfer that is expected (A15); `text_value`: the department.
    EncounterTransferExpected = "encounter.transfer_expected",
    /// `time`: a discharge that is expected (A16).
    EncounterDischargeExpected = "encounter.discharge_expected",
    /// What was expected, a discharge (A25) or a transfer (A26), no longer is. `text_value`: `discharge`, `transfer`.
    EncounterExpectationCancelled = "encounter.expectation_cancelled",
    /// This visit goes on under its number; `related`: the number that was merged into it or renumbered. `text_value`: `visit` where both
    /// are visit numbers (A42, A50, A51), `account` where they are account numbers (A35, A41, A49), which name visits that have no other.
    EncounterMerged = "encounter.merged",
    /// The visit now belongs to `patient`; `related`: the identifier it belonged to, `system|value`, where the sender says.
    /// `text_value`: `visit` (A45), `account` (A44), as in `encounter.merged`.
    EncounterMoved = "encounter.moved",
    /// Another message format tells of the same stay under the visit number in `related`: a FHIR Encounter lists it among its identifiers. One version of the record
    /// says so, until a later one leaves it out.
    EncounterIdentified = "encounter.identified",
    /// `text_value`: patient class as coded (PV1-2, FHIR `class.code`).
    EncounterClass = "encounter.class",
    /// `text_value`: department as coded.
    EncounterDepartment = "encounter.department",
    /// `text_value`: `ICD9CM/code`, `ICD10CM/code`, `SNOMED/code` or `system/code`; `numeric_value`: rank, 1 is principal.
    /// `related`: in HL7 v2 `admitting`, `working`, `final`, where the sender says (DG1-6); in FHIR the record that says so
    /// (`Condition/id`), where it is one of its own.
    EncounterDiagnosed = "encounter.diagnosed",
    /// The diagnosis in `text_value` was taken back; where there is none, whatever the record in `related` said.
    EncounterDiagnosisRetracted = "encounter.diagnosis_retracted",
    /// `text_value`: `system/code` of a procedure; `time`: when it was done; `numeric_value`: rank, 1 is principal.
    EncounterProcedure = "encounter.procedure",
    /// The procedure in `text_value` was taken back: not done, or not on this patient.
    EncounterProcedureRetracted = "encounter.procedure_retracted",
    /// `text_value`: the insurance plan or payer as coded; `numeric_value`: rank, 1 is primary. NULL: none of that rank any more.
    EncounterInsured = "encounter.insured",
    /// `related`: claim number; `time`: submission.
    ClaimSubmitted = "claim.submitted",
    /// `related`: claim number; `time`: decision; `text_value`: `paid`, `denied`, `partial`, `pending`, `appeal_won`, `appeal_lost`, `cancelled`, `unknown`, or
    /// `void`: what was decided of that claim at that time, or else last, is taken back.
    ClaimDecided = "claim.decided",
    /// `related`: document number; `text_value`: the status it now has, `preliminary`, `final` or `amended`, said without its text (MDM
    /// T03, T07); `time`: signature.
    NoteStatusStated = "note.status_stated",
    /// `related`: document number of the note that the note in `text_value`, a document number too, adds to.
    NoteAddedTo = "note.added_to",
}

/// One fact of a message, before it is stamped with where and when the message stood in the log. Holds a person's
/// data, so it has no `Debug`.
#[derive(Clone, PartialEq)]
pub struct Fact {
    /// What happened.
    pub code: EventCode,
    /// When it happened, by the sender; `None` where the sender does not say.
    pub time: Option<Timestamp>,
    /// When the sender said so: EVN-2 or MSH-7, `meta.lastUpdated`. Later assertions win over earlier ones.
    pub asserted_at: Option<Timestamp>,
    /// Whom it concerns.
    pub patient: Option<Identifier>,
    /// Visit number of the stay it concerns.
    pub encounter: Option<String>,
    /// A number, in the code's unit.
    pub numeric_value: Option<f64>,
    /// A text, as the code defines it.
    pub text_value: Option<String>,
    /// Another thing that the fact ties in, as the code defines it.
    pub related: Option<String>,
}

/// One row of `events`.
#[derive(Clone, PartialEq)]
pub struct Event {
    /// Derived from facility, message digest and ordinal.
    pub event_id: EventId,
    /// The patient, before merges.
    pub patient_id: Option<PatientId>,
    /// The stay.
    pub encounter_id: Option<EncounterId>,
    /// The fact itself.
    pub fact: Fact,
    /// Whose message said so.
    pub facility: String,
    /// The broker's timestamp.
    pub known_at: Timestamp,
    /// Where the message stood.
    pub source: Source,
    /// Which reading of the message gave the row: 0 as it came, the number of the replay, or below zero that of the attempt to land it.
    pub reading: i64,
}

/// Stamps the facts of one message, one after another.
pub struct EventStamp<'a> {
    facility: &'a Facility,
    namespace: Uuid,
    digest: String,
    known_at: Timestamp,
    source: &'a Source,
    ordinal: usize,
    /// Most facts of a message are about one patient.
    patient: Option<(Identifier, PatientId)>,
    encounter: Option<(String, EncounterId)>,
}

impl<'a> EventStamp<'a> {
    /// For the message with this digest.
    #[must_use]
    pub fn new(facility: &'a Facility, digest: &Digest, known_at: Timestamp, source: &'a Source) -> Self {
        let namespace = facility.namespace();
        Self { facility, namespace, digest: digest.to_string(), known_at, source, ordinal: 0, patient: None, encounter: None }
    }

    /// Stamps the next fact.
    #[must_use]
    pub fn event(&mut self, fact: Fact) -> Event {
        let event_id = EventId::of_message(&self.namespace, &self.digest, self.ordinal);
        self.ordinal += 1;
        let (patient_id, encounter_id) = (self.patient_of(&fact), self.encounter_of(&fact));
        let facility = self.facility.name.clone();
        Event { event_id, patient_id, encounter_id, fact, facility, known_at: self.known_at, source: self.source.clone(), reading: 0 }
    }

    fn patient_of(&mut self, fact: &Fact) -> Option<PatientId> {
        let patient = fact.patient.as_ref()?;
        match &self.patient {
            Some((known, id)) if known == patient => Some(*id),
            _ => {
                let id = PatientId::derive(self.facility, patient);
                self.patient = Some((patient.clone(), id));
                Some(id)
            }
        }
    }

    fn encounter_of(&mut self, fact: &Fact) -> Option<EncounterId> {
        let visit = fact.encounter.as_deref()?;
        match &self.encounter {
            Some((known, id)) if known == visit => Some(*id),
            _ => {
                let id = EncounterId::derive(self.facility, visit);
                self.encounter = Some((visit.to_owned(), id));
                Some(id)
            }
        }
    }
}
