//! FHIR dates and times to instants.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

/// The first instant of what a `date`, `dateTime` or `instant` names: `2020`, `2020-05`, `2020-05-17` and times without an offset are
/// read in `zone`. So an event known to the day only is placed at that day's local midnight: it can precede the hour at which the
/// day's other events happened.
pub(super) fn parse(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let text = text.trim();
    let civil = match text.len() {
        4 | 7 | 10 => date(text)?.to_datetime(Time::midnight()),
        0..16 => return None,
        _ => {
            is_dashed(text).then_some(())?;
            if let Some(instant) = full(text).or_else(|| text.parse::<Timestamp>().ok()) {
                return Some(instant);
            }
            text.parse::<DateTime>().ok()?
        }
    };
    civil.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp())
}

/// `2020-05-17T10:30:00Z`, `2020-05-17T10:30:00.123+02:00`: what nearly all are, and read in a fraction of the time of any other form.
fn full(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, length: usize| -> Option<i32> {
        let digits = bytes.get(from..from + length)?;
        digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i32::from(digit - b'0')))
    };
    let two = |from: usize| match bytes.get(from..from + 2) {
        Some([tens @ b'0'..=b'9', ones @ b'0'..=b'9']) => i8::try_from((tens - b'0') * 10 + (ones - b'0')).ok(),
        _ => None,
    };
    let Some([_, _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', _, _, b':', _, _]) = bytes.first_chunk::<19>() else { return None };
    let (fraction, zone) = match bytes.get(19)? {
        b'.' => (number(20, 3)? * 1_000_000, 23),
        _ => (0, 19),
    };
    let offset = match bytes.get(zone..)? {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(zone + 1, 2)?, number(zone + 4, 2).filter(|minutes| *minutes < 60)?);
            (hours * 3_600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let date = Date::new(i16::try_from(number(0, 4)?).ok()?, two(5)?, two(8)?).ok()?;
    let time = Time::new(two(11)?, two(14)?, two(17)?, fraction).ok()?;
    Offset::from_seconds(offset).ok()?.to_timestamp(DateTime::from_parts(date, time)).ok()
}

/// Whether the date before a time is written as FHIR writes it; the parser takes other forms too.
fn is_dashed(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.get(4) == Some(&b'-')
        && bytes.get(7) == Some(&b'-')
        && !bytes.starts_with(b"0000")
        && bytes.first().is_some_and(u8::is_ascii_digit)
}

/// `YYYY`, `YYYY-MM` or `YYYY-MM-DD`, the missing parts being the first.
pub(super) fn date(text: &str) -> Option<Date> {
    let digits = |from: usize, to: usize| -> Option<i16> {
        let part = text.get(from..to)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
    };
    let dashed = |at: usize| text.as_bytes().get(at) == Some(&b'-');
    let year = digits(0, 4).filter(|year| *year > 0)?;
    let month = if text.len() >= 7 && dashed(4) { digits(5, 7)? } else { 1 };
    let day = if text.len() >= 10 && dashed(7) { digits(8, 10)? } else { 1 };
    let shape_holds = matches!(text.len(), 4) || (text.len() == 7 && dashed(4)) || (text.len() == 10 && dashed(4) && dashed(7));
    if !shape_holds {
        return None;
    }
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_precision_means_its_first_local_instant() {
        let zone = TimeZone::get("America/New_York").expect("a known zone");
        let shown = |text: &str| parse(text, &zone).map(|instant| instant.to_string()).unwrap_or_default();
        assert_eq!(shown("2020"), "2020-01-01T05:00:00Z");
        assert_eq!(shown("2020-07"), "2020-07-01T04:00:00Z");
        assert_eq!(shown("2020-07-04"), "2020-07-04T04:00:00Z");
        assert_eq!(shown("2020-07-04T10:30"), "2020-07-04T14:30:00Z");
        assert_eq!(shown("2020-07-04T10:30:01.5"), "2020-07-04T14:30:01.5Z");
        assert_eq!(shown("2020-07-04T10:30:00Z"), "2020-07-04T10:30:00Z");
        assert_eq!(shown("2020-07-04T10:30:00.123+02:15"), "2020-07-04T08:15:00.123Z");
    }

    #[test]
    fn the_quick_way_agrees_with_the_other() {
        for text in [
            "2020-02-29T23:59:59Z",
            "1970-07-20T12:31:08-04:00",
            "2180-05-06T22:23:00.123+05:45",
            "0001-01-01T00:00:00+14:00",
            "9999-12-30T00:00:00-12:00",
        ] {
            assert!(full(text).is_some() && full(text) == text.parse().ok(), "{text}");
        }
        for text in [
            "2021-02-29T00:00:00Z",
            "2020-01-01T24:00:00Z",
            "2020-01-01T00:00:00",
            "2020-01-01T00:00:60Z",
            "2020-01-01T00:00:00.12Z",
            "2020-01-01T00:00:00+0100",
        ] {
            assert!(full(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "20",
            "2020-13",
            "2020-02-30",
            "2020-1-1",
            "0000",
            "20200704",
            "yesterday",
            "2020-07-04T",
            "2020-07-04T25:00:00Z",
            "ünï-07-04",
        ] {
            assert!(parse(text, &TimeZone::UTC).is_none(), "{text}");
        }
    }
}
