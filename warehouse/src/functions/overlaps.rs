//! `overlaps(begins, ends, begins, ends)`, which is what `(begins, ends) OVERLAPS (begins, ends)` stands for: whether two periods have an instant in common, each without its
//! end (`overlaps_timestamp` in PostgreSQL's `src/backend/utils/adt/timestamp.c`). Of a period whose end is not known it is said what its beginning says.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, BooleanArray};
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The function.
pub(super) fn overlaps() -> ScalarUDF {
    ScalarUDF::from(Overlaps(Signature::user_defined(Volatility::Immutable)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Overlaps(Signature);

impl ScalarUDFImpl for Overlaps {
    fn name(&self) -> &'static str {
        "overlaps"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let is_instant = |kind: &DataType| matches!(kind, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) | DataType::Null);
        if arguments.len() != 4 || !arguments.iter().all(|kind| is_instant(kind) || kind.is_string()) {
            let kinds = arguments.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return plan_err!("No function matches overlaps({kinds}): it takes the beginning and the end of two periods, as instants");
        }
        Ok(vec![DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())); 4])
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        make_scalar_function(found, Vec::new())(&call.args)
    }
}

/// Whether the two periods of each row have a moment in common.
fn found(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let [first, until, second, end] = columns else { return exec_err!("overlaps of two periods") };
    let [first, until] = [first, until].map(|array| array.as_primitive::<TimestampMicrosecondType>().iter());
    let [second, end] = [second, end].map(|array| array.as_primitive::<TimestampMicrosecondType>().iter());
    let periods = first.zip(until).zip(second.zip(end));
    Ok(Arc::new(periods.map(|(one, other)| have_common(period(one)?, period(other)?)).collect::<BooleanArray>()))
}

/// The earlier of the two instants, and the later where both are known.
fn period((one, other): (Option<i64>, Option<i64>)) -> Option<(i64, Option<i64>)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.min(other), Some(one.max(other)))),
        (one, other) => one.or(other).map(|known| (known, None)),
    }
}

fn have_common((one, one_ends): (i64, Option<i64>), (other, other_ends): (i64, Option<i64>)) -> Option<bool> {
    let later = |begins: i64, ends: Option<i64>, before: Option<i64>| if begins < before? { Some(true) } else { ends.map(|_| false) };
    match one.cmp(&other) {
        Ordering::Greater => later(one, one_ends, other_ends),
        Ordering::Less => later(other, other_ends, one_ends),
        Ordering::Equal => one_ends.and(other_ends).map(|_| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PostgreSQL 15 answers `(one) OVERLAPS (other)`, either way.
    #[test]
    fn periods_have_an_instant_in_common_or_not() {
        for (one, other, wanted) in [
            ((Some(1), Some(1)), (Some(1), Some(1)), Some(true)),
            ((Some(1), Some(2)), (Some(2), Some(3)), Some(false)),
            ((Some(3), Some(1)), (Some(2), Some(4)), Some(true)),
            ((Some(1), None), (Some(2), Some(3)), None),
            ((Some(2), None), (Some(1), Some(3)), Some(true)),
            ((Some(5), None), (Some(1), Some(3)), None),
            ((Some(1), None), (Some(1), Some(3)), None),
            ((None, None), (Some(1), Some(3)), None),
        ] {
            let found = |one, other| have_common(period(one)?, period(other)?);
            assert_eq!((found(one, other), found(other, one)), (wanted, wanted), "{one:?} {other:?}");
        }
    }
}
