//! What engines really send, as others reported it: each case is a test that names it and reads it from bytes to rows.

use schemas::{EventCode, Facility, MappedNote, Outcome};

use crate::{Mapped, map_record, split};

/// The one part of `bytes`, at a facility that falls back to Latin-1.
fn mapped(bytes: &[u8]) -> Mapped {
    let mut parts = map_record(bytes, &Facility::new("north"));
    assert_eq!(parts.len(), 1);
    parts.remove(0)
}

/// A document of these observations, in `charset`, its segments ended by `end`.
fn document(charset: &str, end: &str, observations: &[&str]) -> Vec<u8> {
    let header = format!("MSH|^~\\&|A|B|C|D|20200301093100||MDM^T02^MDM_T02|1|P|2.5||||||{charset}");
    let segments = [&header, "PID|1||4711^^^N^MR", "PV1|1|I|||||||||||||||||V1", "TXA|1|DS|TX|20200301093100||||||||D1|||||AU"];
    let lines: Vec<&str> = segments.into_iter().chain(observations.iter().copied()).chain([""]).collect();
    lines.join(end).into_bytes()
}

fn note(bytes: &[u8]) -> MappedNote {
    let mut part = mapped(bytes);
    assert!(part.outcome == Outcome::Mapped && part.rejects.is_empty() && part.notes.len() == 1);
    part.notes.remove(0)
}

fn text(charset: &str, observations: &[&str]) -> String {
    note(&document(charset, "\r", observations)).text
}

/// Efferent-Health/HL7-V2 #46.
#[test]
fn two_bytes_in_one_hexadecimal_escape_are_one_line_end() {
    assert_eq!(text("", &["OBX|1|TX|||first\\X0D0A\\second||||||F"]), "first\nsecond");
}

/// Efferent-Health/HL7-V2 #3.
#[test]
fn a_hexadecimal_escape_of_latin_1_is_one_code_unit() {
    assert_eq!(text("8859/1", &["OBX|1|TX|||voil\\X00E0\\ and \\XE9\\||||||F"]), "voilà and é");
    assert_eq!(text("UNICODE UTF-8", &["OBX|1|TX|||5 \\XE282AC\\||||||F"]), "5 €");
}

/// deoxxa/hl7 PR #3; nextgenhealthcare/connect #649.
#[test]
fn a_line_feed_inside_a_text_splits_no_segment() {
    let bytes = document("", "\r", &["OBX|1|TX|||HISTORY\nHPI: well\n\nROS|none\nlast||||||F", "NTE|1||a\nb", "OBX|2|TX|||more||||||F"]);
    assert_eq!(note(&bytes).text, "HISTORY\nHPI: well\n\nROS|none\nlast\na\nb\nmore");
    let table = document("", "\r", &["OBX|1|TX|||LABS\nHGB|12|g\nWBC|7||||||F", "OBX|2|TX|||more||||||D"]);
    assert_eq!(note(&table).text, "LABS\nHGB|12|g\nWBC|7", "a table drawn with separators, and a line that was taken back");
    for end in ["\r", "\n", "\r\n"] {
        let bytes = document("", end, &[&format!("OBX|1|TX|||first{end}second line{end}{end}third||||||F")]);
        assert_eq!(note(&bytes).text, "first\nsecond line\n\nthird", "{end:?}");
    }
}

/// artifacthealth/hl7parser #2, #8, #13; ruby-hl7 #3.
#[test]
fn any_line_end_doubled_or_not_and_trailing_delimiters_give_the_same_rows() {
    let observations = ["OBX|1|TX|||one||||||F||||||", "OBX|2|TX|||two||||||F|"];
    let expected = mapped(&document("", "\r", &observations));
    for end in ["\n", "\r\n", "\r\r", "\n\n", "\r\n\r\n", "\n\r"] {
        let part = mapped(&document("", end, &observations));
        assert!(part.notes == expected.notes && part.facts == expected.facts, "{end:?}");
    }
    let whole = document("", "\r", &observations);
    let cut = whole.strip_suffix(b"\r").unwrap_or_default();
    assert!(mapped(cut).notes == expected.notes, "the last carriage return is missing");
}

/// crs4/hl7apy #32.
#[test]
fn a_second_field_of_five_characters_is_that_of_version_2_7() {
    let plain = document("", "\r", &["OBX|1|TX|||a\\T\\b \\P\\||||||F"]);
    let five = String::from_utf8_lossy(&plain).replace("|^~\\&|", "|^~\\&#|");
    assert_eq!(note(five.as_bytes()).text, "a&b #");
}

