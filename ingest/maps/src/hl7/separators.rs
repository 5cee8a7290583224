//! The characters that a message cuts itself with, as its MSH-1 and MSH-2 choose them.

/// Separators of one message. The characters that MSH-2 leaves out are the standard's.
#[derive(Clone, Copy)]
pub(crate) struct Separators {
    pub(crate) field: u8,
    pub(crate) component: u8,
    pub(crate) repetition: u8,
    /// `None` where MSH-2 is too short to name one: then nothing is escaped.
    pub(crate) escape: Option<u8>,
    pub(crate) subcomponent: u8,
    /// The fifth character of v2.7.
    pub(crate) truncation: u8,
}

impl Separators {
    /// Reads them from a line that begins with `MSH`.
    pub(crate) fn of(header: &[u8]) -> Option<Self> {
        let field = header.get(3).copied().filter(|byte| crate::split::is_separator(*byte))?;
        let rest = header.get(4..)?;
        let end = rest.iter().position(|byte| *byte == field || matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
        let chosen = rest.get(..end)?;
        let at = |place: usize, standard: u8| chosen.get(place).copied().filter(u8::is_ascii).unwrap_or(standard);
        Some(Self {
            field,
            component: at(0, b'^'),
            repetition: at(1, b'~'),
            escape: chosen.get(2).copied().filter(u8::is_ascii_punctuation),
            subcomponent: at(3, b'&'),
            truncation: at(4, b'#'),
        })
    }
}
