//! Cuts a message into the byte ranges of its segments: what ends a segment, and which line cannot begin one.

use memchr::memchr2;

/// The standard's segment names, in order: a bare three-letter line, or a line after a line feed inside a message that
/// ends its segments with carriage returns, begins a segment only if it is one of these (or a Z-segment).
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

/// The segments of a message: each from its name to the last byte before its line end, the lines that cannot begin a segment included.
pub(crate) fn segments(message: &[u8], separator: u8) -> Vec<&[u8]> {
    let by_carriage_return = memchr2(b'\r', b'\n', message).is_some_and(|end| message.get(end) == Some(&b'\r'));
    let mut found = Vec::new();
    let mut begun = 0;
    let mut at = 0;
    while let Some(end) = message.get(at..).and_then(|rest| memchr2(b'\r', b'\n', rest)) {
        let end = at + end;
        // A bare line feed, where the others are not, may be a line break of a text.
        let bare = message.get(end) == Some(&b'\n') && end.checked_sub(1).and_then(|before| message.get(before)) != Some(&b'\r');
        at = end + 1;
        let line = message.get(at..).unwrap_or_default();
        let doubtful = by_carriage_return && bare;
        let blanks = line.iter().take_while(|byte| **byte == 0).count();
        if begins_segment(line.get(blanks..).unwrap_or_default(), separator, doubtful) {
            push(&mut found, message.get(begun..at));
            begun = at + blanks;
            at = begun;
        }
    }
    push(&mut found, message.get(begun..));
    found
}

fn push<'a>(found: &mut Vec<&'a [u8]>, segment: Option<&'a [u8]>) {
    let segment = segment.unwrap_or_default();
    let kept = segment.iter().rposition(|byte| !matches!(byte, 0 | b'\r' | b'\n' | 0x1c)).map_or(0, |last| last + 1);
    found.extend(segment.get(..kept).filter(|segment| !segment.is_empty()));
}

fn begins_segment(line: &[u8], separator: u8, doubtful: bool) -> bool {
    let Some((name, rest)) = line.split_first_chunk::<3>() else { return false };
    let shaped = name[0].is_ascii_uppercase() && name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    match rest.first() {
        _ if !shaped => false,
        Some(byte) if *byte == separator => !doubtful || is_known(name),
        None | Some(b'\r' | b'\n') => is_known(name),
        Some(_) => false,
    }
}

fn is_known(name: &[u8; 3]) -> bool {
    name[0] == b'Z' || NAMES.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
