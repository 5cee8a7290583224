//! Functions of spans: `make_interval`, and what operators of intervals and casts are made into.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::spans::{INTERVAL, Span, intervals, is_span, out_of_range, spans};

/// The parts of `make_interval`, in their order.
pub(crate) const PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];

/// What is made of spans, or into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Of {
    /// `interval * number`
    Times,
    /// `interval / number`
    Over,
    /// How many microseconds it lasts, by which two are compared.
    Micros,
    /// `interval::text`
    Text,
    /// `make_interval(years, months, weeks, days, hours, mins, secs)`
    Parts,
}

impl Of {
    /// The function.
    pub(super) fn function(self) -> ScalarUDF {
        ScalarUDF::from(OfSpans { of: self, signature: Signature::user_defined(Volatility::Immutable) })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Times => "interval_times",
            Self::Over => "interval_over",
            Self::Micros => "interval_micros",
            Self::Text => "interval_text",
            Self::Parts => "make_interval",
        }
    }

    fn of(self, arrays: &[ArrayRef]) -> Result<ArrayRef> {
        Ok(match (self, arrays) {
            (Self::Times | Self::Over, [lengths, numbers]) => {
                let pairs = spans(lengths)?.into_iter().zip(numbers.as_primitive::<Float64Type>().iter());
                intervals(pairs.map(|(span, number)| self.scaled(span, number)).collect::<Result<Vec<_>>>()?)?
            }
            (Self::Micros, [lengths]) => Arc::new(spans(lengths)?.into_iter().map(|span| span.map(Span::total)).collect::<Int64Array>()),
            (Self::Text, [lengths]) => {
                Arc::new(spans(lengths)?.into_iter().map(|span| span.map(|span| span.to_string())).collect::<StringArray>())
            }
            (Self::Parts, [whole @ .., seconds]) => {
                let seconds = seconds.as_primitive::<Float64Type>();
                let rows = seconds.iter().enumerate().map(|(row, seconds)| made(whole, seconds, row));
                intervals(rows.collect::<Result<Vec<_>>>()?)?
            }
            _ => return exec_err!("{} of other arguments", self.name()),
        })
    }

    fn scaled(self, span: Option<Span>, number: Option<f64>) -> Result<Option<Span>> {
        let (Some(span), Some(number)) = (span, number) else { return Ok(None) };
        if self == Self::Over && number == 0.0 {
            return Err(ArrowError::DivideByZero.into());
        }
        let by = |length: f64| if self == Self::Over { length / number } else { length * number };
        span.scaled(by).map(Some).ok_or_else(out_of_range)
    }
}

/// The span of a row's whole parts and its seconds; NULL where one of them is NULL.
fn made(whole: &[ArrayRef], seconds: Option<f64>, row: usize) -> Result<Option<Span>> {
    let parts = whole.iter().map(|part| part.as_primitive::<Int64Type>()).map(|part| part.is_valid(row).then(|| part.value(row)));
    let (Some(parts), Some(seconds)) = (parts.collect::<Option<Vec<_>>>(), seconds) else { return Ok(None) };
    let [years, months, weeks, days, hours, minutes] = parts[..] else { return exec_err!("make_interval has seven parts") };
    let micros = (seconds * 1e6).round_ties_even();
    let span = || {
        let months = years.checked_mul(12)?.checked_add(months)?;
        let days = weeks.checked_mul(7)?.checked_add(days)?;
        let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
        let micros = (micros.abs() < 9.2e18).then_some(micros as i64)?;
        let micros = minutes.checked_mul(60_000_000)?.checked_add(micros)?;
        Some(Span { months: i32::try_from(months).ok()?, days: i32::try_from(days).ok()?, micros })
    };
    span().map(Some).ok_or_else(out_of_range)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfSpans {
    of: Of,
    signature: Signature,
}

impl ScalarUDFImpl for OfSpans {
    fn name(&self) -> &'static str {
        self.of.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.of {
            Of::Micros => DataType::Int64,
            Of::Text => DataType::Utf8,
            Of::Times | Of::Over | Of::Parts => INTERVAL,
        })
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(match (self.of, arguments) {
            (Of::Times | Of::Over, [span, _]) if is_span(span) => vec![span.clone(), DataType::Float64],
            (Of::Micros | Of::Text, [span]) if is_span(span) => vec![span.clone()],
            (Of::Parts, [whole @ .., _]) if whole.len() == PARTS.len() - 1 => {
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
