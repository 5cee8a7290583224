//! What the Avro library must not be shown. It decodes by recursion and reserves memory for as many items as a count says, before it
//! sees one; and it takes a text that is cut for one that is absent.
//!
//! So schemas that contain themselves, and arrays of things that take no bytes, are refused; and a datum is measured first: every length
//! and every count must fit into the bytes that are there.

use std::collections::HashMap;

use apache_avro::Schema;

use crate::protobuf::varint;

/// A schema with more parts than that is refused.
const PARTS: usize = 20_000;

/// Collects the schemas that have names.
fn name<'a>(schema: &'a Schema, names: &mut HashMap<&'a str, &'a Schema>) {
    match schema {
        Schema::Record(record) => {
            names.insert(&record.name.name, schema);
            record.fields.iter().for_each(|field| name(&field.schema, names));
        }
        Schema::Array(array) => name(&array.items, names),
        Schema::Map(map) => name(&map.types, names),
        Schema::Union(union) => union.variants().iter().for_each(|variant| name(variant, names)),
        Schema::Enum(one) => drop(names.insert(&one.name.name, schema)),
        Schema::Fixed(one) => drop(names.insert(&one.name.name, schema)),
        _ => {}
    }
}

pub(super) struct Bounds<'a> {
    names: HashMap<&'a str, &'a Schema>,
    /// The records around the part that is looked at.
    open: Vec<&'a str>,
    parts: usize,
}

impl<'a> Bounds<'a> {
    /// Knows these schemas by their names.
    pub(super) fn of(schemas: impl Iterator<Item = &'a Schema>) -> Self {
        let mut names = HashMap::new();
        schemas.for_each(|one| name(one, &mut names));
        Self { names, open: Vec::new(), parts: 0 }
    }

    /// Whether a datum of this schema takes at least one byte.
    ///
    /// # Errors
    /// Why no datum of this schema is read.
    pub(super) fn check(&mut self, schema: &'a Schema) -> Result<bool, &'static str> {
        self.parts += 1;
        if self.parts > PARTS {
            return Err("the Avro schema of the Confluent frame is too large");
        }
        match schema {
            Schema::Null => Ok(false),
            Schema::Fixed(fixed) => Ok(fixed.size > 0),
            Schema::Record(record) => {
                if self.open.contains(&record.name.name.as_str()) {
                    return Err("the Avro schema of the Confluent frame contains itself, which is not read");
                }
                self.open.push(&record.name.name);
                let mut takes = false;
                for field in &record.fields {
                    takes |= self.check(&field.schema)?;
                }
                self.open.pop();
                Ok(takes)
            }
            Schema::Array(array) => {
                if self.check(&array.items)? {
                    Ok(true)
                } else {
                    Err("the Avro schema of the Confluent frame has an array of nothing, which is not read")
                }
            }
            Schema::Map(map) => self.check(&map.types).map(|_| true),
            Schema::Union(union) => union.variants().iter().try_for_each(|variant| self.check(variant).map(drop)).map(|()| true),
            Schema::Ref { name } => match self.names.get(name.name.as_str()).copied() {
                Some(named) => self.check(named),
                None => Err("the Avro schema of the Confluent frame refers to one that is missing"),
            },
            _ => Ok(true),
        }
    }

    /// The bytes behind one datum of this schema, which was checked; `None` where the datum does not fit into the bytes.
    pub(super) fn behind<'b>(&self, schema: &Schema, bytes: &'b [u8]) -> Option<&'b [u8]> {
        match schema {
            Schema::Null => Some(bytes),
            Schema::Boolean => bytes.get(1..),
            Schema::Float => bytes.get(4..),
            Schema::Double => bytes.get(8..),
            Schema::Duration => bytes.get(12..),
            Schema::Fixed(fixed) => bytes.get(fixed.size..),
            Schema::Bytes | Schema::String | Schema::Uuid | Schema::BigDecimal => text(bytes),
            Schema::Decimal(decimal) => self.behind(&decimal.inner, bytes),
            Schema::Record(record) => record.fields.iter().try_fold(bytes, |rest, field| self.behind(&field.schema, rest)),
            Schema::Array(array) => blocks(bytes, |rest| self.behind(&array.items, rest)),
            Schema::Map(map) => blocks(bytes, |rest| self.behind(&map.types, text(rest)?)),
            Schema::Union(union) => {
                let (variant, rest) = number(bytes)?;
                self.behind(union.variants().get(usize::try_from(variant).ok()?)?, rest)
            }
            Schema::Ref { name } => self.behind(self.names.get(name.name.as_str())?, bytes),
            // Everything else is a number.
            _ => Some(number(bytes)?.1),
        }
    }
}

/// A number in zigzag, and what follows it.
fn number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (folded, rest) = varint(bytes)?;
    let magnitude = i64::try_from(folded >> 1).ok()?;
    Some((if folded & 1 == 0 { magnitude } else { !magnitude }, rest))
}

/// What follows a length and as many bytes.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = number(bytes)?;
    rest.get(usize::try_from(length).ok()?..)
}

/// What follows the blocks of an array or a map, each item of which takes at least one byte.
fn blocks<'b>(mut rest: &'b [u8], item: impl Fn(&'b [u8]) -> Option<&'b [u8]>) -> Option<&'b [u8]> {
    loop {
        let (count, after) = number(rest)?;
        rest = after;
        if count == 0 {
            return Some(rest);
        }
        if count < 0 {
            rest = number(rest)?.1;
        }
        let count = usize::try_from(count.checked_abs()?).ok()?;
        if count > rest.len() {
            return None;
        }
        for _ in 0..count {
            rest = item(rest)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether so many bytes are one datum, and nothing else.
    fn fits(schema: &str, bytes: &[u8]) -> bool {
        let schema = Schema::parse_str(schema).expect("a schema");
        Bounds::of([&schema].into_iter()).behind(&schema, bytes) == Some(&[])
    }

    #[test]
    fn a_datum_fits_its_bytes_or_is_not_decoded() {
        assert!(fits(r#""string""#, &[4, b'a', b'b']) && !fits(r#""string""#, &[6, b'a', b'b']));
        let longs = r#"{"type": "array", "items": "long"}"#;
        assert!(fits(longs, &[4, 2, 4, 0]));
        assert!(fits(longs, &[3, 4, 2, 4, 0]), "a count may be negative, with the size of its block behind it");
        // Seven bytes that ask for room for a thousand million items.
        assert!(!fits(longs, &[0x80, 0xa8, 0xd6, 0xb9, 0x07, 2, 0]));
        assert!(fits(r#"{"type": "map", "values": "int"}"#, &[2, 2, b'k', 2, 0]));
        assert!(fits(r#"["null", "double"]"#, &[2, 1, 2, 3, 4, 5, 6, 7, 8]) && !fits(r#"["null", "double"]"#, &[4]));
    }

    #[test]
    fn zigzag_numbers_are_read() {
        assert_eq!(number(&[3, 7]), Some((-2, &[7][..])));
        assert_eq!(number(&[0x80, 0x01]), Some((64, &[][..])));
        assert_eq!(number(&[1]), Some((-1, &[][..])));
    }
}
