//! A number in JSON by its bits: read back it is the same, which JSON's readers do not promise of decimals.

use serde::{Deserialize as _, Deserializer, Serializer};

/// For `#[serde(with = "model::bits")]`.
///
/// # Errors
/// The format's.
pub fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(number.to_bits())
}

/// As [`serialize`].
///
/// # Errors
/// The format's.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    u64::deserialize(from).map(f64::from_bits)
}
