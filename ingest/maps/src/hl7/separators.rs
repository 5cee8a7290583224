//! The characters that a message cuts itself with, as its MSH-1 and MSH-2 choose them.

/// Separators of one message. The characters that MSH-2 leaves out are the standard's.
#[derive(Clone, Copy)]
pub(crate) struct Separators {
    pub(crate) field: u8,
    pub(crate) component: u8,
    pub(crate) repetition: u8,
    /// `None` where MSH-2 names others but no escape: then nothing is escaped.
    pub(crate) escape: Option<u8>,
    pub(crate) subcomponent: u8,
    /// The fifth character of v2.7.
    pub(crate) truncation: u8,
}

impl Separators {
    /// Reads them from a line that begins with `MSH`.
    pub(crate) fn of(header: &[u8]) -> Option<Self> {
        let field = header.get(3).copied().filter(|byte| crate::split::header::is_separator(*byte))?;
        let rest = header.get(4..)?;
        let end = rest.iter().position(|byte| *byte == field || matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
        let chosen = rest.get(..end)?;
        // `^~\\&`: an escape that was itself escaped on the way.
        let doubled = match chosen {
            [_, _, b'\\', rest @ ..] => rest.iter().take_while(|byte| **byte == b'\\').count(),
            _ => 0,
        };
        let at = |place: usize, standard: u8| chosen.get(place).copied().filter(|byte| separates(*byte)).unwrap_or(standard);
        let standard = Self { field, component: b'^', repetition: b'~', escape: Some(b'\\'), subcomponent: b'&', truncation: b'#' };
        Some(match chosen {
            [] => standard,
            // `^~&`: what was left out is the escape, for nobody escapes with what the standard parts subcomponents with.
            [_, _, b'&'] => Self { component: at(0, b'^'), repetition: at(1, b'~'), escape: None, ..standard },
            _ => Self {
                field,
                component: at(0, b'^'),
                repetition: at(1, b'~'),
                escape: chosen.get(2).copied().filter(u8::is_ascii_punctuation),
                subcomponent: at(3 + doubled, b'&'),
                truncation: at(4 + doubled, b'#'),
            },
        })
    }
}

/// Whether a value can be cut at this byte without cutting words.
fn separates(byte: u8) -> bool {
    byte.is_ascii_punctuation() || (byte.is_ascii_control() && byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_to_five_characters_are_taken_as_they_are_and_the_rest_is_the_standards() {
        let read = |header: &str| {
            let Separators { field, component, repetition, escape, subcomponent, truncation } = Separators::of(header.as_bytes())?;
            let shown = [field, component, repetition, escape.unwrap_or(b' '), subcomponent, truncation];
            Some(shown.into_iter().map(char::from).collect::<String>())
        };
        let cases = [
            ("MSH|^~\\&|", Some("|^~\\&#")),
            ("MSH|^~\\&#|", Some("|^~\\&#")),
            ("MSH|^~\\&%|", Some("|^~\\&%")),
            ("MSH|^~\\|", Some("|^~\\&#")),
            ("MSH|^~&|", Some("|^~ &#")),
            ("MSH|^~|", Some("|^~ &#")),
            ("MSH|^~&\\|", Some("|^~&\\#")),
            ("MSH|^~\\\\&|", Some("|^~\\&#")),
            ("MSH||", Some("|^~\\&#")),
            ("MSH$%!@*$", Some("$%!@*#")),
            ("MSH\t:;?,\tx", Some("\t:;?,#")),
            ("MSHA^~\\&", None),
            ("MSH", None),
        ];
        for (header, expected) in cases {
            assert_eq!(read(header).as_deref(), expected, "{header}");
        }
    }
}
