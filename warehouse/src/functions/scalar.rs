//! Derivations of ids in SQL, by the same rules as everywhere.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use schemas::{EncounterId, Facility, Identifier, NoteId, PatientId};
use sha2::Digest as _;

fn texts(values: &[ColumnarValue]) -> Result<Vec<ArrayRef>> {
    let arrays = ColumnarValue::values_to_arrays(values)?;
    arrays.iter().map(|array| Ok(cast(array, &DataType::Utf8)?)).collect()
}

/// `permille(text)`: 0..1000 by hash, the same for ever, so that new data never moves an old patient.
pub fn permille() -> ScalarUDF {
    let of = |text: &str| {
        let digest = sha2::Sha256::digest(text.as_bytes());
        let head = digest.iter().take(4).fold(0_u64, |head, byte| head << 8 | u64::from(*byte));
        i64::try_from(head % 1_000).unwrap_or(0)
    };
    let body = move |values: &[ColumnarValue]| {
        let arrays = texts(values)?;
        let [stated] = arrays.as_slice() else { return datafusion::common::exec_err!("permille(text)") };
        let hashed: Int64Array = stated.as_string::<i32>().iter().map(|text| text.map(of)).collect();
        Ok(ColumnarValue::Array(Arc::new(hashed)))
    };
    create_udf("permille", vec![DataType::Utf8], DataType::Int64, Volatility::Immutable, Arc::new(body))
}

/// `digest_head(digest)`: the first sixteen hexadecimal digits as one whole number, which is grouped by sooner than a text; 0 of what is no digest.
pub fn digest_head() -> ScalarUDF {
    let of = |digest: &str| digest.get(..16).and_then(|head| u64::from_str_radix(head, 16).ok()).unwrap_or(0).cast_signed();
    let body = move |values: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(values)?;
        let [digests] = arrays.as_slice() else { return datafusion::common::exec_err!("digest_head(digest)") };
        let heads: Int64Array = digests.as_string_view().iter().map(|digest| digest.map(of)).collect();
        Ok(ColumnarValue::Array(Arc::new(heads)))
    };
    create_udf("digest_head", vec![DataType::Utf8View], DataType::Int64, Volatility::Immutable, Arc::new(body))
}

/// `text_hash(text)`: a whole number that is the same for the same text within a query, and grouped by sooner than the text.
pub fn text_hash() -> ScalarUDF {
    let of = |text: &str| {
        let mut hasher = std::hash::DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish().cast_signed()
    };
    let body = move |values: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(values)?;
        let [stated] = arrays.as_slice() else { return datafusion::common::exec_err!("text_hash(text)") };
        let hashes: Int64Array = stated.as_string_view().iter().map(|text| text.map(of)).collect();
        Ok(ColumnarValue::Array(Arc::new(hashes)))
    };
    create_udf("text_hash", vec![DataType::Utf8View], DataType::Int64, Volatility::Immutable, Arc::new(body))
}

/// `patient_identity(facility, 'system|value')`: the patient's id.
pub fn patient_identity() -> ScalarUDF {
    identity("patient_identity", |facility, stated| {
        let (system, value) = stated.split_once('|').unwrap_or(("", stated));
        PatientId::derive(facility, &Identifier { system: system.to_owned(), value: value.to_owned() }).to_string()
    })
}

/// `encounter_identity(facility, visit_number)`: the visit's id.
pub fn encounter_identity() -> ScalarUDF {
    identity("encounter_identity", |facility, visit| EncounterId::derive(facility, visit).to_string())
}

/// `note_identity(facility, document_number)`: the note's id.
pub fn note_identity() -> ScalarUDF {
    identity("note_identity", |facility, document| NoteId::derive(facility, document).to_string())
}

/// A function of a facility's name and of what names a thing there.
fn identity(name: &'static str, of: fn(&Facility, &str) -> String) -> ScalarUDF {
    let body = move |values: &[ColumnarValue]| {
        let arrays = texts(values)?;
        let [facilities, stated] = arrays.as_slice() else { return datafusion::common::exec_err!("{name}(facility, stated)") };
        let pairs = facilities.as_string::<i32>().iter().zip(stated.as_string::<i32>().iter());
        let ids: StringArray = pairs.map(|(facility, stated)| Some(of(&Facility::new(facility?), stated?))).collect();
        Ok(ColumnarValue::Array(Arc::new(ids)))
    };
    create_udf(name, vec![DataType::Utf8, DataType::Utf8], DataType::Utf8, Volatility::Immutable, Arc::new(body))
}
