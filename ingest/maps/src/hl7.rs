//! Maps of hl7.

use schemas::Facility;

use crate::Mapped;

/// Maps the bytes of one record into its parts, one or more.
#[must_use]
pub fn map(_bytes: &[u8], _facility: &Facility) -> Vec<Mapped> {
    Vec::new()
}
