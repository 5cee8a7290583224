//! Files of HL7 v2: messages one after another, with or without the envelopes of batches and files, whose counts are held against what came.

use memchr::memchr2;

use super::frame;
use super::header::{self, Header};
use super::trim_end;

/// What a file or record holds.
#[derive(Default)]
pub(crate) struct Cut<'a> {
    /// The messages, and what is none and stands between them, in order.
    pub(crate) messages: Vec<&'a [u8]>,
    /// Where envelopes disagree with what they hold.
    pub(crate) doubts: Vec<Doubt>,
    /// Whether there is any envelope.
    pub(crate) enveloped: bool,
}

/// An envelope that disagrees with what it holds.
pub(crate) struct Doubt {
    /// How many messages of the run came before its line.
    pub(crate) after: usize,
    /// `BTS[2]-1`.
    pub(crate) position: String,
    /// What was found and how it was decided.
    pub(crate) decision: &'static str,
}

/// Cuts `bytes` at each line that begins with a header; envelope lines belong to no message.
pub(crate) fn cut(bytes: &[u8]) -> Cut<'_> {
    Envelopes::default().cut(bytes, Rest::Nothing)
}

/// What follows the bytes that are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// More of the same file.
    More,
    /// They are its last.
    Nothing,
}

/// What is open, and how much has come, of a file that is cut in several runs. A run ends before a message begins.
#[derive(Default)]
pub(crate) struct Envelopes {
    /// Messages of the runs before.
    before: usize,
    batch: Envelope,
    file: Envelope,
}

impl Envelopes {
    /// Cuts the next run.
    pub(crate) fn cut<'a>(&mut self, run: &'a [u8], rest: Rest) -> Cut<'a> {
        let mut cutter = Cutter { cut: Cut::default(), open: std::mem::take(self) };
        for content in frame::contents(run) {
            cutter.frame(content);
        }
        if rest == Rest::Nothing {
            cutter.unclosed();
        }
        *self = cutter.open;
        self.before += cutter.cut.messages.len();
        cutter.cut
    }
}

struct Cutter<'a> {
    cut: Cut<'a>,
    open: Envelopes,
}

/// An envelope that may be open, of batches or of files.
#[derive(Default)]
struct Envelope {
    opened: usize,
    closed: usize,
    is_open: bool,
    /// How many messages, and how many batches, had come when it was opened.
    since: (usize, usize),
}

impl<'a> Cutter<'a> {
    fn frame(&mut self, content: &'a [u8]) {
        let mut at = 0;
        let mut begun = 0;
        loop {
            let rest = content.get(at..).unwrap_or_default();
            let end = memchr2(b'\r', b'\n', rest).map_or(rest.len(), |end| end + 1);
            if let Some((header, before)) = header::of(rest).filter(|(header, before)| !self.is_word(*header, rest.get(before + 3))) {
                self.push(content.get(begun..at));
                begun = at + before;
                if header != Header::Message {
                    self.envelope(header, rest.get(before..end).unwrap_or_default());
                    begun = at + end;
                }
            }
            at += end;
            if rest.is_empty() {
                break;
            }
        }
        self.push(content.get(begun..));
    }

    /// The name of a trailer without its usual separator is a word of a text, where nothing is open that it could close.
    fn is_word(&self, header: Header, after: Option<&u8>) -> bool {
        header.is_trailer() && after != Some(&b'|') && !self.open.batch.is_open && !self.open.file.is_open
    }

    fn push(&mut self, message: Option<&'a [u8]>) {
        let message = trim_end(message.unwrap_or_default());
        if !super::trim_start(message).is_empty() {
            self.cut.messages.push(message);
        }
    }

    /// How many messages have come.
    fn messages(&self) -> usize {
        self.open.before + self.cut.messages.len()
    }

