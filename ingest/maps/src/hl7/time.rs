//! HL7 v2 time stamps: `YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]`, as precise as they are stated, and what senders make of them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

const ZEROS: &str = "a time of zeros; read as none";
const ISO: &str = "a time as ISO 8601 writes it; read as such";
const MIDNIGHT: &str = "24 o'clock; read as the beginning of the next day";
const LEAP: &str = "a second of 60; read as 59";
const SKIPPED: &str = "a time that the clock skipped; read as if it had not been put forward";
const TWICE: &str = "a time that the clock showed twice; read as the first";

/// What a stamp states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stated<T> {
    /// `None`: zeros, which senders write for "not known".
    pub(crate) value: Option<T>,
    /// What was doubtful and how it was decided.
    pub(crate) doubt: Option<&'static str>,
}

/// The instant that `text` states, in `zone` where it carries no offset; what is left out is the beginning of what is stated.
/// `None` if there is no such instant.
pub(crate) fn instant(text: &[u8], zone: &TimeZone) -> Option<Stated<Timestamp>> {
    let stamp = Stamp::read(text)?;
    if stamp.is_zeros {
        return Some(Stated { value: None, doubt: Some(ZEROS) });
    }
    let mut doubt = stamp.is_iso.then_some(ISO);
    let date = Date::new(stamp.year, stamp.month, stamp.day).ok()?;
    let (date, hour) = if stamp.hour == 24 && stamp.minute == 0 && stamp.second == 0 && stamp.nanosecond == 0 {
        doubt = Some(MIDNIGHT);
        (date.tomorrow().ok()?, 0)
    } else {
        (date, stamp.hour)
    };
    let second = if stamp.second == 60 {
        doubt = Some(LEAP);
        59
    } else {
        stamp.second
    };
    let local = DateTime::new(date.year(), date.month(), date.day(), hour, stamp.minute, second, stamp.nanosecond).ok()?;
    let value = match stamp.offset {
        Some(offset) => offset.to_timestamp(local).ok()?,
        None => {
            let ambiguous = zone.to_ambiguous_timestamp(local);
            match ambiguous.offset() {
                AmbiguousOffset::Gap { .. } if stamp.has_hour => doubt = Some(SKIPPED),
                AmbiguousOffset::Fold { .. } if stamp.has_hour => doubt = Some(TWICE),
                _ => {}
            }
            ambiguous.compatible().ok()?
        }
    };
    Some(Stated { value: Some(value), doubt })
}

/// Whether a stamp states a day, or less, and no hour of it.
pub(crate) fn is_of_a_day(text: &[u8]) -> bool {
    Stamp::read(text).is_some_and(|stamp| !stamp.has_hour)
}

/// Whether a stamp states a month or a year, and no day of it.
pub(crate) fn is_of_no_day(text: &[u8]) -> bool {
    Stamp::read(text).is_some_and(|stamp| stamp.date_digits < 8)
}

/// The date that `text` states, in ISO 8601: `YYYY`, `YYYY-MM` or `YYYY-MM-DD`. `None` if there is no such date.
pub(crate) fn date(text: &[u8]) -> Option<Stated<String>> {
    let stamp = Stamp::read(text)?;
    if stamp.is_zeros {
        return Some(Stated { value: None, doubt: Some(ZEROS) });
    }
    let Stamp { year, month, day, .. } = stamp;
    Date::new(year, month, day).ok()?;
    let value = match stamp.date_digits {
        4 => format!("{year:04}"),
        6 => format!("{year:04}-{month:02}"),
        _ => format!("{year:04}-{month:02}-{day:02}"),
    };
    Some(Stated { value: Some(value), doubt: stamp.is_iso.then_some(ISO) })
}

/// The parts of a stamp, not yet held against the calendar.
#[derive(Default)]
struct Stamp {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    offset: Option<Offset>,
    date_digits: usize,
    has_hour: bool,
    is_iso: bool,
    is_zeros: bool,
}

