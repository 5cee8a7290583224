//! JSON text to a tree, in one pass that takes over no more than it must: texts and numbers stay where they stand.
//!
//! A reader of our own, because no other one does three things at once: it passes over what no map looks at, it keeps numbers as they were
//! written, and half a surrogate pair (a text that was cut in the middle of a sign) costs that sign and not its record. What is passed
//! over must be JSON too.

mod plain;

use std::borrow::Cow;

use super::node::{Keep, Node};

#[cfg(test)]
mod tests;

/// Deeper nesting than any resource has; beyond it the reader gives up rather than the stack.
const DEEPEST: usize = 128;

/// A resource has about so many fields.
const FIELDS: usize = 12;

/// Where a text ceases to be JSON, and how.
#[derive(Clone, Copy)]
pub(super) struct Fault {
    /// Bytes up to and with the first one that does not fit; all of them where the text ends too early.
    pub(super) byte: usize,
    pub(super) reason: &'static str,
}

/// Reads a text that is one JSON value.
pub(super) struct Reading<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    /// A name stood twice in one of the objects.
    pub(super) repeated: bool,
    fault: Option<Fault>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, depth: 0, repeated: false, fault: None }
    }

    /// The value, and nothing after it.
    pub(super) fn whole(&mut self) -> Result<Node<'a>, Fault> {
        let mut node = Node::Null;
        self.blanks();
        let read = self.value(Keep::All, &mut node);
        self.blanks();
        match read {
            Some(()) if self.at >= self.bytes.len() => Ok(node),
            _ => Err(self.fault.unwrap_or_else(|| self.here())),
        }
    }

    /// Puts the next value into `slot`: in place, since a value that is handed up is moved at every level.
    fn value(&mut self, keep: Keep, slot: &mut Node<'a>) -> Option<()> {
        match self.peek() {
            Some(b'"') => {
                let start = self.at + 1;
                *slot = Node::Text(match self.plain_string() {
                    Some(text) => Cow::Borrowed(text),
                    None => Cow::Owned(self.escaped(start)?),
                });
            }
            Some(b'{') => {
                self.open()?;
                self.object(keep, slot)?;
                self.depth -= 1;
            }
            Some(b'[') => {
                self.open()?;
                self.list(keep, slot)?;
                self.depth -= 1;
            }
            Some(b'-' | b'0'..=b'9') => *slot = Node::Number(self.number()?),
            Some(b't') => {
                self.literal("true")?;
                *slot = Node::True;
            }
            Some(b'f') => {
                self.literal("false")?;
                *slot = Node::False;
            }
            Some(b'n') => self.literal("null")?,
            _ => return self.stop(),
        }
        Some(())
    }

    fn object(&mut self, mut keep: Keep, slot: &mut Node<'a>) -> Option<()> {
        *slot = Node::Object(Vec::new());
        let Node::Object(fields) = slot else { return None };
        let mut is_over = self.closes(b'}');
        while !is_over {
            let name = self.name()?;
            if keep.keeps(&name) {
                let within = keep.within(&name);
                let is_kind = name == "resourceType";
                if is_kind {
                    fields.reserve(FIELDS);
                }
                // Made where it is to stand: what is pushed is put on the stack before, and read back too early.
                fields.resize_with(fields.len() + 1, || (Cow::Borrowed(""), Node::Null));
                if let Some((field, value)) = fields.last_mut() {
                    *field = name;
                    self.value(within, value)?;
                    if is_kind && let Node::Text(kind) = value {
                        keep = Keep::of(kind);
                    }
                }
            } else {
                self.skip()?;
            }
            is_over = self.ends(b'}')?;
        }
        self.repeated |= super::node::repeats(fields);
        Some(())
    }

    fn list(&mut self, keep: Keep, slot: &mut Node<'a>) -> Option<()> {
        *slot = Node::List(Vec::new());
        let Node::List(items) = slot else { return None };
        let mut is_over = self.closes(b']');
        while !is_over {
            items.push(Node::Null);
            if let Some(item) = items.last_mut() {
                self.value(keep, item)?;
            }
            is_over = self.ends(b']')?;
        }
        Some(())
    }

    /// Passes over a value.
    fn skip(&mut self) -> Option<()> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'{') => self.skip_all(b'}'),
            Some(b'[') => self.skip_all(b']'),
            _ => self.value(Keep::All, &mut Node::Null),
        }
    }

    fn skip_all(&mut self, end: u8) -> Option<()> {
        self.open()?;
        let mut is_over = self.closes(end);
        while !is_over {
            if end == b'}' {
                self.skip_name()?;
            }
            self.skip()?;
            is_over = self.ends(end)?;
        }
        self.depth -= 1;
        Some(())
    }

    /// Passes an opening bracket.
    fn open(&mut self) -> Option<()> {
        if self.depth == DEEPEST {
            self.fault = Some(Fault { byte: self.at + 1, reason: "it is nested too deeply" });
            return None;
        }
        self.depth += 1;
        self.at += 1;
        Some(())
    }

    /// A field's name with its colon; the value follows.
    #[inline(always)]
    fn name(&mut self) -> Option<Cow<'a, str>> {
        if self.peek() != Some(b'"') {
            return self.stop();
        }
        let start = self.at + 1;
        let name = match self.plain_string() {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(self.escaped(start)?),
        };
        self.colon()?;
        Some(name)
    }

    fn skip_name(&mut self) -> Option<()> {
        if self.peek() != Some(b'"') {
            return self.stop();
        }
        self.skip_string()?;
        self.colon()
    }

    #[inline(always)]
    fn colon(&mut self) -> Option<()> {
        self.blanks();
        if self.peek() != Some(b':') {
            return self.stop();
        }
        self.at += 1;
        self.blanks();
        Some(())
    }

    /// Whether an object or a list ends before it has begun.
    #[inline(always)]
    fn closes(&mut self, end: u8) -> bool {
        self.blanks();
        let closes = self.peek() == Some(end);
        self.at += usize::from(closes);
        closes
    }

    /// Passes a comma, and tells whether the end stood in its place.
    #[inline(always)]
    fn ends(&mut self, end: u8) -> Option<bool> {
        self.blanks();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.blanks();
                Some(false)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                Some(true)
            }
            _ => self.stop(),
        }
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let fits = rest.iter().zip(word.as_bytes()).take_while(|(byte, wanted)| byte == wanted).count();
        self.at += fits;
        if fits == word.len() { Some(()) } else { self.stop() }
    }

    fn number(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Some(self.text.get(start..self.at).unwrap_or_default())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.stop() } else { Some(()) }
    }

    /// A text without escapes, whose opening quote is here; `None` where it goes on otherwise, and `escaped` is to go on from there.
    ///
    /// It comes back as a slice, not as a `Cow`: that would be handed over in memory, and read back before it is written.
    #[inline(always)]
    fn plain_string(&mut self) -> Option<&'a str> {
        let start = self.at + 1;
        self.at = start;
        self.plain();
        if self.peek() != Some(b'"') {
            return None;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Some(text)
    }

    /// Passes over a text.
    fn skip_string(&mut self) -> Option<()> {
        self.at += 1;
        self.plain();
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Some(());
        }
        self.escaped(self.at).map(drop)
    }

    /// A text with escapes, that began at `start`.
    #[cold]
    fn escaped(&mut self, start: usize) -> Option<String> {
        let mut text = self.text.get(start..self.at).unwrap_or_default().to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Some(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                _ => return self.stop(),
            }
            let start = self.at;
            self.plain();
            text.push_str(self.text.get(start..self.at).unwrap_or_default());
        }
    }

    fn escape(&mut self) -> Option<char> {
        let sign = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return self.stop(),
        };
        self.at += 1;
        Some(sign)
    }

    /// The character of four hexadecimal digits, or of two fours that are a surrogate pair; half a pair is U+FFFD.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hexadecimal()?;
        if let Some(character) = char::from_u32(first) {
            return Some(character);
        }
        if first < 0xdc00 && self.bytes.get(self.at..self.at + 2) == Some(b"\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.hexadecimal()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(16)) else { return self.stop() };
            code = code * 16 + digit;
            self.at += 1;
        }
        Some(code)
    }

    /// Goes to the next quote, backslash or control character.
    #[inline(always)]
    fn plain(&mut self) {
        self.at += plain::length(self.bytes.get(self.at..).unwrap_or_default());
    }

    #[inline]
    fn blanks(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.pass_blanks();
        }
    }

    fn pass_blanks(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(b"        ")) => self.at += 8,
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                _ => return,
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Notes where and why reading stops.
    fn stop<T>(&mut self) -> Option<T> {
        self.fault = Some(self.here());
        None
    }

    fn here(&self) -> Fault {
        if self.at >= self.bytes.len() {
            Fault { byte: self.bytes.len(), reason: "the JSON text ends too early" }
        } else {
            Fault { byte: self.at + 1, reason: "this is not JSON" }
        }
    }
}

/// Name and value of a field of an object, as `elements` cuts it.
pub(super) fn field(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut reading = Reading::new(text);
    let name = reading.name()?;
    Some((name, text.get(reading.at..)?))
}

/// Where the elements of a list, or the names and values of an object, begin and end, judged by brackets and quotes alone: so that one that
/// is no JSON costs itself. `None` where not even these fit.
pub(super) fn elements(text: &str) -> Option<Vec<&str>> {
    let (mut depth, mut start, mut found) = (0_usize, 1, Vec::new());
    let mut reading = Reading::new(text);
    while let Some(byte) = reading.peek() {
        let here = reading.at;
        reading.at += 1;
        match byte {
            b'"' => loop {
                reading.plain();
                match reading.peek()? {
                    b'\\' => reading.at += 2,
                    b'"' => break reading.at += 1,
                    _ => reading.at += 1,
                }
            },
            b'[' | b'{' => depth += 1,
            b',' if depth == 1 => {
                found.push(text.get(start..here)?.trim());
                start = here + 1;
            }
            b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    found.push(text.get(start..here)?.trim());
                    return text.get(reading.at..)?.trim().is_empty().then_some(found);
                }
            }
            _ => {}
        }
    }
    None
}