    fn envelope(&mut self, header: Header, line: &[u8]) {
        self.cut.enveloped = true;
        match header {
            Header::Message => {}
            Header::FileBegins => {
                self.unclosed();
                self.open.file.open((self.messages(), self.open.batch.opened));
            }
            Header::BatchBegins => {
                if self.open.batch.is_open {
                    self.doubt(format!("BHS[{}]", self.open.batch.opened), NO_END);
                }
                self.open.batch.open((self.messages(), 0));
            }
            Header::BatchEnds => {
                let messages = self.messages() - self.open.batch.since.0;
                self.open.batch.close((self.messages(), 0));
                self.compare(format!("BTS[{}]-1", self.open.batch.closed), line, &[messages]);
            }
            Header::FileEnds => {
                let messages = self.messages() - self.open.file.since.0;
                let batches = self.open.batch.opened - self.open.file.since.1;
                self.open.file.close((self.messages(), self.open.batch.opened));
                // Where a file holds messages without batches, it may count those, or itself as one batch.
                let possible = if batches == 0 { [messages, usize::from(messages > 0)] } else { [batches, batches] };
                self.compare(format!("FTS[{}]-1", self.open.file.closed), line, &possible);
            }
        }
    }

    fn compare(&mut self, position: String, line: &[u8], possible: &[usize]) {
        let separator = line.get(3).copied().unwrap_or_default();
        let count = line.split(|byte| *byte == separator).nth(1).unwrap_or_default().trim_ascii();
        if count.is_empty() {
            return;
        }
        let stated = std::str::from_utf8(count).ok().and_then(|count| count.parse::<usize>().ok());
        if stated.is_none_or(|stated| !possible.contains(&stated)) {
            self.doubt(position, "the count disagrees with what came; all that came is read");
        }
    }

    fn unclosed(&mut self) {
        if self.open.batch.is_open {
            self.open.batch.is_open = false;
            self.doubt(format!("BHS[{}]", self.open.batch.opened), NO_END);
        }
        if self.open.file.is_open {
            self.open.file.is_open = false;
            self.doubt(format!("FHS[{}]", self.open.file.opened), NO_END);
        }
    }

    fn doubt(&mut self, position: String, decision: &'static str) {
        if self.cut.doubts.len() < DOUBTS {
            self.cut.doubts.push(Doubt { after: self.cut.messages.len(), position, decision });
        }
    }
}

const NO_END: &str = "the envelope has no end; all that came is read";

/// The most doubts that one record keeps.
const DOUBTS: usize = 1_000;

impl Envelope {
    fn open(&mut self, since: (usize, usize)) {
        self.opened += 1;
        self.is_open = true;
        self.since = since;
    }