/// panates/hl7v2 PR #5, #28; apache/camel PR #10880.
#[test]
fn latin_1_without_a_name_and_utf_8_by_its_table_name_are_both_read() {
    let latin: Vec<u8> =
        document("", "\r", &["OBX|1|TX|||M?ller||||||F"]).iter().map(|byte| if *byte == b'?' { 0xfc } else { *byte }).collect();
    assert_eq!((note(&latin).text.as_str(), mapped(&latin).charset, mapped(&latin).flags.len()), ("Müller", Some("windows-1252"), 0));
    let unicode = document("UNICODE UTF-8", "\r", &["OBX|1|TX|||Müller||||||F"]);
    assert_eq!((note(&unicode).text.as_str(), mapped(&unicode).charset), ("Müller", Some("UTF-8")));
    let belied: Vec<u8> = latin.clone();
    let belied = String::from_utf8_lossy(&belied).replace("2.5||||||", "2.5||||||UNICODE UTF-8").replace('\u{fffd}', "?");
    let belied: Vec<u8> = belied.bytes().map(|byte| if byte == b'?' { 0xfc } else { byte }).collect();
    assert_eq!((note(&belied).text.as_str(), mapped(&belied).flags.len()), ("Müller", 1));
}

/// dib0/NHapiTools #30; CDCgov/trusted-intermediary #1222.
#[test]
fn a_character_cut_at_a_read_boundary_costs_itself_alone() {
    let whole = document("UNICODE UTF-8", "\r", &["OBX|1|TX|||Müller aß Äpfel||||||F"]);
    let at = memchr::memmem::find(&whole, "ß".as_bytes()).unwrap_or_default();
    let cut: Vec<u8> = whole.iter().enumerate().filter(|(place, _)| *place != at + 1).map(|(_, byte)| *byte).collect();
    let part = mapped(&cut);
    assert_eq!(part.notes.iter().map(|note| note.text.as_str()).collect::<Vec<_>>(), ["Müller a\u{fffd} Äpfel"]);
    assert_eq!(part.rejects.iter().map(|reject| reject.position.as_str()).collect::<Vec<_>>(), ["MSH-18"]);
}

/// LinuxForHealth/hl7v2-fhir-converter PR #86, #294, #302.
#[test]
fn blank_observations_are_line_breaks_and_a_text_without_a_code_belongs_to_its_report() {
    let observations = ["OBX|1|TX|18842-5^Summary^LN||first||||||F", "OBX|2|TX|||||||||F", "OBX|3|TX|||second||||||F"];
    assert_eq!(text("", &observations), "first\n\nsecond");
}

#[test]
fn deleted_and_empty_are_not_the_same() {
    let stay = |discharged: &str| {
        let bytes =
            format!("MSH|^~\\&|||||20200302||ADT^A08|1|P|2.5\rPID|1||4711\rPV1|1|I|||||||||||||||||V1{}{discharged}", "|".repeat(26));
        mapped(bytes.as_bytes()).facts.iter().any(|fact| fact.code == EventCode::EncounterDischargeCancelled)
    };
    assert!(stay("\"\"") && !stay(""));
}

#[test]
fn hours_that_the_clock_skipped_or_showed_twice_are_decided_and_said_where_they_stand() {
    let facility = Facility { zone: "America/New_York".to_owned(), ..Facility::new("north") };
    let admitted = |stamp: &str| {
        let bytes =
            format!("MSH|^~\\&|||||20200302||ADT^A01^ADT_A01|1|P|2.5\rPID|1||4711\rPV1|1|I|||||||||||||||||V1{}{stamp}", "|".repeat(25));
        let part = map_record(bytes.as_bytes(), &facility).remove(0);
        let time = part.facts.iter().find(|fact| fact.code == EventCode::EncounterAdmitted).and_then(|fact| fact.time);
        let said: Vec<String> = part.flags.iter().chain(&[]).map(|flag| format!("{}: {}", flag.position, flag.decision)).collect();
        assert!(part.rejects.is_empty() && part.outcome == Outcome::Mapped);
        (time.map(|time| time.to_string()).unwrap_or_default(), said.join("; "))
    };
    let skipped = "PV1[1]-44: a time that the clock skipped; read as if it had not been put forward";
    let twice = "PV1[1]-44: a time that the clock showed twice; read as the first";
    assert_eq!(admitted("202003080230"), ("2020-03-08T07:30:00Z".to_owned(), skipped.to_owned()));
    assert_eq!(admitted("202011010130"), ("2020-11-01T05:30:00Z".to_owned(), twice.to_owned()));
    assert_eq!(admitted("202003081230"), ("2020-03-08T16:30:00Z".to_owned(), String::new()));
}

