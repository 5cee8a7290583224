//! Stays: one golden for each trigger of ADT that is about one.

use schemas::Outcome;

use super::{adt, flags, of_stay, one, pv1, refusals, segment, told, told_of};

/// What a message with this trigger and an open inpatient stay says of it, without class and department.
fn of_open(trigger: &str, expected: &[&str]) {
    of_message(trigger, &pv1("I", "202003010915", "", ""), expected);
}

fn of_message(trigger: &str, rest: &str, expected: &[&str]) {
    let mapped = adt(trigger, rest);
    assert_eq!(mapped.outcome, Outcome::Mapped, "{trigger}: {:?}", refusals(&mapped));
    assert_eq!(mapped.trigger.as_deref(), Some(format!("ADT^{trigger}").as_str()));
    assert_eq!(mapped.sent_at.map(|at| at.to_string()).as_deref(), Some("2020-03-01T14:31:00Z"));
    let asserted_at = mapped.facts.iter().map(|fact| fact.asserted_at.map(|at| at.to_string()));
    assert!(asserted_at.into_iter().all(|at| at.as_deref() == Some("2020-03-01T14:30:00Z")));
    let class = ["encounter.class - N:4711 V1 - I -", "encounter.department - N:4711 V1 - MED -"];
    let said: Vec<String> = of_stay(&mapped).into_iter().filter(|fact| !class.contains(&fact.as_str())).collect();
    assert_eq!(said, expected, "{trigger}");
}

const STATED: &str = "encounter.admission_stated 2020-03-01T14:15Z N:4711 V1 - - -";

#[test]
fn a_stay_is_told_from_admission_to_discharge() {
    let admitted = "encounter.admitted 2020-03-01T14:15Z N:4711 V1 - - -";
    of_open("A01", &[admitted]);
    of_message("A01", &pv1("I", "", "", ""), &["encounter.admitted 2020-03-01T14:30Z N:4711 V1 - - -"]);
    of_open("A02", &["encounter.transferred 2020-03-01T14:30Z N:4711 V1 - MED -", STATED]);
    let closed = pv1("I", "202003010915", "202003051200", "01");
    let discharged = "encounter.discharged 2020-03-05T17:00Z N:4711 V1 - 01 -";
    of_message("A03", &closed, &[discharged, STATED]);
    of_message("A03", &pv1("I", "", "", ""), &["encounter.discharged 2020-03-01T14:30Z N:4711 V1 - - -"]);
    of_open("A06", &[admitted]);
    of_message("A08", &closed, &[discharged, STATED]);
    of_message("A08", &pv1("I", "", "", "01"), &["encounter.disposition - N:4711 V1 - 01 -"]);
    of_open("A28", &[]);
    of_open("A31", &[]);
}

#[test]
fn class_changes_make_a_stay_and_unmake_it() {
    let outpatient = |trigger: &str| of_stay(&adt(trigger, &pv1("O", "202003010915", "", "")));
    let class = ["encounter.class - N:4711 V1 - O -", "encounter.department - N:4711 V1 - MED -"];
    assert_eq!(outpatient("A07"), [["encounter.made_outpatient 2020-03-01T14:30Z N:4711 V1 - - -"].as_slice(), &class].concat());
    assert_eq!(outpatient("A06"), [["encounter.admitted 2020-03-01T14:15Z N:4711 V1 - - -"].as_slice(), &class].concat());
}

#[test]
fn a_class_change_may_renumber_the_visit() {
    let merged = |rest: &str| told_of(&adt("A06", rest), "encounter.merged");
    let visit = ["MRG|4711||A1||V0\r", &pv1("I", "202003010915", "", "")].concat();
    assert_eq!(merged(&visit), ["encounter.merged 2020-03-01T14:30Z N:4711 V1 - visit V0"]);
    let by_account = |trigger: &str, pv1: &str| {
        let pid = segment("PID", &[(3, "4711^^^N^MR"), (18, "A2")]);
        let mapped = one(&format!("MSH|^~\\&|||||20200301||ADT^{trigger}^ADT_A06|1|P|2.5\r{pid}\rMRG|4711||A1\r{pv1}"));
        told_of(&mapped, "encounter.merged")
    };
    assert_eq!(by_account("A07", "PV1|1|O"), ["encounter.merged 2020-03-01T05:00Z N:4711 A2 - account A1"]);
    assert!(by_account("A07", &pv1("O", "", "", "")).is_empty(), "the visit's own number goes on");
}

