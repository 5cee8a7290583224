//! Who a patient is, under which numbers; what is said of the person.

use super::{flags, of_bytes, of_facility, one, pv1, refusals, segment, told, told_of};
use schemas::{Facility, Outcome};

fn person(fields: &[(usize, &str)], trigger: &str) -> crate::Mapped {
    let pid = segment("PID", fields);
    of_bytes(["MSH|^~\\&|||||20200301||ADT^", trigger, "^ADT_A01|1|P|2.5\r", &pid, "\r", &pv1("I", "", "", "")].concat().as_bytes())
}

/// The number that names the person.
fn named(numbers: &str) -> String {
    let mapped = person(&[(3, numbers)], "A31");
    let patient = mapped.facts.first().and_then(|fact| fact.patient.clone()).expect("a patient");
    format!("{}:{}", patient.system, patient.value)
}

#[test]
fn numbers_names_and_deaths_of_a_person() {
    let numbers = "9^^^&1.2.3&ISO^PI~4711^^^N&1.2&ISO^MR~\"\"^^^X";
    let pid = segment("PID", &[(3, numbers), (7, "196106"), (8, "X"), (18, "ACC"), (29, "202003010100"), (30, "Y")]);
    let mapped = one(&["MSH|^~\\&|||||20200301||ADT^A31^ADT_A05|1|P|2.5\r", &pid].concat());
    assert_eq!(
        told(&mapped),
        [
            "patient.identified - N:4711 - - - -",
            "patient.identified - N:4711 - - own 1.2.3|9",
            "patient.birth_date - N:4711 - - 1961-06 -",
            "patient.sex - N:4711 - - other -",
            "patient.died 2020-03-01T06:00Z N:4711 - - - -",
        ]
    );
}

/// A day stands at its beginning, and no midnight that was stated for a day.
#[test]
fn a_death_says_whether_its_hour_was_stated() {
    for (stamp, by) in
        [("20200301", "day"), ("20200301-0600", "day"), ("2020030100", "-"), ("20200301000000", "-"), ("20200301101500", "-")]
    {
        let pid = segment("PID", &[(3, "4711^^^N^MR"), (29, stamp), (30, "Y")]);
        let mapped = one(&["MSH|^~\\&|||||20200301||ADT^A31^ADT_A05|1|P|2.5\r", &pid].concat());
        let died = told(&mapped).pop().expect("a death");
        assert!(died.starts_with("patient.died 2020-03-01T") && died.ends_with(&format!(" N:4711 - - {by} -")), "{stamp}: {died}");
    }
}

/// Else a stay over the first of the month, or of the year, would be one in which the patient died.
#[test]
fn a_month_or_a_year_is_no_time_of_death() {
    for (stamp, indicator) in [("202003", "Y"), ("202003", ""), ("2020", "Y")] {
        let pid = segment("PID", &[(3, "4711^^^N^MR"), (29, stamp), (30, indicator)]);
        let mapped = one(&["MSH|^~\\&|||||20200301||ADT^A31^ADT_A05|1|P|2.5\r", &pid].concat());
        assert_eq!(told(&mapped).pop().expect("a death"), "patient.died - N:4711 - - - -", "{stamp}");
        assert!(flags(&mapped).iter().any(|flag| flag.contains("a month or a year is no time of death")), "{stamp}");
    }
}

#[test]
fn the_same_numbers_in_another_order_name_the_same_person() {
    let sets: [&[&str]; 6] = [
        &["PATID1234^5^M11^ADT1^GOOD HEALTH HOSPITAL", "123456789^^^^^USSSA"],
        &["0001^^^MRN", "55^^^EHR", "123^^^SSN"],
        &["4711^5^M11^N^MR", "123^^^SSA^SS", "9^^^X^PI"],
        &["4711^^^N^MR", "1^^^A^MR"],
        &["4711^^^N", "123^^^SSA^SS", "77^^^BC^MC"],
        &["4711^^^N", "1^^^A"],
    ];
    for set in sets {
        let forward = set.join("~");
        let backward = set.iter().rev().copied().collect::<Vec<_>>().join("~");
        assert_eq!(named(&forward), named(&backward), "{forward}");
    }
    assert_eq!(named("123^^^SSA^SS~9^^^X^PI~4711^5^M11^N^MR"), "N:4711");
    assert_eq!(named("123456789^^^^^USSSA~PATID1234^5^M11^ADT1^GOOD HEALTH HOSPITAL"), "ADT1:PATID1234");
    assert_eq!(named("123^^^SSN~55^^^EHR~0001^^^MRN"), "MRN:0001");
    assert_eq!(named("123^^^&2.16.840.1.113883.4.1&ISO~55^^^EHR"), "EHR:55", "social security by its OID");
    assert_eq!(named("2^^^N^MR~1^^^N^MR"), "N:2", "of one authority the first is the one in use");
}

