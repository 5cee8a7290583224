//! Texts in HTML, XML (C-CDA) and RTF become plain text: words and lines stay, layout goes. Total, and linear in the text.
//!
//! HTML is cut into tags and characters by html5gum, XML by quick-xml. RTF is ours: the crate that reads it panics at half a surrogate
//! pair and knows no code pages.

mod html;
mod page;
mod rtf;
mod xml;

use std::borrow::Cow;

pub(crate) use self::html::text as html;
pub(crate) use self::rtf::text as rtf;
pub(crate) use self::xml::text as xml;

/// How far into a text its first tag is sought.
const HEAD: usize = 64;

/// The words of a text in RTF, HTML or XML; `None` if it is none of these.
pub(crate) fn plain(text: &str) -> Option<String> {
    let start = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let head: String = match start.as_bytes().first()? {
        b'<' | b'{' => start.chars().take(HEAD).map(|c| c.to_ascii_lowercase()).collect(),
        _ => return None,
    };
    let begins = |tags: &[&str]| tags.iter().any(|tag| head.starts_with(tag));
    if begins(&["{\\rtf"]) {
        Some(rtf(start))
    } else if begins(&[
        "<!doctype html",
        "<html",
        "<body",
        "<head",
        "<div",
        "<p>",
        "<p ",
        "<span",
        "<table",
        "<pre",
        "<br",
        "<font",
        "<!--",
    ]) {
        Some(html(start))
    } else if begins(&["<?xml", "<clinicaldocument", "<cda:", "<section", "<text>"]) {
        Some(xml(start))
    } else {
        None
    }
}

/// Every line end `\n`; no other control characters but tabs.
pub(crate) fn unified(text: &str) -> Cow<'_, str> {
    // All bytes are looked at, sixteen at once, rather than one after another up to the first.
    let is_odd = |byte: u8| (byte < b' ') & (byte != b'\n') & (byte != b'\t') | (byte == 0x7f);
    if !text.bytes().fold(false, |odd, byte| odd | is_odd(byte)) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' => {
                letters.next_if_eq(&'\n');
                plain.push('\n');
            }
            // The line breaks of word processors.
            '\u{b}' | '\u{c}' => plain.push('\n'),
            '\n' | '\t' => plain.push(letter),
            letter if letter.is_control() => {}
            letter => plain.push(letter),
        }
    }
    Cow::Owned(plain)
}

/// The same without a byte order mark, and without blanks around the whole.
pub(crate) fn tidy(text: &str) -> String {
    unified(text.trim_start_matches('\u{feff}')).trim().to_owned()
}

/// The same of a text that is not needed any more: it is changed where it stands.
pub(crate) fn tidied(mut text: String) -> String {
    let plain = unified(text.trim_start_matches('\u{feff}'));
    let Cow::Borrowed(unmarked) = plain else { return plain.trim().to_owned() };
    let kept = unmarked.trim_end().len();
    let blanks = kept - unmarked.trim().len();
    let marks = text.len() - unmarked.len();
    text.truncate(marks + kept);
    text.drain(..marks + blanks);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_told_from_text_that_has_signs() {
        assert_eq!(plain("\u{feff} {\\rtf1 a}").as_deref(), Some("a"));
        assert_eq!(plain("<HTML><body>a</body></html>").as_deref(), Some("a"));
        assert_eq!(plain("<?xml version=\"1.0\"?><a>b</a>").as_deref(), Some("b"));
        for text in ["BP < 120 and > 80", "<5 cells", "{a}", "", "<patient name> seen"] {
            assert_eq!(plain(text), None, "{text}");
        }
    }

    #[test]
    fn every_line_end_is_one_and_control_characters_go() {
        assert_eq!(unified("a\r\nb\rc\n\u{b}d\u{0}\u{7}\te"), "a\nb\nc\n\nd\te");
        assert!(matches!(unified("a\nb"), Cow::Borrowed(_)));
        assert_eq!(tidy("\u{feff}\n a\rb \n"), "a\nb");
        for text in ["", " ", "\u{feff}", "\u{feff}\n ", "a", "\u{feff}\n\u{a0}a\u{a0}b \n", " \u{feff}a ", "\u{feff}\n a\rb \n"] {
            assert_eq!(tidied(text.to_owned()), tidy(text), "{text:?}");
        }
    }

    /// Each would take hours if every sign were sought to the end.
    #[test]
    fn signs_that_open_nothing_are_passed_once() {
        for sign in [
            "&",
            "<",
            "<a",
            "&amp",
            "</",
            "<script>",
            "<!--",
            "<![CDATA[",
            "{",
            "}",
            "\\",
            "\\'",
            "{\\u1",
            "<a b=\"",
            "&#x",
            "<p>",
            "\\bin9",
        ] {
            let many = sign.repeat(1_000_000);
            for read in [html, xml, rtf] {
                assert!(read(&many).len() <= many.len() + 1, "{sign}");
            }
        }
    }
}
