//! Tiles of up to thirty-two rows by thirty-two columns in the tile registers of AMX, for `bf16` and for 8 bits.
//!
//! One block of assembly holds all that is multiplied at once, from the registers' shapes to their release: what lies between two blocks is the
//! compiler's, and it knows nothing of the tiles. So each thread shapes its own registers, and none is left in use for the system to save
//! when it takes a thread off its processor. Rows that meet several short panels, as in attention, meet them in one block.
#![expect(unsafe_code, reason = "tile registers are reached through assembly alone; `Kernel` has checked the lengths")]

#[cfg(all(test, target_os = "linux", not(miri)))]
mod emulated;
mod presence;
#[cfg(test)]
mod tests;

use std::arch::asm;

use super::ahead::ask;
use super::{Begin, COLUMNS, Left, Line, Panels, Precision, Right, Tile};
use crate::vectorised::vectorised;
#[cfg(all(test, target_os = "linux", not(miri)))]
pub(crate) use emulated::stands_in;
pub(crate) use presence::{has_bytes, is_here};

/// Rows at once: two tiles of sixteen, against two of sixteen columns.
pub(crate) const ROWS: usize = 32;
/// Words that one product of tiles takes: rows and panels are filled up to a multiple of it.
pub(crate) const STEP: usize = 16;
/// How many times as many rows of `bf16` as elsewhere meet a panel.
pub(crate) const REUSE: usize = 2;

/// Rows of one tile register.
const HEIGHT: usize = 16;
/// Bytes of a row of a tile register.
const BYTES: u16 = 64;

/// Whether tests have the tiles emulated; never, where that cannot be.
#[cfg(not(all(test, target_os = "linux", not(miri))))]
pub(crate) fn stands_in() -> bool {
    false
}

/// The shapes of the tile registers, as `ldtilecfg` reads them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// For `rows` rows, the first sixteen of them above and the others below. Registers 0 and 1 hold the sums above, 2 and 3 those below,
    /// 4 and 5 the rows above and below, 6 and 7 the lines of the panel's two halves.
    fn new(rows: usize) -> Self {
        let (above, below) = (rows.min(HEIGHT) as u8, rows.saturating_sub(HEIGHT) as u8);
        let mut shapes = Self { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        for (register, rows) in [above, above, below, below, above, below, HEIGHT as u8, HEIGHT as u8].into_iter().enumerate() {
            // A register without rows has no shape, and is not used.
            shapes.bytes[register] = if rows > 0 { BYTES } else { 0 };
            shapes.rows[register] = rows;
        }
        shapes
    }
}

