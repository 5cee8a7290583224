//! HL7 v2 time stamps: `YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]`, as precise as they are stated.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// The instant that `text` states, in `zone` where it carries no offset; what is left out is the beginning of what is stated.
/// `None` if there is no such instant.
pub(crate) fn instant(text: &[u8], zone: &TimeZone) -> Option<Timestamp> {
    let (digits, offset) = cut_offset(text.trim_ascii())?;
    let (digits, fraction) = match digits.iter().position(|byte| *byte == b'.') {
        Some(at) => (digits.get(..at)?, digits.get(at + 1..)?),
        None => (digits, [].as_slice()),
    };
    let Civil { year, month, day, hour, minute, second } = civil(digits)?;
    let nanosecond = if fraction.is_empty() {
        0
    } else {
        let given = u8::try_from(fraction.len()).ok().filter(|given| *given <= 9)?;
        i32::try_from(number(fraction)?).ok()? * 10i32.checked_pow(9 - u32::from(given))?
    };
    let local = DateTime::new(year, month, day, hour, minute, second.min(59), nanosecond).ok()?;
    match offset {
        Some(offset) => offset.to_timestamp(local).ok(),
        None => zone.to_timestamp(local).ok(),
    }
}

/// The date that `text` states, in ISO 8601: `YYYY`, `YYYY-MM` or `YYYY-MM-DD`. `None` if there is no such date.
pub(crate) fn date(text: &[u8]) -> Option<String> {
    let (digits, _) = cut_offset(text.trim_ascii())?;
    let digits = digits.split(|byte| *byte == b'.').next()?;
    let Civil { year, month, day, .. } = civil(digits)?;
    jiff::civil::Date::new(year, month, day).ok()?;
    Some(match digits.len() {
        4 => format!("{year:04}"),
        6 => format!("{year:04}-{month:02}"),
        _ => format!("{year:04}-{month:02}-{day:02}"),
    })
}

/// The date and time of day that `digits` name.
struct Civil {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
}

fn civil(digits: &[u8]) -> Option<Civil> {
    if !matches!(digits.len(), 4 | 6 | 8 | 10 | 12 | 14) {
        return None;
    }
    let year = i16::try_from(number(digits.get(..4)?)?).ok().filter(|year| *year > 0)?;
    let pair = |at: usize, left_out: i8| match digits.get(at..at + 2) {
        Some(pair) => number(pair).and_then(|pair| i8::try_from(pair).ok()),
        None => Some(left_out),
    };
    Some(Civil { year, month: pair(4, 1)?, day: pair(6, 1)?, hour: pair(8, 0)?, minute: pair(10, 0)?, second: pair(12, 0)? })
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

/// Splits off `+ZZZZ` or `-ZZZZ`.
fn cut_offset(text: &[u8]) -> Option<(&[u8], Option<Offset>)> {
    let Some(at) = text.iter().position(|byte| matches!(byte, b'+' | b'-')) else { return Some((text, None)) };
    let (digits, offset) = text.split_at_checked(at)?;
    let (sign, zone) = offset.split_first()?;
    let (hours, minutes) = match zone.len() {
        4 => (number(zone.get(..2)?)?, number(zone.get(2..)?)?),
        _ => return None,
    };
    if hours > 14 || minutes > 59 {
        return None;
    }
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    let offset = Offset::from_seconds(if *sign == b'-' { -seconds } else { seconds }).ok()?;
    Some((digits, Some(offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_read_as_precisely_as_they_are_stated() -> Result<(), jiff::Error> {
        let zone = TimeZone::get("America/New_York")?;
        let cases = [
            ("20200501140643", "2020-05-01T18:06:43Z"),
            ("202005011406", "2020-05-01T18:06:00Z"),
            ("2020050114", "2020-05-01T18:00:00Z"),
            ("20200501", "2020-05-01T04:00:00Z"),
            ("202001", "2020-01-01T05:00:00Z"),
            ("2020", "2020-01-01T05:00:00Z"),
            ("20200501140643.1234", "2020-05-01T18:06:43.1234Z"),
            ("20200501140643.1+0215", "2020-05-01T11:51:43.1Z"),
            ("20200501-0500", "2020-05-01T05:00:00Z"),
            (" 20200501140660 ", "2020-05-01T18:06:59Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(instant(text.as_bytes(), &zone).map(|at| at.to_string()).as_deref(), Some(expected), "{text}");
        }
        Ok(())
    }

    #[test]
    fn there_is_no_such_instant() {
        for text in [
            "",
            "2",
            "20201301",
            "20210229",
            "2020050125",
            "00000101",
            "20200501140643+9900",
            "20200501+05",
            "2020-05-01",
            "12 May",
            "20200501140643.",
        ] {
            let end_of_fraction = text.ends_with('.');
            assert_eq!(instant(text.as_bytes(), &TimeZone::UTC).is_none(), !end_of_fraction, "{text}");
        }
    }

    #[test]
    fn dates_keep_their_precision() {
        let cases = [("1961", Some("1961")), ("196106", Some("1961-06")), ("19610615120000+0100", Some("1961-06-15")), ("19610631", None)];
        for (text, expected) in cases {
            assert_eq!(date(text.as_bytes()).as_deref(), expected);
        }
    }
}
