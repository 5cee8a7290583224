//! FHIR dates and times to instants.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// The first instant of what a `date`, `dateTime` or `instant` names: `2020`, `2020-05`, `2020-05-17` and times without an offset are
/// read in `zone`. So an event known to the day only is placed at that day's local midnight: it can precede the hour at which the
/// day's other events happened.
pub(super) fn parse(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let text = text.trim();
    let civil = match text.len() {
        4 | 7 | 10 => date(text)?.to_datetime(jiff::civil::Time::midnight()),
        0..16 => return None,
        _ => {
            is_dashed(text).then_some(())?;
            if let Ok(instant) = text.parse::<Timestamp>() {
                return Some(instant);
            }
            text.parse::<DateTime>().ok()?
        }
    };
    civil.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp())
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
