//! `date_trunc(unit, x)` of any instant. The engine's own counts nanoseconds since 1970, and so ends in 2262: one record of a mistyped year, or a hospital
//! whose years are shifted, would fail every view that counts by month.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::functions::datetime;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use datafusion::scalar::ScalarValue;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// The engine's, and ours where it has no room for an instant.
pub fn date_trunc() -> ScalarUDF {
    ScalarUDF::from(DateTrunc(datetime::date_trunc()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateTrunc(Arc<ScalarUDF>);

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &'static str {
        "date_trunc"
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    /// Under a name that is left to the engine's own it would take its others back when a session is made of another.
    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.0.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.0.return_field_from_args(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerce_types(arguments)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.0.output_ordering(inputs)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let unit = match arguments.args.first() {
            Some(ColumnarValue::Scalar(unit)) => unit.try_as_str().flatten().map(str::to_lowercase),
            _ => None,
        };
        let (values, rows) = (arguments.args.get(1).cloned(), arguments.number_rows);
        match (self.0.invoke_with_args(arguments), unit, values) {
            (Err(error), Some(unit), Some(values)) if error.to_string().contains("out of range") => {
                match truncated(&unit, &values, rows)? {
                    Some(truncated) => Ok(truncated),
                    None => Err(error),
                }
            }
            (answer, ..) => answer,
        }
    }
}

/// `None` where it is for the engine to say what is wrong.
fn truncated(unit: &str, values: &ColumnarValue, rows: usize) -> Result<Option<ColumnarValue>> {
    let DataType::Timestamp(TimeUnit::Microsecond, zone) = values.data_type() else { return Ok(None) };
    if !zone.as_deref().is_none_or(|zone| matches!(zone, "UTC" | "+00:00" | "Z")) {
        return Ok(None);
    }
    let array = values.to_array(rows)?;
    let mut found = Vec::with_capacity(array.len());
    for value in array.as_primitive::<TimestampMicrosecondType>() {
        let Some(value) = value else {
            found.push(None);
            continue;
        };
        let out_of_range = |_| exec_datafusion_err!("date_trunc: the instant is out of range");
        let reading = TimeZone::UTC.to_datetime(Timestamp::from_microsecond(value).map_err(out_of_range)?);
        let Some(begins) = beginning(unit, reading) else { return Ok(None) };
        let begins = begins.and_then(|begins| begins.to_zoned(TimeZone::UTC)).map_err(out_of_range)?;
        found.push(Some(begins.timestamp().as_microsecond()));
    }
    let found: ArrayRef = Arc::new(TimestampMicrosecondArray::from(found).with_timezone_opt(zone));
    Ok(Some(match values {
        ColumnarValue::Scalar(_) if found.len() == 1 => ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?),
        _ => ColumnarValue::Array(found),
    }))
}

/// When the unit of this reading began.
fn beginning(unit: &str, at: DateTime) -> Option<std::result::Result<DateTime, jiff::Error>> {
    let day = |year: i16, month: i8| Date::new(year, month, 1).map(|date| date.at(0, 0, 0, 0));
    Some(match unit {
        "year" => day(at.year(), 1),
        "quarter" => day(at.year(), (at.month() - 1) / 3 * 3 + 1),
        "month" => day(at.year(), at.month()),
        "week" => {
            let since = at.weekday().since(Weekday::Monday);
            at.date().checked_sub(i64::from(since).days()).map(|date| date.at(0, 0, 0, 0))
        }
        "day" => Ok(at.date().at(0, 0, 0, 0)),
        "hour" => Ok(at.date().at(at.hour(), 0, 0, 0)),
        "minute" => Ok(at.date().at(at.hour(), at.minute(), 0, 0)),
        "second" => Ok(at.date().at(at.hour(), at.minute(), at.second(), 0)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn told(sql: &str) -> Vec<String> {
        let ctx = SessionContext::new();
        ctx.register_udf(date_trunc());
        let rows = ctx.sql(sql).await.expect("plans").collect().await.expect("answers");
        let table = pretty_format_batches(&rows).expect("rows").to_string();
        table.lines().filter(|line| line.starts_with('|')).skip(1).map(|line| line.replace([' ', '|'], "")).collect()
    }

    /// 10 August 2923 is a Tuesday; the same units of a day that the engine has room for are the engine's.
    #[tokio::test]
    async fn units_of_far_years_begin_as_those_of_near_ones() {
        let at = |micros: i64, unit: &str| format!("date_trunc('{unit}', arrow_cast({micros}, 'Timestamp(Microsecond, Some(\"UTC\"))'))");
        let units = ["year", "quarter", "month", "week", "day", "hour", "minute"];
        for (micros, begins) in [
            (
                30_092_912_445_000_000_i64,
                ["2923-01-01", "2923-07-01", "2923-08-01", "2923-08-09", "2923-08-10", "2923-08-10", "2923-08-10"],
            ),
            (1_723_292_445_000_000, ["2024-01-01", "2024-07-01", "2024-08-01", "2024-08-05", "2024-08-10", "2024-08-10", "2024-08-10"]),
        ] {
            for (unit, day) in units.iter().zip(begins) {
                let found = told(&format!("SELECT {} AS t", at(micros, unit))).await;
                assert!(found[0].starts_with(day), "{unit} {found:?}");
            }
            let rows = told(&format!(
                "SELECT {} AS t FROM (VALUES (0), (1)) AS v(x) WHERE x >= 0",
                at(micros, "month").replace(&micros.to_string(), &format!("{micros} + x"))
            ))
            .await;
            assert_eq!(rows.len(), 2);
        }
    }
}
