//! Cuts a message into its segments and their fields: what ends a segment, and which line cannot begin one.

use super::scan;

/// The standard's segment names, in order: where a line may be one of a text, it begins a segment only if it is one of these (or a Z-segment).
const NAMES: &[&[u8; 3]] = &[
    b"ABS", b"ACC", b"ADD", b"ADJ", b"AFF", b"AIG", b"AIL", b"AIP", b"AIS", b"AL1", b"APR", b"ARQ", b"ARV", b"AUT", b"BHS", b"BLC", b"BLG",
    b"BPO", b"BPX", b"BTS", b"BTX", b"CDM", b"CER", b"CM0", b"CM1", b"CM2", b"CNS", b"CON", b"CSP", b"CSR", b"CSS", b"CTD", b"CTI", b"DB1",
    b"DG1", b"DMI", b"DRG", b"DSC", b"DSP", b"ECD", b"ECR", b"EDU", b"EQP", b"EQU", b"ERR", b"EVN", b"FAC", b"FHS", b"FT1", b"FTS", b"GOL",
    b"GP1", b"GP2", b"GT1", b"IAM", b"IAR", b"IIM", b"ILT", b"IN1", b"IN2", b"IN3", b"INV", b"IPC", b"IPR", b"ISD", b"ITM", b"IVC", b"IVT",
    b"LAN", b"LCC", b"LCH", b"LDP", b"LOC", b"LRL", b"MFA", b"MFE", b"MFI", b"MRG", b"MSA", b"MSH", b"NCK", b"NDS", b"NK1", b"NPU", b"NSC",
    b"NST", b"NTE", b"OBR", b"OBX", b"ODS", b"ODT", b"OM1", b"OM2", b"OM3", b"OM4", b"OM5", b"OM6", b"OM7", b"ORC", b"ORG", b"OVR", b"PAC",
    b"PCE", b"PCR", b"PD1", b"PDA", b"PDC", b"PEO", b"PES", b"PID", b"PKG", b"PMT", b"PR1", b"PRA", b"PRB", b"PRC", b"PRD", b"PRT", b"PSG",
    b"PSH", b"PSL", b"PSS", b"PTH", b"PV1", b"PV2", b"PYE", b"QAK", b"QID", b"QPD", b"QRD", b"QRF", b"QRI", b"RCP", b"RDF", b"RDT", b"REL",
    b"RF1", b"RFI", b"RGS", b"RMI", b"ROL", b"RQ1", b"RQD", b"RXA", b"RXC", b"RXD", b"RXE", b"RXG", b"RXO", b"RXR", b"RXV", b"SAC", b"SCD",
    b"SCH", b"SCP", b"SDD", b"SFT", b"SGH", b"SGT", b"SHP", b"SID", b"SLT", b"SPM", b"STF", b"STZ", b"TCC", b"TCD", b"TQ1", b"TQ2", b"TXA",
    b"UAC", b"UB1", b"UB2", b"URD", b"URS", b"VAR", b"VND",
];

/// The most fields of one segment whose places are kept; those beyond are sought when they are asked for.
pub(super) const FIELDS: usize = 512;

/// The most blanks that may stand before the name of a segment.
const INDENT: usize = 64;

/// Where the segments of a message stand, and their fields.
#[derive(Default)]
pub(crate) struct Layout {
    pub(super) segments: Vec<Span>,
    /// Where the separators of all segments stand, each counted from the beginning of its segment.
    pub(super) separators: Vec<u32>,
    /// The first segment whose name is indented, and the first whose name is written small, by their places among the segments.
    pub(crate) indented: Option<usize>,
    pub(crate) small: Option<usize>,
}

/// One segment: from its name to the last byte before its line end, the lines that cannot begin a segment included.
pub(super) struct Span {
    pub(super) begin: usize,
    pub(super) end: usize,
    /// Its part of `separators`.
    pub(super) first: usize,
    pub(super) last: usize,
}

/// The segment that is being read.
struct Open {
    begin: usize,
    first: usize,
    fields: usize,
    /// The field that holds its text, where it is a segment that has one; beyond any where not.
    prose: usize,
    /// In a line of that text which looks like a segment, but is of no name that begins one: its separators are text.
    is_table: bool,
}

