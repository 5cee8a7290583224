//! How bytes become text, seen through whole messages: lines, separators, charsets, dates.

use schemas::Outcome;

use super::{mdm, note_of, of_bytes, one, refusals, told};

#[test]
fn a_line_break_inside_a_text_is_a_line_of_the_text() {
    let mapped = mdm("T02", ["D1", "", "AU", ""], "OBX|1|TX|||Plan\nHPI\nrest and fluids\r\nOBX|2|TX|||end");
    assert_eq!(note_of(&mapped).3, "Plan\nHPI\nrest and fluids\nend");
}

#[test]
fn other_separators_and_charsets_are_the_messages_own() {
    let message = b"MSH@~&#\\!@A@B@C@D@20200301@@ADT~A31@1@P@2.7@@@@@@8859/1\rPID@1@@47\xe9#F#11~~~N~MR@@x@@1961@M";
    assert_eq!(
        told(&of_bytes(message)),
        ["patient.identified - N:47é@11 - - - -", "patient.birth_date - N:47é@11 - - 1961 -", "patient.sex - N:47é@11 - - male -",]
    );
}

#[test]
fn latin_bytes_without_a_charset_are_the_facilitys_and_unicode_is_its_own() {
    let system = |charset: &str, number: &[u8]| {
        let header = format!("MSH|^~\\&|||||20200301||ADT^A31|1|P|2.5||||||{charset}\rPID|1||");
        let mapped = of_bytes(&[header.as_bytes(), number, b"^^^N^MR"].concat());
        mapped.facts.first().and_then(|fact| fact.patient.clone()).map(|patient| patient.value)
    };
    for (charset, number) in
        [("", b"\xe9".as_slice()), ("", "é".as_bytes()), ("UNICODE UTF-8", "é".as_bytes()), ("8859/1", b"\xe9"), ("8859/1", b"\\X00E9\\")]
    {
        assert_eq!(system(charset, number).as_deref(), Some("é"), "{charset}");
    }
}

#[test]
fn a_charset_that_is_none_is_said() {
    let mapped = one("MSH|^~\\&|||||20200301||ADT^A31|1|P|2.5||||||KLINGON\rPID|1||1");
    assert_eq!((mapped.outcome, refusals(&mapped).len()), (Outcome::Partly, 1));
    assert!(refusals(&mapped).iter().all(|reject| reject.starts_with("MSH-18")));
}

#[test]
fn an_impossible_date_costs_its_field_alone() {
    let mapped = one("MSH|^~\\&|||||20200301||ADT^A01|1|P|2.5\rEVN||20200231\rPID|1||1^^^N^MR||||19001301\rPV1|1|I|||||||||||||||||V1");
    assert_eq!(mapped.outcome, Outcome::Partly);
    assert_eq!(refusals(&mapped), ["EVN-2: not a time stamp", "PID[1]-7: not a date"]);
    assert!(told(&mapped).contains(&"encounter.admitted 2020-03-01T05:00Z N:1 V1 - - -".to_owned()));
}