#[test]
fn a_batch_whose_counts_are_wrong_loses_nothing_and_says_so() {
    let message = "MSH|^~\\&|||||2020||ADT^A31|1\rPID|1||4711\r";
    let batch = format!("FHS|^~\\&\rBHS|^~\\&\r{message}{message}BTS|5\rFTS|1\r");
    let parts = map_record(batch.as_bytes(), &Facility::new("north"));
    let flags: Vec<&str> = parts.iter().flat_map(|part| &part.flags).map(|flag| flag.position.as_str()).collect();
    assert_eq!((parts.len(), flags.as_slice()), (2, ["BTS[1]-1"].as_slice()));
    let empty = mapped(b"FHS|^~\\&\rBHS|^~\\&\rBTS|0\rFTS|1\r");
    assert_eq!((empty.outcome, empty.flags.len()), (Outcome::Ignored, 0));
    assert_eq!(split::records(batch.as_bytes()).len(), 2);
}

#[test]
fn messages_in_utf_16_and_utf_32_are_read_framed_or_not() {
    let message = "MSH|^~\\&|||||2020||ADT^A31^ADT_A05|1|P|2.5||||||UNICODE UTF-16\rPID|1||Mü4711\r";
    let framed = format!("\u{b}{message}\u{1c}\r");
    for message in [message, &framed] {
        let encoded: [(Vec<u8>, &str); 4] = [
            (message.encode_utf16().flat_map(u16::to_le_bytes).collect(), "UTF-16LE"),
            (message.encode_utf16().flat_map(u16::to_be_bytes).collect(), "UTF-16BE"),
            (message.chars().flat_map(|letter| u32::from(letter).to_le_bytes()).collect(), "UTF-32LE"),
            (message.chars().flat_map(|letter| u32::from(letter).to_be_bytes()).collect(), "UTF-32BE"),
        ];
        for (bytes, charset) in encoded {
            let part = mapped(&bytes);
            assert_eq!((part.charset, part.outcome, part.flags.len()), (Some(charset), Outcome::Mapped, 0));
            assert!(part.facts.iter().any(|fact| fact.patient.as_ref().is_some_and(|patient| patient.value == "Mü4711")));
        }
    }
    let mixed: Vec<u8> = [b"\x0b".as_slice(), &message.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>(), b"\x1c\r"].concat();
    assert_eq!(mapped(&mixed).charset, Some("UTF-16LE"), "a frame of single bytes");
}

#[test]
fn every_version_and_none_is_read_and_segments_of_a_site_harm_nothing() {
    for version in ["2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.9", "", "9"] {
        let bytes = format!("MSH|^~\\&|||||20200301||ADT^A31^ADT_A05|1|P|{version}\rZZZ|x\rPID|1||4711\rZPI|1|\"\"\rXYZ|1\r\0\0");
        let part = mapped(bytes.as_bytes());
        assert!(part.outcome == Outcome::Mapped && part.rejects.is_empty() && part.flags.is_empty(), "{version}");
    }
}

#[test]
fn attachments_that_are_no_text_are_called_by_their_kind() {
    let cases = [
        ("OBX|1|ED|||^Application^PDF^Base64^JVBERi0xLjQ=||||||F", "a PDF holds no text to read"),
        ("OBX|1|ED|||^AP^PDF^BASE64^JVBERi0x\nLjQK||||||F", "a PDF holds no text to read"),
        ("OBX|1|ED|||^Image^PNG^base64^iVBORw0KGgo||||||F", "an image holds no text to read"),
        ("OBX|1|ED|||^AP^^^JVBERi0xLjQKJcfs||||||F", "a PDF holds no text to read"),
        ("OBX|1|ED|||^AP^^Base64^!!||||||F", "attachment is not valid base64"),
        ("OBX|1|RP|||//server/share^a&b^AP^PDF||||||F", "the text is kept elsewhere"),
    ];
    for (observation, reason) in cases {
        let part = mapped(&document("", "\r", &["OBX|1|TX|||text||||||F", &observation.replacen("OBX|1", "OBX|2", 1)]));
        let said: Vec<String> = part.rejects.iter().map(|reject| format!("{}: {}", reject.position, reject.reason)).collect();
        assert_eq!((part.outcome, said), (Outcome::Partly, vec![format!("OBX[2]-5: {reason}")]), "{observation}");
    }
}

#[test]
fn base64_is_read_however_it_is_written() {
    for data in ["Q2xlYXI+Pz8=", "Q2xlYXI+Pz8", "Q2xl\nYXI+\nPz8=", "Q2xlYXI-Pz8=", "Q2xl\\.br\\YXI+Pz8==", "Q2xl\\X0D0A\\YXI+Pz8="] {
        for encoding in ["Base64", "BASE64", "base-64"] {
            assert_eq!(text("", &[&format!("OBX|1|ED|||^TEXT^PLAIN^{encoding}^{data}||||||F")]), "Clear>??", "{data}");
        }
    }
    assert_eq!(text("", &["OBX|1|ED|||^TEXT^^A^plain words||||||F"]), "plain words");
}