/// Defines the sums of all words of up to [`ROWS`] rows with each of some panels, for one kind of product of tiles. They begin with what `$above`
/// and `$below` put into the registers.
macro_rules! sums {
    ($name:ident, $product:literal, [$($above:literal),+], [$($below:literal),+]) => {
        /// The sums of as many rows as `left` has, in the bits that the tile registers hold, for each of `count` panels; those of a panel lie
        /// behind the one's before, a [`Tile`] apart.
        ///
        /// # Safety
        /// The process may use the tiles. `left` has 1 to `ROWS` rows as long as a panel's used lines, which are a multiple of `STEP` and not
        /// none. `sums` has as many rows, and for more than one panel as many tiles as panels, which lie within the lines.
        unsafe fn $name(left: Left<'_>, panels: Panels<'_>, (sums, count): (*mut [f32; COLUMNS], usize)) {
            let shapes = Shapes::new(left.rows);
            let below = if left.rows > HEIGHT { left.words[HEIGHT * left.stride..].as_ptr() } else { std::ptr::null() };
            // SAFETY: as the caller promises; the shapes keep every access within the rows, the lines and the tiles. The registers are
            // named as lost, and released.
            unsafe {
                asm!(
                    "ldtilecfg [{shapes}]",
                    // A panel.
                    "2:",
                    $($above,)+
                    "test {below}, {below}",
                    "jz 3f",
                    $($below,)+
                    "3:",
                    "mov {rest}, {width}",
                    // Sixteen words of every row, and the lines that they meet.
                    "4:",
                    "tileloadd tmm4, [{above} + {row}*1]",
                    "tileloadd tmm6, [{panel} + {line}*1]",
                    "tileloadd tmm7, [{panel} + {line}*1 + {half}]",
                    concat!($product, " tmm0, tmm4, tmm6"),
                    concat!($product, " tmm1, tmm4, tmm7"),
                    "test {below}, {below}",
                    "jz 5f",
                    "tileloadd tmm5, [{below} + {row}*1]",
                    concat!($product, " tmm2, tmm5, tmm6"),
                    concat!($product, " tmm3, tmm5, tmm7"),
                    "add {below}, {half}",
                    "5:",
                    "add {above}, {half}",
                    "add {panel}, {lines}",
                    "sub {rest}, {half}",
                    "jnz 4b",
                    // A row of the tile is as long as a line.
                    "tilestored [{tile} + {line}*1], tmm0",
                    "tilestored [{tile} + {line}*1 + {half}], tmm1",
                    "test {below}, {below}",
                    "jz 6f",
                    "tilestored [{tile} + {line}*1 + {lines}], tmm2",
                    "tilestored [{tile} + {line}*1 + {lines} + {half}], tmm3",
                    // Back to the rows' beginnings, and on to the next panel's.
                    "sub {below}, {width}",
                    "6:",
                    "sub {above}, {width}",
                    "add {panel}, {unused}",
                    "add {tile}, {whole}",
                    "dec {count}",
                    "jnz 2b",
                    "tilerelease",
                    shapes = in(reg) &raw const shapes,
                    above = inout(reg) left.words.as_ptr() => _,
                    below = inout(reg) below => _,
                    panel = inout(reg) panels.lines.as_ptr() => _,
                    tile = inout(reg) sums => _,
                    count = inout(reg) count => _,
                    rest = out(reg) _,
                    // Bytes: of a row's words that meet a panel, between rows, of the lines that a panel leaves unused.
                    width = in(reg) panels.used * size_of::<u32>(),
                    row = in(reg) left.stride * size_of::<u32>(),
                    unused = in(reg) (panels.stride - panels.used) * size_of::<Line>(),
                    line = in(reg) size_of::<Line>(),
                    half = const BYTES,
                    lines = const HEIGHT * size_of::<Line>(),
                    whole = const size_of::<Tile>(),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

sums!(bf16_sums, "tdpbf16ps", ["tilezero tmm0", "tilezero tmm1"], ["tilezero tmm2", "tilezero tmm3"]);
sums!(
    bf16_further_sums,
    "tdpbf16ps",
    ["tileloadd tmm0, [{tile} + {line}*1]", "tileloadd tmm1, [{tile} + {line}*1 + {half}]"],
    ["tileloadd tmm2, [{tile} + {line}*1 + {lines}]", "tileloadd tmm3, [{tile} + {line}*1 + {lines} + {half}]"]
);
// Bytes without sign from the left, with a sign from the right.
sums!(int8_sums, "tdpbusd", ["tilezero tmm0", "tilezero tmm1"], ["tilezero tmm2", "tilezero tmm3"]);

/// A panel by itself.
fn alone(lines: &[Line]) -> Panels<'_> {
    Panels { lines, stride: lines.len(), used: lines.len() }
}

pub(crate) fn bf16(begin: Begin, left: Left<'_>, right: Right<'_>, sums: &mut [[f32; COLUMNS]]) {
    // So little beside the many rows of a strip that it may be asked for at once.
    ask(right.ahead);
    let (panel, to) = (alone(right.lines), (sums.as_mut_ptr(), 1));
    // SAFETY: this kernel is chosen only where the tiles may be used, and `Kernel` has checked the lengths.
    unsafe {
        match (begin, right.lines.is_empty()) {
            (Begin::Zero, true) => sums[..left.rows].fill([0.0; COLUMNS]),
            (Begin::Zero, false) => bf16_sums(left, panel, to),
            (Begin::Found, true) => {}
            (Begin::Found, false) => bf16_further_sums(left, panel, to),
        }
    }
}

pub(crate) fn bf16_panels(left: Left<'_>, panels: Panels<'_>, tiles: &mut [Tile]) {
    if panels.used == 0 {
        tiles.iter_mut().for_each(|tile| tile.0[..left.rows].fill([0.0; COLUMNS]));
    } else if !tiles.is_empty() {
        // SAFETY: as above.
        unsafe { bf16_sums(left, panels, (tiles.as_mut_ptr().cast(), tiles.len())) };
    }
}

pub(crate) fn int8(_: Begin, left: Left<'_>, right: Right<'_>, sums: &mut [[f32; COLUMNS]]) {
    let (lines, tail) = right.body_and_tail(Precision::Int8);
    if lines.is_empty() {
        sums[..left.rows].fill([0.0; COLUMNS]);
    } else {
        // SAFETY: as above.
        unsafe { int8_sums(left, alone(lines), (sums.as_mut_ptr(), 1)) };
    }
    scale(&mut sums[..left.rows], left.scales, tail);
}

vectorised! {
/// Makes of exact sums, whole numbers in the bits of `rows`, the numbers that they mean.
fn scale(rows: &mut [[f32; COLUMNS]], scales: &[f32], tail: &[Line]) {
    let [offsets, factors] = tail else { return };
    for (row, scale) in rows.iter_mut().zip(scales) {
        for ((value, &offset), &factor) in row.iter_mut().zip(&offsets.0).zip(&factors.0) {
            let exact = value.to_bits().wrapping_sub(offset).cast_signed();
            *value = exact as f32 * (scale * f32::from_bits(factor));
        }
    }
}
}

const _: () = assert!(size_of::<Line>() == size_of::<[f32; COLUMNS]>() && STEP == HEIGHT && size_of::<Line>() == 2 * BYTES as usize);