/// How the other numbers stand to the one that names the person.
fn ties(fields: &[(usize, &str)]) -> Vec<String> {
    let others = person(fields, "A31").facts.into_iter().filter(|fact| fact.related.is_some());
    others.map(|fact| [fact.text_value.as_deref().unwrap_or("-"), " ", &fact.related.unwrap_or_default()].concat()).collect()
}

#[test]
fn numbers_that_the_sender_gave_to_one_person_are_told_from_those_that_others_may_share() {
    let ties_of = |numbers: &str| ties(&[(3, numbers)]);
    assert_eq!(ties_of("77^^^HOSP^MRT~4711^^^HOSP^MR"), ["own HOSP|77"], "a temporary number and the record's");
    assert_eq!(ties_of("77^^^HOSP^MR~4711^^^ENT^MR"), ["own HOSP|77"], "of two authorities");
    assert_eq!(ties_of("4711^^^HOSP^MR~77^^^HOSP^MR"), ["alike HOSP|77"], "a newborn may be sent with the mother's");
    assert_eq!(ties_of("4711^^^HOSP~77^^^ENT"), ["alike HOSP|4711"], "no type says what they are");
    assert_eq!(
        ties_of("4711^^^HOSP^MR~1^^^SSA^SS~2^^^BLUE^MC~3^^^STATE^DL~4^^^HOSP^AN~5"),
        ["- |5", "- BLUE|2", "- HOSP|4", "- SSA|1", "- STATE|3"],
        "given by others, or without an authority"
    );
    for placeholder in ["000-00-0000", "0", "999999999", "123456789", "UNKNOWN"] {
        assert_eq!(ties_of(&format!("4711^^^HOSP^MR~{placeholder}^^^ENT^PI")), [format!("- ENT|{placeholder}")]);
        assert_eq!(ties_of(&format!("{placeholder}^^^HOSP^MR~4711^^^ENT^PI")), ["- ENT|4711"], "{placeholder}");
    }
    assert_eq!(ties_of("4711^^^HOSP^MR~P-9999^^^ENT^PI"), ["own ENT|P-9999"]);
    let both = (3, "4711^^^HOSP^MR~77^^^ENT^PI");
    assert_eq!(ties(&[both, (18, "77")]), ["- ENT|77"], "the account's");
    assert_eq!(ties(&[both, (21, "9^^^HOSP~77^^^ENT^PI")]), ["- ENT|77"], "the mother's");
    assert_eq!(ties(&[(4, "4711^^^HOSP^MR~77^^^ENT^PI")]), ["- ENT|77"], "alternate numbers are of anybody's giving");
}

/// A hospital of one authority often leaves it out.
#[test]
fn numbers_without_an_authority_are_of_the_one_that_the_facility_says() {
    let facility = Facility { authority: "HOSP".to_owned(), ..Facility::new("north") };
    let told = |trigger: &str, rest: &str| {
        let message = ["MSH|^~\\&|||||20200301||ADT^", trigger, "|1|P|2.3\r", rest].concat();
        told_of(&of_facility(message.as_bytes(), &facility), "patient")
    };
    assert_eq!(
        told("A31", "PID|1||9^^^^MR~77^^^ENT^PI~78~123^^^^SS"),
        [
            "patient.identified - HOSP:9 - - - -",
            "patient.identified - HOSP:9 - - own ENT|77",
            "patient.identified - HOSP:9 - - alike HOSP|78",
            "patient.identified - HOSP:9 - - - |123",
        ],
        "but for one that somebody else gave"
    );
    let merged = ["patient.identified - ENT:9 - - - -", "patient.merged 2020-03-01T00:00Z ENT:9 - - - HOSP|8"];
    assert_eq!(told("A40", "PID|1||9^^^ENT\rMRG|8"), merged, "also where the survivor is of another");
    assert_eq!(
        told("A40", "PID|1||8^^^ENT^MR~9^^^ENT^MR\rMRG|8"),
        [
            "patient.identified - ENT:9 - - - -",
            "patient.identified - ENT:9 - - alike ENT|8",
            "patient.merged 2020-03-01T00:00Z ENT:9 - - - ENT|8",
        ],
        "but for one that PID lists as another's: nobody else of that number is meant"
    );
    assert_eq!(told("A40", "PID|1||9^^^ENT\rMRG|9"), merged[..1], "and nobody is merged into himself");
}

