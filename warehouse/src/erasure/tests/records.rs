//! Whose bytes go with a patient, and whose stay.

use super::*;

/// A number that stands for none: whoever is erased by another one takes nobody's bytes along.
#[tokio::test]
async fn a_number_that_several_carry_names_nobody_and_takes_nobody_s_bytes() {
    let mut ward = Ward::empty().await;
    let carrying = |patient: &str| Record::of(vec![fact(PatientIdentified, patient, None, Some("SSN|999999999"))]);
    ward.arrives(vec![
        carrying("4711"),
        carrying("4712"),
        carrying("4713"),
        Record::refused("PID|||999999999^^^SSN|whoever this is"),
        Record::refused("PID|||4711^^^MRN|broken"),
    ])
    .await;
    let shown = ward.warehouse.traces(&subject("4711")).await.expect("found");
    assert_eq!(shown.shared_identifiers, BTreeMap::from([("SSN".to_owned(), 2)]));
    assert_eq!((shown.messages, shown.unread_messages, shown.blanked_events), (2, 1, 0));
    ward.warehouse.erase(&subject("4711")).await.expect("erased");
    assert_eq!(ward.told_of("SELECT \"offset\" FROM messages WHERE payload IS NOT NULL ORDER BY 1").await, "1\n2\n3\n");
    assert_eq!(ward.told_of("SELECT count(*) FROM event_rows WHERE related = 'SSN|999999999'").await, "2\n");
    // Nobody else carries it once the others are gone.
    ward.warehouse.erase(&subject("4712")).await.expect("erased");
    let last = ward.warehouse.erase(&subject("4713")).await.expect("erased");
    assert!(last.shared_identifiers.is_empty() && last.unread_messages == 1, "{last:?}");
    assert_eq!(ward.told_of("SELECT count(payload) FROM messages").await, "0\n");
    ward.is_conserved().await;
}

/// A newborn's record names the mother, a tombstone's key is a number, and what nobody could read may be wrapped.
#[tokio::test]
async fn bytes_that_name_the_patient_beside_others_go_and_what_they_say_of_others_stays_once() {
    use base64::Engine as _;
    let mut ward = Ward::empty().await;
    let newborn = |mother: &str| Record {
        payload: format!("MSH|^~\\&|A\rPID|1||KID^^^MRN||Child||20260101|F|||||||||||||{mother}^^^MRN\rOBX|1|NM|GLU||4711"),
        ..Record::of(vec![fact(PatientSex, "KID", None, None)])
    };
    let message = "MSH|^~\\&|A\rPID|1||PLANTED-111^^^MRN\rPV1|1";
    let wrapped = format!("{{\"hl7\":\"{}\"}}", base64::engine::general_purpose::STANDARD.encode(message));
    ward.arrives(vec![newborn("PLANTED-111"), newborn("PLANTED-111"), newborn("PLANTED-1112"), Record::refused(&wrapped)]).await;
    let mut tombstone = ward.batch(RAW, Record::refused(""));
    for message in &mut tombstone.messages {
        (message.payload, message.key) = (None, Some(b"MRN/PLANTED-111".to_vec()));
    }
    ward.warehouse.append(&mut tombstone).await.expect("lands");
    ward.arrives(vec![Record::of(vec![fact(PatientSex, "PLANTED-111", None, None)])]).await;
    let facts = "SELECT patient_value, count(*) FROM events WHERE patient_value = 'KID' GROUP BY 1";
    let before = ward.told_of(facts).await;
    let erased = ward.warehouse.erase(&subject("PLANTED-111")).await.expect("erased");
    assert_eq!((erased.messages, erased.named_messages, erased.unread_messages), (5, 2, 2));
    assert_eq!(ward.told_of(facts).await, before, "those of the repeat stand once");
    assert!(!everything(&ward).await.replace("PLANTED-1112", "").contains("PLANTED"));
    assert_eq!(ward.told_of("SELECT \"offset\" FROM messages WHERE payload IS NOT NULL ORDER BY 1").await, "2\n");
    assert_eq!(ward.told_of("SELECT count(*) FROM messages WHERE key IS NOT NULL").await, "1\n");
    ward.is_conserved().await;
}

#[tokio::test]
async fn a_number_of_whom_no_fact_is_left_is_looked_for_where_it_stands_as_one() {
    let mut ward = Ward::empty().await;
    ward.arrives(vec![
        Record::refused("PID|||4714^^^MRN|broken"),
        Record::refused("ZZZ|4715|a number of something else"),
        Record::of(vec![fact(PatientSex, "4711", None, None)]),
    ])
    .await;
    let shown = ward.warehouse.traces(&subject("4714")).await.expect("found");
    assert_eq!((shown.identities, shown.messages, shown.unread_messages), (0, 1, 1));
    for (system, value) in [("MRN", "4715"), ("MRX", "4711")] {
        let other = Subject { system: system.to_owned(), ..subject(value) };
        assert!(matches!(ward.warehouse.traces(&other).await, Err(EraseError::Nobody)), "{value} of {system}");
    }
    ward.warehouse.erase(&subject("4714")).await.expect("erased");
    assert_eq!(ward.told_of("SELECT \"offset\" FROM messages WHERE payload IS NOT NULL ORDER BY 1").await, "1\n2\n");
    assert!(matches!(ward.warehouse.erase(&subject("4714")).await, Err(EraseError::Nobody)));
    ward.is_conserved().await;
}
