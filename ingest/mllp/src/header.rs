//! The header of a message, as far as an answer needs it: slices of the bytes that came. It reads no other segment.

/// Fields of the first MSH segment, in the sender's charset and with the sender's separators. Blind: it has no `Debug`.
#[derive(Clone)]
pub(crate) struct Header {
    /// MSH-1.
    pub(crate) separator: u8,
    /// MSH-2 and all that follow, bytes as sent; MSH-2 is at 0.
    fields: Vec<Vec<u8>>,
}

/// No field that is needed stands further back than MSH-18,
const LAST_FIELD: usize = 18;
/// and none of them is longer in earnest; a longer one is cut in the answer, not in the record.
const FIELD_BYTES: usize = 1_000;

impl Header {
    /// Reads the header of a message, or of the first message of a batch. `None` where there is none.
    pub(crate) fn read(content: &[u8]) -> Option<Self> {
        let line = content.split(|byte| matches!(byte, b'\r' | b'\n')).map(trim).find(|line| names_header(line))?;
        let separator = *line.get(3).filter(|byte| byte.is_ascii_punctuation() || (byte.is_ascii_control() && **byte != 0))?;
        let fields = line.get(4..)?.split(|byte| *byte == separator).take(LAST_FIELD - 1);
        let fields = fields.map(|field| field.get(..FIELD_BYTES).unwrap_or(field).to_vec()).collect();
        Some(Self { separator, fields })
    }

    /// A header for answers to what has none.
    pub(crate) fn absent() -> Self {
        Self { separator: b'|', fields: vec![b"^~\\&".to_vec()] }
    }

    /// MSH-`number`, from 2 on; empty where it is missing or deleted (`""`).
    pub(crate) fn field(&self, number: usize) -> &[u8] {
        let field = number.checked_sub(2).and_then(|index| self.fields.get(index)).map_or(&b""[..], Vec::as_slice);
        if field == b"\"\"" { b"" } else { field }
    }

    /// The component separator.
    pub(crate) fn component(&self) -> u8 {
        self.field(2).first().copied().unwrap_or(b'^')
    }

    /// The trigger event, `A01`: the second component of MSH-9.
    pub(crate) fn trigger(&self) -> &[u8] {
        let separator = self.component();
        self.field(9).split(|byte| *byte == separator).nth(1).unwrap_or_default()
    }

    /// Whether the version has the ERR segment of HL7 2.5 and later.
    pub(crate) fn has_errors(&self) -> bool {
        let separator = self.component();
        let version = self.field(12).split(|byte| *byte == separator).next().unwrap_or_default();
        let mut numbers = std::str::from_utf8(version).unwrap_or_default().split('.').map(|part| part.parse::<u32>().ok());
        matches!((numbers.next().flatten(), numbers.next().flatten()), (Some(2), Some(5..)) | (Some(3..), _))
    }
}

/// In small letters, too: what is read as a message is answered as one.
fn names_header(line: &[u8]) -> bool {
    line.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"MSH"))
}

fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let blanks = line.iter().take_while(|byte| matches!(**byte, 0 | b' ' | b'\t' | 0x0b)).count();
    line.get(blanks..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_with_the_senders_separators() {
        let header = Header::read(b"MSH#*~\\&#APP#FAC###2020##ADT*A01#17#P#2.5.1\rPID").expect("a header");
        assert_eq!((header.separator, header.component()), (b'#', b'*'));
        assert_eq!(header.field(3), b"APP");
        assert_eq!((header.field(10), header.trigger(), header.field(19)), (&b"17"[..], &b"A01"[..], &b""[..]));
        assert!(header.has_errors());
        assert!(!Header::read(b"MSH|^~\\&|||||||ADT^A01|1|P|2.3").expect("a header").has_errors());
        assert!(!Header::read(b"MSH|").expect("a header").has_errors());
    }

    #[test]
    fn a_batch_has_the_header_of_its_first_message_and_noise_has_none() {
        assert_eq!(
            Header::read(b"FHS|^~\\&\rBHS|^~\\&\r\xef\xbb\xbfMSH|^~\\&|A|||||||1\r").map(|header| header.field(10).to_vec()),
            Some(b"1".to_vec())
        );
        assert_eq!(Header::read(b"msh|^~\\&|A|||||||1\r").map(|header| header.field(10).to_vec()), Some(b"1".to_vec()));
        assert!(Header::read(b"PID|1").is_none() && Header::read(b"MSH").is_none() && Header::read(b"MSHA").is_none());
        assert!(Header::read(b"").is_none());
    }
}
