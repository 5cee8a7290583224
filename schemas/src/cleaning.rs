//! The cleaning of L1 section 3: markup out, punctuation and white space of one kind, ASCII only.
//!
//! One pass over the characters into a text that is clean after every step; what a removal brings together (an entity, a tag) is
//! looked at again as soon as it is complete. So cleaning twice is cleaning once, in linear time whatever the bytes.
//!
//! What is left decides whether a note is read at all: the scorer asks nothing about the others, and the warehouse makes none of them a prompt. The rule
//! stands here, below both, so that it is one.

/// Raised whenever the rules of [`clean`] change what comes out: a part of every prompt's digest.
pub const RULES: &str = "cleaning 1";

/// Words that a note has to say at least, placeholders left out.
const WORDS: usize = 10;
/// What is no word of a note, in small letters and without the marks around it.
const PLACEHOLDERS: [&str; 8] = ["na", "n/a", "nan", "null", "none", "nil", "unknown", "test"];
/// Characters that are looked at first, and then, where they did not tell enough: of most notes the first few do.
const HEADS: [usize; 2] = [100, 400];
/// How a document in RTF begins.
const RICH_TEXT: &str = "{\\rtf";

/// Longest entity that is looked for, `&` and `;` included.
const ENTITY: usize = 12;
/// Longest tag that is looked for.
const TAG: usize = 400;
/// Longest run of the same mark, as in a ruled line.
const RUN: usize = 3;

const INLINE_TAGS: [&str; 16] =
    ["a", "b", "i", "u", "em", "strong", "span", "font", "sub", "sup", "small", "big", "img", "html", "body", "!doctype"];
const BLOCK_TAGS: [&str; 26] = [
    "p",
    "br",
    "div",
    "li",
    "ul",
    "ol",
    "tr",
    "td",
    "th",
    "table",
    "tbody",
    "thead",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "pre",
    "head",
    "title",
    "meta",
    "style",
    "section",
    "paragraph",
];

/// The note as every model reads it. Cleaning a cleaned note changes nothing.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        let start = text.trim_start();
        let plain = if start.starts_with(RICH_TEXT) { without_rich_text(start) } else { text };
        text = Cleaner::of(plain.chars()).finish();
        if !text.starts_with(RICH_TEXT) {
            return text;
        }
    }
}

/// Whether anything is left to read of a note once it is cleaned: ten words that are no placeholders (`<NA>`, `null`, ...).
///
/// Rows of `notes` keep what this said when they were written; where it changes, a forced replay writes them anew.
#[must_use]
pub fn worth_reading(text: &str) -> bool {
    begins_with_words(text) || has_words(&clean(text))
}

/// Whether the first characters tell that the cleaned text has its words.
fn begins_with_words(text: &str) -> bool {
    HEADS.iter().any(|&characters| has_words(&head(text, characters)))
}

/// Whether a cleaned text has the words that a note has to say at least.
fn has_words(cleaned: &str) -> bool {
    let words = cleaned.split_whitespace().filter(|word| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_ascii_lowercase();
        !bare.is_empty() && !PLACEHOLDERS.contains(&bare.as_str())
    });
    words.take(WORDS).count() == WORDS
}

/// Whole words with which the cleaned text begins, as far as the first characters tell. Of rich text they tell nothing.
fn head(text: &str, characters: usize) -> String {
    let out = Cleaner::of(text.chars().take(characters)).out;
    let stays = out.get(..settled(&out)).unwrap_or_default();
    let whole = stays.iter().rposition(|byte| matches!(byte, b' ' | b'\n')).and_then(|end| stays.get(..end)).unwrap_or_default();
    if whole.starts_with(RICH_TEXT.as_bytes()) { String::new() } else { String::from_utf8_lossy(whole).into_owned() }
}

/// How much of what was cleaned is there to stay, whatever comes: nothing but a tag or an entity takes anything back, and neither looks further back than
/// it may be long. Where one is open at the end, it may take back all from there on, and then one before it comes near the end.
fn settled(out: &[u8]) -> usize {
    let mut end = out.len();
    let open = |end: usize, mark: u8, most: usize| {
        // A blank before the end may give way to a line break.
        let from = end.saturating_sub(most + 2);
        out.get(from..end)?.iter().position(|&byte| byte == mark).map(|at| from + at)
    };
    while let Some(at) = [open(end, b'<', TAG), open(end, b'&', ENTITY)].into_iter().flatten().min() {
        end = at;
    }
    end
}

