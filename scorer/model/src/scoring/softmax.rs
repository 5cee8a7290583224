//! Softmax as it goes: the scores of some rows against one tile of keys after another become shares of the largest seen so far.
//!
//! In `f32` exactly as the pass that learns has it. In `bf16`, where a share is rounded to eight bits, exponentials are in base 2, cheaper and no
//! more exact than that needs, and become words as they are made.

use super::batch::KEYS;
use crate::kernels::{LANES, exp, exponentials, maximum};
use crate::packed::{COLUMNS, Precision, ROWS, Tile, encode};
use crate::vectorised::vectorised;

/// Softmax on its way: of each row its largest score so far and the sum of its exponentials.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub most: f32,
    pub sum: f32,
}

impl State {
    /// Before the first tile.
    pub const NOTHING: Self = Self { most: f32::NEG_INFINITY, sum: 0.0 };
}

const _: () = assert!(2 * LANES == COLUMNS);

/// What scores are multiplied by beforehand, in heads so wide: one over the root, and for `bf16` the step from base e to base 2.
pub(crate) fn scale(precision: Precision, width: usize) -> f32 {
    let root = 1.0 / (width as f32).sqrt();
    if precision == Precision::Bf16 { root * std::f32::consts::LOG2_E } else { root }
}

/// Turns the scores of as many rows as there are `states` into the words of their shares, row after row of whole `tiles`, and returns by how much
/// what came before fades. Row `r` sees the first `seen[r]` keys of the tiles; the others' shares are zeros.
///
/// A word of `bf16` holds numbers `n` and `n + COLUMNS / 2` of a tile: so no number changes places.
pub(crate) fn soften_tiles(precision: Precision, shares: &mut [u32], tiles: &[Tile], seen: &[usize], states: &mut [State]) -> [f32; ROWS] {
    match precision {
        Precision::Bf16 => halves(shares, tiles, seen, states),
        _ => whole(precision, shares, tiles, (seen, states)),
    }
}

fn whole(precision: Precision, shares: &mut [u32], tiles: &[Tile], (seen, states): (&[usize], &mut [State])) -> [f32; ROWS] {
    let mut faded = [1.0; ROWS];
    let mut buffer = [0.0; KEYS];
    let scores = &mut buffer[..tiles.len() * COLUMNS];
    for (row, (words, state)) in shares.chunks_exact_mut(scores.len() / precision.numbers()).zip(states).enumerate() {
        for (to, tile) in scores.chunks_exact_mut(COLUMNS).zip(tiles) {
            to.copy_from_slice(&tile.0[row]);
        }
        faded[row] = soften(scores, seen[row], state);
        encode(precision, words, scores);
    }
    faded
}

vectorised! {
/// Replaces the first `seen` scores by exponentials against the largest so far and the others by zeros; returns by how much what came
/// before fades.
pub(crate) fn soften(scores: &mut [f32], seen: usize, state: &mut State) -> f32 {
    let (visible, hidden) = scores.split_at_mut(seen);
    hidden.fill(0.0);
    if visible.is_empty() {
        return 1.0;
    }
    let most = maximum(visible).max(state.most);
    let faded = exp(state.most - most);
    state.sum = state.sum * faded + exponentials(visible, most);
    state.most = most;
    faded
}
}

vectorised! {
/// As many rows at a time as there are lanes, so that what is one number of a row is a vector of the rows.
fn halves<const FUSED: bool>(shares: &mut [u32], tiles: &[Tile], seen: &[usize], states: &mut [State]) -> [f32; ROWS] {
    let words = tiles.len() * LANES;
    let mut faded = [1.0; ROWS];
    for first in (0..states.len()).step_by(LANES) {
        let rows = LANES.min(states.len() - first);
        let (mut lanes, mut before, mut most) = ([[f32::NEG_INFINITY; LANES]; LANES], [0.0; LANES], [0.0; LANES]);
        // Tile by tile, each row's lanes in memory between: the compiler takes vectors apart that are to be folded next.
        for (index, tile) in tiles.iter().enumerate() {
            for row in 0..rows {
                lanes[row] = raised(&lanes[row], &tile.0[first + row], seen[first + row].saturating_sub(index * COLUMNS));
            }
        }
        for row in 0..rows {
            before[row] = states[first + row].most;
        }
        let highest = across(&lanes, |x, y| if y > x { y } else { x });
        for row in 0..LANES {
            most[row] = if highest[row] > before[row] { highest[row] } else { before[row] };
            let fading = exp2::<FUSED>(before[row] - most[row]);
            // A row whose largest score stays fades by nothing, whatever that score is.
            faded[first + row] = if most[row] > before[row] { fading } else { 1.0 };
        }
        for row in 0..rows {
            let words = &mut shares[(first + row) * words..][..words];
            lanes[row] = shares_of_row::<FUSED>(words, tiles, first + row, (seen[first + row], most[row]));
        }
        let sums = across(&lanes, |x, y| x + y);
        for row in 0..rows {
            let sum = &mut states[first + row].sum;
            *sum = *sum * faded[first + row] + sums[row];
            states[first + row].most = most[row];
        }
    }
    faded
}
}

