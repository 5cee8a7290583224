//! Which trigger a message has, out of MSH-9 and EVN-1 however they are written.

use schemas::Outcome;

use super::{PERSON, flags, one};

/// Trigger and flags of an ADT with this MSH-9, version and EVN segment.
fn decided(kind: &str, version: &str, event: &str) -> (Option<String>, Vec<String>) {
    let mapped = one(&format!("MSH|^~\\&|||||20200301||{kind}|1|P|{version}\r{event}\r{PERSON}\rPV1|1|I|||||||||||||||||V1"));
    let flags = flags(&mapped).into_iter().map(|flag| flag.trim_start_matches("MSH-9: ").to_owned()).collect();
    (mapped.trigger, flags)
}

#[test]
fn the_header_wins_over_the_event_and_the_event_stands_in_for_it() {
    let cases: [(&str, &str, &str, &str, &[&str]); 19] = [
        ("ADT^A11^ADT_A09", "2.5", "EVN|A11", "ADT^A11", &[]),
        ("ADT^A11^ADT_A09", "2.5", "EVN|A13", "ADT^A11", &["EVN-1 names another trigger; MSH-9 decides"]),
        ("ADT^A11", "2.3", "", "ADT^A11", &[]),
        ("ADT^A11", "", "", "ADT^A11", &[]),
        ("ADT^A11", "2.5.1", "", "ADT^A11", &["no message structure; the trigger alone decides"]),
        ("ADT", "2.1", "EVN|A13", "ADT^A13", &["the trigger is left out; EVN-1 decides"]),
        ("ADT^", "2.2", "EVN|ADT^A13", "ADT^A13", &["the trigger is left out; EVN-1 decides"]),
        ("ADT_A01", "2.5", "EVN|A08", "ADT^A08", &["a message structure stands for the trigger; EVN-1 decides"]),
        ("ADT^ADT_A01", "2.3", "EVN|A08", "ADT^A08", &["a message structure stands for the trigger; EVN-1 decides"]),
        ("ADT_A01", "2.5", "", "ADT^A01", &["only a message structure is named; read as the trigger of its name"]),
        (
            "ADT^ADT_A03",
            "2.5",
            "EVN||2020",
            "ADT^A03",
            &["only a message structure is named; read as the trigger of its name", "no message structure; the trigger alone decides"],
        ),
        ("ADT^^ADT_A01", "2.5", "", "ADT^A01", &["only a message structure is named; read as the trigger of its name"]),
        ("ADT^^ADT_A01", "2.5", "EVN|A04", "ADT^A04", &["the trigger is left out; EVN-1 decides"]),
        ("adt^a01", "2.3", "", "ADT^A01", &["not spelled as the standard spells it; read as what it means"]),
        (" ADT ^ A01 ^ADT_A01", "2.5", "EVN|A01", "ADT^A01", &["not spelled as the standard spells it; read as what it means"]),
        ("A01", "2.3", "", "ADT^A01", &["no message type; the trigger decides"]),
        ("", "2.1", "EVN|A01", "ADT^A01", &["the trigger is left out; EVN-1 decides", "no message type; the trigger decides"]),
        (
            "ADT-A01",
            "2.3",
            "",
            "ADT^A01",
            &[
                "not spelled as the standard spells it; read as what it means",
                "only a message structure is named; read as the trigger of its name",
            ],
        ),
        ("ADT^A08^ADT_A08", "2.5", "EVN|nonsense", "ADT^A08", &[]),
    ];
    for (kind, version, event, trigger, expected) in cases {
        let (found, flags) = decided(kind, version, event);
        assert_eq!((found.as_deref(), flags), (Some(trigger), expected.iter().map(|flag| (*flag).to_owned()).collect()), "{kind} {event}");
    }
}

#[test]
fn a_flag_does_not_lower_the_outcome() {
    let mapped = one(&format!("MSH|^~\\&|||||20200301||ADT^A01|1|P|2.5\rEVN|A08\r{PERSON}\rPV1|1|I|||||||||||||||||V1"));
    assert_eq!((mapped.outcome, mapped.flags.len(), mapped.rejects.len()), (Outcome::Mapped, 2, 0));
}

#[test]
fn a_message_without_a_trigger_is_refused() {
    for kind in ["", "ADT", "MDM", "^"] {
        let mapped = one(&format!("MSH|^~\\&|||||20200301||{kind}|1|P|2.3\r{PERSON}"));
        assert_eq!(mapped.outcome, Outcome::Rejected, "{kind}");
    }
}

#[test]
fn results_of_the_bedside_are_results_and_other_types_follow_from_their_trigger() {
    let obx = "OBR|1||F1|X\rOBX|1|FT|||Heart normal.||||||F";
    for kind in ["ORU^R01^ORU_R01", "ORU^R03", "ORU^R30^ORU_R30", "ORU^R31^ORU_R30", "ORU^R32^ORU_R30", "ORU", "ORU_R01", "^R01"] {
        let mapped = one(&format!("MSH|^~\\&|||||20200301||{kind}|1|P|2.5\r{PERSON}\r{obx}"));
        assert_eq!((mapped.outcome, mapped.notes.len()), (Outcome::Mapped, 1), "{kind}");
    }
}
