//! The arithmetic between the matrix products: norm, rotary positions, softmax, gate, cross-entropy, and the gradient of each.
//!
//! Pure functions on rows of `f32`. Loops are written in lanes of sixteen so that the compiler turns them into the widest
//! instructions that the processor has, chosen at run time. The order of additions is fixed by the row alone.

use std::ops::Range;
use std::sync::OnceLock;

use crate::vectorised::vectorised;

/// Numbers that are added side by side before they are added together.
pub(crate) const LANES: usize = 16;

/// `e^x` to about two units in the last place, without a branch: 0 below -87, finite above 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let bounded = x.clamp(-87.3, 88.3);
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = (bounded - whole * 0.693_359_4) - whole * -2.121_944_4e-4;
    let mut series = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        series = series * rest + coefficient;
    }
    let fraction = series * rest * rest + rest + 1.0;
    fraction * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

#[inline(always)]
fn fold(values: [f32; LANES], mut add: impl FnMut(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    let mut values = values;
    while half > 0 {
        for lane in 0..half {
            values[lane] = add(values[lane], values[lane + half]);
        }
        half /= 2;
    }
    values[0]
}

/// The inner product of two rows.
#[inline(always)]
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a, b) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a.zip(b) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    fold(lanes, |x, y| x + y) + rest
}

vectorised! {
/// The inner products of `row` with each of `rows`.
pub(crate) fn dots(rows: &[f32], row: &[f32]) -> Vec<f32> {
    rows.chunks_exact(row.len()).map(|other| dot(other, row)).collect()
}
}

/// `out += scale * row`.
#[inline(always)]
pub(crate) fn add_scaled(out: &mut [f32], row: &[f32], scale: f32) {
    for (sum, value) in out.iter_mut().zip(row) {
        *sum += scale * value;
    }
}

/// The largest number of a row.
#[inline(always)]
pub(crate) fn maximum(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(f32::NEG_INFINITY, |most, &value| if value > most { value } else { most });
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    fold(lanes, |x, y| if y > x { y } else { x }).max(rest)
}

/// Replaces each number by `e^(number - shift)` and returns their sum.
#[inline(always)]
pub(crate) fn exponentials(row: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let mut chunks = row.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - shift);
            lanes[lane] += chunk[lane];
        }
    }
    let mut rest = 0.0;
    for value in chunks.into_remainder() {
        *value = exp(*value - shift);
        rest += *value;
    }
    fold(lanes, |x, y| x + y) + rest
}

/// Softmax in place; returns the logarithm of the sum of exponentials.
#[inline(always)]
pub(crate) fn softmax(row: &mut [f32]) -> f32 {
    let most = maximum(row);
    let sum = exponentials(row, most);
    let share = 1.0 / sum;
    for value in row.iter_mut() {
        *value *= share;
    }
    most + sum.ln()
}

vectorised! {
/// Root-mean-square norm of each row of `width`: `out = input * inverse * weight`; keeps each row's `inverse`.
pub(crate) fn norm(out: &mut [f32], inverse: &mut [f32], input: &[f32], weight: &[f32], epsilon: f32) {
    let width = weight.len();
        for ((to, from), kept) in out.chunks_exact_mut(width).zip(input.chunks_exact(width)).zip(inverse.iter_mut()) {
            let mean = dot(from, from) / width as f32;
            *kept = 1.0 / (mean + epsilon).sqrt();
            for ((value, x), w) in to.iter_mut().zip(from).zip(weight) {
                *value = x * *kept * w;
            }
        }
}
}

vectorised! {
/// One over the root of each row's mean square, as [`norm`] keeps it.
pub(crate) fn inverse(to: &mut [f32], input: &[f32], width: usize, epsilon: f32) {
    for (kept, row) in to.iter_mut().zip(input.chunks_exact(width)) {
        *kept = 1.0 / (dot(row, row) / width as f32 + epsilon).sqrt();
    }
}
}

/// What the forward [`norm`] saw.
#[derive(Clone, Copy)]
pub(crate) struct Normed<'a> {
    /// `[tokens, width]`
    pub input: &'a [f32],
    /// `[tokens]`
    pub inverse: &'a [f32],
    /// `[width]`
    pub weight: &'a [f32],
}