/// All lanes of each row in one, by pairs; of all rows at once, for a row's lanes by themselves are no vector.
#[inline(always)]
fn across(rows: &[[f32; LANES]; LANES], both: impl Fn(f32, f32) -> f32 + Copy) -> [f32; LANES] {
    let halves: [f32; 8 * LANES] = pairs(rows.as_flattened(), both);
    let quarters: [f32; 4 * LANES] = pairs(&halves, both);
    let eighths: [f32; 2 * LANES] = pairs(&quarters, both);
    pairs(&eighths, both)
}

#[inline(always)]
fn pairs<const N: usize>(numbers: &[f32], both: impl Fn(f32, f32) -> f32) -> [f32; N] {
    let mut made = [0.0; N];
    for index in 0..N {
        made[index] = both(numbers[2 * index], numbers[2 * index + 1]);
    }
    made
}

/// `2^x` for `x` up to 0, off by less than 1e-5 of it (a share in `bf16` is off by up to 2e-3): exactly 1 for 0, and 2^-100 below -100, which is
/// nothing beside the largest exponential, a one. What is no number stays none if it is the processor's own, whose lower bits are zeros.
#[inline(always)]
fn exp2<const FUSED: bool>(x: f32) -> f32 {
    const LOWEST: f32 = -100.0;
    const ROUND: f32 = 12_582_912.0;
    let add = |sum: f32, rest: f32, to: f32| if FUSED { sum.mul_add(rest, to) } else { sum * rest + to };
    // A comparison with what is no number says no.
    let bounded = if x < LOWEST { LOWEST } else { x };
    let shifted = bounded + ROUND;
    let rest = bounded - (shifted - ROUND);
    let mut series = 9.582_853e-3;
    for coefficient in [5.590_643e-2, 0.240_240_99, 0.693_124_2, 1.0] {
        series = add(series, rest, coefficient);
    }
    f32::from_bits(series.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// Each lane, or the larger of its two scores, of which the first `some` count.
#[inline(always)]
fn raised(lanes: &[f32; LANES], scores: &[f32; COLUMNS], some: usize) -> [f32; LANES] {
    match some {
        0 => *lanes,
        1..COLUMNS => raised_by(lanes, scores, some as u32),
        // A number that the compiler knows: it compares nothing.
        _ => raised_by(lanes, scores, COLUMNS as u32),
    }
}

#[inline(always)]
fn raised_by(lanes: &[f32; LANES], scores: &[f32; COLUMNS], some: u32) -> [f32; LANES] {
    let mut raised = [0.0; LANES];
    for lane in 0..LANES {
        let (low, high) = (scores[lane], scores[lane + LANES]);
        let low = if (lane as u32) < some { low } else { f32::NEG_INFINITY };
        let high = if ((lane + LANES) as u32) < some { high } else { f32::NEG_INFINITY };
        let more = if high > low { high } else { low };
        raised[lane] = if more > lanes[lane] { more } else { lanes[lane] };
    }
    raised
}

/// The words of a row's shares, and lane by lane the sums of the shares before they were rounded.
#[inline(always)]
fn shares_of_row<const FUSED: bool>(words: &mut [u32], tiles: &[Tile], row: usize, (seen, most): (usize, f32)) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    let (words, _) = words.as_chunks_mut::<LANES>();
    for (index, (words, tile)) in words.iter_mut().zip(tiles).enumerate() {
        match seen.saturating_sub(index * COLUMNS) {
            0 => words.fill(0),
            some @ 1..COLUMNS => share::<FUSED>(words, &mut sums, &tile.0[row], (some as u32, most)),
            _ => share::<FUSED>(words, &mut sums, &tile.0[row], (COLUMNS as u32, most)),
        }
    }
    sums
}

/// The shares of the first `some` scores, and zeros for the others.
#[inline(always)]
fn share<const FUSED: bool>(words: &mut [u32; LANES], sums: &mut [f32; LANES], scores: &[f32; COLUMNS], (some, most): (u32, f32)) {
    for lane in 0..LANES {
        let (low, high) = (exp2::<FUSED>(scores[lane] - most), exp2::<FUSED>(scores[lane + LANES] - most));
        let low = if (lane as u32) < some { low } else { 0.0 };
        let high = if ((lane + LANES) as u32) < some { high } else { 0.0 };
        sums[lane] += low + high;
        words[lane] = rounded(low) >> 16 | rounded(high) & 0xffff_0000;
    }
}

/// In the upper half of the bits, the nearest `bf16`, of two as near the larger one.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    value.to_bits().wrapping_add(0x8000)
}

#[cfg(test)]
mod tests;
