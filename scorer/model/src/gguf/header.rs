//! The header of a GGUF file, versions 2 and 3, little-endian: what is said about the model, and where its tensors lie.
//!
//! Lists stay in the file until somebody walks through them. Every length is taken from what is left of the file, so a count that lies
//! ends the reading and allocates nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::config::ConfigError;
use crate::load_error::shown;
use crate::weights::Encoding;

const MAGIC: &[u8] = b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
/// Lists within lists; none that is known goes beyond one.
const MAX_DEPTH: usize = 4;
const MAX_DIMENSIONS: u32 = 4;

/// Why a file is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It contradicts itself.
    Damaged(String),
    /// It is of a kind that must be converted.
    Format(String),
    /// It is of a model that is not computed here.
    Config(ConfigError),
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// What a key says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// An unsigned integer.
    Count(u64),
    /// A signed integer.
    Signed(i64),
    /// A number; of 4 bytes where it says so.
    Real(f64),
    /// Yes or no.
    Flag(bool),
    /// A text, hopefully UTF-8.
    Text(&'a [u8]),
    /// A list.
    List(List<'a>),
}

/// A list where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'a> {
    kind: u32,
    /// Elements.
    pub count: u64,
    bytes: &'a [u8],
}

/// A tensor as the file describes it.
#[derive(Debug)]
pub(super) struct Described {
    /// In order of size: rows, columns.
    pub shape: Vec<usize>,
    /// How its numbers lie.
    pub encoding: Encoding,
    /// In the file.
    pub bytes: Range<usize>,
}

/// The whole header.
#[derive(Debug)]
pub(super) struct Header<'a> {
    said: BTreeMap<&'a str, Value<'a>>,
    /// By the file's own names.
    pub tensors: BTreeMap<&'a str, Described>,
    /// The whole file.
    pub bytes: &'a [u8],
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn cut() -> Refusal {
    Refusal::Damaged("it ends within its header".to_owned())
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], Refusal> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count)).ok_or_else(cut)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(cut)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        self.take(N as u64)?.try_into().map_err(|_| cut())
    }

    fn u32(&mut self) -> Result<u32, Refusal> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Refusal> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<&'a [u8], Refusal> {
        let length = self.u64()?;
        self.take(length)
    }

    fn name(&mut self) -> Result<&'a str, Refusal> {
        str::from_utf8(self.text()?).map_err(|_| Refusal::Damaged("a name in it is no text".to_owned()))
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value<'a>, Refusal> {
        Ok(match kind {
            0 => Value::Count(self.array().map(u8::from_le_bytes)?.into()),
            1 => Value::Signed(self.array().map(i8::from_le_bytes)?.into()),
            2 => Value::Count(self.array().map(u16::from_le_bytes)?.into()),
            3 => Value::Signed(self.array().map(i16::from_le_bytes)?.into()),
            4 => Value::Count(self.u32()?.into()),
            5 => Value::Signed(self.array().map(i32::from_le_bytes)?.into()),
            // A number written with 4 bytes means its shortest decimal form: 1e-5, and not 0.00000999999974737875.
            6 => Value::Real(decimal(self.array().map(f32::from_le_bytes)?)),
            7 => Value::Flag(self.array::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 => Value::List(self.list(depth)?),
            10 => Value::Count(self.u64()?),
            11 => Value::Signed(self.array().map(i64::from_le_bytes)?),
            12 => Value::Real(self.array().map(f64::from_le_bytes)?),
            other => return Err(Refusal::Damaged(format!("a value in it is of the unknown kind {other}"))),
        })
    }

    fn list(&mut self, depth: usize) -> Result<List<'a>, Refusal> {
        let (kind, count) = (self.u32()?, self.u64()?);
        let start = self.at;
        let fixed = match kind {
            0 | 1 | 7 => Some(1),
            2 | 3 => Some(2),
            4..=6 => Some(4),
            10..=12 => Some(8),
            _ => None,
        };
        match fixed {
            Some(size) => {
                self.take(count.checked_mul(size).ok_or_else(cut)?)?;
            }
            None if depth >= MAX_DEPTH => return Err(Refusal::Damaged("it nests lists too deep".to_owned())),
            None => {
                for _ in 0..count {
                    self.value(kind, depth + 1)?;
                }
            }
        }
        Ok(List { kind, count, bytes: &self.bytes[start..self.at] })
    }

    /// A tensor, and its offset behind the header.
    fn tensor(&mut self) -> Result<(&'a str, Vec<usize>, u32, u64), Refusal> {
        let name = self.name()?;
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > MAX_DIMENSIONS {
            return Err(Refusal::Damaged(format!("tensor {} has {dimensions} dimensions", shown(name))));
        }
        let sizes = (0..dimensions).map(|_| self.u64().and_then(|size| usize::try_from(size).map_err(|_| cut())));
        let mut shape = sizes.collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        Ok((name, shape, self.u32()?, self.u64()?))
    }
}

fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| number.into())
}

impl<'a> List<'a> {
    /// Its elements, one after the other.
    pub fn values(self) -> impl Iterator<Item = Value<'a>> {
        let mut cursor = Cursor { bytes: self.bytes, at: 0 };
        (0..self.count).map_while(move |_| cursor.value(self.kind, MAX_DEPTH).ok())
    }
}

