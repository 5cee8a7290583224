//! Spans of time as PostgreSQL counts them: months, days and microseconds. A month has thirty days and a day 24 hours where two are held to one another
//! (`interval_cmp_value` in PostgreSQL's `src/backend/utils/adt/timestamp.c`) and where a part of one is taken (`interval_mul`, `interval_div`).
//!
//! The engine has two kinds of them: intervals, which it compares by their months first, and durations, which are what lies between two instants, and count no days.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, IntervalMonthDayNanoArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, DurationMicrosecondType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::error::DataFusionError;

/// What functions of spans give.
pub(crate) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

const DAY_MICROS: i64 = 86_400_000_000;
const DAY_SECONDS: f64 = 86_400.0;

/// Whether values of the type are spans.
pub(crate) fn is_span(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval(_) | DataType::Duration(_))
}

/// One span, whose parts may have different signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

impl Span {
    /// What lies between two instants: whole days, and the rest.
    fn between(micros: i64) -> Self {
        // 64 bits of microseconds are a hundred million days.
        Self { months: 0, days: i32::try_from(micros / DAY_MICROS).unwrap_or_default(), micros: micros % DAY_MICROS }
    }

    /// Its microseconds, by which it is held to others; what lies beyond 292,000 years counts as that.
    pub(crate) fn total(self) -> i64 {
        let days = 30 * i128::from(self.months) + i128::from(self.days);
        let total = days * i128::from(DAY_MICROS) + i128::from(self.micros);
        i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX })
    }

    /// Its seconds as `extract(epoch FROM x)` tells them, where a year has 365.25 days.
    pub(crate) fn seconds(self) -> f64 {
        let days = 365.25 * f64::from(self.months / 12) + 30.0 * f64::from(self.months % 12) + f64::from(self.days);
        days * DAY_SECONDS + self.micros as f64 / 1e6
    }

    /// As many times as long, or as short, as `by` makes of a number. What is left of a month becomes days, and what is left of a day time. `None` where it is out of range.
    pub(crate) fn scaled(self, by: impl Fn(f64) -> f64) -> Option<Self> {
        let rounded = |number: f64| (number * 1e6).round_ties_even() / 1e6;
        let (months, days) = (by(f64::from(self.months)), by(f64::from(self.days)));
        let days_left = rounded((months - months.trunc()) * 30.0);
        let seconds = rounded((days - days.trunc() + days_left - days_left.trunc()) * DAY_SECONDS);
        let days_more = (seconds / DAY_SECONDS).trunc();
        let days = days.trunc() + days_left.trunc() + days_more;
        let micros = (by(self.micros as f64) + (seconds - days_more * DAY_SECONDS) * 1e6).round_ties_even();
        // Of a number that is none, neither holds.
        let is_in_range = months.abs() <= f64::from(i32::MAX) && days.abs() <= f64::from(i32::MAX) && micros.abs() < 9.2e18;
        is_in_range.then_some(Self { months: months.trunc() as i32, days: days as i32, micros: micros as i64 })
    }
}

/// As PostgreSQL writes it: `1 year 2 mons -3 days +04:05:06.5` (`EncodeInterval` in `datetime.c`).
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut between, mut is_before) = ("", false);
        for (number, unit) in [(self.months / 12, "year"), (self.months % 12, "mon"), (self.days, "day")] {
            if number != 0 {
                let sign = if is_before && number > 0 { "+" } else { "" };
                write!(f, "{between}{sign}{number} {unit}{}", if number == 1 { "" } else { "s" })?;
                (between, is_before) = (" ", number < 0);
            }
        }
        if self.micros == 0 && !between.is_empty() {
            return Ok(());
        }
        let sign = if self.micros < 0 {
            "-"
        } else if is_before {
            "+"
        } else {
            ""
        };
        let (seconds, micros) = (self.micros.unsigned_abs() / 1_000_000, self.micros.unsigned_abs() % 1_000_000);
        write!(f, "{between}{sign}{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)?;
        if micros == 0 { Ok(()) } else { write!(f, ".{}", format!("{micros:06}").trim_end_matches('0')) }
    }
}

