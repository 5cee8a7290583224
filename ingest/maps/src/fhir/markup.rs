//! XHTML and HTML to plain text: tags away, blocks on lines of their own, entities resolved.

/// Line breaks as `\n`, no other control characters but tabs, no blanks around the whole.
pub(super) fn tidy(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}');
    let is_odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_odd) {
        return text.trim().to_owned();
    }
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    unified.replace(is_odd, "").trim().to_owned()
}

/// Plain text of markup. Total: whatever is no tag is text.
pub(super) fn strip(markup: &str) -> String {
    let mut page = Page::default();
    let mut rest = markup;
    while let Some((before, from_tag)) = rest.split_once('<') {
        page.text(before);
        if let Some(comment) = from_tag.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        if !from_tag.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
            page.text("<");
            rest = from_tag;
            continue;
        }
        let Some((tag, after)) = from_tag.split_once('>') else {
            // Nothing closes from here on, so nothing is a tag.
            page.text("<");
            rest = "";
            page.text(from_tag);
            break;
        };
        rest = page.tag(tag, after);
    }
    page.text(rest);
    page.finish()
}

#[derive(Default)]
struct Page {
    out: String,
    is_preformatted: bool,
    /// A blank is due before the next word.
    gap: bool,
}

impl Page {
    /// Acts on a tag, and returns where reading goes on.
    fn tag<'a>(&mut self, tag: &str, after: &'a str) -> &'a str {
        let (closes, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        match name.as_str() {
            "script" | "style" | "head" | "title" if !closes && !tag.ends_with('/') => return skip_to_end(&name, after),
            "br" | "hr" => self.line_break(),
            "td" | "th" | "dd" => self.gap = true,
            "pre" => {
                self.is_preformatted = !closes;
                self.new_line();
            }
            "p" | "div" | "li" | "ul" | "ol" | "tr" | "table" | "thead" | "tbody" | "caption" | "dl" | "dt" | "blockquote" | "section"
            | "article" | "header" | "footer" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.new_line(),
            _ => {}
        }
        after
    }

    fn text(&mut self, raw: &str) {
        let mut rest = raw;
        while let Some((before, after)) = rest.split_once('&') {
            self.words(before);
            match entity(after) {
                Some((character, length)) => {
                    self.character(character);
                    rest = after.get(length..).unwrap_or_default();
                }
                None => {
                    self.character('&');
                    rest = after;
                }
            }
        }
        self.words(rest);
    }

    fn words(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '\n' if self.is_preformatted => self.line_break(),
                c if self.is_preformatted && matches!(c, ' ' | '\t') => self.out.push(c),
                c if c.is_whitespace() || c.is_control() => self.gap = true,
                c => self.character(c),
            }
        }
    }

    fn character(&mut self, c: char) {
        if c == '\u{a0}' {
            self.gap = true;
            return;
        }
        if self.gap && !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push(' ');
        }
        self.gap = false;
        self.out.push(c);
    }

    fn line_break(&mut self) {
        self.gap = false;
        self.out.push('\n');
    }

    fn new_line(&mut self) {
        self.gap = false;
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    fn finish(self) -> String {
        self.out.trim().to_owned()
    }
}

/// What follows the end tag of an element whose content is not text.
fn skip_to_end<'a>(name: &str, after: &'a str) -> &'a str {
    let mut rest = after;
    while let Some((_, closing)) = rest.split_once("</") {
        if closing.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return closing.split_once('>').map_or("", |(_, after)| after);
        }
        rest = closing;
    }
    ""
}

/// The character that an entity stands for, and its length in bytes behind the `&`.
fn entity(after: &str) -> Option<(char, usize)> {
    const LONGEST: usize = 10;
    let name = after.get(..after.bytes().take(LONGEST + 1).position(|byte| byte == b';')?)?;
    let character = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "ndash" => '–',
        "mdash" => '—',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "bull" => '•',
        "hellip" => '…',
        "deg" => '°',
        "plusmn" => '±',
        "micro" => 'µ',
        "le" => '≤',
        "ge" => '≥',
        "frac12" => '½',
        "copy" => '©',
        "reg" => '®',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|c| !c.is_control() || *c == '\n')?
        }
    };
    Some((character, name.len() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_lines_and_entities_become_characters() {
        let page = "<div xmlns=\"http://www.w3.org/1999/xhtml\"><h1>Plan</h1>\n <p>Rest &amp; fluids,\n  <b>now</b>.</p><ul><li>K&#43; &#x34;.1</li><li>BP&nbsp;120</li></ul>\
                    <table><tr><td>a</td><td>b</td></tr></table>a &lt; b<br/>c<script>x()</script> d<!-- no --></div>";
        assert_eq!(strip(page), "Plan\nRest & fluids, now.\nK+ 4.1\nBP 120\na b\na < b\nc d");
    }

    /// Each would take hours if every sign were sought to the end.
    #[test]
    fn signs_that_open_nothing_are_passed_once() {
        for sign in ["&", "<", "<a", "&amp", "</", "<script>"] {
            assert!(strip(&sign.repeat(1_000_000)).len() <= sign.len() * 1_000_000, "{sign}");
        }
    }

    #[test]
    fn what_is_no_tag_is_text() {
        assert_eq!(strip("pH < 7.2 & Na > 130, 5 <6 &foo; &#xffffff;"), "pH < 7.2 & Na > 130, 5 <6 &foo; &#xffffff;");
        assert_eq!(strip("<p"), "<p");
        assert_eq!(strip("<script>never closed"), "");
        assert_eq!(strip("<pre>a\n  b</pre>c"), "a\n  b\nc");
    }
}
