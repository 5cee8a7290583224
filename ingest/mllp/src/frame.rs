//! Cuts a stream of bytes into frames. Pure: it is fed bytes as they come, and gives the same frames wherever the reads ended.

use std::mem::take;

const START: u8 = 0x0b;
const END: u8 = 0x1c;
const HEADERS: [&[u8]; 3] = [b"MSH", b"FHS", b"BHS"];

/// How a frame came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With its end, and its start or at least something in the place of it.
    Whole,
    /// The next frame began, or the peer went, before its end.
    Cut,
    /// Bytes between frames.
    Stray,
}

impl Kind {
    /// The value of the header `mllp_frame`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Cut => "cut",
            Self::Stray => "stray",
        }
    }
}

/// The content of one frame. It names persons: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) content: Vec<u8>,
    pub(crate) kind: Kind,
}

/// What the bytes so far gave.
pub(crate) enum Next {
    /// A frame.
    Frame(Frame),
    /// More bytes are needed.
    More,
    /// More bytes are needed, or silence: a frame may have ended.
    MoreOrSilence,
    /// The frame is longer than it may be. Its beginning; nothing after it can be told apart.
    TooLarge(Vec<u8>),
}

/// The bytes that are not yet a frame.
pub(crate) struct Framer {
    buffer: Vec<u8>,
    /// Up to here the buffer was looked through.
    looked: usize,
    /// Whether a start stood before the buffer.
    inside: bool,
    limit: usize,
}

impl Framer {
    /// Frames of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), looked: 0, inside: false, limit }
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Adds what was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame.
    pub(crate) fn next(&mut self) -> Next {
        loop {
            if !self.inside {
                self.skip_blanks();
            }
            let Some((at, byte)) = self.mark() else {
                self.looked = self.buffer.len();
                return if self.looked > self.limit { Next::TooLarge(take(&mut self.buffer)) } else { Next::More };
            };
            if at > self.limit {
                return Next::TooLarge(take(&mut self.buffer));
            }
            self.looked = at;
            let after = self.buffer.get(at + 1..).unwrap_or_default();
            let decided = if byte == END { ends(after) } else { self.starts(after) };
            match decided {
                Some(true) => {
                    if let Some(frame) = self.cut(at, byte) {
                        return Next::Frame(frame);
                    }
                }
                Some(false) => self.looked = at + 1,
                None if byte == END => return Next::MoreOrSilence,
                None => return Next::More,
            }
        }
    }

    /// The frame that has ended because nothing more came, if one has.
    pub(crate) fn silence(&mut self) -> Option<Frame> {
        if self.buffer.get(self.looked) == Some(&END) { self.cut(self.looked, END) } else { None }
    }

    /// What is left when the peer has gone, if it is not blank.
    pub(crate) fn rest(&mut self) -> Option<Frame> {
        if let Some(frame) = self.silence() {
            return Some(frame);
        }
        let kind = if self.inside { Kind::Cut } else { Kind::Stray };
        self.inside = false;
        self.looked = 0;
        let content = take(&mut self.buffer);
        content.iter().any(|byte| !is_blank(*byte)).then_some(Frame { content, kind })
    }

    /// The next byte that may start or end a frame.
    fn mark(&self) -> Option<(usize, u8)> {
        let rest = self.buffer.get(self.looked..).unwrap_or_default();
        let at = memchr::memchr2(START, END, rest)?;
        Some((self.looked + at, rest.get(at).copied()?))
    }

    /// Outside of a frame every start is one; inside, only one that a message header follows.
    fn starts(&self, after: &[u8]) -> Option<bool> {
        if !self.inside {
            return Some(true);
        }
        match after.get(..3) {
            Some(name) => Some(HEADERS.contains(&name)),
            None if HEADERS.iter().any(|header| header.starts_with(after)) => None,
            None => Some(false),
        }
    }

    /// Takes off everything before the mark at `at`; a frame, unless that is nothing.
    fn cut(&mut self, at: usize, mark: u8) -> Option<Frame> {
        let rest = self.buffer.split_off((at + 1).min(self.buffer.len()));
        let mut content = std::mem::replace(&mut self.buffer, rest);
        content.truncate(at);
        self.looked = 0;
        let kind = match (mark, self.inside) {
            (END, _) => Kind::Whole,
            (_, true) => Kind::Cut,
            (_, false) => Kind::Stray,
        };
        self.inside = mark == START;
        let says = !content.is_empty() && (kind == Kind::Whole || content.iter().any(|byte| !is_blank(*byte)));
        says.then_some(Frame { content, kind })
    }

    /// Between frames, blanks are nothing: line ends after the end of a frame, above all.
    fn skip_blanks(&mut self) {
        let blanks = self.buffer.iter().take_while(|byte| is_blank(**byte)).count();
        if blanks > 0 {
            self.buffer.drain(..blanks);
            self.looked = 0;
        }
    }
}

