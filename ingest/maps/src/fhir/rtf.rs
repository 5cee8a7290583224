//! Rich Text Format to plain text: enough for notes (paragraphs, tabs, escaped characters), blind to tables, pictures and styles.

/// Groups that hold no text of the document.
const SILENT: [&str; 12] = [
    "fonttbl",
    "colortbl",
    "stylesheet",
    "info",
    "pict",
    "object",
    "header",
    "footer",
    "listtable",
    "listoverridetable",
    "generator",
    "fldinst",
];

/// Plain text of RTF. Total: what cannot be understood is left out.
pub(super) fn strip(rtf: &str) -> String {
    let mut page = Page { out: String::new(), silent: vec![false], skip: 0 };
    let mut rest = rtf;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '{' => page.silent.push(page.is_silent()),
            '}' => {
                if page.silent.len() > 1 {
                    page.silent.pop();
                }
            }
            '\\' => rest = page.control(rest),
            '\r' | '\n' => {}
            c => page.put(c),
        }
    }
    super::markup::tidy(&page.out)
}

struct Page {
    out: String,
    /// For each open group: whether it holds no text.
    silent: Vec<bool>,
    /// Characters still to be left out: the stand-ins behind `\u`.
    skip: usize,
}

impl Page {
    fn is_silent(&self) -> bool {
        self.silent.last().copied().unwrap_or_default()
    }

    fn hush(&mut self) {
        if let Some(group) = self.silent.last_mut() {
            *group = true;
        }
    }

    fn put(&mut self, c: char) {
        if self.skip > 0 {
            self.skip -= 1;
        } else if !self.is_silent() {
            self.out.push(c);
        }
    }

    /// Acts on what follows a backslash, and returns where reading goes on.
    fn control<'a>(&mut self, rest: &'a str) -> &'a str {
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let Some((word, after)) = rest.split_at_checked(letters).filter(|_| letters > 0) else {
            return self.symbol(rest);
        };
        let digits = after.bytes().enumerate().take_while(|(i, byte)| byte.is_ascii_digit() || (*i == 0 && *byte == b'-')).count();
        let (number, after) = after.split_at_checked(digits).unwrap_or(("", after));
        match word {
            "par" | "line" | "row" | "sect" | "page" => self.put('\n'),
            "tab" | "cell" => self.put('\t'),
            "emdash" => self.put('—'),
            "endash" => self.put('–'),
            "lquote" => self.put('‘'),
            "rquote" => self.put('’'),
            "ldblquote" => self.put('“'),
            "rdblquote" => self.put('”'),
            "bullet" => self.put('•'),
            "u" => self.unicode(number),
            word if SILENT.contains(&word) => self.hush(),
            _ => {}
        }
        after.strip_prefix(' ').unwrap_or(after)
    }

    /// `\u` gives a signed 16-bit number and is followed by one stand-in for readers that do not know it.
    fn unicode(&mut self, number: &str) {
        let code = number.parse::<i32>().ok().map(|code| if code < 0 { code + 65_536 } else { code });
        if let Some(c) = code.and_then(|code| u32::try_from(code).ok()).and_then(char::from_u32) {
            self.put(c);
        }
        self.skip = 1;
    }

    fn symbol<'a>(&mut self, rest: &'a str) -> &'a str {
        let Some(symbol) = rest.chars().next() else { return rest };
        let after = rest.get(symbol.len_utf8()..).unwrap_or_default();
        match symbol {
            '\'' => {
                let byte = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                if let Some(byte) = byte {
                    let bytes = [byte];
                    let (text, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(&bytes);
                    text.chars().for_each(|c| self.put(c));
                }
                return after.get(2..).unwrap_or_default();
            }
            '*' => self.hush(),
            '~' => self.put(' '),
            '_' => self.put('-'),
            '\r' | '\n' => self.put('\n'),
            '\\' | '{' | '}' => self.put(symbol),
            _ => {}
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::strip;

    #[test]
    fn text_stays_and_tables_of_fonts_go() {
        let rtf = "{\\rtf1\\ansi{\\fonttbl{\\f0 Arial;}}{\\*\\generator X;}\\f0\\fs20 Temp 38\\'b0C\\par \\b Plan:\\b0\\tab rest \\u8805?5 \\{a\\}\\par}";
        assert_eq!(strip(rtf), "Temp 38°C\nPlan:\trest ≥5 {a}");
        assert_eq!(strip("}}}\\"), "");
    }
}
