//! PostgreSQL's functions of one row that the engine lacks and that need nothing else: `quote_literal`, `num_nulls`, `num_nonnulls`, `isfinite` and `make_timestamp`.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, Int32Array, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use jiff::civil::Date;

use crate::literal;

/// All of them.
pub(super) fn all() -> [ScalarUDF; 5] {
    [Of::Literal, Of::Nulls, Of::Values, Of::Finite, Of::Instant]
        .map(|of| ScalarUDF::from(Plain { of, signature: Signature::user_defined(Volatility::Immutable) }))
}

/// What is asked of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Of {
    /// `quote_literal(x)`: how a statement writes the value.
    Literal,
    /// `num_nulls(..)`: how many of the values are NULL.
    Nulls,
    /// `num_nonnulls(..)`: how many are not.
    Values,
    /// `isfinite(x)`: whether a day, an instant or a span ends; here each does.
    Finite,
    /// `make_timestamp(year, month, day, hour, min, sec)`, by no clock of any place.
    Instant,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Self::Literal => "quote_literal",
            Self::Nulls => "num_nulls",
            Self::Values => "num_nonnulls",
            Self::Finite => "isfinite",
            Self::Instant => "make_timestamp",
        }
    }

    fn of(self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let made: ArrayRef = match (self, columns) {
            (Self::Literal, [texts]) => Arc::new(texts.as_string::<i32>().iter().map(|text| text.map(written)).collect::<StringArray>()),
            (Self::Nulls, columns) => Arc::new(counted(columns, |is_null| is_null)),
            (Self::Values, columns) => Arc::new(counted(columns, |is_null| !is_null)),
            (Self::Finite, [column]) => {
                let nulls = column.logical_nulls();
                let of_row = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)).then_some(true);
                Arc::new((0..column.len()).map(of_row).collect::<BooleanArray>())
            }
            (Self::Instant, [whole @ .., seconds]) => {
                let seconds = seconds.as_primitive::<Float64Type>();
                let rows = seconds.iter().enumerate().map(|(row, seconds)| instant(whole, seconds, row));
                Arc::new(rows.collect::<Result<TimestampMicrosecondArray>>()?)
            }
            _ => return exec_err!("{} of other arguments", self.name()),
        };
        Ok(made)
    }
}

/// A text as a statement writes it; with a backslash it is one that knows escapes (`quote_literal_internal` in PostgreSQL's `src/backend/utils/adt/quote.c`).
fn written(text: &str) -> String {
    let quoted = literal::quoted(text);
    if text.contains('\\') { format!("E{}", quoted.replace('\\', "\\\\")) } else { quoted }
}

/// How many values of each row are wanted, by whether they are NULL.
fn counted(columns: &[ArrayRef], is_wanted: impl Fn(bool) -> bool) -> Int32Array {
    let nulls: Vec<_> = columns.iter().map(|column| column.logical_nulls()).collect();
    let rows = columns.first().map_or(0, |column| column.len());
    let of_row = |row: usize| {
        let wanted = nulls.iter().filter(|nulls| is_wanted(nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))));
        i32::try_from(wanted.count()).ok()
    };
    (0..rows).map(of_row).collect()
}

fn beyond() -> DataFusionError {
    exec_datafusion_err!("date/time field value out of range")
}

/// Microseconds from 1970 on; NULL where a part is NULL (`make_timestamp_internal` in PostgreSQL's `src/backend/utils/adt/timestamp.c`). Years before Christ are below zero.
fn instant(whole: &[ArrayRef], seconds: Option<f64>, row: usize) -> Result<Option<i64>> {
    let parts = whole.iter().map(|part| part.as_primitive::<Int64Type>()).map(|part| part.is_valid(row).then(|| part.value(row)));
    let (Some(parts), Some(seconds)) = (parts.collect::<Option<Vec<_>>>(), seconds) else { return Ok(None) };
    let [year, month, day, hour, minute] = parts[..] else { return exec_err!("make_timestamp has six parts") };
    let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..=60.0).contains(&seconds);
    let is_midnight = hour == 24 && minute == 0 && seconds == 0.0;
    if year == 0 || !is_time && !is_midnight {
        return Err(beyond());
    }
    // There is no year zero, but for whoever counts.
    let year = i16::try_from(if year < 0 { year + 1 } else { year }).map_err(|_| beyond())?;
    let number = |part: i64| i8::try_from(part).map_err(|_| beyond());
    let date = Date::new(year, number(month)?, number(day)?).map_err(|_| beyond())?;
    let minutes = date.duration_since(Date::constant(1970, 1, 1)).as_mins() + 60 * hour + minute;
    Ok(Some(minutes * 60_000_000 + (seconds * 1e6).round_ties_even() as i64))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Plain {
    of: Of,
    signature: Signature,
}

