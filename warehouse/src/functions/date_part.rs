//! `date_part(field, x)` and `extract(field FROM x)` as PostgreSQL has them. The engine's own cuts seconds off to whole ones, tells all hours of what lies between two
//! instants, days among them, and a year's interval as one of 360 days.

use std::str::FromStr as _;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::cast_utils::IntervalUnit;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::Result;
use datafusion::functions::datetime;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use datafusion::scalar::ScalarValue;

use super::spans::{Span, intervals, is_span, spans};

const MINUTE_MICROS: i64 = 60_000_000;

/// The engine's, but for what it tells otherwise.
pub fn date_part() -> ScalarUDF {
    ScalarUDF::from(DatePart(datetime::date_part()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DatePart(Arc<ScalarUDF>);

/// How many of the engine's microseconds the field counts as one, where it has a fraction.
fn micros(field: Option<&ScalarValue>) -> Option<f64> {
    match IntervalUnit::from_str(name(field)?).ok()? {
        IntervalUnit::Second => Some(1e6),
        IntervalUnit::Millisecond => Some(1e3),
        _ => None,
    }
}

fn name(field: Option<&ScalarValue>) -> Option<&str> {
    Some(field?.try_as_str().flatten()?.trim_matches(['\'', '"']))
}

impl ScalarUDFImpl for DatePart {
    fn name(&self) -> &'static str {
        "date_part"
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
        let has_fraction = micros(arguments.scalar_arguments.first().copied().flatten()).is_some();
        let field = self.0.return_field_from_args(arguments)?;
        Ok(if has_fraction { Arc::new(Field::new(field.name(), DataType::Float64, field.is_nullable())) } else { field })
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerce_types(arguments)
    }

    fn preimage(&self, arguments: &[Expr], value: &Expr, info: &SimplifyContext) -> Result<PreimageResult> {
        self.0.preimage(arguments, value, info)
    }

    fn invoke_with_args(&self, mut call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let field = match call.args.first() {
            Some(ColumnarValue::Scalar(field)) => field.clone(),
            _ => return self.0.invoke_with_args(call),
        };
        let fraction = micros(Some(&field));
        if let Some(value) = call.args.get_mut(1).filter(|value| is_span(&value.data_type())) {
            let is_for_all = matches!(value, ColumnarValue::Scalar(_));
            let spans = spans(&value.to_array(1)?)?;
            let numbers = |number: &dyn Fn(Span) -> f64| -> Result<ColumnarValue> {
                let numbers = spans.iter().map(|span| span.map(number)).collect::<Float64Array>();
                for_all(is_for_all, Arc::new(numbers))
            };
            if name(Some(&field)).is_some_and(|name| name.eq_ignore_ascii_case("epoch")) {
                return numbers(&Span::seconds);
            }
            if let Some(micros) = fraction {
                return numbers(&|span| (span.micros % MINUTE_MICROS) as f64 / micros);
            }
            *value = for_all(is_for_all, intervals(spans)?)?;
        }
        let Some(micros) = fraction else { return self.0.invoke_with_args(call) };
        if let Some(field) = call.args.first_mut() {
            *field = ColumnarValue::Scalar(ScalarValue::from("microsecond"));
        }
        let counted = self.0.invoke_with_args(call)?;
        let is_for_all = matches!(counted, ColumnarValue::Scalar(_));
        let counted = cast(&counted.to_array(1)?, &DataType::Float64)?;
        let parts = counted.as_primitive::<Float64Type>().unary::<_, Float64Type>(|all| all / micros);
        for_all(is_for_all, Arc::new(parts))
    }
}

/// The values of the rows, or the one of all of them.
fn for_all(is_for_all: bool, values: ArrayRef) -> Result<ColumnarValue> {
    Ok(if is_for_all { ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?) } else { ColumnarValue::Array(values) })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn told(expr: &str) -> String {
        let ctx = SessionContext::new();
        ctx.register_udf(date_part());
        let sql = format!(
            "SELECT {expr} FROM (VALUES (TIMESTAMP '2024-01-01', TIMESTAMP '2024-01-05 07:30:15.5'), (NULL, NULL)) AS t(a, b) LIMIT 1"
        );
        let rows = ctx.sql(&sql).await.expect("plans").collect().await.unwrap_or_else(|error| panic!("{expr}: {error}"));
        let rows = pretty_format_batches(&rows).expect("rows").to_string();
        rows.lines().nth(3).map(|line| line.trim_matches(['|', ' ']).to_owned()).unwrap_or_default()
    }

    /// As PostgreSQL 15 answers, of columns and of constants.
    #[tokio::test]
    async fn parts_of_spans_and_seconds_are_postgresql_s() {
        for (field, of, wanted) in [
            ("day", "b - a", "4"),
            ("hour", "b - a", "7"),
            ("minute", "b - a", "30"),
            ("second", "b - a", "15.5"),
            ("epoch", "b - a", "372615.5"),
            ("second", "b", "15.5"),
            ("milliseconds", "b", "15500.0"),
            ("minute", "b", "30"),
            ("second", "TIMESTAMP '2024-03-10 10:11:12.345'", "12.345"),
            ("second", "DATE '2024-03-10'", "0.0"),
            ("epoch", "INTERVAL '13 months'", "34149600.0"),
            ("hour", "INTERVAL '1 day 90 minutes'", "1"),
            ("second", "CAST(NULL AS TIMESTAMP)", ""),
        ] {
            assert_eq!(told(&format!("date_part('{field}', {of})")).await, wanted, "{field} of {of}");
        }
        assert_eq!(told("date_part('year', b) = 2024").await, "true");
    }
}
