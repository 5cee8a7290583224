//! Identifiers. Each is derived from what it names, so that a replay gives the same id; none shows a person in `Debug`.

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use uuid::Uuid;

use crate::facility::Facility;

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The bare UUID, for storage.
            #[must_use]
            pub fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_newtype!(
    /// One identity of a patient, before merges are resolved.
    PatientId
);
uuid_newtype!(
    /// One hospital stay. Derived from the visit number, so a replay gives the same id.
    EncounterId
);
uuid_newtype!(
    /// One note through all its versions.
    NoteId
);
uuid_newtype!(
    /// One version of a note: the note and the digest of what it said.
    NoteVersionId
);
uuid_newtype!(
    /// One insurance claim.
    ClaimId
);
uuid_newtype!(
    /// One fact of one message; the same bytes sent twice give the same id.
    EventId
);
uuid_newtype!(
    /// One published prediction or retraction.
    PredictionId
);

/// A record number as the sender wrote it: the assigning authority (may be empty) and the value. It names a person:
/// `Debug` is blind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identifier {
    /// Assigning authority, `urn:` or URL; empty where the sender gave none.
    pub system: String,
    /// The number itself.
    pub value: String,
}

impl std::fmt::Debug for Identifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identifier(..)")
    }
}

/// Joins the parts of a name without ambiguity: the unit separator cannot stand in a field that a map let through.
fn name(kind: &str, parts: &[&str]) -> Vec<u8> {
    let mut bytes = kind.as_bytes().to_vec();
    for part in parts {
        bytes.push(0x1f);
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

fn derive(namespace: &Uuid, kind: &str, parts: &[&str]) -> Uuid {
    Uuid::new_v5(namespace, &name(kind, parts))
}

impl PatientId {
    /// The patient whom `identifier` names at `facility`.
    #[must_use]
    pub fn derive(facility: &Facility, identifier: &Identifier) -> Self {
        Self(derive(&facility.namespace(), "patient", &[&identifier.system, &identifier.value]))
    }
}

impl EncounterId {
    /// The stay that `visit_number` names at `facility`.
    #[must_use]
    pub fn derive(facility: &Facility, visit_number: &str) -> Self {
        Self(derive(&facility.namespace(), "encounter", &[visit_number]))
    }
}

impl NoteId {
    /// The note that `document` (TXA-12, a FHIR id, or what a map derives where there is none) names at `facility`.
    #[must_use]
    pub fn derive(facility: &Facility, document: &str) -> Self {
        Self(derive(&facility.namespace(), "note", &[document]))
    }
}

impl NoteVersionId {
    /// The version of `note` with this content: status and text.
    #[must_use]
    pub fn derive(note: NoteId, status: &str, text: &str) -> Self {
        Self(derive(&note.as_uuid(), "version", &[status, text]))
    }
}

impl ClaimId {
    /// The claim that `number` names at `facility`.
    #[must_use]
    pub fn derive(facility: &Facility, number: &str) -> Self {
        Self(derive(&facility.namespace(), "claim", &[number]))
    }
}

impl EventId {
    /// The `ordinal`-th fact of the message with this digest (hexadecimal), read as a message of the facility with this namespace.
    #[must_use]
    pub(crate) fn of_message(namespace: &Uuid, digest: &str, ordinal: usize) -> Self {
        Self(derive(namespace, "event", &[digest, &ordinal.to_string()]))
    }
}

impl PredictionId {
    /// The answer of `model` to `task` about this version of a note.
    #[must_use]
    pub fn derive(task: &str, note: NoteVersionId, model: &ModelVersion) -> Self {
        Self(derive(&note.as_uuid(), "prediction", &[task, &model.0]))
    }

    /// The record that takes this prediction back.
    #[must_use]
    pub fn retraction(&self) -> Self {
        Self(derive(&self.0, "retraction", &[]))
    }
}

/// SHA-256 of exact bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let digit = |four: u8| DIGITS.get(usize::from(four)).copied().unwrap_or(b'0');
        let text: Vec<u8> = self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({self})")
    }
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_newtype!(
    /// Digest of weights, tokenizer and prompt: 16 hexadecimal digits.
    ModelVersion
);
text_newtype!(
    /// Digest of task, table versions, code-set version and rules: 16 hexadecimal digits.
    DatasetId
);

#[cfg(test)]
mod tests {
    use super::*;

    /// A part must not be able to borrow characters from its neighbour.
    #[test]
    fn ids_of_different_parts_differ() {
        let ward = Facility::new("ward");
        let id = |system: &str, value: &str| PatientId::derive(&ward, &Identifier { system: system.into(), value: value.into() });
        assert_ne!(id("a", "bc"), id("ab", "c"));
        assert_ne!(id("a", "b"), PatientId::derive(&Facility::new("other"), &Identifier { system: "a".into(), value: "b".into() }));
        assert_eq!(id("a", "b"), id("a", "b"));
    }

    #[test]
    fn an_identifier_is_blind_in_debug() {
        let shown = format!("{:?}", Identifier { system: "MRN".into(), value: "4711".into() });
        assert!(!shown.contains("4711"));
    }
}