impl Layout {
    /// Cuts `message` at line ends and at `separator`, in one pass.
    pub(crate) fn of(message: &[u8], separator: u8) -> Self {
        let mut layout = Self { separators: Vec::with_capacity(message.len() / 12), ..Self::default() };
        let mut open = Open::at(message, 0, 0);
        let mut first_end = None;
        scan::each(message, separator, |at, byte| {
            if byte == separator {
                // One alone parts the columns of a table; two in a row end the text, for what follows it is mostly empty.
                if open.is_table && message.get(at + 1) != Some(&separator) {
                    return;
                }
                open.is_table = false;
                if open.fields < FIELDS {
                    layout.separators.push(u32::try_from(at - open.begin).unwrap_or(u32::MAX));
                }
                open.fields += 1;
                return;
            }
            let by_carriage_return = *first_end.get_or_insert(byte) == b'\r';
            // A bare line feed, where the others are not, may be a line break of a text.
            let bare = byte == b'\n' && at.checked_sub(1).and_then(|before| message.get(before)) != Some(&b'\r');
            let line = message.get(at + 1..).unwrap_or_default();
            let is_prose = open.fields == open.prose;
            let place = Place { separator, is_prose, is_doubtful: by_carriage_return && bare };
            if let Some(Beginning { blanks, is_indented, is_small }) = place.begins(line) {
                layout.close(message, &open, at);
                let count = layout.segments.len();
                layout.indented = layout.indented.or(is_indented.then_some(count));
                layout.small = layout.small.or(is_small.then_some(count));
                open = Open::at(message, at + 1 + blanks, layout.separators.len());
            } else if is_prose {
                open.is_table |= line.get(3) == Some(&separator);
            }
        });
        layout.close(message, &open, message.len());
        layout
    }

    fn close(&mut self, message: &[u8], open: &Open, end: usize) {
        let segment = message.get(open.begin..end).unwrap_or_default();
        let kept = segment.iter().rposition(|byte| !is_trailing(*byte)).map_or(0, |last| last + 1);
        if kept >= 3 {
            self.segments.push(Span { begin: open.begin, end: open.begin + kept, first: open.first, last: self.separators.len() });
        }
    }
}

impl Open {
    fn at(message: &[u8], begin: usize, first: usize) -> Self {
        let prose = match message.get(begin..begin + 3) {
            Some(b"OBX") => 5,
            Some(b"NTE" | b"DSP") => 3,
            _ => usize::MAX,
        };
        Self { begin, first, fields: 0, prose, is_table: false }
    }
}

/// Where a line stands.
struct Place {
    separator: u8,
    /// In the field of a text, which may have lines.
    is_prose: bool,
    /// After a line end that ends no other segment.
    is_doubtful: bool,
}

/// How a segment begins on its line.
struct Beginning {
    blanks: usize,
    is_indented: bool,
    is_small: bool,
}

impl Place {
    /// Whether `line` begins a segment here.
    fn begins(&self, line: &[u8]) -> Option<Beginning> {
        let blanks = match line.first()? {
            0 | b' ' | b'\t' if *line.first()? != self.separator => {
                line.iter().take(INDENT).take_while(|byte| matches!(byte, 0 | b' ' | b'\t')).count()
            }
            b'A'..=b'Z' | b'a'..=b'z' => 0,
            _ => return None,
        };
        let is_indented = line.get(..blanks)?.iter().any(|byte| *byte != 0);
        let (name, rest) = line.get(blanks..)?.split_first_chunk::<3>()?;
        let shaped = name[0].is_ascii_alphabetic() && name[1].is_ascii_alphanumeric() && name[2].is_ascii_alphanumeric();
        let is_small = name.iter().any(u8::is_ascii_lowercase);
        let begins = match rest.first() {
            _ if !shaped => false,
            Some(byte) if *byte == self.separator => match (is_indented || is_small, self.is_doubtful, self.is_prose) {
                (false, false, false) => true,
                (true, true, _) => false,
                _ => is_known(&name.map(|letter| letter.to_ascii_uppercase())),
            },
            None | Some(b'\r' | b'\n') => !(is_indented || is_small || self.is_prose || self.is_doubtful) && is_known(name),
            Some(_) => false,
        };
        begins.then_some(Beginning { blanks, is_indented, is_small })
    }
}

