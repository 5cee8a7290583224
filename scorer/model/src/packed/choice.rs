//! Which kernel: the instruction sets by name, what this processor has, and how numbers are held.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::words::MOST;
use super::{Begin, COLUMNS, Left, Line, Panels, ROWS, Right, Tile, portable};

/// How weights and the rows that meet them are held. Sums are `f32`, and of whole numbers exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Precision {
    /// 32 bits.
    F32,
    /// The upper half of an `f32`.
    Bf16,
    /// Whole numbers of 16 bits, with a scale for each output of a weight and for each row of its input.
    Int16,
    /// Whole numbers of 8 bits, with such scales.
    Int8,
}

/// The instructions that multiply, from the plainest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum InstructionSet {
    /// Whatever the compiler makes for any processor.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F and BW, with VNNI where the processor has it.
    Avx512,
    /// AVX-512 with products of `bf16`.
    Avx512Bf16,
    /// Tiles of AMX for `bf16`, and for 8 bits where the processor has those too; AVX-512 beside them.
    Amx,
}

/// A name that is none of those known.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{name} is none of {known}")]
pub struct UnknownName {
    name: String,
    known: &'static str,
}

impl Precision {
    /// Bytes of a number, without the scales of whole numbers.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::Int16 => 2,
            Self::Int8 => 1,
        }
    }

    /// Whether numbers are whole ones, whose sums are exact.
    pub(crate) fn is_whole(self) -> bool {
        self.tail() > 0
    }

    /// Lines of a panel behind its words: the columns' scales, and before them in 8 bits the sums that undo the rows' offset.
    pub(crate) fn tail(self) -> usize {
        match self {
            Self::F32 | Self::Bf16 => 0,
            Self::Int16 => 1,
            Self::Int8 => 2,
        }
    }

    /// Numbers in a word.
    pub(crate) fn numbers(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 | Self::Int16 => 2,
            Self::Int8 => 4,
        }
    }

    /// The name, as it is parsed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int16 => "int16",
            Self::Int8 => "int8",
        }
    }
}

impl FromStr for Precision {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let known = [Self::F32, Self::Bf16, Self::Int16, Self::Int8].into_iter().find(|precision| precision.as_str() == name);
        known.ok_or_else(|| UnknownName { name: name.to_owned(), known: "f32, bf16, int16, int8" })
    }
}

impl TryFrom<String> for Precision {
    type Error = UnknownName;

    fn try_from(name: String) -> Result<Self, UnknownName> {
        name.parse()
    }
}

impl From<Precision> for String {
    fn from(precision: Precision) -> Self {
        precision.as_str().to_owned()
    }
}

impl TryFrom<String> for InstructionSet {
    type Error = UnknownName;

    fn try_from(name: String) -> Result<Self, UnknownName> {
        name.parse()
    }
}

impl From<InstructionSet> for String {
    fn from(set: InstructionSet) -> Self {
        set.as_str().to_owned()
    }
}

impl InstructionSet {
    /// All of them, the plainest first.
    pub const ALL: [Self; 5] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx];

    /// The name, as it is parsed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
        }
    }

    /// The widest that this processor has.
    #[must_use]
    pub fn widest() -> Self {
        Self::Amx.or_widest_of(Self::is_here)
    }

    /// These, or the widest below them that this processor has.
    #[must_use]
    pub fn or_widest_below(self) -> Self {
        self.or_widest_of(Self::runs)
    }

    /// These, or the widest below them of which `has` says yes.
    fn or_widest_of(self, has: impl Fn(Self) -> bool) -> Self {
        Self::ALL.into_iter().rev().find(|&set| set <= self && has(set)).unwrap_or(Self::Portable)
    }

    /// Whether its kernels run: here, or in tests where an emulation stands in for what is not here.
    #[cfg(target_arch = "x86_64")]
    fn runs(self) -> bool {
        self.is_here() || self == Self::Amx && super::amx::stands_in()
    }

    /// Whether its kernels run.
    #[cfg(not(target_arch = "x86_64"))]
    fn runs(self) -> bool {
        self.is_here()
    }

    /// Those whose kernels run here, for tests, which say once what they leave out.
    #[cfg(test)]
    pub(crate) fn tested() -> impl Iterator<Item = Self> {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            for set in Self::ALL.into_iter().filter(|set| !set.is_here()) {
                let told = if set.runs() { "emulated" } else { "not run" };
                eprintln!("{told}: no {} here", set.as_str());
            }
        });
        Self::ALL.into_iter().filter(|set| set.runs())
    }

    /// Whether `bf16` is multiplied as it is, so that it is the quicker precision.
    #[must_use]
    pub fn multiplies_bf16(self) -> bool {
        self >= Self::Avx512Bf16
    }

    /// Whether this processor, and the system on it, has them.
    #[cfg(target_arch = "x86_64")]
    #[must_use]
    pub fn is_here(self) -> bool {
        let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        match self {
            Self::Portable => true,
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Avx512 => avx512,
            Self::Avx512Bf16 => avx512 && is_x86_feature_detected!("avx512bf16"),
            Self::Amx => avx512 && is_x86_feature_detected!("avx512bf16") && super::amx::is_here(),
        }
    }

    /// Whether this processor, and the system on it, has them.
    #[cfg(not(target_arch = "x86_64"))]
    #[must_use]
    pub fn is_here(self) -> bool {
        self == Self::Portable
    }
}