/// The spans of a column of intervals or durations.
///
/// # Errors
/// Where the column holds others.
pub(crate) fn spans(array: &ArrayRef) -> Result<Vec<Option<Span>>> {
    if matches!(array.data_type(), DataType::Duration(_)) {
        let micros = cast(array, &DataType::Duration(TimeUnit::Microsecond))?;
        return Ok(micros.as_primitive::<DurationMicrosecondType>().iter().map(|micros| micros.map(Span::between)).collect());
    }
    let intervals = cast(array, &INTERVAL)?;
    let span = |interval: IntervalMonthDayNano| Span { months: interval.months, days: interval.days, micros: interval.nanoseconds / 1_000 };
    Ok(intervals.as_primitive::<IntervalMonthDayNanoType>().iter().map(|interval| interval.map(span)).collect())
}

/// A column of intervals.
///
/// # Errors
/// Where the time of one is longer than 292 years.
pub(crate) fn intervals(spans: impl IntoIterator<Item = Option<Span>>) -> Result<ArrayRef> {
    let interval = |span: Span| -> Result<IntervalMonthDayNano> {
        let nanos = span.micros.checked_mul(1_000).ok_or_else(out_of_range)?;
        Ok(IntervalMonthDayNano::new(span.months, span.days, nanos))
    };
    let intervals = spans.into_iter().map(|span| span.map(interval).transpose()).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(IntervalMonthDayNanoArray::from(intervals)))
}

pub(super) fn out_of_range() -> DataFusionError {
    exec_datafusion_err!("interval out of range")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Span = Span { months: 0, days: 1, micros: 0 };
    const MONTH: Span = Span { months: 1, days: 0, micros: 0 };

    /// As PostgreSQL 15 writes them.
    #[test]
    fn spans_are_written_as_postgresql_writes_them() {
        for ((months, days, micros), wanted) in [
            ((0, 0, 0), "00:00:00"),
            ((14, 1, 0), "1 year 2 mons 1 day"),
            ((-1, 2, 500_000), "-1 mons +2 days 00:00:00.5"),
            ((0, -1, 3_600_000_000), "-1 days +01:00:00"),
            ((0, 2, -90_000_000), "2 days -00:01:30"),
            ((0, 0, 360_000_000_000), "100:00:00"),
        ] {
            assert_eq!(Span { months, days, micros }.to_string(), wanted);
        }
    }

    /// As PostgreSQL 15 answers `interval '1 month' * 1.5` and its like.
    #[test]
    fn parts_of_months_are_days_and_parts_of_days_are_time() {
        let text = |span: Option<Span>| span.expect("is in range").to_string();
        assert_eq!(text(DAY.scaled(|number| number * 3.0)), "3 days");
        assert_eq!(text(DAY.scaled(|number| number / 2.0)), "12:00:00");
        assert_eq!(text(MONTH.scaled(|number| number * 1.5)), "1 mon 15 days");
        assert_eq!(text(MONTH.scaled(|number| number / 7.0)), "4 days 06:51:25.6896");
        assert_eq!(text(Span { months: 13, days: -5, micros: 25_200_000_000 }.scaled(|number| number / 3.0)), "4 mons 9 days -13:40:00");
        assert_eq!(text(Span::between(97 * 3_600_000_000).scaled(|number| number / 2.0)), "2 days 00:30:00");
        assert_eq!(DAY.scaled(|number| number * 1e10), None);
        assert_eq!(DAY.scaled(|_| f64::NAN), None);
    }

    #[test]
    fn a_day_is_24_hours_and_a_month_thirty_days() {
        let hours = |hours: i64| Span { months: 0, days: 0, micros: hours * 3_600_000_000 };
        assert_eq!(DAY.total(), hours(24).total());
        assert!(hours(25).total() > DAY.total() && hours(721).total() > MONTH.total());
        assert_eq!(Span { months: i32::MAX, ..DAY }.total(), i64::MAX);
        assert!((Span { months: 13, ..DAY }.seconds() - (365.25 + 31.0) * 86_400.0).abs() < 1e-6);
    }
}