vectorised! {
/// The gradient of [`norm`], added: `towards_input` is `[tokens, width]`, `towards_weight` is `[width]`.
pub(crate) fn norm_back(towards_input: &mut [f32], towards_weight: &mut [f32], gradient: &[f32], seen: &Normed<'_>) {
    let width = seen.weight.len();
        let mut weighted = vec![0.0_f32; width];
        let rows = towards_input.chunks_exact_mut(width).zip(gradient.chunks_exact(width));
        for (((to, given), x), &inverse) in rows.zip(seen.input.chunks_exact(width)).zip(seen.inverse) {
            for column in 0..width {
                weighted[column] = given[column] * seen.weight[column];
                towards_weight[column] += given[column] * x[column] * inverse;
            }
            let along = dot(&weighted, x) * inverse * inverse * inverse / width as f32;
            for ((sum, w), value) in to.iter_mut().zip(&weighted).zip(x) {
                *sum += w * inverse - value * along;
            }
        }
}
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

vectorised! {
/// The gradient of `silu(gate) * up` for rows of `[gate, up]`, each `width` wide; `gate_up` is replaced by the gradient towards it.
pub(crate) fn gate_back(gate_up: &mut [f32], gradient: &[f32], width: usize) {
        for (both, given) in gate_up.chunks_exact_mut(2 * width).zip(gradient.chunks_exact(width)) {
            let (gates, ups) = both.split_at_mut(width);
            // Whole lanes at a time: the compiler does not see that gates and ups, which are both written, lie apart.
            let ((gates, gates_left), (ups, ups_left)) = (gates.as_chunks_mut::<LANES>(), ups.as_chunks_mut::<LANES>());
            let (given, given_left) = given.as_chunks::<LANES>();
            for ((gates, ups), given) in gates.iter_mut().zip(ups).zip(given) {
                let mut slopes = [(0.0, 0.0); LANES];
                for lane in 0..LANES {
                    slopes[lane] = gate_slopes(gates[lane], ups[lane], given[lane]);
                }
                for lane in 0..LANES {
                    (gates[lane], ups[lane]) = slopes[lane];
                }
            }
            for ((gate, up), &given) in gates_left.iter_mut().zip(ups_left).zip(given_left) {
                (*gate, *up) = gate_slopes(*gate, *up, given);
            }
        }
}
}

/// The slopes towards a gate and what it lets through, where `given` is the one at `silu(gate) * up`.
#[inline(always)]
fn gate_slopes(gate: f32, up: f32, given: f32) -> (f32, f32) {
    let sigmoid = 1.0 / (1.0 + exp(-gate));
    let slope = sigmoid * (1.0 + gate * (1.0 - sigmoid));
    (given * up * slope, given * (gate * sigmoid))
}

/// Positions whose cosines and sines are made together.
const TABLED: usize = 512;

/// Cosines and sines of the rotary positions. They are made when a position near by is first read: a configuration may have room for millions of
/// positions, of which a note takes some hundred.
#[derive(Clone, Debug)]
pub(crate) struct Rotary {
    /// Radians a position, `[head / 2]`.
    frequencies: Vec<f32>,
    positions: usize,
    /// Of [`TABLED`] positions each, `[positions, 2, head / 2]`: cosines, then sines.
    tables: Vec<OnceLock<Vec<f32>>>,
}

/// Which way to turn: towards positions, or back again for gradients.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    /// The forward pass.
    Forward,
    /// The gradient: the inverse rotation.
    Back,
}

impl Rotary {
    /// Tables for `positions` places and pairs that turn by `frequencies` radians a place, as in Hugging Face's Llama.
    pub fn new(positions: usize, frequencies: &[f64]) -> Self {
        let frequencies = frequencies.iter().map(|frequency| *frequency as f32).collect();
        Self { frequencies, positions, tables: vec![OnceLock::new(); positions.div_ceil(TABLED)] }
    }

