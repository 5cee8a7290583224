//! Tiles of up to thirty-two rows by thirty-two columns in the tile registers of AMX, for `bf16`.
//!
//! One block of assembly holds all of it, from the registers' shapes to their release: what lies between two blocks is the compiler's,
//! and it knows nothing of the tiles.
#![expect(unsafe_code, reason = "tile registers are reached through assembly alone; `Kernel::multiply` has checked the lengths")]

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::OnceLock;

use super::{COLUMNS, Left, Line, Tile};

/// Rows at once: two tiles of sixteen, against two of sixteen columns.
pub(crate) const ROWS: usize = 32;
/// Words that one product of tiles takes: rows and panels are filled up to a multiple of it.
pub(crate) const STEP: usize = 16;

/// Rows of one tile register.
const HEIGHT: usize = 16;
/// Bytes of a row of a tile register.
const BYTES: u16 = 64;

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
    /// Sums in 0 to 3 and rows of the left side in 4 and 5, `upper` and `lower` of them; lines of the panel in 6 and 7.
    fn new(upper: u8, lower: u8) -> Self {
        let mut shapes = Self { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        for (register, rows) in [upper, upper, lower, lower, upper, lower, 16, 16].into_iter().enumerate() {
            // A register without rows has no shape, and is not used.
            shapes.bytes[register] = if rows > 0 { BYTES } else { 0 };
            shapes.rows[register] = rows;
        }
        shapes
    }
}

/// Whether the processor has the tiles and the system lets this process use them.
pub(crate) fn is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| has_tiles() && is_permitted())
}

fn has_tiles() -> bool {
    const TILES_AND_BF16: u32 = 1 << 24 | 1 << 22;
    const KEPT_BY_THE_SYSTEM: u64 = 1 << 17 | 1 << 18;
    if !is_x86_feature_detected!("xsave") || __cpuid_count(0, 0).eax < 7 {
        return false;
    }
    let saved = __cpuid_count(1, 0).ecx & 1 << 27 != 0;
    // SAFETY: the system has enabled `xgetbv`, as the bit before says.
    let kept = saved && unsafe { _xgetbv(0) } & KEPT_BY_THE_SYSTEM == KEPT_BY_THE_SYSTEM;
    kept && __cpuid_count(7, 0).edx & TILES_AND_BF16 == TILES_AND_BF16
}

/// Linux gives the tiles to a process that asks for them.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: the call changes nothing but what this process may use.
    unsafe {
        asm!("syscall", inout("rax") result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") TILE_DATA, out("rcx") _, out("r11") _,
            options(nostack));
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

pub(crate) fn bf16(left: Left<'_>, lines: &[Line], tile: &mut Tile) {
    if lines.len() < STEP {
        tile.0.iter_mut().take(left.rows).for_each(|row| row.fill(0.0));
    } else if left.rows <= HEIGHT {
        upper(left, lines, tile);
    } else {
        both(left, lines, tile);
    }
}

/// Bytes between rows of the left side, lines of the panel, rows of the tile.
fn strides(left: &Left<'_>) -> [usize; 3] {
    [left.stride * size_of::<u32>(), size_of::<Line>(), COLUMNS * size_of::<f32>()]
}

/// Up to sixteen rows.
fn upper(left: Left<'_>, lines: &[Line], tile: &mut Tile) {
    let shapes = Shapes::new(left.rows as u8, 0);
    let strides = strides(&left);
    // SAFETY: this kernel is chosen only where `is_here`. The left side has `left.rows` rows as long as there are lines, the lines are a
    // multiple of `STEP`, the tile has room for `ROWS` rows; the shapes keep every access within them. The registers are released.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloadd tmm4, [{above} + {row}*1]",
            "tileloadd tmm6, [{panel} + {line}*1]",
            "tileloadd tmm7, [{panel} + {line}*1 + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {above}, 64",
            "add {panel}, 2048",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {sum}*1], tmm0",
            "tilestored [{sums} + {sum}*1 + 64], tmm1",
            "tilerelease",
            shapes = in(reg) &raw const shapes,
            above = inout(reg) left.words.as_ptr() => _,
            panel = inout(reg) lines.as_ptr() => _,
            steps = inout(reg) lines.len() / STEP => _,
            sums = in(reg) tile.0.as_mut_ptr(),
            row = in(reg) strides[0],
            line = in(reg) strides[1],
            sum = in(reg) strides[2],
            options(nostack),
        );
    }
}

/// Seventeen rows and more.
fn both(left: Left<'_>, lines: &[Line], tile: &mut Tile) {
    let shapes = Shapes::new(HEIGHT as u8, (left.rows - HEIGHT) as u8);
    let strides = strides(&left);
    // SAFETY: as above; the second sixteen rows of the left side begin sixteen strides after the first.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{above} + {row}*1]",
            "tileloadd tmm6, [{panel} + {line}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{panel} + {line}*1 + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{below} + {row}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {above}, 64",
            "add {below}, 64",
            "add {panel}, 2048",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {sum}*1], tmm0",
            "tilestored [{sums} + {sum}*1 + 64], tmm1",
            "tilestored [{sums} + {sum}*1 + 2048], tmm2",
            "tilestored [{sums} + {sum}*1 + 2112], tmm3",
            "tilerelease",
            shapes = in(reg) &raw const shapes,
            above = inout(reg) left.words.as_ptr() => _,
            below = inout(reg) left.words.as_ptr().add(HEIGHT * left.stride) => _,
            panel = inout(reg) lines.as_ptr() => _,
            steps = inout(reg) lines.len() / STEP => _,
            sums = in(reg) tile.0.as_mut_ptr(),
            row = in(reg) strides[0],
            line = in(reg) strides[1],
            sum = in(reg) strides[2],
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_the_manual() {
        assert_eq!((size_of::<Shapes>(), std::mem::offset_of!(Shapes, bytes), std::mem::offset_of!(Shapes, rows)), (64, 16, 48));
        let shapes = Shapes::new(16, 3);
        assert_eq!(shapes.rows[..9], [16, 16, 3, 3, 16, 3, 16, 16, 0]);
        assert_eq!(Shapes::new(5, 0).bytes[..6], [64, 64, 0, 0, 64, 0]);
    }
}
