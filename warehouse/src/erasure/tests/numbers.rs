//! A person of several numbers that nobody merged.

use schemas::EventCode::{PatientBirthDate, PatientDeleted};

use super::*;

/// Whoever is erased by one number is erased by each that their senders list together.
#[tokio::test]
async fn numbers_that_stand_together_are_found_by_any_of_them() {
    let said = |code: schemas::EventCode, patient: &str, text: Option<&str>, related: Option<&str>| schemas::Fact {
        text_value: text.map(str::to_owned),
        ..fact(code, patient, None, related)
    };
    for number in ["PLANTED-111", "PLANTED-222"] {
        let mut ward = Ward::empty().await;
        ward.arrives(vec![
            Record::of(vec![
                said(PatientIdentified, "PLANTED-111", None, None),
                said(PatientBirthDate, "PLANTED-111", Some("1950-02-03"), None),
            ]),
            Record::of(vec![said(PatientSex, "PLANTED-111", Some("male"), None)]).with_note(note("D1", "PLANTED-111", "planted words")),
            Record::of(vec![
                said(PatientIdentified, "PLANTED-222", None, None),
                said(PatientIdentified, "PLANTED-222", Some("own"), Some("MRN|PLANTED-111")),
                said(PatientBirthDate, "PLANTED-222", Some("1950-02-03"), None),
            ]),
            Record::of(vec![said(PatientIdentified, "3", None, None), said(PatientBirthDate, "3", Some("1950-02-03"), None)]),
        ])
        .await;
        let traces = ward.warehouse.traces(&subject(number)).await.expect("found");
        assert_eq!((traces.identities, traces.identifiers, traces.messages, traces.notes), (2, 2, 3, 1), "by {number}");
        ward.warehouse.erase(&subject(number)).await.expect("erases");
        let everything = everything(&ward).await;
        assert!(PLANTED.iter().all(|word| !everything.contains(word)), "by {number}");
        assert_eq!(ward.told_of("SELECT DISTINCT patient_value FROM event_rows ORDER BY 1").await, "3\n", "by {number}");
    }
}

/// A record that was deleted lists nobody's number: once the deletion were gone alone, its number would be another patient's again, and that one erased by the next run.
#[tokio::test]
async fn what_parts_two_patients_goes_no_sooner_than_what_ties_them() {
    let mut ward = Ward::empty().await;
    let listed =
        schemas::Fact { text_value: Some("own_now".to_owned()), ..fact(PatientIdentified, "PLANTED-222", None, Some("MRN|PLANTED-111")) };
    ward.arrives(vec![
        Record::of(vec![fact(PatientIdentified, "PLANTED-111", None, None)]),
        Record::of(vec![listed, fact(PatientSex, "PLANTED-222", None, None)]),
        Record::of(vec![fact(PatientDeleted, "PLANTED-222", None, None)]),
    ])
    .await;
    let person = search::person(&ward.warehouse, &subject("PLANTED-222")).await.expect("known");
    let found = search::find(&ward.warehouse, &person).await.expect("found");
    assert_eq!(found.traces.identities, 1, "the two are two");
    let of_theirs = found.events.get(1).expect("three turns");
    rewrite::delete(&ward.warehouse, Table::Events, "event_id", of_theirs).await.expect("gone");
    assert_eq!(ward.warehouse.traces(&subject("PLANTED-222")).await.expect("found again").identities, 1);
}

/// Two records of one number that are not one person: of the number that names the one, which may have no other, the other is a namesake.
#[tokio::test]
async fn a_record_that_lists_a_patient_s_number_keeps_nobody_from_being_erased() {
    let born = |patient: &str, day: &str| schemas::Fact { text_value: Some(day.to_owned()), ..fact(PatientBirthDate, patient, None, None) };
    let listed = |tie: Option<&str>, number: &str| schemas::Fact {
        text_value: tie.map(str::to_owned),
        ..fact(PatientIdentified, "3", None, Some(number))
    };
    let mut ward = Ward::empty().await;
    ward.arrives(vec![
        Record::of(vec![fact(PatientIdentified, "PLANTED-111", None, None), born("PLANTED-111", "1950-02-03")]),
        Record::of(vec![listed(None, "urn:mrn|PLANTED-111"), listed(Some("own_now"), "MRN|PLANTED-111"), born("3", "1950-02-04")]),
    ])
    .await;
    let traces = ward.warehouse.traces(&subject("PLANTED-111")).await.expect("one is meant");
    assert_eq!((traces.identities, traces.namesakes), (1, 1));
    ward.warehouse.erase(&subject("PLANTED-111")).await.expect("erases");
    let again = ward.warehouse.traces(&subject("PLANTED-111")).await;
    assert!(matches!(again, Err(EraseError::Nobody)), "the same command again does not mean the other");
    assert_eq!(ward.told_of("SELECT DISTINCT patient_value FROM event_rows").await, "3\n");
}
