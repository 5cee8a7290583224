//! The answer to a message: which is due, if any, and its bytes. Pure: the caller tells the clock and a number.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::header::Header;
use crate::settings::Answers;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Kafka has it.
    Accepted,
    /// Kafka did not confirm in time, or could not take it now.
    Unconfirmed,
    /// Kafka has it, and it is no HL7 message.
    NoHeader,
    /// It is larger than we, or the broker, carry.
    TooLarge,
}

impl Verdict {
    /// The second letter of the code.
    fn letter(self) -> u8 {
        match self {
            Self::Accepted => b'A',
            Self::Unconfirmed => b'E',
            Self::NoHeader | Self::TooLarge => b'R',
        }
    }

    /// The code in original mode, for metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "AA",
            Self::Unconfirmed => "AE",
            Self::NoHeader | Self::TooLarge => "AR",
        }
    }

    /// HL7 table 0357 and a fixed sentence.
    fn error(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Accepted => None,
            Self::Unconfirmed => Some(("207", "not confirmed in time; send it again")),
            Self::NoHeader => Some(("100", "the message has no MSH segment")),
            Self::TooLarge => Some(("207", "the message is too large")),
        }
    }
}

/// What the answer's code begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// `AA`: original mode, or the application's answer.
    Application,
    /// `CA`: that the message is kept.
    Commit,
}

/// The time and the number of an answer.
pub(crate) struct Stamp {
    pub(crate) at: Timestamp,
    /// Unique in this process.
    pub(crate) number: u64,
}

/// The framed answer to a message with this header; `None` where the sender wants none.
pub(crate) fn answer(header: Option<&Header>, verdict: Verdict, answers: Answers, stamp: &Stamp) -> Option<Vec<u8>> {
    let Some(header) = header else {
        return Some(write(&Header::absent(), Mode::Application, verdict, stamp));
    };
    Some(write(header, mode(header, verdict, answers)?, verdict, stamp))
}

/// Original mode where MSH-15 and MSH-16 are empty; else what they ask for, the answer that the message is kept before the application's.
fn mode(header: &Header, verdict: Verdict, answers: Answers) -> Option<Mode> {
    let (commit, application) = (header.field(15), header.field(16));
    if answers == Answers::Original || (commit.is_empty() && application.is_empty()) {
        return Some(Mode::Application);
    }
    let asks = |condition: &[u8]| match condition.to_ascii_uppercase().as_slice() {
        b"" | b"NE" => false,
        b"ER" => verdict != Verdict::Accepted,
        b"SU" => verdict == Verdict::Accepted,
        // AL, and what HL7 does not know: a needless answer does less harm than one that is waited for.
        _ => true,
    };
    if asks(commit) { Some(Mode::Commit) } else { asks(application).then_some(Mode::Application) }
}

fn write(header: &Header, mode: Mode, verdict: Verdict, stamp: &Stamp) -> Vec<u8> {
    let separator = header.separator;
    let (time, id) = (time(stamp.at), id(stamp));
    let kind = kind(header);
    let mut fields: Vec<&[u8]> = vec![
        header.field(2),
        header.field(5),
        header.field(6),
        header.field(3),
        header.field(4),
        time.as_bytes(),
        b"",
        &kind,
        id.as_bytes(),
        or(header.field(11), b"P"),
        or(header.field(12), b"2.5"),
    ];
    // The fields that are copied stand in the message's charset, so the answer names the same one.
    if !header.field(18).is_empty() {
        fields.extend([&b""[..], b"", b"", b"", b"", header.field(18)]);
    }
    let mut out = vec![0x0b];
    segment(&mut out, b"MSH", separator, &fields);
    let code = [if mode == Mode::Commit { b'C' } else { b'A' }, verdict.letter()];
    let (number, sentence) = verdict.error().filter(|(_, sentence)| is_plain(sentence, header)).unwrap_or_default();
    segment(&mut out, b"MSA", separator, &[&code, header.field(10), sentence.as_bytes()]);
    if !sentence.is_empty() && header.has_errors() {
        let component = [header.component()];
        let coded = [number.as_bytes(), &component, sentence.as_bytes(), &component, b"HL70357"].concat();
        segment(&mut out, b"ERR", separator, &[b"", b"", &coded, b"E"]);
    }
    out.extend_from_slice(b"\x1c\r");
    out
}

/// Empty fields at the end are left out.
fn segment(out: &mut Vec<u8>, name: &[u8], separator: u8, fields: &[&[u8]]) {
    let used = fields.iter().rposition(|field| !field.is_empty()).map_or(0, |last| last + 1);
    out.extend_from_slice(name);
    for field in fields.iter().take(used) {
        out.push(separator);
        out.extend_from_slice(field);
    }
    out.push(b'\r');
}

/// MSH-9: `ACK^A01^ACK`, or `ACK` where the message names no trigger.
fn kind(header: &Header) -> Vec<u8> {
    if header.trigger().is_empty() {
        return b"ACK".to_vec();
    }
    let component = [header.component()];
    [b"ACK".as_slice(), &component, header.trigger(), &component, b"ACK"].concat()
}