/// An end is one where a line end, another end or the next frame follows; another byte makes it content.
fn ends(after: &[u8]) -> Option<bool> {
    match after {
        [] => None,
        [b'\r' | b'\n' | START | END, ..] => Some(true),
        _ if HEADERS.iter().any(|header| after.starts_with(header)) => Some(true),
        _ if after.len() < 3 && HEADERS.iter().any(|header| header.starts_with(after)) => None,
        _ => Some(false),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Cut = Vec<(Vec<u8>, Kind)>;

    /// The frames of `bytes`, read in pieces of `step`, and what is left when the peer goes.
    fn frames(bytes: &[u8], step: usize) -> Cut {
        let mut framer = Framer::new(1_000);
        let mut found = Vec::new();
        for piece in bytes.chunks(step) {
            framer.push(piece);
            while let Next::Frame(frame) = framer.next() {
                found.push((frame.content, frame.kind));
            }
        }
        while let Some(frame) = framer.rest() {
            found.push((frame.content, frame.kind));
        }
        found
    }

    /// The same frames, wherever the reads end.
    #[track_caller]
    fn cut(bytes: &[u8]) -> Cut {
        let whole = frames(bytes, bytes.len().max(1));
        for step in 1..bytes.len() {
            assert!(frames(bytes, step) == whole, "pieces of {step} bytes give other frames");
        }
        whole
    }

    fn whole(content: &[u8]) -> (Vec<u8>, Kind) {
        (content.to_vec(), Kind::Whole)
    }

    #[test]
    fn frames_are_cut_wherever_the_reads_end() {
        assert_eq!(cut(b"\x0bMSH|1\rPID|\r\x1c\r\x0bMSH|2\r\x1c\r"), [whole(b"MSH|1\rPID|\r"), whole(b"MSH|2\r")]);
        assert_eq!(cut(b"\r\n\x0bMSH|1\x1c\r\r\n\0 \x0bMSH|2\x1c\r"), [whole(b"MSH|1"), whole(b"MSH|2")]);
        assert_eq!(cut(b"\x0ba\0b\xff\x1c\r"), [whole(b"a\0b\xff")]);
        assert_eq!(cut(b"\x0b\x1c\r"), []);
    }

    #[test]
    fn the_last_byte_of_a_frame_may_be_missing_or_another() {
        assert_eq!(cut(b"\x0bMSH|1\x1c\x0bMSH|2\x1c"), [whole(b"MSH|1"), whole(b"MSH|2")]);
        assert_eq!(cut(b"\x0bMSH|1\x1c\n\x0bMSH|2\x1c\n"), [whole(b"MSH|1"), whole(b"MSH|2")]);
        assert_eq!(cut(b"MSH|1\x1cMSH|2\x1c\r"), [whole(b"MSH|1"), whole(b"MSH|2")], "no start at all");
        let mut framer = Framer::new(100);
        framer.push(b"\x0bMSH|1\x1c");
        assert!(matches!(framer.next(), Next::MoreOrSilence));
        assert!(framer.silence().is_some_and(|frame| frame.content == b"MSH|1"));
        assert!(framer.silence().is_none());
        framer.push(b"\r\x0bMSH");
        assert!(matches!(framer.next(), Next::More), "a late line end is a blank");
    }

    /// A vertical tab in a note is no start, and a separator that somebody's system put into a text is no end.
    #[test]
    fn marks_inside_a_message_are_its_content() {
        assert_eq!(cut(b"\x0bMSH|1\rNTE|a\x0bb\x0b\x1c\r"), [whole(b"MSH|1\rNTE|a\x0bb\x0b")]);
        assert_eq!(cut(b"\x0bMSH|1\rNTE|a\x1cb\x1cMS\x1c\r"), [whole(b"MSH|1\rNTE|a\x1cb\x1cMS")]);
    }

    #[test]
    fn what_was_cut_and_what_stands_between_is_kept_and_marked() {
        assert_eq!(cut(b"\x0bMSH|1\rPI\x0bMSH|2\x1c\r"), [(b"MSH|1\rPI".to_vec(), Kind::Cut), whole(b"MSH|2")]);
        assert_eq!(cut(b"noise\x0bMSH|2\x1c\r"), [(b"noise".to_vec(), Kind::Stray), whole(b"MSH|2")]);
        assert_eq!(cut(b"\x0bMSH|1\x1c\r\x0bMSH|2\rPI"), [whole(b"MSH|1"), (b"MSH|2\rPI".to_vec(), Kind::Cut)]);
        assert_eq!(cut(b"MSH|2\rPI"), [(b"MSH|2\rPI".to_vec(), Kind::Stray)]);
    }

    #[test]
    fn a_frame_that_never_ends_is_given_up() {
        for step in [1, 7, 5_000] {
            let mut framer = Framer::new(1_000);
            let endless = [b"\x0bMSH|".as_slice(), &[b'a'; 2_000], b"\x1c\r"].concat();
            let given_up = endless.chunks(step).any(|piece| {
                framer.push(piece);
                matches!(framer.next(), Next::TooLarge(start) if start.starts_with(b"MSH|"))
            });
            assert!(given_up);
        }
    }
}