impl ScalarUDFImpl for Plain {
    fn name(&self) -> &'static str {
        self.of.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.of {
            Of::Literal => DataType::Utf8,
            Of::Nulls | Of::Values => DataType::Int32,
            Of::Finite => DataType::Boolean,
            Of::Instant => DataType::Timestamp(TimeUnit::Microsecond, None),
        })
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let is_time = |kind: &DataType| kind.is_temporal() || kind.is_null();
        let is_whole = |kind: &DataType| kind.is_integer() || kind.is_null();
        Ok(match (self.of, arguments) {
            (Of::Literal, [_]) => vec![DataType::Utf8],
            (Of::Nulls | Of::Values, [_, ..]) => arguments.to_vec(),
            (Of::Finite, [kind]) if is_time(kind) => arguments.to_vec(),
            (Of::Instant, [whole @ .., seconds])
                if whole.len() == 5 && whole.iter().all(is_whole) && (seconds.is_numeric() || seconds.is_null()) =>
            {
                whole.iter().map(|_| DataType::Int64).chain([DataType::Float64]).collect()
            }
            _ => {
                let kinds = arguments.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                return plan_err!("No function matches {}({kinds})", self.of.name());
            }
        })
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        make_scalar_function(|columns: &[ArrayRef]| self.of.of(columns), Vec::new())(&call.args)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn answered(expr: &str) -> Result<String> {
        let ctx = SessionContext::new();
        all().into_iter().for_each(|function| ctx.register_udf(function));
        let sql = format!("SELECT {expr} FROM (VALUES ('O''Hara', 5, NULL::INT, TIMESTAMP '2024-01-31')) AS t(text, n, no, at)");
        let rows = pretty_format_batches(&ctx.sql(&sql).await?.collect().await?)?.to_string();
        Ok(rows.lines().nth(3).map(|line| line.trim_matches(['|', ' ']).to_owned()).unwrap_or_default())
    }

    /// As PostgreSQL 15 answers.
    #[tokio::test]
    async fn rows_are_answered_as_by_postgresql() {
        for (expr, wanted) in [
            ("quote_literal(text)", "'O''Hara'"),
            ("quote_literal('a\\b''c')", "E'a\\\\b''c'"),
            ("quote_literal(n)", "'5'"),
            ("quote_literal(no)", ""),
            ("num_nulls(text, no, NULL, 1)", "2"),
            ("num_nonnulls(text, no, NULL, 1)", "2"),
            ("num_nonnulls(no)", "0"),
            ("isfinite(at)", "true"),
            ("isfinite(DATE '2024-01-31')", "true"),
            ("isfinite(NULL)", ""),
            ("make_timestamp(2024, 2, 29, 8, n, 1.5)", "2024-02-29T08:05:01.500"),
            ("make_timestamp(1969, 12, 31, 23, 59, 60)", "1970-01-01T00:00:00"),
            ("make_timestamp(2024, 12, 31, 24, 0, 0)", "2025-01-01T00:00:00"),
            ("make_timestamp(2024, no, 29, 8, 0, 0)", ""),
            ("make_timestamp(-1, 2, 29, 0, 0, 0)", "0000-02-29T00:00:00"),
        ] {
            assert_eq!(answered(expr).await.unwrap_or_else(|error| panic!("{expr}: {error}")), wanted, "{expr}");
        }
    }

    #[tokio::test]
    async fn what_is_no_instant_and_what_fits_no_function_is_refused() {
        for (expr, words) in [
            ("make_timestamp(2023, 2, 29, 0, 0, 0)", "out of range"),
            ("make_timestamp(0, 2, 1, 0, 0, 0)", "out of range"),
            ("make_timestamp(2024, 13, 1, 0, 0, 0)", "out of range"),
            ("make_timestamp(2024, 1, 1, 24, 0, 1)", "out of range"),
            ("make_timestamp(2024, 1, 1, 0, 0, 60.5)", "out of range"),
            ("make_timestamp(2024, 1, 1, 0, 0)", "No function matches"),
            ("make_timestamp(2024.5, 1, 1, 0, 0, 0)", "No function matches"),
            ("isfinite(text)", "No function matches"),
        ] {
            let refused = answered(expr).await.expect_err(expr).to_string();
            assert!(refused.contains(words), "{expr}: {refused}");
        }
    }
}
