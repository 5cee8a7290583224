//! `timezone(zone, x)`, which is what `x AT TIME ZONE zone` stands for, and `localtimestamp`, both as PostgreSQL has them: what an instant reads on
//! a clock of the zone, and which instant a reading of that clock is.
//!
//! The engine's own `AT TIME ZONE` gives an instant again, for days of a place that are no days of UTC when they are grouped by, and takes no
//! reading of a clock.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit};
use datafusion::scalar::ScalarValue;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

const READING: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// `timezone(zone, instant)`, `timezone(zone, reading)`.
pub fn timezone() -> ScalarUDF {
    ScalarUDF::from(AtZone(Signature::user_defined(Volatility::Immutable)))
}

/// `localtimestamp`: what a clock of the session's zone, UTC, read when the statement came.
pub fn localtimestamp() -> ScalarUDF {
    ScalarUDF::from(LocalTimestamp(Signature::nullary(Volatility::Stable)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AtZone(Signature);

impl ScalarUDFImpl for AtZone {
    fn name(&self) -> &'static str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(if matches!(arguments, [_, DataType::Timestamp(_, Some(_))]) { READING } else { instant() })
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [zone, from] = arguments else {
            return plan_err!("No function matches timezone with {} arguments: it takes a zone and an instant", arguments.len());
        };
        let from = match from {
            DataType::Timestamp(_, None) => READING,
            DataType::Timestamp(_, Some(_)) | DataType::Date32 | DataType::Date64 | DataType::Null => instant(),
            text if text.is_string() => instant(),
            other => return plan_err!("No function matches timezone({zone}, {other}): it takes a zone's name and an instant"),
        };
        if zone.is_string() || zone.is_null() {
            Ok(vec![DataType::Utf8, from])
        } else {
            plan_err!("No function matches timezone({zone}, ..): a zone is named by a text such as 'Europe/Berlin'")
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [zones, times] = arrays.as_slice() else { return exec_err!("timezone(zone, instant)") };
        let is_instant = matches!(times.data_type(), DataType::Timestamp(_, Some(_)));
        let mut known: Option<(&str, TimeZone)> = None;
        let mut converted = Vec::with_capacity(times.len());
        for (zone, time) in zones.as_string::<i32>().iter().zip(times.as_primitive::<TimestampMicrosecondType>()) {
            let (Some(zone), Some(time)) = (zone, time) else {
                converted.push(None);
                continue;
            };
            if known.as_ref().is_none_or(|(name, _)| *name != zone) {
                known = Some((zone, named(zone)?));
            }
            let moved = known.as_ref().and_then(|(_, tz)| moved(tz, time, is_instant).ok());
            let Some(moved) = moved else { return exec_err!("timezone: the instant is out of range") };
            converted.push(Some(moved.as_microsecond()));
        }
        let converted = TimestampMicrosecondArray::from(converted);
        let converted = if is_instant { converted } else { converted.with_timezone("UTC") };
        Ok(ColumnarValue::Array(Arc::new(converted)))
    }
}

/// The zone of a name as IANA has it. Offsets are refused: PostgreSQL counts them westwards, everybody else eastwards.
fn named(zone: &str) -> Result<TimeZone> {
    let Ok(tz) = TimeZone::get(zone) else {
        return exec_err!("time zone \"{zone}\" not recognized: name it as in 'Europe/Berlin' or 'UTC'");
    };
    Ok(tz)
}

/// Microseconds of an instant to those of the clock's reading, counted as if that were in UTC, or back.
fn moved(tz: &TimeZone, microseconds: i64, is_instant: bool) -> std::result::Result<Timestamp, jiff::Error> {
    let time = Timestamp::from_microsecond(microseconds)?;
    if is_instant {
        return Offset::UTC.to_timestamp(tz.to_datetime(time));
    }
    let reading = Offset::UTC.to_datetime(time);
    offset_of_reading(tz, reading).to_timestamp(reading)
}

/// The offset of a clock's reading. One that comes twice is that of standard time, the later; one that is skipped is read as if the clock had not been put forward.
fn offset_of_reading(tz: &TimeZone, reading: DateTime) -> Offset {
    match tz.to_ambiguous_timestamp(reading).offset() {
        AmbiguousOffset::Unambiguous { offset }
        | AmbiguousOffset::Gap { before: offset, .. }
        | AmbiguousOffset::Fold { after: offset, .. } => offset,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LocalTimestamp(Signature);

impl ScalarUDFImpl for LocalTimestamp {
    fn name(&self) -> &'static str {
        "localtimestamp"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(READING)
    }

    fn simplify(&self, arguments: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(came) = info.query_execution_start_time() else { return Ok(ExprSimplifyResult::Original(arguments)) };
        Ok(ExprSimplifyResult::Simplified(lit(ScalarValue::TimestampMicrosecond(Some(came.timestamp_micros()), None))))
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("localtimestamp is the statement's, and asked outside of one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clocks go forward on 2024-03-31 at 2, and back on 2024-10-27 at 3.
    #[test]
    fn readings_that_are_skipped_or_come_twice_have_one_instant() {
        let berlin = named("Europe/Berlin").expect("a zone");
        let hours = |reading: &str| offset_of_reading(&berlin, reading.parse().expect("a reading")).seconds() / 3_600;
        assert_eq!([hours("2024-01-15T12:00:00"), hours("2024-07-15T12:00:00")], [1, 2]);
        assert_eq!([hours("2024-03-31T02:30:00"), hours("2024-10-27T02:30:00")], [1, 1]);
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        for wrong in ["Mars/Olympus", "+02:00", ""] {
            assert!(named(wrong).expect_err("no zone").to_string().contains("not recognized"), "{wrong}");
        }
    }
}