impl FromStr for InstructionSet {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let known = Self::ALL.into_iter().find(|set| set.as_str() == name);
        known.ok_or_else(|| UnknownName { name: name.to_owned(), known: "portable, avx2, avx512, avx512-bf16, amx" })
    }
}

/// Words of a panel of floats that all rows meet before the next ones do: 32 kB.
const BLOCK: usize = 256;

type Multiply = fn(Begin, Left<'_>, Right<'_>, &mut [[f32; COLUMNS]]);
type MultiplyPanels = fn(Left<'_>, Panels<'_>, &mut [Tile]);

/// The arithmetic of one tile, for one precision on one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    pub precision: Precision,
    /// The most rows that it takes at once.
    pub rows: usize,
    /// The largest magnitude of a weight in 8 bits.
    pub most: i8,
    /// Words of a panel that all rows meet before the next ones do, so that they stay in the first cache. A panel of whole numbers is met whole.
    pub block: usize,
    /// How many times as many rows as elsewhere meet a panel before the next one does: more where they are multiplied faster than panels come from
    /// beyond the second cache.
    pub reuse: usize,
    /// The inner words are a multiple of this, filled up with zeros.
    step: usize,
    multiply: Multiply,
    /// Where several panels at once are cheaper than one after the other.
    multiply_panels: Option<MultiplyPanels>,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("precision", &self.precision).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Kernel {
    /// The kernel of `set`, or of the widest set below it that this processor has.
    pub fn of(precision: Precision, set: InstructionSet) -> Self {
        let sets = InstructionSet::ALL.into_iter().rev().filter(|&each| each <= set && each.runs());
        let found = sets.filter_map(|each| Self::exactly(precision, each)).next();
        found.unwrap_or_else(|| Self::portable(precision))
    }

    /// One whose rows and panels are of any length.
    fn vectors(precision: Precision, multiply: Multiply) -> Self {
        let block = if precision.is_whole() { usize::MAX } else { BLOCK };
        Self { precision, rows: 1, most: MOST, block, reuse: 1, step: 1, multiply, multiply_panels: None }
    }

    pub fn portable(precision: Precision) -> Self {
        let multiply = match precision {
            Precision::F32 => portable::float,
            Precision::Bf16 => portable::bf16,
            Precision::Int16 => portable::int16,
            Precision::Int8 => portable::int8,
        };
        Self { rows: portable::ROWS, ..Self::vectors(precision, multiply) }
    }

    /// The portable arithmetic over what is packed for this kernel.
    #[cfg(test)]
    pub fn plainly(self) -> Self {
        let Self { most, step, .. } = self;
        Self { most, step, ..Self::portable(self.precision) }
    }

    /// The kernel made for exactly this set, which the processor must have.
    #[cfg(target_arch = "x86_64")]
    fn exactly(precision: Precision, set: InstructionSet) -> Option<Self> {
        use super::{amx, avx2, avx512};
        let vector = |rows: usize, multiply: Multiply| Some(Self { rows, ..Self::vectors(precision, multiply) });
        let tiles = |multiply: Multiply| Self { rows: amx::ROWS, step: amx::STEP, ..Self::vectors(precision, multiply) };
        match (set, precision) {
            (InstructionSet::Portable, _) => Some(Self::portable(precision)),
            (InstructionSet::Avx2, Precision::F32) => vector(avx2::ROWS, avx2::float),
            (InstructionSet::Avx2, Precision::Bf16) => vector(avx2::HALVED_ROWS, avx2::bf16),
            (InstructionSet::Avx2, Precision::Int16) => vector(avx2::ROWS, avx2::int16),
            (InstructionSet::Avx2, Precision::Int8) => {
                vector(avx2::BYTES_ROWS, avx2::int8).map(|kernel| Self { most: avx2::BYTES_MOST, ..kernel })
            }
            (InstructionSet::Avx512, Precision::F32) => vector(avx512::ROWS, avx512::float),
            (InstructionSet::Avx512, Precision::Bf16) => vector(avx512::ROWS, avx512::widened),
            (InstructionSet::Avx512, Precision::Int16) => vector(avx512::ROWS, avx512::int16),
            (InstructionSet::Avx512, Precision::Int8) if is_x86_feature_detected!("avx512vnni") => vector(avx512::ROWS, avx512::int8),
            (InstructionSet::Avx512Bf16, Precision::Bf16) => vector(avx512::ROWS, avx512::bf16),
            (InstructionSet::Amx, Precision::Bf16) => {
                Some(Self { reuse: amx::REUSE, multiply_panels: Some(amx::bf16_panels), ..tiles(amx::bf16) })
            }
            (InstructionSet::Amx, Precision::Int8) if amx::has_bytes() || amx::stands_in() => Some(tiles(amx::int8)),
            _ => None,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn exactly(precision: Precision, set: InstructionSet) -> Option<Self> {
        (set == InstructionSet::Portable).then(|| Self::portable(precision))
    }

    /// Words of a row of `inner` numbers.
    pub fn words(self, inner: usize) -> usize {
        inner.div_ceil(self.precision.numbers()).next_multiple_of(self.step)
    }

    /// Lines of a panel of `inner` rows.
    pub fn lines(self, inner: usize) -> usize {
        self.words(inner) + self.precision.tail()
    }

    /// The product of a few rows with one panel. Panics if the rows leave their slice or the lines are no whole steps: that is a mistake in
    /// this crate.
    pub fn multiply(self, left: Left<'_>, lines: &[Line], tile: &mut Tile) {
        self.multiply_from(Begin::Zero, left, Right { lines, ahead: &[] }, &mut tile.0);
    }

    /// As [`Kernel::multiply`], with sums that may go on from what is found there, but for those of whole numbers, and before other lines are read.
    pub fn multiply_from(self, begin: Begin, left: Left<'_>, right: Right<'_>, sums: &mut [[f32; COLUMNS]]) {
        self.check(left, right.lines.len());
        assert!(sums.len() >= left.rows, "sums leave their slice");
        assert!(begin == Begin::Zero || !self.precision.is_whole(), "a part of a panel of whole numbers");
        (self.multiply)(begin, left, right, sums);
    }

    /// The products of the same few rows with as many panels as there are `tiles`, one in each, bit for bit as [`Kernel::multiply`] makes them.
    /// Panics as that does, and if the panels leave their slice.
    pub fn multiply_panels(self, left: Left<'_>, panels: Panels<'_>, tiles: &mut [Tile]) {
        let Panels { lines, stride, used } = panels;
        let Some(last) = tiles.len().checked_sub(1) else { return };
        assert!(used <= stride && last * stride + used <= lines.len(), "panels leave their slice");
        if let Some(multiply) = self.multiply_panels {
            self.check(left, used);
            multiply(left, panels, tiles);
        } else {
            for (panel, tile) in tiles.iter_mut().enumerate() {
                self.multiply(left, &lines[panel * stride..][..used], tile);
            }
        }
    }

    /// Whether the rows are as long as a panel of so many lines, and those are whole steps.
    fn check(self, left: Left<'_>, lines: usize) {
        let tail = self.precision.tail();
        assert!(left.rows <= self.rows.min(ROWS) && left.rows > 0 && lines >= tail, "a tile of too many rows");
        let needed = (left.rows - 1) * left.stride + lines - tail;
        assert!(needed <= left.words.len() && left.scales.len() >= left.rows, "rows leave their slice");
        assert!((lines - tail).is_multiple_of(self.step), "a part of a step");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel that refuses the tiles, or a virtual machine that hides them, costs speed and nothing else.
    #[test]
    fn what_is_refused_gives_way_to_the_widest_below_it() {
        let without = |refused: InstructionSet| move |set: InstructionSet| set != refused;
        assert_eq!(InstructionSet::Amx.or_widest_of(without(InstructionSet::Amx)), InstructionSet::Avx512Bf16);
        assert_eq!(InstructionSet::Avx512.or_widest_of(without(InstructionSet::Avx512)), InstructionSet::Avx2);
        assert_eq!(InstructionSet::Amx.or_widest_of(|_| false), InstructionSet::Portable);
    }

    /// Tests alone may run what is emulated: nothing is chosen by itself that is not here.
    #[test]
    fn what_is_chosen_unasked_is_here() {
        assert!(InstructionSet::widest().is_here() && InstructionSet::tested().any(|set| set == InstructionSet::widest()));
    }
}