fn or<'a>(field: &'a [u8], default: &'a [u8]) -> &'a [u8] {
    if field.is_empty() { default } else { field }
}

/// A sentence must not be cut by a separator that somebody chose among its characters.
fn is_plain(sentence: &str, header: &Header) -> bool {
    !sentence.bytes().any(|byte| byte == header.separator || header.field(2).contains(&byte))
}

/// `YYYYMMDDHHMMSS.SSS+0000`.
fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M%S%.3f+0000").to_string()
}

/// At most 20 characters, as MSH-10 allows: the milliseconds tell processes apart, the number the answers of one.
fn id(stamp: &Stamp) -> String {
    format!("W{:011x}{:08x}", stamp.at.as_millisecond(), stamp.number & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(message: &[u8], verdict: Verdict, answers: Answers) -> Option<String> {
        let stamp = Stamp { at: "2026-01-02T03:04:05.6Z".parse().expect("an instant"), number: 7 };
        let bytes = answer(Header::read(message).as_ref(), verdict, answers, &stamp)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// An answer goes back to whom it came from, and names what it answers, exactly as sent.
    #[test]
    fn an_answer_mirrors_the_message() {
        let message = b"MSH|^~\\&|EPIC|NORTH|WARD|HUB|20260102||ADT^A01^ADT_A01|MSG-0001|T|2.5.1||||||UNICODE UTF-8\rPID|1||4711^DOE";
        let shown = answered(message, Verdict::Accepted, Answers::Asked).expect("an answer");
        assert_eq!(
            shown,
            "\u{b}MSH|^~\\&|WARD|HUB|EPIC|NORTH|20260102030405.600+0000||ACK^A01^ACK|W019b7cc60f800000007|T|2.5.1||||||UNICODE UTF-8\r\
             MSA|AA|MSG-0001\r\u{1c}\r"
                .replace("W019b7cc60f800000007", shown.split('|').nth(9).expect("MSH-10"))
        );
        assert_eq!(shown.split('|').nth(9).map(str::len), Some(20));
        let shown = answered(b"MSH#*~\\&#A#B#C#D###ADT*A08#9#P#2.3", Verdict::Unconfirmed, Answers::Asked).expect("an answer");
        assert!(shown.contains("MSH#*~\\&#C#D#A#B#") && shown.contains("#ACK*A08*ACK#"), "{shown}");
        assert!(shown.contains("MSA#AE#9#not confirmed in time; send it again\r") && !shown.contains("ERR"), "{shown}");
    }

    #[test]
    fn an_error_says_why_in_the_segment_of_its_version() {
        let shown = answered(b"MSH|^~\\&|||||||ADT^A01|1|P|2.5", Verdict::TooLarge, Answers::Asked).expect("an answer");
        assert!(shown.contains("MSA|AR|1|the message is too large\rERR|||207^the message is too large^HL70357|E\r"), "{shown}");
        let shown = answered(b"noise", Verdict::NoHeader, Answers::Asked).expect("an answer");
        assert!(
            shown.contains("MSH|^~\\&|") && shown.contains("|ACK|") && shown.contains("MSA|AR||the message has no MSH segment\r"),
            "{shown}"
        );
    }

    /// Who asks for no answer and gets one takes it for the answer to the next message.
    #[test]
    fn enhanced_mode_answers_as_it_is_asked_to() {
        let code = |conditions: &str, verdict| {
            let message = format!("MSH|^~\\&|||||||ADT^A01|1|P|2.5|||{conditions}\r");
            let shown = answered(message.as_bytes(), verdict, Answers::Asked)?;
            shown.split("MSA|").nth(1).map(|rest| rest.chars().take(2).collect::<String>())
        };
        let (good, bad) = (Verdict::Accepted, Verdict::Unconfirmed);
        for (conditions, accepted, failed) in [
            ("|", Some("AA"), Some("AE")),
            ("\"\"|\"\"", Some("AA"), Some("AE")),
            ("AL|NE", Some("CA"), Some("CE")),
            ("AL|AL", Some("CA"), Some("CE")),
            ("NE|NE", None, None),
            ("NE|", None, None),
            ("ER|NE", None, Some("CE")),
            ("SU|NE", Some("CA"), None),
            ("su|", Some("CA"), None),
            ("NE|AL", Some("AA"), Some("AE")),
            ("|AL", Some("AA"), Some("AE")),
            ("SU|ER", Some("CA"), Some("AE")),
            ("YES|", Some("CA"), Some("CE")),
        ] {
            assert_eq!(code(conditions, good).as_deref(), accepted, "{conditions}");
            assert_eq!(code(conditions, bad).as_deref(), failed, "{conditions}");
        }
        assert_eq!(code("AL|", Verdict::TooLarge).as_deref(), Some("CR"));
        let shown = answered(b"MSH|^~\\&|||||||ADT^A01|1|P|2.5|||NE|NE", good, Answers::Original).expect("an answer");
        assert!(shown.contains("MSA|AA|1\r"));
    }

    #[test]
    fn answers_of_one_process_differ() {
        let stamp = |number| Stamp { at: Timestamp::UNIX_EPOCH, number };
        assert_ne!(id(&stamp(1)), id(&stamp(2)));
    }
}
