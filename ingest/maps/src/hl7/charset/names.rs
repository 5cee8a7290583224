//! Names of charsets: HL7 table 0211, DICOM's spellings of the same, WHATWG labels, and what senders make of them.

use encoding_rs::{Encoding, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE};

/// What a name in MSH-18 says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// Nothing that would choose among charsets.
    Nothing,
    /// What senders write who never thought of it.
    Ascii,
    Utf8,
    /// UTF-16 or UTF-32, in bytes whose MSH could be read: those of a message in them were decoded before.
    Impossible,
    /// Single bytes of JIS X 0201, and switches to the sets of two bytes.
    Japanese,
    /// CNS 11643, for which there is no decoder.
    Taiwanese,
    Charset(&'static Encoding),
    Unknown,
}

impl Named {
    pub(super) fn of(name: &[u8]) -> Self {
        let name = name.trim_ascii();
        match name {
            b"" => return Self::Nothing,
            b"UNICODE UTF-8" | b"UTF-8" => return Self::Utf8,
            _ => {}
        }
        let label: String =
            name.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(|byte| char::from(byte.to_ascii_lowercase())).take(32).collect();
        let label = label.strip_prefix("iso2022ir").map_or(label.clone(), |number| format!("isoir{number}"));
        match label.as_str() {
            "" | "unicode" | "iso10646" => Self::Nothing,
            "ascii" | "usascii" | "iso646" | "isoir6" | "ansix34" => Self::Ascii,
            "unicodeutf16" | "utf16" | "utf16le" | "utf16be" | "unicodeutf32" | "utf32" | "utf32le" | "utf32be" | "ucs2" => {
                Self::Impossible
            }
            "isoir13" | "isoir14" | "isoir87" | "isoir159" | "jisx0201" | "jisx0208" | "jisx0212" | "iso2022jp" => Self::Japanese,
            "cns116431992" | "cns11643" | "euctw" => Self::Taiwanese,
            label => match encoding(label).or_else(|| Encoding::for_label(name)).filter(|encoding| *encoding != REPLACEMENT) {
                Some(encoding) if encoding == UTF_8 => Self::Utf8,
                Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => Self::Impossible,
                Some(encoding) => Self::Charset(encoding),
                None => Self::Unknown,
            },
        }
    }
}

/// `label` is in lower case, letters and digits only.
fn encoding(label: &str) -> Option<&'static Encoding> {
    let part = label.strip_prefix("iso").unwrap_or(label).strip_prefix("8859");
    if let Some(part) = part {
        return Encoding::for_label(format!("iso-8859-{part}").as_bytes());
    }
    if let Some(page) = ["windows", "cp", "win", "mswin"].into_iter().find_map(|prefix| label.strip_prefix(prefix))
        && let Some(encoding) = Encoding::for_label(format!("windows-{page}").as_bytes())
    {
        return Some(encoding);
    }
    let name = match label {
        "unicodeutf8" | "utf8" | "utf" | "unicodeutf" | "utf8unicode" | "isoir192" => "utf-8",
        "latin1" | "isolatin1" | "ansi" | "isoir100" => "windows-1252",
        "latin2" | "isolatin2" | "isoir101" => "iso-8859-2",
        "isoir109" => "iso-8859-3",
        "isoir110" => "iso-8859-4",
        "isoir144" => "iso-8859-5",
        "isoir127" => "iso-8859-6",
        "isoir126" => "iso-8859-7",
        "isoir138" => "iso-8859-8",
        "isoir148" => "iso-8859-9",
        "isoir166" | "tis620" => "windows-874",
        "latin9" | "isolatin9" | "isoir203" => "iso-8859-15",
        "shiftjis" | "sjis" | "ms932" | "cp932" | "windows932" => "shift_jis",
        "eucjp" => "euc-jp",
        "gb180302000" | "gb18030" | "gb2312" | "gb23121980" | "gbk" | "cp936" | "ms936" | "isoir58" => "gb18030",
        "ksx1001" | "euckr" | "kcs5601" | "ksc5601" | "ksc56011987" | "kscx1001" | "isoir149" | "cp949" | "ms949" | "uhc" => "euc-kr",
        "big5" | "cp950" | "ms950" | "big5hkscs" => "big5",
        _ => return None,
    };
    Encoding::for_label(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_standards_table_is_known() {
        let charset = |label: &str| Encoding::for_label(label.as_bytes()).map(Named::Charset);
        let mut cases = vec![
            ("ASCII".to_owned(), Some(Named::Ascii)),
            ("ISO IR6".to_owned(), Some(Named::Ascii)),
            ("ISO IR13".to_owned(), Some(Named::Japanese)),
            ("ISO IR14".to_owned(), Some(Named::Japanese)),
            ("ISO IR87".to_owned(), Some(Named::Japanese)),
            ("ISO IR159".to_owned(), Some(Named::Japanese)),
            ("ISO 2022 IR 87".to_owned(), Some(Named::Japanese)),
            ("GB 18030-2000".to_owned(), charset("gb18030")),
            ("KS X 1001".to_owned(), charset("euc-kr")),
            ("CNS 11643-1992".to_owned(), Some(Named::Taiwanese)),
            ("BIG-5".to_owned(), charset("big5")),
            ("UNICODE".to_owned(), Some(Named::Nothing)),
            ("UNICODE UTF-8".to_owned(), Some(Named::Utf8)),
            ("UNICODE UTF-16".to_owned(), Some(Named::Impossible)),
            ("UNICODE UTF-32".to_owned(), Some(Named::Impossible)),
            ("cp1251".to_owned(), charset("windows-1251")),
            ("Windows-1252".to_owned(), charset("windows-1252")),
            ("KOI8-R".to_owned(), charset("koi8-r")),
            ("hz-gb-2312".to_owned(), Some(Named::Unknown)),
            ("8859/12".to_owned(), Some(Named::Unknown)),
            ("EBCDIC".to_owned(), Some(Named::Unknown)),
        ];
        cases.extend((1..=15).filter(|part| *part != 12).map(|part| (format!("8859/{part}"), charset(&format!("iso-8859-{part}")))));
        for (name, expected) in cases {
            assert!(Some(Named::of(name.as_bytes())) == expected && expected.is_some(), "{name}");
        }
    }
}