#[test]
fn other_fields_stand_in_for_a_missing_number() {
    let named = |fields: &[(usize, &str)]| told(&person(fields, "A31")).first().cloned().unwrap_or_default();
    assert_eq!(named(&[(2, "8"), (3, "\"\""), (4, "9")]), "patient.identified - :8 - - - -");
    assert_eq!(named(&[(4, "9^^^L")]), "patient.identified - L:9 - - - -");
    assert_eq!(flags(&person(&[(2, "8")], "A31")), ["PID[1]-3: no number here; PID-2 or PID-4 names the patient"]);
}

#[test]
fn a_visit_is_named_by_its_number_else_by_its_alternate_else_by_its_account() {
    let visit = |fields: &[(usize, &str)]| {
        let (pid, pv1) = (segment("PID", &[(3, "1^^^N^MR"), (18, "A1^^^N")]), segment("PV1", fields));
        let mapped = one(&["MSH|^~\\&|||||20200301||ADT^A01^ADT_A01|1|P|2.5\r", &pid, "\r", &pv1].concat());
        mapped.facts.last().and_then(|fact| fact.encounter.clone()).unwrap_or_default()
    };
    assert_eq!(visit(&[(2, "I"), (19, "V1^^^X"), (50, "W1")]), "V1");
    assert_eq!(visit(&[(2, "I"), (19, "\"\""), (50, "W1")]), "W1");
    assert_eq!(visit(&[(2, "I")]), "A1");
}

#[test]
fn what_is_deleted_of_a_person_is_taken_back() {
    let deleted = person(&[(3, "1^^^N^MR"), (7, "\"\""), (8, "\"\""), (10, "\"\""), (29, "\"\"")], "A08");
    assert_eq!(
        told_of(&deleted, "patient"),
        [
            "patient.identified - N:1 - - - -",
            "patient.birth_date - N:1 - - - -",
            "patient.sex - N:1 - - - -",
            "patient.race - N:1 - - - -",
            "patient.death_retracted - N:1 - - - -",
        ]
    );
    let left_out = person(&[(3, "1^^^N^MR")], "A08");
    assert_eq!(told_of(&left_out, "patient"), ["patient.identified - N:1 - - - -"]);
}

#[test]
fn a_death_is_taken_back_by_what_corrects() {
    let death = |trigger: &str, time: &str, indicator: &str| {
        let mapped = person(&[(3, "1^^^N^MR"), (29, time), (30, indicator)], trigger);
        (told_of(&mapped, "patient.de").len(), told_of(&mapped, "patient.died").len(), flags(&mapped).len())
    };
    for trigger in ["A08", "A13", "A31"] {
        assert_eq!(death(trigger, "", "N"), (1, 0, 0), "{trigger}");
    }
    for trigger in ["A01", "A02", "A03", "A28"] {
        assert_eq!(death(trigger, "", "N"), (0, 0, 0), "N is no news in {trigger}");
        assert_eq!(death(trigger, "\"\"", "N"), (1, 0, 0), "{trigger}");
        assert_eq!(death(trigger, "", "\"\""), (1, 0, 0), "{trigger}");
        assert_eq!(death(trigger, "", "Y"), (0, 1, 0), "{trigger}");
        assert_eq!(death(trigger, "20200301", ""), (0, 1, 0), "{trigger}");
    }
    assert_eq!(death("A31", "20200301", "N"), (1, 0, 1), "the indicator decides");
}

#[test]
fn a_patient_without_a_number_costs_what_is_said_of_the_patient() {
    let mapped = one(&["MSH|^~\\&|||||20200301||ADT^A01^ADT_A01|1|P|2.5\rPID|1||\r", &pv1("I", "", "", "")].concat());
    assert_eq!(refusals(&mapped), ["PID[1]-3: the patient has no number"]);
    assert_eq!((mapped.outcome, told_of(&mapped, "encounter.admitted").len()), (Outcome::Partly, 1));
}
