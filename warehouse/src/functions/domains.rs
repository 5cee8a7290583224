//! Functions of numbers that are refused outside of their domain, as PostgreSQL refuses them: the engine's own give infinity, or what is no number.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use super::watched::{Watch, Watched};

/// What is said where a function has no finite value of finite arguments.
const FUNCTIONS: [(&str, &str); 10] = [
    ("ln", "cannot take logarithm of zero or a negative number"),
    ("log", "cannot take logarithm of zero or a negative number"),
    ("log2", "cannot take logarithm of zero or a negative number"),
    ("log10", "cannot take logarithm of zero or a negative number"),
    ("power", "a power is out of range, or yields a complex result"),
    ("exp", "value out of range: overflow"),
    ("sinh", "value out of range: overflow"),
    ("cosh", "value out of range: overflow"),
    ("asin", "input is out of range"),
    ("acos", "input is out of range"),
];

/// The functions that are among `known`, kept to their domains.
pub(crate) fn kept(known: impl Fn(&str) -> Option<Arc<ScalarUDF>>) -> Vec<ScalarUDF> {
    let kept = |(name, outside): &(&'static str, &'static str)| Some(ScalarUDF::from(Watched::new(known(name)?, Outside(outside))));
    FUNCTIONS.iter().filter_map(kept).collect()
}

/// What is said outside of a function's domain.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Outside(&'static str);

impl Outside {
    fn check(&self, arguments: &[ColumnarValue], result: &ColumnarValue, rows: usize) -> Result<()> {
        let numbers = |value: &ColumnarValue| -> Result<ArrayRef> { Ok(cast(&value.to_array(rows)?, &DataType::Float64)?) };
        let result = numbers(result)?;
        let result = result.as_primitive::<Float64Type>();
        let is_strange = |row: usize| result.is_valid(row) && !result.value(row).is_finite();
        if !(0..result.len()).any(is_strange) {
            return Ok(());
        }
        let arguments = arguments.iter().map(numbers).collect::<Result<Vec<_>>>()?;
        let is_finite = |row: usize| arguments.iter().all(|argument| argument.as_primitive::<Float64Type>().value(row).is_finite());
        if (0..result.len()).any(|row| is_strange(row) && is_finite(row)) {
            return exec_err!("{}", self.0);
        }
        Ok(())
    }
}

impl Watch for Outside {
    fn call(&self, function: &ScalarUDF, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (arguments, rows) = (call.args.clone(), call.number_rows.max(1));
        let result = function.invoke_with_args(call)?;
        self.check(&arguments, &result, rows)?;
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn answered(expr: &str) -> Result<String> {
        let ctx = SessionContext::new();
        for function in kept(|name| ctx.state().scalar_functions().get(name).cloned()) {
            ctx.register_udf(function);
        }
        let batches = ctx.sql(&format!("SELECT {expr} FROM (VALUES (0.0, -1.0, 2.0, NULL::float8)) AS t(zero, less, two, no)")).await?;
        let rows = pretty_format_batches(&batches.collect().await?)?.to_string();
        Ok(rows.lines().nth(3).map(|line| line.trim_matches(['|', ' ']).to_owned()).unwrap_or_default())
    }

    #[tokio::test]
    async fn outside_of_its_domain_a_function_is_refused() {
        for wrong in [
            "ln(0)",
            "ln(zero)",
            "log(zero)",
            "log10(less)",
            "power(less, 0.5)",
            "pow(less, 0.5)",
            "exp(two * 1000)",
            "asin(two)",
            "acos(less * 2)",
        ] {
            assert!(answered(wrong).await.is_err(), "{wrong}");
        }
        for (right, value) in [
            ("ln(1)", "0.0"),
            ("ln(no)", ""),
            ("power(two, 3)", "8.0"),
            ("exp(zero)", "1.0"),
            ("exp('inf'::float8)", "inf"),
            ("acos(1)", "0.0"),
        ] {
            assert_eq!(answered(right).await.expect(right), value, "{right}");
        }
    }
}
