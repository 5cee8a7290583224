//! The walk of some rows past the panels of a right matrix: which lines meet which rows, in which order, and what is asked of memory meanwhile.
//!
//! A long panel meets the rows in blocks that stay in the second cache together with the rows and the block behind them. How it is cut follows from its
//! length alone, so that a row's sums do not depend on the rows beside it.

use std::ops::Range;

use super::{COLUMNS, Kernel, Left, Line, Panels, Place, Precision, ROWS, Tile, accumulate, evenly, put};

/// Lines of a block: few enough for the second cache, and so many that sums are seldom put down in between.
const BLOCK: usize = 512;

/// What a walk works with; used again by the next.
pub(crate) struct Scratch {
    tile: Tile,
    /// Of all rows with one panel, where that comes in blocks.
    sums: Vec<f32>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { tile: Tile::ZERO, sums: Vec::new() }
    }
}

/// The products of `all` rows with some of the panels, tile by tile: `take` receives the first row, the first column and the tile. Each of `all` has a
/// scale; a panel is as long as its stride.
pub(crate) fn walk(
    (kernel, scratch): (Kernel, &mut Scratch),
    all: Left<'_>,
    (right, panels): (Panels<'_>, Range<usize>),
    mut take: impl FnMut(usize, usize, &[[f32; COLUMNS]]),
) {
    let some = |first: usize, row: usize, rows: usize, behind| {
        let words = &all.words[row * all.stride + first..];
        Left { words, stride: all.stride, rows, scales: &all.scales[row..row + rows], ahead: share(behind, row..row + rows, all.rows) }
    };
    let block = match kernel.precision {
        // Exact sums become floats at the end of a panel.
        Precision::Int8 => right.used,
        Precision::F32 | Precision::Bf16 => BLOCK.min(right.used),
    };
    let whole = block == right.used;
    for panel in panels {
        let mut first = 0;
        while first < right.used {
            let (lines, behind) = right.lines[panel * right.stride + first..].split_at(block.min(right.used - first));
            let behind = &behind[..block.min(behind.len())];
            for (row, rows) in evenly(all.rows, kernel.rows) {
                kernel.multiply(some(first, row, rows, behind), lines, &mut scratch.tile);
                let tile = &scratch.tile.0[..rows];
                let place = Place { at: row * COLUMNS, stride: COLUMNS, width: COLUMNS };
                if whole {
                    take(row, panel * COLUMNS, tile);
                } else if first == 0 {
                    scratch.sums.resize(all.rows * COLUMNS, 0.0);
                    put(&mut scratch.sums, place, tile);
                } else {
                    accumulate(&mut scratch.sums, place, tile, &[1.0; ROWS]);
                }
            }
            first += lines.len();
        }
        if !whole {
            let (sums, _) = scratch.sums.as_chunks();
            evenly(all.rows, kernel.rows).for_each(|(row, rows)| take(row, panel * COLUMNS, &sums[row..row + rows]));
        }
    }
}

/// What of these lines a tile of some of `count` rows asks for ahead, so that all tiles together ask for all of them.
fn share(lines: &[Line], rows: Range<usize>, count: usize) -> &[Line] {
    &lines[rows.start * lines.len() / count..rows.end * lines.len() / count]
}
