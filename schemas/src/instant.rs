//! How far instants reach in the tables. A clock may be broken; what it says must not be the one row that no query can read.

use jiff::Timestamp;

/// 0001-01-01T00:00:00Z: the month and the year of an earlier instant would begin before any that can be told.
pub const FIRST: Timestamp = Timestamp::constant(-62_135_596_800, 0);
/// 9999-12-30T22:00:00Z: the last one that can be read back from microseconds. [`Timestamp::MAX`] lies behind it.
pub const LAST: Timestamp = Timestamp::constant(253_402_207_200, 0);

/// The instant itself, or the nearest one that the tables can hold.
#[must_use]
pub fn nearest(at: Timestamp) -> Timestamp {
    at.clamp(FIRST, LAST)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    /// Whatever a clock says can be written, read, and asked for its year.
    #[test]
    fn every_instant_comes_back_from_the_tables() {
        let usual = Timestamp::constant(1_600_000_000, 999_999_999);
        for at in [Timestamp::MIN, FIRST, Timestamp::UNIX_EPOCH, usual, LAST, Timestamp::MAX] {
            let read = Timestamp::from_microsecond(nearest(at).as_microsecond()).expect("it can be read");
            let year = TimeZone::UTC.to_datetime(read).first_of_year();
            assert!(year.to_zoned(TimeZone::UTC).is_ok(), "{at}");
        }
        assert_eq!(nearest(usual), usual);
        assert_eq!((FIRST.to_string(), LAST.to_string()), ("0001-01-01T00:00:00Z".to_owned(), "9999-12-30T22:00:00Z".to_owned()));
    }
}