/// ASCII for what word processors and foreign keyboards write; `None` where nothing is meant to remain.
fn plain(character: char) -> &'static str {
    match character {
        '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{2032}' | '\u{b4}' => "'",
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{2033}' | '\u{ab}' | '\u{bb}' => "\"",
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "-",
        '\u{2026}' => "...",
        '\u{2022}' | '\u{25cf}' | '\u{25aa}' | '\u{b7}' => "*",
        '\u{2264}' => "<=",
        '\u{2265}' => ">=",
        '\u{b1}' => "+/-",
        '\u{d7}' => "x",
        '\u{b5}' | '\u{3bc}' => "u",
        '\u{bd}' => "1/2",
        '\u{bc}' => "1/4",
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' | '\t' => " ",
        '\u{2028}' | '\u{2029}' | '\u{85}' | '\r' | '\u{b}' | '\u{c}' => "\n",
        'à'..='å' => "a",
        'è'..='ë' => "e",
        'ì'..='ï' => "i",
        'ò'..='ö' => "o",
        'ù'..='ü' => "u",
        'ç' => "c",
        'ñ' => "n",
        _ => "",
    }
}

#[derive(Default)]
struct Cleaner {
    /// ASCII only, so an index is a character.
    out: Vec<u8>,
}

impl Cleaner {
    /// Has read these characters; a carriage return and the line feed behind it are one line break.
    fn of(characters: impl Iterator<Item = char>) -> Self {
        let mut cleaner = Self::default();
        let mut previous = ' ';
        for character in characters {
            if !(character == '\n' && previous == '\r') {
                cleaner.read(character);
            }
            previous = character;
        }
        cleaner
    }

    fn read(&mut self, character: char) {
        if character == '\n' || character.is_ascii_graphic() || character == ' ' {
            self.put(character as u8);
        } else {
            plain(character).bytes().for_each(|byte| self.put(byte));
        }
    }

    fn put(&mut self, byte: u8) {
        match byte {
            b' ' if matches!(self.out.last(), None | Some(b' ' | b'\n')) => {}
            b' ' => self.out.push(b' '),
            b'\n' => self.end_line(),
            b'-' | b'=' | b'_' | b'*' | b'~' | b'#' | b'.'
                if self.out.iter().rev().take(RUN).filter(|&&last| last == byte).count() == RUN => {}
            b';' => {
                self.out.push(b';');
                self.entity();
            }
            b'>' => {
                self.out.push(b'>');
                self.tag();
            }
            _ => self.out.push(byte),
        }
    }

    fn end_line(&mut self) {
        while self.out.last() == Some(&b' ') {
            self.out.pop();
        }
        if !self.out.is_empty() && !self.out.ends_with(b"\n\n") {
            self.out.push(b'\n');
        }
    }

    /// A complete `&name;` at the end becomes the character that it names.
    fn entity(&mut self) {
        let window = self.out.len().saturating_sub(ENTITY);
        let Some(start) = self.out.iter().skip(window).rposition(|&byte| byte == b'&').map(|at| at + window) else { return };
        let name = String::from_utf8_lossy(self.out.get(start + 1..self.out.len() - 1).unwrap_or_default()).to_ascii_lowercase();
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let named = match name.as_str() {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            "nbsp" => Some(' '),
            "deg" => Some('\u{b0}'),
            "ndash" | "mdash" => Some('-'),
            _ => match (name.strip_prefix("#x"), name.strip_prefix('#')) {
                (Some(digits), _) => number(digits, 16),
                (None, Some(digits)) => number(digits, 10),
                (None, None) => None,
            },
        };
        if let Some(character) = named {
            self.out.truncate(start);
            self.read(character);
        }
    }

    /// A complete tag of HTML at the end goes; one that ends a line becomes a line break.
    fn tag(&mut self) {
        let window = self.out.len().saturating_sub(TAG);
        let Some(start) = self.out.iter().skip(window).rposition(|&byte| byte == b'<').map(|at| at + window) else { return };
        let inside = self.out.get(start + 1..self.out.len() - 1).unwrap_or_default();
        let inside = inside.strip_prefix(b"/").unwrap_or(inside);
        let length = inside.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'!').count();
        let name = String::from_utf8_lossy(inside.get(..length).unwrap_or_default()).to_ascii_lowercase();
        let comment = inside.starts_with(b"!--") && inside.ends_with(b"--");
        if BLOCK_TAGS.contains(&name.as_str()) {
            self.out.truncate(start);
            self.put(b'\n');
        } else if comment || INLINE_TAGS.contains(&name.as_str()) {
            self.out.truncate(start);
        }
    }

    fn finish(mut self) -> String {
        while matches!(self.out.last(), Some(b' ' | b'\n')) {
            self.out.pop();
        }
        self.out.into_iter().map(char::from).collect()
    }
}