#[test]
fn plans_and_expectations_are_not_stays() {
    of_open("A05", &["encounter.preadmitted 2020-03-01T14:15Z N:4711 V1 - planned -"]);
    of_open("A14", &["encounter.preadmitted 2020-03-01T14:15Z N:4711 V1 - pending -"]);
    of_message("A14", &pv1("I", "", "", ""), &["encounter.preadmitted 2020-03-03T14:30Z N:4711 V1 - pending -"]);
    let pending = segment("PV1", &[(2, "I"), (3, "WARD^1"), (10, "MED"), (19, "V1"), (42, "ICU^4")]);
    of_message("A15", &pending, &["encounter.transfer_expected 2020-03-03T14:30Z N:4711 V1 - ICU -"]);
    of_open("A16", &["encounter.discharge_expected 2020-03-03T14:30Z N:4711 V1 - - -", STATED]);
    let stated = [pv1("I", "202003010915", "", ""), segment("PV2", &[(9, "20200309")])].join("\r");
    of_message("A16", &stated, &["encounter.discharge_expected 2020-03-09T04:00Z N:4711 V1 - - -", STATED]);
}

#[test]
fn every_cancel_takes_its_own_back() {
    of_open("A11", &["encounter.admission_cancelled 2020-03-01T14:30Z N:4711 V1 - - -"]);
    of_open("A12", &["encounter.transfer_cancelled 2020-03-01T14:30Z N:4711 V1 - - -", STATED]);
    of_open("A13", &["encounter.discharge_cancelled 2020-03-01T14:30Z N:4711 V1 - - -", STATED]);
    of_open("A23", &["encounter.deleted 2020-03-01T14:30Z N:4711 V1 - - -"]);
    of_open("A25", &["encounter.expectation_cancelled 2020-03-01T14:30Z N:4711 V1 - discharge -", STATED]);
    of_open("A26", &["encounter.expectation_cancelled 2020-03-01T14:30Z N:4711 V1 - transfer -", STATED]);
    of_open("A27", &["encounter.preadmission_cancelled 2020-03-01T14:30Z N:4711 V1 - pending -"]);
    of_open("A38", &["encounter.preadmission_cancelled 2020-03-01T14:30Z N:4711 V1 - planned -"]);
    of_open("A52", &["encounter.leave_cancelled 2020-03-01T14:30Z N:4711 V1 - began -", STATED]);
    of_open("A53", &["encounter.leave_cancelled 2020-03-01T14:30Z N:4711 V1 - ended -", STATED]);
    let person = adt("A29", &pv1("I", "202003010915", "", ""));
    assert_eq!(told(&person), ["patient.identified - N:4711 - - - -", "patient.deleted 2020-03-01T14:30Z N:4711 - - - -"]);
}

#[test]
fn a_leave_begins_and_ends() {
    of_open("A21", &["encounter.leave_began 2020-03-01T14:30Z N:4711 V1 - - -", STATED]);
    of_open("A22", &["encounter.leave_ended 2020-03-01T14:30Z N:4711 V1 - - -", STATED]);
}

#[test]
fn what_is_deleted_is_told_apart_from_what_is_left_out() {
    of_message("A08", &pv1("I", "", "\"\"", ""), &["encounter.discharge_cancelled 2020-03-01T14:30Z N:4711 V1 - - -"]);
    let deleted = |trigger: &str, fields: &[(usize, &str)]| of_stay(&adt(trigger, &segment("PV1", &[fields, &[(19, "V1")]].concat())));
    assert_eq!(
        deleted("A08", &[(2, "\"\""), (3, "\"\""), (10, "\"\""), (36, "\"\"")]),
        ["encounter.class - N:4711 V1 - - -", "encounter.department - N:4711 V1 - - -", "encounter.disposition - N:4711 V1 - - -"]
    );
    assert_eq!(deleted("A08", &[(3, "WARD"), (10, "\"\"")]), ["encounter.department - N:4711 V1 - WARD -"]);
    assert_eq!(deleted("A08", &[(3, "\"\"")]), ["encounter.department - N:4711 V1 - - -"]);
    let discharged = "encounter.discharged 2020-03-01T14:30Z N:4711 V1 - - -";
    assert_eq!(deleted("A03", &[(3, "\"\"")]), [discharged], "who leaves gives up the bed");
    assert!(deleted("A31", &[]).is_empty());
}

#[test]
fn a_planned_admission_carries_its_time_but_states_none() {
    let pv2 = segment("PV2", &[(8, "20200401")]);
    let mapped = adt("A05", &[&pv1("I", "20200402", "", ""), "\r", &pv2].concat());
    assert_eq!(of_stay(&mapped).first().map(String::as_str), Some("encounter.preadmitted 2020-04-01T04:00Z N:4711 V1 - planned -"));
    assert_eq!(mapped.stated_at.map(|at| at.to_string()).as_deref(), Some("2020-03-01T14:31:00Z"));
}

