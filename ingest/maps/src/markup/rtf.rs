//! Rich Text Format to plain text: paragraphs, cells and characters of any code page; blind to tables of fonts, pictures and styles.

use encoding_rs::{Encoding, WINDOWS_1252};

/// Groups that hold no text of the document.
const SILENT: [&str; 22] = [
    "fonttbl",
    "colortbl",
    "stylesheet",
    "info",
    "pict",
    "object",
    "header",
    "headerl",
    "headerr",
    "headerf",
    "footer",
    "footerl",
    "footerr",
    "footerf",
    "listtable",
    "listoverridetable",
    "generator",
    "fldinst",
    "themedata",
    "nonshppict",
    "revtbl",
    "xmlnstbl",
];

/// The most groups in one another that are told apart.
const DEPTH: usize = 10_000;

/// The words of `rtf`. What cannot be understood is left out.
pub(crate) fn text(rtf: &str) -> String {
    let first = Group { is_silent: false, stand_ins: 1 };
    let mut page =
        Page { out: String::new(), groups: vec![first], beyond: 0, skip: 0, bytes: Vec::new(), high: None, code_page: WINDOWS_1252 };
    let mut rest = rtf;
    while let Some(letter) = rest.chars().next() {
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        match letter {
            '{' => page.open(),
            '}' => page.close(),
            '\\' => rest = page.control(rest),
            '\r' | '\n' => {}
            letter => page.put(letter),
        }
    }
    page.flush();
    finished(&page.out)
}

/// At most one blank line in a row, no blanks at line ends.
fn finished(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        if !line.is_empty() || lines.last().is_some_and(|last| !last.is_empty()) {
            lines.push(line);
        }
    }
    super::tidy(&lines.join("\n"))
}

#[derive(Clone, Copy)]
struct Group {
    /// It holds no text.
    is_silent: bool,
    /// How many stand-ins follow a `\u`.
    stand_ins: u16,
}

struct Page {
    out: String,
    /// The open groups, from the outermost.
    groups: Vec<Group>,
    /// How many more are open.
    beyond: usize,
    /// Stand-ins still to be left out.
    skip: u16,
    /// Bytes of a code page, which may be parts of one character.
    bytes: Vec<u8>,
    /// The first half of a surrogate pair.
    high: Option<u16>,
    code_page: &'static Encoding,
}

impl Page {
    fn group(&self) -> Group {
        self.groups.last().copied().unwrap_or(Group { is_silent: false, stand_ins: 1 })
    }

    fn open(&mut self) {
        self.flush();
        self.skip = 0;
        if self.groups.len() < DEPTH {
            self.groups.push(self.group());
        } else {
            self.beyond += 1;
        }
    }

    fn close(&mut self) {
        self.flush();
        self.skip = 0;
        if self.beyond > 0 {
            self.beyond -= 1;
        } else if self.groups.len() > 1 {
            self.groups.pop();
        }
    }

    fn hush(&mut self) {
        if let Some(group) = self.groups.last_mut() {
            group.is_silent = true;
        }
    }

    fn put(&mut self, letter: char) {
        self.flush();
        if self.skip > 0 {
            self.skip -= 1;
        } else if !self.group().is_silent {
            self.out.push(letter);
        }
    }

    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            self.out.push_str(&self.code_page.decode_without_bom_handling(&self.bytes).0);
            self.bytes.clear();
        }
    }

    /// Acts on what follows a backslash, and returns where reading goes on.
    fn control<'a>(&mut self, rest: &'a str) -> &'a str {
        let letters = rest.bytes().take(32).take_while(u8::is_ascii_alphabetic).count();
        let Some((word, after)) = rest.split_at_checked(letters).filter(|_| letters > 0) else {
            return self.symbol(rest);
        };
        let digits = after.bytes().take(12).enumerate().take_while(|(i, byte)| byte.is_ascii_digit() || (*i == 0 && *byte == b'-')).count();
        let (number, after) = after.split_at_checked(digits).unwrap_or(("", after));
        let after = after.strip_prefix(' ').unwrap_or(after);
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
            "emspace" | "enspace" | "qmspace" => self.put(' '),
            "u" => self.unicode(number),
            "uc" => {
                if let (Some(group), Ok(count)) = (self.groups.last_mut(), number.parse()) {
                    group.stand_ins = count;
                }
            }
            "ansicpg" => self.code_page = code_page(number).unwrap_or(self.code_page),
            "mac" => self.code_page = encoding_rs::MACINTOSH,
            "bin" => {
                let length = number.parse().unwrap_or(0);
                return after.get(length..).unwrap_or(after);
            }
            word if SILENT.contains(&word) => self.hush(),
            _ => {}
        }
        after
    }

    /// `\u` gives a signed 16-bit number and is followed by stand-ins for readers that do not know it.
    fn unicode(&mut self, number: &str) {
        let unit = number.parse::<i32>().ok().and_then(|code| u16::try_from(code.rem_euclid(65_536)).ok());
        self.skip = 0;
        if let Some(unit) = unit {
            let pair: Vec<u16> = self.high.take().into_iter().chain([unit]).collect();
            if (0xd800..0xdc00).contains(&unit) {
                self.high = Some(unit);
            } else {
                char::decode_utf16(pair).flatten().for_each(|letter| self.put(letter));
            }
        }
        self.skip = self.group().stand_ins;
    }

    fn symbol<'a>(&mut self, rest: &'a str) -> &'a str {
        let Some(symbol) = rest.chars().next() else { return rest };
        let after = rest.get(symbol.len_utf8()..).unwrap_or_default();
        match symbol {
            '\'' => {
                let Some(byte) = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) else { return after };
                if self.skip > 0 {
                    self.skip -= 1;
                } else if !self.group().is_silent {
                    self.bytes.push(byte);
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

/// The encoding of a Windows code page.
fn code_page(number: &str) -> Option<&'static Encoding> {
    let label = match number {
        "932" => "shift_jis",
        "936" => "gb18030",
        "949" => "euc-kr",
        "950" => "big5",
        "866" => "ibm866",
        "65001" => "utf-8",
        "10000" => "macintosh",
        _ => return Encoding::for_label(format!("windows-{number}").as_bytes()),
    };
    Encoding::for_label(label.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn text_stays_and_tables_of_fonts_go() {
        let rtf = "{\\rtf1\\ansi{\\fonttbl{\\f0 Arial;}}{\\*\\generator X;}\\f0\\fs20 Temp 38\\'b0C\\par \\b Plan:\\b0\\tab rest \\u8805?5 \\{a\\}\\par}";
        assert_eq!(text(rtf), "Temp 38°C\nPlan:\trest ≥5 {a}");
        assert_eq!(text("{\\rtf1 a\\par\\par\\par\\par b \\line c}"), "a\n\nb\nc");
        assert_eq!(text("}}}\\"), "");
    }

    #[test]
    fn characters_are_those_of_their_code_page() {
        let cases = [
            ("{\\rtf1\\ansi\\ansicpg1251 \\'cf\\'f0}", "Пр"),
            ("{\\rtf1\\ansi\\ansicpg932 \\'82\\'a0}", "あ"),
            ("{\\rtf1\\uc2 \\u233\\'c3\\'a9x{\\uc0 \\u233 y}}", "éxéy"),
            ("{\\rtf1 \\u-10179?\\u-8704?}", "😀"),
            ("{\\rtf1 \\u-10179?x}", "x"),
            ("{\\rtf1 a{\\pict\\bin4 }}{\\x}b}", "ab"),
        ];
        for (rtf, expected) in cases {
            assert_eq!(text(rtf), expected, "{rtf}");
        }
    }
}