impl Stamp {
    fn read(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let mut plain = [0u8; LONGEST];
        let iso = compact(text, &mut plain);
        let (digits, offset) = cut_offset(iso.unwrap_or(text))?;
        let (digits, fraction) = match digits.iter().position(|byte| *byte == b'.') {
            Some(at) => (digits.get(..at)?, digits.get(at + 1..)?),
            None => (digits, [].as_slice()),
        };
        if !matches!(digits.len(), 4 | 6 | 8 | 10 | 12 | 14) || (!fraction.is_empty() && digits.len() < 12) {
            return None;
        }
        let is_zeros = digits.len() >= 8 && digits.iter().all(|digit| *digit == b'0');
        let year = i16::try_from(number(digits.get(..4)?)?).ok().filter(|year| *year > 0 || is_zeros)?;
        let pair = |at: usize, left_out: i8| match digits.get(at..at + 2) {
            Some(pair) => number(pair).and_then(|pair| i8::try_from(pair).ok()),
            None => Some(left_out),
        };
        Some(Self {
            year,
            month: pair(4, 1)?,
            day: pair(6, 1)?,
            hour: pair(8, 0)?,
            minute: pair(10, 0)?,
            second: pair(12, 0)?,
            nanosecond: nanoseconds(fraction)?,
            offset,
            date_digits: digits.len().min(8),
            has_hour: digits.len() >= 10,
            is_iso: iso.is_some(),
            is_zeros,
        })
    }
}

/// The longest stamp of ISO 8601 that is read.
const LONGEST: usize = 40;

/// A stamp of ISO 8601 (`2020-05-01T14:06:43.1+02:00`, its T perhaps a blank) without its signs; `None` for any other.
fn compact<'a>(text: &[u8], plain: &'a mut [u8; LONGEST]) -> Option<&'a [u8]> {
    let (date, time) = match text.iter().position(|byte| matches!(byte, b'T' | b't' | b' ')) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, [].as_slice()),
    };
    let dashed = matches!(date, [_, _, _, _, b'-', _, _] | [_, _, _, _, b'-', _, _, b'-', _, _]);
    let plain_date = date.len() == 8 && date.iter().all(u8::is_ascii_digit) && !time.is_empty();
    if !(dashed && number(date.get(5..7)?).is_some_and(|month| month <= 12) || plain_date) {
        return None;
    }
    let mut length = 0;
    let signs = |byte: &&u8| !matches!(**byte, b':' | b' ');
    for byte in date.iter().filter(|byte| **byte != b'-').chain(time.iter().filter(signs)) {
        *plain.get_mut(length)? = *byte;
        length += 1;
    }
    plain.get(..length)
}

/// A fraction of a second; digits beyond the ninth say nothing.
fn nanoseconds(fraction: &[u8]) -> Option<i32> {
    number(fraction.get(9..).unwrap_or_default().get(..9).unwrap_or_default())?;
    let kept = fraction.get(..9).unwrap_or(fraction);
    let scale = 10i32.checked_pow(9 - u32::try_from(kept.len()).ok()?)?;
    i32::try_from(number(kept)?).ok()?.checked_mul(scale)
}

/// At most nine digits; none are zero.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u32::from(digit)) }
    })
}