#[test]
fn the_trigger_admits_and_the_class_is_flagged() {
    let doubt = "PV1[1]-2: the class is not an inpatient's; admitted, as the trigger says";
    for class in ["O", "E", "P", "R"] {
        let mapped = adt("A01", &pv1(class, "202003010915", "", ""));
        assert_eq!((told_of(&mapped, "encounter.admitted").len(), flags(&mapped)), (1, vec![doubt.to_owned()]), "{class}");
    }
    assert!(flags(&adt("A01", &pv1("I", "202003010915", "", ""))).is_empty());
    let registered = adt("A04", &pv1("I", "202003010915", "", ""));
    assert_eq!(of_stay(&registered).get(..2).unwrap_or_default(), ["encounter.registered 2020-03-01T14:15Z N:4711 V1 - - -", STATED]);
    assert_eq!(flags(&registered), ["PV1[1]-2: the class is an inpatient's; registered, and admitted as PV1-44 says"]);
}

#[test]
fn an_outpatient_is_not_admitted_by_an_update_nor_anybody_in_advance() {
    assert_eq!(
        of_stay(&adt("A08", &pv1("O", "202003010915", "", ""))),
        ["encounter.class - N:4711 V1 - O -", "encounter.department - N:4711 V1 - MED -"]
    );
    let early = adt("A08", &pv1("I", "202003100915", "", ""));
    assert_eq!(told_of(&early, "encounter.ad"), [""; 0]);
    assert_eq!(flags(&early), ["PV1[1]-44: an admission to come; not read as one"]);
}

#[test]
fn an_update_without_a_visit_is_one_of_the_person() {
    let mapped = one(&format!("MSH|^~\\&|||||20200301||ADT^A08^ADT_A01|1|P|2.5\r{}", super::PERSON));
    assert_eq!((mapped.outcome, of_stay(&mapped).len()), (Outcome::Mapped, 0));
    assert_eq!(flags(&mapped), ["PV1: no PV1; read as an update of the person"]);
}

#[test]
fn a_stay_without_number_is_named_by_patient_and_minute() {
    assert_eq!(
        of_stay(&adt("A01", "PV1|1|I")),
        ["encounter.admitted 2020-03-01T14:30Z N:4711 4711@202003011430 - - -", "encounter.class - N:4711 4711@202003011430 - I -",]
    );
    let late = adt("A03", &segment("PV1", &[(2, "I"), (44, "202003010930"), (45, "20200305")]));
    assert!(told(&late).contains(&"encounter.discharged 2020-03-05T05:00Z N:4711 4711@202003011430 - - -".to_owned()));
    let lost = adt("A03", "PV1|1|I");
    assert_eq!((lost.outcome, refusals(&lost)), (Outcome::Partly, vec!["PV1[1]-19: the stay has no number".to_owned()]));
}

#[test]
fn other_triggers_are_ignored_whatever_is_wrong_in_them() {
    let silent =
        ["A09", "A10", "A19", "A20", "A32", "A33", "A48", "A54", "A55", "A60", "A61", "A62"].map(|trigger| format!("ADT^{trigger}"));
    let others = ["SIU^S12", "ORM^O01", "ACK^A01", "QRY^A19", "BAR^P02", "BAR^P06", "ORU^W01"].map(str::to_owned);
    for kind in silent.iter().chain(&others) {
        let mapped = one(&format!("MSH|^~\\&|A|B|C|D|never||{kind}^X|1|P|2.5\rPID|1"));
        assert_eq!((mapped.outcome, mapped.rejects.len(), mapped.trigger.as_ref()), (Outcome::Ignored, 0, Some(kind)));
        assert!(flags(&mapped).is_empty(), "{kind}");
    }
    let unknown = one("MSH|^~\\&|A|B|C|D|never||ADT^A99^ADT_A99|1|P|2.5\rPID|1");
    assert_eq!(
        (unknown.outcome, flags(&unknown)),
        (Outcome::Ignored, vec!["MSH-9: no rule for this trigger; nothing was read".to_owned()])
    );
}

/// An admission and its correction within one minute, stamped to the minute: what was sent last was asserted last.
#[test]
fn two_events_of_one_minute_are_told_apart_by_when_they_were_sent() {
    let asserted_at = |sent: &str, recorded: &str| {
        let mapped = one(&format!("MSH|^~\\&|A|B|C|D|{sent}||ADT^A28^ADT_A05|1|P|2.5\rEVN|A28|{recorded}\rPID|1||4711^^^N^MR"));
        mapped.facts.first().and_then(|fact| fact.asserted_at).map(|at| at.to_string())
    };
    assert_eq!(asserted_at("20200301093041", "202003010930").as_deref(), Some("2020-03-01T14:30:41Z"));
    assert_eq!(asserted_at("20200301093101", "202003010930").as_deref(), Some("2020-03-01T14:30:00Z"), "another minute says nothing");
    assert_eq!(asserted_at("20200301093041", "20200301093012").as_deref(), Some("2020-03-01T14:30:12Z"));
}