    fn close(&mut self, since: (usize, usize)) {
        self.closed += 1;
        self.is_open = false;
        self.since = since;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::records;

    #[test]
    fn messages_are_cut_at_their_headers_whatever_ends_their_lines() {
        for end in ["\r", "\n", "\r\n", "\n\n"] {
            let file = format!("MSH|^~\\&|1{end}PID|1{end}{end}MSH|^~\\&|2{end}PID|2{end}");
            let cut = records(file.as_bytes());
            assert_eq!(cut.len(), 2);
            assert!(cut[0].starts_with(b"MSH|^~\\&|1") && cut[0].ends_with(b"PID|1"));
            assert!(cut[1].starts_with(b"MSH|^~\\&|2") && cut[1].ends_with(b"PID|2"));
        }
    }

    #[test]
    fn frames_give_their_content() {
        let cut = records(b"\x0bMSH|^~\\&|1\rPID|1\r\x1c\r\x0bMSH|^~\\&|2\r\x1c\r");
        assert_eq!(cut, [b"MSH|^~\\&|1\rPID|1".as_slice(), b"MSH|^~\\&|2".as_slice()]);
        let cut = records(b"\x0bMSH|^~\\&|1\r\x1c\r\x0bnoise\x1c\r");
        assert_eq!(cut, [b"MSH|^~\\&|1".as_slice(), b"noise".as_slice()], "what is no message is kept");
    }

    #[test]
    fn envelopes_belong_to_no_message() {
        let cut = records(b"FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|1\rPID|1\rMSH|^~\\&|2\rBTS|2\rFTS|1\r");
        assert_eq!(cut, [b"MSH|^~\\&|1\rPID|1".as_slice(), b"MSH|^~\\&|2".as_slice()]);
        assert_eq!(records(b"FHS|^~\\&\rFTS|0\r").len(), 1, "an empty batch is kept as it is");
    }

    /// A text with line breaks loses nothing to what its lines begin with, and its message is one.
    #[test]
    fn a_text_may_have_lines_that_begin_like_an_envelope() {
        let text = "term\nFHS: 140 bpm\nBTS. given\nMSH: seen there\nFTS\nend";
        let message = format!("MSH|^~\\&|1\rOBX|1|TX|||{text}||||||F");
        let file = format!("{message}\r{message}\r");
        assert_eq!(records(file.as_bytes()), [message.as_bytes(), message.as_bytes()]);
        let message = message.replace("\nFTS\n", "\n");
        let batch = format!("BHS#^~\\&\r{message}\rBTS#1\r");
        assert_eq!(cut(batch.as_bytes()).messages, [message.as_bytes()]);
    }

    #[test]
    fn a_frame_may_lack_either_end() {
        let (one, two) = (b"MSH|^~\\&|1\rPID|1".as_slice(), b"MSH|^~\\&|2".as_slice());
        for stream in [
            "\x0bMSH|^~\\&|1\rPID|1\r\x0bMSH|^~\\&|2\r\x1c\r",
            "MSH|^~\\&|1\rPID|1\r\x1c\rMSH|^~\\&|2\r\x1c\r",
            "\x0bMSH|^~\\&|1\rPID|1\x1cMSH|^~\\&|2",
            "\x0bMSH|^~\\&|1\rPID|1\x1c\r\n\x0b\x0bMSH|^~\\&|2\x1c\x1c\r",
        ] {
            assert_eq!(records(stream.as_bytes()), [one, two], "{stream:?}");
        }
    }

    #[test]
    fn the_bytes_of_a_frame_may_stand_in_a_text() {
        let message = b"MSH|^~\\&|1\rOBX|1|TX|||one\x0btwo\x1cthree||F";
        assert_eq!(records(message), [message.as_slice()]);
    }

    #[test]
    fn headers_may_be_indented_marked_or_written_small() {
        let cut = records(b"  MSH|^~\\&|1\r\n\xef\xbb\xbfMSH|^~\\&|2\n\t msh|^~\\&|3\n");
        assert_eq!(cut, [b"MSH|^~\\&|1".as_slice(), b"MSH|^~\\&|2", b"msh|^~\\&|3"]);
    }

    #[test]
    fn what_stands_before_a_message_is_kept_beside_it() {
        assert_eq!(records(b"# export of May\nMSH|^~\\&|1\n"), [b"# export of May".as_slice(), b"MSH|^~\\&|1"]);
    }

    #[test]
    fn counts_are_held_against_what_came() {
        let cases: [(&str, &[&str]); 8] = [
            ("FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|1\rMSH|^~\\&|2\rBTS|2\rFTS|1\r", &[]),
            ("FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|1\rMSH|^~\\&|2\rBTS|3\rFTS|1\r", &["BTS[1]-1"]),
            ("FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|1\rBTS|1\rBHS|^~\\&\rMSH|^~\\&|2\rBTS|x\rFTS|3\r", &["BTS[2]-1", "FTS[1]-1"]),
            ("FHS|^~\\&\rMSH|^~\\&|1\rMSH|^~\\&|2\rFTS|2\r", &[]),
            ("FHS|^~\\&\rMSH|^~\\&|1\rMSH|^~\\&|2\rFTS|1\r", &[]),
            ("BHS|^~\\&\rMSH|^~\\&|1\r", &["BHS[1]"]),
            ("FHS|^~\\&\rBHS|^~\\&\rBTS|\rFTS", &[]),
            ("FHS|^~\\&\rBHS|^~\\&\rBTS|1\rFTS|1", &["BTS[1]-1"]),
        ];
        for (file, expected) in cases {
            let found: Vec<String> = cut(file.as_bytes()).doubts.into_iter().map(|doubt| doubt.position).collect();
            assert_eq!(found, expected, "{file:?}");
        }
    }
}