/// Line ends, NULs, and what ends a frame, a transmission or a file.
fn is_trailing(byte: u8) -> bool {
    matches!(byte, 0 | 0x03 | 0x04 | b'\n' | 0x0b | b'\r' | 0x1a | 0x1c)
}

fn is_known(name: &[u8; 3]) -> bool {
    name[0] == b'Z' || NAMES.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(message: &[u8], separator: u8) -> Vec<&[u8]> {
        let spans = Layout::of(message, separator).segments;
        spans.into_iter().filter_map(|span| message.get(span.begin..span.end)).collect()
    }

    #[test]
    fn names_are_in_order() {
        assert!(NAMES.is_sorted());
    }

    #[test]
    fn any_line_end_ends_a_segment_and_blank_lines_are_nothing() {
        for end in ["\r", "\n", "\r\n", "\r\r", "\n\n", "\r\n\r\n"] {
            let message = ["MSH|^~\\&|", "PID|1|a", "ZZZ|x", "PV1|1"].join(end);
            assert_eq!(segments(message.as_bytes(), b'|'), [b"MSH|^~\\&|".as_slice(), b"PID|1|a", b"ZZZ|x", b"PV1|1"]);
        }
    }

    #[test]
    fn a_line_that_cannot_begin_a_segment_belongs_to_the_field_before_it() {
        for end in ["\r", "\r\n"] {
            let prose = "OBX|1|TX|||first\nHPI\n\nHGB|12\nlast||F";
            let message = ["MSH|^~\\&|", prose, "NTE|1|", ""].join(end);
            assert_eq!(segments(message.as_bytes(), b'|'), [b"MSH|^~\\&|".as_slice(), prose.as_bytes(), b"NTE|1|"]);
        }
        assert_eq!(segments(b"MSH|^~\\&|\nOBX|1|TX|||first\nHPI\nlast\n", b'|').len(), 2);
    }

    #[test]
    fn a_text_that_looks_like_a_result_stays_text_and_a_segment_of_no_standard_stays_a_segment() {
        for end in ["\r", "\n", "\r\n"] {
            let message = ["MSH|^~\\&|", "OBX|1|TX|||first", "HGB|12", "ABS", "WBC|7", "last||F", "XYZ|1", "PV1|1"].join(end);
            let text = ["OBX|1|TX|||first", "HGB|12", "ABS", "WBC|7", "last||F"].join(end);
            assert_eq!(segments(message.as_bytes(), b'|'), [b"MSH|^~\\&|".as_slice(), text.as_bytes(), b"XYZ|1", b"PV1|1"]);
        }
    }

    #[test]
    fn names_may_be_indented_or_written_small() {
        let message = b"MSH|^~\\&|\n  PID|1\n\tpv1|1\nOBX|1|TX|||a\n  indented prose\n";
        let layout = Layout::of(message, b'|');
        assert_eq!((layout.indented, layout.small), (Some(1), Some(2)));
        assert_eq!(segments(message, b'|')[1..], [b"PID|1".as_slice(), b"pv1|1", b"OBX|1|TX|||a\n  indented prose"]);
    }

    #[test]
    fn what_ends_a_transmission_or_a_file_belongs_to_no_field() {
        for end in ["", "\r", "\n\x1a", "\r\n\x1a\0\0", "\x1c\r", "\x03", "\r\x04\r"] {
            assert_eq!(segments(format!("MSH|^~\\&|\rPV1|1{end}").as_bytes(), b'|')[1..], [b"PV1|1"], "{end:?}");
        }
    }

    #[test]
    fn blank_lines_inside_a_text_are_kept() {
        let message = b"MSH|^~\\&|\rOBX|1|TX|||a\n\n\nb||||||F\rNTE|1||c\r\rd\r";
        assert_eq!(segments(message, b'|')[1..], [b"OBX|1|TX|||a\n\n\nb||||||F".as_slice(), b"NTE|1||c\r\rd"]);
    }
}