/// Splits off `+ZZZZ`, `+ZZ`, `+ZZ:ZZ`, the same with minus, or `Z`.
fn cut_offset(text: &[u8]) -> Option<(&[u8], Option<Offset>)> {
    if let Some(digits) = text.strip_suffix(b"Z").or_else(|| text.strip_suffix(b"z")) {
        return Some((digits.trim_ascii_end(), Some(Offset::UTC)));
    }
    let Some(at) = text.iter().position(|byte| matches!(byte, b'+' | b'-')) else { return Some((text, None)) };
    let (digits, offset) = text.split_at_checked(at)?;
    let (sign, zone) = offset.split_first()?;
    let (hours, minutes) = match zone {
        [_, _] => (number(zone)?, 0),
        [hours @ .., b':', _, _] if hours.len() == 2 => (number(hours)?, number(zone.get(3..)?)?),
        [_, _, _, _] => (number(zone.get(..2)?)?, number(zone.get(2..)?)?),
        _ => return None,
    };
    if hours > 14 || minutes > 59 {
        return None;
    }
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    let offset = Offset::from_seconds(if *sign == b'-' { -seconds } else { seconds }).ok()?;
    Some((digits.trim_ascii_end(), Some(offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, zone: &TimeZone) -> Option<(String, Option<&'static str>)> {
        let stated = instant(text.as_bytes(), zone)?;
        Some((stated.value.map(|at| at.to_string()).unwrap_or_default(), stated.doubt))
    }

    #[test]
    fn stamps_are_read_as_precisely_as_they_are_stated() -> Result<(), jiff::Error> {
        let zone = TimeZone::get("America/New_York")?;
        let cases = [
            ("20200501140643", "2020-05-01T18:06:43Z", None),
            ("202005011406", "2020-05-01T18:06:00Z", None),
            ("2020050114", "2020-05-01T18:00:00Z", None),
            ("20200501", "2020-05-01T04:00:00Z", None),
            ("202001", "2020-01-01T05:00:00Z", None),
            ("2020", "2020-01-01T05:00:00Z", None),
            ("20200501140643.", "2020-05-01T18:06:43Z", None),
            ("20200501140643.1234", "2020-05-01T18:06:43.1234Z", None),
            ("20200501140643.123456789012", "2020-05-01T18:06:43.123456789Z", None),
            ("20200501140643.1+0215", "2020-05-01T11:51:43.1Z", None),
            ("20200501-0500", "2020-05-01T05:00:00Z", None),
            ("20200501+05", "2020-04-30T19:00:00Z", None),
            ("20200501140643 +02:00", "2020-05-01T12:06:43Z", None),
            ("20200501140643Z", "2020-05-01T14:06:43Z", None),
            (" 20200501140660 ", "2020-05-01T18:06:59Z", Some(LEAP)),
            ("202005312400", "2020-06-01T04:00:00Z", Some(MIDNIGHT)),
            ("2020-05-01", "2020-05-01T04:00:00Z", Some(ISO)),
            ("2020-05", "2020-05-01T04:00:00Z", Some(ISO)),
            ("2020-05-01T14:06:43.5Z", "2020-05-01T14:06:43.5Z", Some(ISO)),
            ("2020-05-01 14:06", "2020-05-01T18:06:00Z", Some(ISO)),
            ("2020-05-01T14:06:43-07:00", "2020-05-01T21:06:43Z", Some(ISO)),
            ("20200501T140643", "2020-05-01T18:06:43Z", Some(ISO)),
            ("20200308023000", "2020-03-08T07:30:00Z", Some(SKIPPED)),
            ("20201101013000", "2020-11-01T05:30:00Z", Some(TWICE)),
            ("20201101013000-0500", "2020-11-01T06:30:00Z", None),
            ("00000000", "", Some(ZEROS)),
            ("00000000000000", "", Some(ZEROS)),
        ];
        for (text, expected, doubt) in cases {
            assert_eq!(shown(text, &zone), Some((expected.to_owned(), doubt)), "{text}");
        }
        Ok(())
    }

    #[test]
    fn a_day_that_begins_in_a_gap_is_not_doubtful() -> Result<(), jiff::Error> {
        let zone = TimeZone::get("America/Sao_Paulo")?;
        assert_eq!(shown("20181104", &zone), Some(("2018-11-04T03:00:00Z".to_owned(), None)));
        assert_eq!(shown("2018110400", &zone).and_then(|(_, doubt)| doubt), Some(SKIPPED));
        Ok(())
    }

    #[test]
    fn there_is_no_such_instant() {
        for text in [
            "",
            "2",
            "202",
            "20201301",
            "20210229",
            "20200500",
            "20200001",
            "2020050125",
            "202005012401",
            "00000101",
            "20200501140643+9900",
            "20200501+5",
            "20200501140643+02000",
            "05/01/2020",
            "12 May",
            "2020050114061",
            "20200501140643.1x",
            "20200501.5",
            "0000",
            "2020-13-01",
            "2020-05-01T25:00",
            "20200501140661",
            "1406",
            "２０２０",
        ] {
            let year_alone = text == "1406";
            assert_eq!(instant(text.as_bytes(), &TimeZone::UTC).is_none(), !year_alone, "{text}");
        }
    }

    #[test]
    fn dates_keep_their_precision() {
        let cases = [
            ("1961", Some("1961")),
            ("196106", Some("1961-06")),
            ("19610615120000+0100", Some("1961-06-15")),
            ("1961-06-15", Some("1961-06-15")),
            ("1961-06", Some("1961-06")),
            ("19610631", None),
            ("00000000", None),
        ];
        for (text, expected) in cases {
            assert_eq!(date(text.as_bytes()).and_then(|stated| stated.value).as_deref(), expected);
        }
    }
}