/// The text of an RTF document: groups that describe fonts, colours or pictures go, control words become line breaks or nothing.
fn without_rich_text(document: &str) -> String {
    const SILENT: [&str; 9] = ["fonttbl", "colortbl", "stylesheet", "info", "pict", "header", "footer", "themedata", "*"];
    let mut out = String::new();
    let (mut depth, mut silent_from) = (0_usize, usize::MAX);
    let mut rest = document.chars().peekable();
    while let Some(character) = rest.next() {
        let speaks = depth < silent_from;
        match character {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth < silent_from {
                    silent_from = usize::MAX;
                }
            }
            '\\' => {
                let mut word = String::new();
                match rest.peek().copied() {
                    Some(next) if next.is_ascii_alphabetic() => {
                        while let Some(letter) = rest.next_if(char::is_ascii_alphabetic) {
                            word.push(letter);
                        }
                        while rest.next_if(|next| next.is_ascii_digit() || *next == '-').is_some() {}
                        rest.next_if_eq(&' ');
                    }
                    Some('\'') => {
                        let code: String = rest.by_ref().skip(1).take(2).collect();
                        let read = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                        out.extend(read.filter(|_| speaks));
                        continue;
                    }
                    Some(next) => {
                        rest.next();
                        word.push(next);
                    }
                    None => {}
                }
                match word.as_str() {
                    silent if SILENT.contains(&silent) => silent_from = silent_from.min(depth),
                    "par" | "line" | "row" | "sect" | "page" if speaks => out.push('\n'),
                    "tab" | "cell" | "~" if speaks => out.push(' '),
                    "\\" | "{" | "}" if speaks => out.push_str(&word),
                    _ => {}
                }
            }
            '\r' | '\n' => {}
            _ if speaks => out.push(character),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_goes_and_text_stays() {
        assert_eq!(clean("<p>BP&nbsp;&lt; 90,<br/>K&gt;5 &amp; <b>Na</b>+ \u{201c}low\u{201d}</p>"), "BP < 90,\nK>5 & Na+ \"low\"");
        assert_eq!(clean("O2 \u{2265} 92 %\u{2014}caf\u{e9}  \t at\r\n\r\n\r\n home \u{fffd}\u{7}"), "O2 >= 92 %-cafe at\n\nhome");
        assert_eq!(clean("a ---------- b"), "a --- b");
        assert_eq!(clean("HR <60 and <NA> stay"), "HR <60 and <NA> stay");
    }

    #[test]
    fn rich_text_becomes_its_words() {
        let note = "{\\rtf1\\ansi{\\fonttbl{\\f0 Arial;}}\\f0\\fs20 Patient \\b stable\\b0 .\\par Home \\{today\\}.}";
        assert_eq!(clean(note), "Patient stable.\nHome {today}.");
    }

    /// What texts are made of here; some pieces are complete on their own, others only together.
    const PIECES: [&str; 31] = [
        "&", "amp;", "lt;", "&gt;", "#62;", "&#59;", "<", ">", "b", "br", "/", " ", "\n", "\r", "{\\rtf", "\\par", "}", "\\'3c", "-", "é",
        "\u{2265}", ".", "....", "word", "\\", "{", "&#123;", "!--", "--", "\u{301}", "\u{a0}",
    ];

    /// A small generator (xorshift): the same texts in every run.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 16).unwrap_or(0) % limit.max(1)
        }

        /// A text of fewer pieces than this.
        fn text(&mut self, limit: usize) -> String {
            let length = self.below(limit);
            (0..length).map(|_| PIECES[self.below(PIECES.len())]).collect()
        }
    }

    /// Whatever is thrown at it.
    #[test]
    fn cleaning_twice_is_cleaning_once() {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for _ in 0..20_000 {
            let text = dice.text(14);
            let once = clean(&text);
            assert_eq!(clean(&once), once, "of {text:?}");
        }
    }

    #[test]
    fn a_note_of_placeholders_is_not_worth_reading() {
        assert!(!worth_reading("<NA> <NA> <NA> <NA> <NA> <NA> <NA> <NA> <NA> <NA> <NA> <NA>"));
        assert!(!worth_reading("seen and examined by the team, stable"));
        assert!(!worth_reading(&format!("<div class=\"{}\">See dictation.</div>", "a word of markup ".repeat(20))));
        assert!(worth_reading("The patient was seen and examined by the team and is stable today."));
    }

    /// The first characters decide alone where they can: the whole text never says otherwise.
    #[test]
    fn what_the_first_characters_tell_the_whole_text_says_too() {
        assert!(begins_with_words("The patient was seen and examined by the team and is stable today."));
        assert!(begins_with_words("H&P: the patient was seen and examined by the team and is stable and at home again today."));
        let mut dice = Dice(0x2545_f491_4f6c_dd1d);
        let (mut at_once, mut later, mut never) = (0, 0, 0);
        for _ in 0..20_000 {
            // Words with little between them, or nobody would ever say ten.
            let text: String = (0..dice.below(18)).map(|_| format!("{}{} ", ["word", "Na", "said"][dice.below(3)], dice.text(4))).collect();
            let (head, whole) = (begins_with_words(&text), has_words(&clean(&text)));
            assert!(whole || !head, "of {text:?}");
            at_once += usize::from(head);
            later += usize::from(whole && !head);
            never += usize::from(!whole);
        }
        assert!(at_once > 500 && later > 500 && never > 500, "{at_once} at once, {later} later, {never} never");
    }
}