    /// The cosines and the sines of a position, which must be below those that there are.
    #[inline]
    fn at(&self, position: u32) -> (&[f32], &[f32]) {
        let (place, half) = (position as usize, self.frequencies.len());
        let first = place / TABLED * TABLED;
        let table = self.tables[place / TABLED].get_or_init(|| self.table(first..self.positions.min(first + TABLED)));
        let start = (place - first) * 2 * half;
        table[start..start + 2 * half].split_at(half)
    }

    fn table(&self, places: Range<usize>) -> Vec<f32> {
        let mut table = Vec::with_capacity(places.len() * 2 * self.frequencies.len());
        for place in places {
            let turned: Vec<(f32, f32)> = self.frequencies.iter().map(|frequency| (place as f32 * frequency).sin_cos()).collect();
            table.extend(turned.iter().map(|(_, cosine)| cosine));
            table.extend(turned.iter().map(|(sine, _)| sine));
        }
        table
    }

    /// Rotates `heads` heads at the start of each row of `stride` numbers; row `i` stands at `positions[i]`.
    pub fn turn(&self, rows: &mut [f32], positions: &[u32], (heads, stride): (usize, usize), turn: Turn) {
        rotate(self, rows, positions, (heads, stride), if matches!(turn, Turn::Back) { -1.0 } else { 1.0 });
    }
}

vectorised! {
fn rotate(tables: &Rotary, rows: &mut [f32], positions: &[u32], heads_and_stride: (usize, usize), sign: f32) {
    let ((heads, stride), half) = (heads_and_stride, tables.frequencies.len());
    for (row, &position) in rows.chunks_exact_mut(stride).zip(positions) {
        let (cosines, sines) = tables.at(position);
        let (cosines, sines) = (&cosines[..half], &sines[..half]);
        for head in row.chunks_exact_mut(2 * half).take(heads) {
            let (first, second) = head.split_at_mut(half);
            for index in 0..half {
                let (x, y) = (first[index], second[index]);
                let sine = sines[index] * sign;
                first[index] = x * cosines[index] - y * sine;
                second[index] = y * cosines[index] + x * sine;
            }
        }
    }
}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_exact_to_a_few_units_in_the_last_place() {
        for step in -8700..8800 {
            let x = step as f32 / 100.0;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours / exact - 1.0).abs() < 4e-7, "e^{x} is off by {}", ours / exact - 1.0);
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn softmax_adds_up_and_its_logarithm_gives_the_shares_again() {
        let logits: Vec<f32> = (0..37).map(|step| (step * 7 % 11) as f32 - 4.0).collect();
        let mut shares = logits.clone();
        let log_sum = softmax(&mut shares);
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(shares.iter().zip(&logits).all(|(share, logit)| (share - exp(logit - log_sum)).abs() < 1e-6));
    }

    #[test]
    fn turning_back_undoes_a_turn() {
        let rotary = Rotary::new(9, &[1.0, 0.1, 0.01, 0.001]);
        let start: Vec<f32> = (0..32).map(|step| step as f32 / 10.0).collect();
        let mut rows = start.clone();
        rotary.turn(&mut rows, &[3, 8], (2, 16), Turn::Forward);
        assert!(rows.iter().zip(&start).any(|(x, y)| (x - y).abs() > 0.1));
        rotary.turn(&mut rows, &[3, 8], (2, 16), Turn::Back);
        assert!(rows.iter().zip(&start).all(|(x, y)| (x - y).abs() < 1e-5));
    }

    #[test]
    fn tables_are_made_of_what_is_read_alone() {
        let frequencies = [1.0, 0.125];
        let (few, many) = (Rotary::new(9, &frequencies), Rotary::new(1 << 24, &frequencies));
        let turned = |rotary: &Rotary, position: u32| {
            let mut row = [1.0, 1.0, 0.0, 0.0];
            rotary.turn(&mut row, &[position], (1, 4), Turn::Forward);
            row
        };
        assert_eq!(turned(&few, 8).map(f32::to_bits), turned(&many, 8).map(f32::to_bits));
        let last = (1_u32 << 24) - 1;
        let angles = [last as f32, last as f32 * 0.125];
        let expected = [angles[0].cos(), angles[1].cos(), angles[0].sin(), angles[1].sin()];
        assert!(turned(&many, last).iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
        assert_eq!(many.tables.iter().filter(|table| table.get().is_some()).count(), 2);
    }
}