impl<'a> Header<'a> {
    /// The header of a whole file.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut cursor = Cursor { bytes, at: 0 };
        if cursor.take(4).ok() != Some(MAGIC) {
            let what = "it does not begin as a GGUF file does; a model of Hugging Face is named by its folder";
            return Err(Refusal::Damaged(what.to_owned()));
        }
        match cursor.u32()? {
            2 | 3 => {}
            swapped if (1..=3).contains(&swapped.swap_bytes()) => return Err(Refusal::Format("big-endian numbers".to_owned())),
            other => return Err(Refusal::Format(format!("GGUF version {other}"))),
        }
        let (tensors, keys) = (cursor.u64()?, cursor.u64()?);
        let mut header = Self { said: BTreeMap::new(), tensors: BTreeMap::new(), bytes };
        for _ in 0..keys {
            let (key, kind) = (cursor.name()?, cursor.u32()?);
            if header.said.insert(key, cursor.value(kind, 0)?).is_some() {
                return Err(Refusal::Damaged(format!("it says {} twice", shown(key))));
            }
        }
        let mut found = Vec::new();
        for _ in 0..tensors {
            found.push(cursor.tensor()?);
        }
        let alignment = header.alignment()?;
        let start = (cursor.at as u64).checked_next_multiple_of(alignment).ok_or_else(cut)?;
        for (name, shape, code, offset) in found {
            let described = described(name, shape, code, (start, offset, alignment))?;
            if described.bytes.end > bytes.len() {
                return Err(Refusal::Damaged(format!("it ends before tensor {} does", shown(name))));
            }
            if header.tensors.insert(name, described).is_some() {
                return Err(Refusal::Damaged(format!("there are two tensors {}", shown(name))));
            }
        }
        header.lie_in_a_row((start, alignment))?;
        Ok(header)
    }

    /// Each tensor begins at the first multiple of the alignment behind the one before it, as every writer of such files has it; no byte is two tensors', and
    /// behind the last one stand zeros at most. So a tensor that is not of the type that the file says is found out by its length.
    fn lie_in_a_row(&self, (start, alignment): (u64, u64)) -> Result<(), Refusal> {
        let whole = |number: u64| usize::try_from(number).map_err(|_| cut());
        let (mut next, alignment) = (whole(start)?, whole(alignment)?);
        let mut tensors: Vec<_> = self.tensors.iter().filter(|(_, tensor)| !tensor.bytes.is_empty()).collect();
        tensors.sort_by_key(|(_, tensor)| tensor.bytes.start);
        let (mut before, mut end) = ("", 0);
        for (name, tensor) in tensors {
            if tensor.bytes.start < end {
                return Err(Refusal::Damaged(format!("its tensors {} and {} overlap", shown(before), shown(name))));
            }
            if tensor.bytes.start != next {
                let what = format!(
                    "tensor {} does not begin where what stands before it ends: a type or a shape is not what it says",
                    shown(name)
                );
                return Err(Refusal::Damaged(what));
            }
            (before, end) = (*name, tensor.bytes.end);
            next = end.next_multiple_of(alignment);
        }
        if self.bytes.get(next..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0)) {
            return Err(Refusal::Damaged(format!(
                "it goes on behind its last tensor {}: a type or a shape is not what it says",
                shown(before)
            )));
        }
        Ok(())
    }

    /// Tensors begin at multiples of this; of 8 at least, which keeps every block where candle can take it.
    fn alignment(&self) -> Result<u64, Refusal> {
        match self.said.get("general.alignment") {
            None => Ok(DEFAULT_ALIGNMENT),
            Some(Value::Count(alignment)) if *alignment > 0 && alignment % 8 == 0 && *alignment <= 1 << 20 => Ok(*alignment),
            Some(_) => Err(Refusal::Damaged("its general.alignment is no multiple of 8".to_owned())),
        }
    }

    /// What a key says.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.said.get(key).copied()
    }

    /// A text, if it is UTF-8.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        match self.get(key)? {
            Value::Text(text) => str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// A number that counts something; a list counts if all its elements are alike.
    pub fn count(&self, key: &str) -> Result<Option<usize>, Refusal> {
        let wrong = || Refusal::Damaged(format!("its {} is no number", shown(key)));
        let count = |value| match value {
            Value::Count(count) => usize::try_from(count).ok(),
            Value::Signed(count) => usize::try_from(count).ok(),
            _ => None,
        };
        match self.get(key) {
            None => Ok(None),
            Some(Value::List(list)) => {
                let mut counts = list.values().map(count);
                let first = counts.next().flatten().ok_or_else(wrong)?;
                if counts.any(|other| other != Some(first)) {
                    return Err(ConfigError::Unsupported(format!("layers that differ in {}", shown(key))).into());
                }
                Ok(Some(first))
            }
            Some(value) => count(value).map(Some).ok_or_else(wrong),
        }
    }

    /// A number.
    pub fn real(&self, key: &str) -> Result<Option<f64>, Refusal> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Real(number)) if number.is_finite() => Ok(Some(number)),
            Some(_) => Err(Refusal::Damaged(format!("its {} is no number", shown(key)))),
        }
    }

    /// Yes or no.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }
}

fn described(name: &str, shape: Vec<usize>, code: u32, (start, offset, alignment): (u64, u64, u64)) -> Result<Described, Refusal> {
    let Some(encoding) = Encoding::of_ggml(code) else {
        return Err(Refusal::Format(format!("tensor {} in ggml's type {code}", shown(name))));
    };
    let wrong = || Refusal::Damaged(format!("the shape or the place of tensor {} cannot be", shown(name)));
    let (columns, rows) = shape.split_last().ok_or_else(wrong)?;
    let row = encoding.row_bytes(*columns).ok_or_else(wrong)?;
    let length = rows.iter().try_fold(row, |length, size| length.checked_mul(*size)).ok_or_else(wrong)?;
    let first = start.checked_add(offset).filter(|_| offset % alignment == 0);
    let first = first.and_then(|first| usize::try_from(first).ok()).ok_or_else(wrong)?;
    let bytes = first..first.checked_add(length).ok_or_else(wrong)?;
    Ok(Described { shape, encoding, bytes })
}
