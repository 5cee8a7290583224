//! RTF, HTML and XML taken off a text. Minimal: words and line breaks stay, layout goes.

/// The words of a text in RTF, HTML or XML; `None` if it is none of these.
pub(crate) fn plain(text: &str) -> Option<String> {
    let start = text.trim_start();
    if start.starts_with("{\\rtf") {
        return Some(tidied(&without_rtf(start)));
    }
    let head: String = start.chars().take(64).collect::<String>().to_ascii_lowercase();
    let tagged = ["<!doctype html", "<html", "<?xml", "<body", "<div", "<p>", "<clinicaldocument"].iter().any(|tag| head.starts_with(tag));
    tagged.then(|| tidied(&without_tags(start)))
}

/// At most one blank line in a row, no blanks at line ends.
fn tidied(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if !line.is_empty() || lines.last().is_some_and(|last| !last.is_empty()) {
            lines.push(line);
        }
    }
    lines.join("\n").trim_end().to_owned()
}

fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut silent: Option<&'static str> = None;
    while let Some((before, from)) = rest.split_once('<') {
        if silent.is_none() {
            push_entities(&mut out, before);
        }
        let (tag, after) = match from.strip_prefix("!--") {
            Some(comment) => ("", comment.split_once("-->").map_or("", |(_, after)| after)),
            None => from.split_once('>').unwrap_or((from, "")),
        };
        let name: String = tag.chars().take_while(|letter| !letter.is_whitespace()).take(16).collect::<String>().to_ascii_lowercase();
        silent = match (silent, name.as_str()) {
            (Some(closing), name) if name == closing => None,
            (Some(closing), _) => Some(closing),
            (None, "script") => Some("/script"),
            (None, "style") => Some("/style"),
            (None, _) => None,
        };
        if matches!(name.as_str(), "br" | "br/" | "p" | "/p" | "/div" | "/tr" | "/li" | "/h1" | "/h2" | "/h3" | "/title" | "/paragraph") {
            out.push('\n');
        } else if matches!(name.as_str(), "/td" | "/th") {
            out.push(' ');
        }
        rest = after;
    }
    if silent.is_none() {
        push_entities(&mut out, rest);
    }
    out
}

fn push_entities(out: &mut String, text: &str) {
    if text.contains('&') {
        let entities = [("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
        out.push_str(&entities.iter().fold(text.to_owned(), |text, (entity, letter)| text.replace(entity, letter)));
    } else {
        out.push_str(text);
    }
}

/// Destinations of RTF that hold no text of the document.
const SILENT: &[&str] = &["fonttbl", "colortbl", "stylesheet", "info", "pict", "header", "footer", "generator", "listtable", "themedata"];

fn without_rtf(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut depth = 0usize;
    let mut silent_from: Option<usize> = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let heard = silent_from.is_none();
        match letter {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                silent_from = silent_from.filter(|from| depth >= *from);
            }
            '\\' => match control(&mut letters) {
                Control::Letter(letter) if heard => out.push(letter),
                Control::Word(word) if heard && (word == "*" || SILENT.contains(&word.as_str())) => silent_from = Some(depth),
                Control::Word(word) if heard && matches!(word.as_str(), "par" | "line" | "row" | "sect" | "page") => out.push('\n'),
                Control::Word(word) if heard && matches!(word.as_str(), "tab" | "cell") => out.push(' '),
                Control::Word(_) | Control::Letter(_) => {}
            },
            '\n' | '\r' => {}
            letter if heard => out.push(letter),
            _ => {}
        }
    }
    out
}

enum Control {
    Word(String),
    Letter(char),
}

/// What follows a backslash in RTF.
fn control(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Control {
    match letters.next() {
        Some('\'') => {
            let code: String = letters.by_ref().take(2).collect();
            let unit = u8::from_str_radix(&code, 16).unwrap_or(b'?');
            Control::Letter(encoding_rs::WINDOWS_1252.decode_without_bom_handling(&[unit]).0.chars().next().unwrap_or('?'))
        }
        Some('~') => Control::Letter(' '),
        Some('*') => Control::Word("*".to_owned()),
        Some(first) if first.is_ascii_alphabetic() => {
            let mut word = String::from(first);
            while let Some(letter) = letters.next_if(char::is_ascii_alphabetic) {
                word.push(letter);
            }
            let mut number = String::new();
            while let Some(digit) = letters.next_if(|letter| letter.is_ascii_digit() || (*letter == '-' && number.is_empty())) {
                number.push(digit);
            }
            letters.next_if_eq(&' ');
            unicode(&word, &number, letters).map_or(Control::Word(word), Control::Letter)
        }
        Some(letter) => Control::Letter(letter),
        None => Control::Word(String::new()),
    }
}

/// `\u233?`: a character, and the one that stands for it in old readers.
fn unicode(word: &str, number: &str, letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    if word != "u" {
        return None;
    }
    let code: i32 = number.parse().ok()?;
    letters.next_if_eq(&'?');
    char::from_u32(u32::try_from(code.rem_euclid(65_536)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_goes_and_words_stay() {
        let rtf = r"{\rtf1\ansi{\fonttbl{\f0 Arial;}}{\*\generator X;}\f0 Chest \b clear\b0 .\par Caf\'e9 \u233? \{ok\}\par}";
        assert_eq!(plain(rtf).as_deref(), Some("Chest clear.\nCafé é {ok}"));
        let html = "<html><head><style>p{a}</style></head><body><p>Chest &lt; 5</p><br/>clear<!-- no --></body></html>";
        assert_eq!(plain(html).as_deref(), Some("Chest < 5\n\nclear"));
        assert_eq!(plain("BP < 120 and > 80"), None);
    }
}
