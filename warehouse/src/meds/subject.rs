//! Subject ids: 63 bits of a digest of the patient's id, so that any two exports name a patient alike.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use sha2::Digest as _;

/// The subject id of a patient.
fn of(patient_id: &str) -> i64 {
    let mut hasher = sha2::Sha256::new();
    hasher.update(b"meds subject\x1f");
    hasher.update(patient_id.as_bytes());
    let head = hasher.finalize().iter().take(8).fold(0_u64, |head, byte| head << 8 | u64::from(*byte));
    i64::try_from(head >> 1).unwrap_or(0)
}

/// `meds_subject(patient_id)`: the subject id in exports, 0 to 2^63 - 1.
pub fn subject() -> ScalarUDF {
    let body = |values: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(values)?;
        let [stated] = arrays.as_slice() else { return exec_err!("meds_subject(patient_id)") };
        let ids: Int64Array = cast(stated, &DataType::Utf8)?.as_string::<i32>().iter().map(|text| text.map(of)).collect();
        Ok(ColumnarValue::Array(Arc::new(ids)))
    };
    create_udf("meds_subject", vec![DataType::Utf8], DataType::Int64, Volatility::Immutable, Arc::new(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patient_has_one_subject_id_for_ever() {
        assert_eq!(of("8d5c1df7-d1a0-5cf8-85d6-e444c92ae52b"), of("8d5c1df7-d1a0-5cf8-85d6-e444c92ae52b"));
        assert!((0..1_000).all(|n| of(&n.to_string()) >= 0));
        assert_ne!(of("a"), of("b"));
    }
}
