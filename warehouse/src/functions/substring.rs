//! `substring_match(text, pattern)`, which is what `substring(text FROM 'pattern')` stands for: the part of a text that a regular expression finds, or of
//! it the first group. The engine's own `substring` knows positions alone.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, StringArray};
use datafusion::arrow::compute::kernels::regexp::regexp_match;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};

/// The function.
pub fn substring_match() -> ScalarUDF {
    let body = |values: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(values)?;
        let [texts, patterns] = arrays.as_slice() else { return exec_err!("substring_match(text, pattern)") };
        let matched = regexp_match(texts, patterns, None)?;
        let groups = matched.as_list::<i32>();
        let first = |row: usize| {
            let found = groups.is_valid(row).then(|| groups.value(row))?;
            let found = found.as_string::<i32>();
            (!found.is_empty() && found.is_valid(0)).then(|| found.value(0).to_owned())
        };
        let parts: StringArray = (0..groups.len()).map(first).collect();
        Ok(ColumnarValue::Array(Arc::new(parts)))
    };
    create_udf("substring_match", vec![DataType::Utf8, DataType::Utf8], DataType::Utf8, Volatility::Immutable, Arc::new(body))
}
