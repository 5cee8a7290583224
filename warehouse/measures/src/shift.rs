//! How far one sample of numbers has moved from a reference: PSI, Jensen-Shannon, Kolmogorov-Smirnov, Wasserstein.

use std::ops::Range;
use std::sync::Arc;

use crate::beside::{half, halves};
use crate::column::{Column, Shared};
use crate::order;
use crate::ranking::{Kinds, Ranking, Run};
use crate::scale::{Places, Scale};

/// Numbers of both samples that are dealt out one by one.
const SMALL: usize = 128;

/// Two samples.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// What is compared with.
    pub reference: Column,
    /// What is compared.
    pub current: Column,
}

impl Samples {
    /// Takes in numbers; bit `from + n` of `references`, the lowest of a byte first, says whether number `n` is of the reference.
    pub fn extend(&mut self, numbers: Shared, references: &[u8], from: usize) {
        let all = (*numbers).as_ref();
        let referring = stated(references, from..from + all.len());
        if referring == all.len() {
            return self.reference.share(numbers);
        }
        if referring == 0 {
            return self.current.share(numbers);
        }
        if all.len() < SMALL {
            for (number, at) in all.iter().zip(from..) {
                let side = if references[at / 8] >> (at % 8) & 1 == 1 { &mut self.reference } else { &mut self.current };
                side.copy(std::slice::from_ref(number));
            }
            return;
        }
        // Both are written and one of them moves on: no branch that cannot be foretold.
        let (mut reference, mut current) = (vec![0.0; referring + 1], vec![0.0; all.len() - referring + 1]);
        let (mut a, mut b) = (0, 0);
        for (number, at) in all.iter().zip(from..) {
            (reference[a], current[b]) = (*number, *number);
            let refers = usize::from(references[at / 8] >> (at % 8) & 1);
            (a, b) = (a + refers, b + 1 - refers);
        }
        reference.truncate(a);
        current.truncate(b);
        self.reference.share(Arc::new(reference));
        self.current.share(Arc::new(current));
    }

    /// Lets the first numbers of each sample go.
    pub fn forget_first(&mut self, reference: usize, current: usize) {
        self.reference.forget_first(reference);
        self.current.forget_first(current);
    }

    /// Bytes of both.
    #[must_use]
    pub fn size(&self) -> usize {
        self.reference.size() + self.current.size()
    }
}

/// How many bits of a range are set.
fn stated(bits: &[u8], range: Range<usize>) -> usize {
    if range.is_empty() {
        return 0;
    }
    let last = range.end - 1;
    let whole: u32 = bits[range.start / 8..=last / 8].iter().map(|byte| byte.count_ones()).sum();
    let before = (bits[range.start / 8] & !(u8::MAX << (range.start % 8))).count_ones();
    let behind = (bits[last / 8] & !(u8::MAX >> (7 - last % 8))).count_ones();
    (whole - before - behind) as usize
}

/// The share that an empty bin counts as in the PSI, whose logarithm knows no 0.
const OF_AN_EMPTY_BIN: f64 = 0.0001;

/// The whole part of a place in a sample.
#[expect(clippy::cast_sign_loss, reason = "a place is not negative")]
fn whole(place: f64) -> usize {
    place as usize
}

/// The edges between bins of equal shares of the reference: quantiles by linear interpolation as in numpy, each once. Between numbers that are
/// infinitely far apart there is nothing to interpolate: the nearer one is the edge.
fn edges(reference: &[&[f64]], places: Places, bins: usize) -> Vec<f64> {
    let last = reference.iter().map(|piece| piece.len()).sum::<usize>() - 1;
    let positions: Vec<f64> = (1..bins).map(|nth| last as f64 * (nth as f64 * (1.0 / bins as f64))).collect();
    let ranks: Vec<usize> = positions.iter().map(|position| whole(*position)).flat_map(|rank| [rank, (rank + 1).min(last)]).collect();
    let stand = order::at_ranks(reference, places, &ranks);
    let between = |(position, ends): (&f64, &[f64])| {
        let ([low, high], share) = ([ends[0], ends[1]], position - position.floor());
        let apart = high - low;
        if low == high || apart.is_infinite() && share < 0.5 {
            low
        } else if apart.is_infinite() {
            high
        } else if share >= 0.5 {
            high - apart * (1.0 - share)
        } else {
            low + apart * share
        }
    };
    let mut edges: Vec<f64> = positions.iter().zip(stand.chunks_exact(2)).map(between).collect();
    edges.dedup();
    edges
}

/// The share of each bin, from the lowest; a number on an edge is in the bin above. `None` where a number is NaN.
/// The first edge is below all.
fn shares(numbers: &Column, edges: &[f64]) -> Option<Vec<f64>> {
    let above = order::at_or_above(&numbers.pieces(), edges);
    let ends = above.iter().copied().skip(1).chain(std::iter::once(0));
    let share = |(start, end): (&u64, u64)| (start - end) as f64 / numbers.len() as f64;
    (above.first() == Some(&(numbers.len() as u64))).then(|| above.iter().zip(ends).map(share).collect())
}

/// `None` where a sample is empty, NaN where one holds a NaN.
fn measured(samples: &Samples, measure: impl FnOnce(&Samples) -> Option<f64>) -> Option<f64> {
    (!samples.reference.is_empty() && !samples.current.is_empty()).then(|| measure(samples).unwrap_or(f64::NAN))
}

/// The shares of both samples in bins of equal shares of the reference; `None` where a number is NaN.
fn binned(samples: &Samples, bins: usize) -> Option<(Vec<f64>, Vec<f64>)> {
    let reference = samples.reference.pieces();
    let [first, second] = halves(samples.reference.len(), |nth| Scale::of_all(half(&reference, nth)));
    let within = edges(&reference, first?.with(second?).places(), bins);
    let edges: Vec<f64> = std::iter::once(f64::NEG_INFINITY).chain(within).collect();
    shares(&samples.reference, &edges).zip(shares(&samples.current, &edges))
}

/// Population stability index over `bins` bins of equal shares of the reference: the sum of `(q - p) ln(q / p)`. An empty bin counts as
/// a share of 0.0001. `None` where a sample is empty, NaN where one holds a NaN.
#[must_use]
pub fn psi(samples: &Samples, bins: usize) -> Option<f64> {
    measured(samples, |samples| {
        let (reference, current) = binned(samples, bins)?;
        let stated = |share: f64| if share == 0.0 { OF_AN_EMPTY_BIN } else { share };
        Some(reference.into_iter().zip(current).map(|(p, q)| (stated(p), stated(q))).map(|(p, q)| (q - p) * (q / p).ln()).sum())
    })
}

/// Jensen-Shannon distance over the bins of `psi`, natural logarithm: 0 to `sqrt(ln 2)`, as `scipy.spatial.distance.jensenshannon`.
#[must_use]
pub fn js(samples: &Samples, bins: usize) -> Option<f64> {
    measured(samples, |samples| {
        let (reference, current) = binned(samples, bins)?;
        let term = |share: f64, middle: f64| if share > 0.0 { share * (share / middle).ln() } else { 0.0 };
        let terms = reference.into_iter().zip(current).map(|(p, q)| term(p, (p + q) / 2.0) + term(q, (p + q) / 2.0));
        Some((terms.sum::<f64>() / 2.0).max(0.0).sqrt())
    })
}

/// Walks over the distinct numbers of both samples, smallest first: the number, and the shares at or below it. `None` where one is NaN.
fn walk(samples: &Samples, mut visit: impl FnMut(f64, f64, f64)) -> Option<()> {
    let (reference, current) = (samples.reference.pieces(), samples.current.pieces());
    let kinds = std::iter::repeat_n(Kinds::All, reference.len()).chain(std::iter::repeat(Kinds::None));
    let runs: Vec<Run<'_>> = reference.into_iter().chain(current).zip(kinds).map(|(numbers, kinds)| Run { numbers, kinds }).collect();
    let ranking = Ranking::new(&runs)?;
    let (mut a, mut b) = (0.0, 0.0);
    ranking.rising(|number, first, second| {
        (a, b) = (a + first, b + second);
        visit(number, a / samples.reference.len() as f64, b / samples.current.len() as f64);
    });
    Some(())
}

/// The two-sample statistic of Kolmogorov and Smirnov: the largest distance of the cumulative shares, as `scipy.stats.ks_2samp`.
#[must_use]
pub fn ks(samples: &Samples) -> Option<f64> {
    measured(samples, |samples| {
        let mut largest = 0.0_f64;
        walk(samples, |_, reference, current| largest = largest.max((reference - current).abs()))?;
        Some(largest)
    })
}

/// The first Wasserstein distance in the unit of the numbers, as `scipy.stats.wasserstein_distance`.
#[must_use]
pub fn wasserstein(samples: &Samples) -> Option<f64> {
    measured(samples, |samples| {
        let (mut before, mut apart, mut total): (Option<f64>, f64, f64) = (None, 0.0, 0.0);
        walk(samples, |number, reference, current| {
            total += before.map_or(0.0, |before| apart * (number - before));
            (before, apart) = (Some(number), (reference - current).abs());
        })?;
        Some(total)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Random;

    fn drawn(seed: u64, count: usize, levels: usize) -> Vec<f64> {
        let mut random = Random::new(seed, 5);
        (0..count).map(|_| random.below(levels) as f64 / levels as f64).collect()
    }

    #[test]
    fn a_sample_has_not_moved_from_itself() {
        let same = drawn(1, 500, 40);
        let samples = Samples { reference: same.clone().into(), current: same.into() };
        assert_eq!(
            (psi(&samples, 10), js(&samples, 10), ks(&samples), wasserstein(&samples)),
            (Some(0.0), Some(0.0), Some(0.0), Some(0.0))
        );
    }

    #[test]
    fn moving_all_by_a_step_is_that_far_by_wasserstein() {
        let reference = drawn(1, 150_000, 1_000_000);
        let current: Vec<f64> = reference.iter().map(|number| number + 0.25).collect();
        let far = wasserstein(&Samples { reference: reference.into(), current: current.into() }).expect("both are there");
        assert!((far - 0.25).abs() < 1e-9);
    }

    #[test]
    fn the_order_of_the_numbers_and_their_batches_change_no_bit() {
        let told = |samples: &Samples| {
            [psi(samples, 10), js(samples, 10), js(samples, 200), ks(samples), wasserstein(samples)].map(|one| one.map(f64::to_bits))
        };
        for (levels, count) in [(7, 900), (1_000_000, 900), (7, 150_000), (1 << 53, 150_000)] {
            let (mut reference, mut current) = (drawn(1, count, levels), drawn(2, count - 200, levels));
            let samples = Samples { reference: reference.clone().into(), current: current.clone().into() };
            reference.reverse();
            current.rotate_left(123);
            let mut turned = Samples::default();
            for (batch, of_reference) in
                reference.chunks(3_000).map(|batch| (batch, 0xff)).chain(current.chunks(900).map(|batch| (batch, 0)))
            {
                turned.extend(Arc::new(batch.to_vec()), &[of_reference; 400], 3);
            }
            assert_eq!(told(&samples), told(&turned));
        }
    }

    #[test]
    fn numbers_go_to_the_sample_that_their_bit_names_and_leave_in_order() {
        let mut samples = Samples::default();
        samples.extend(Arc::new([1.0, 2.0, 3.0, 4.0]), &[0b1010_0000, 0b0000_0001], 5);
        samples.extend(Arc::new([5.0, 6.0]), &[0b11], 0);
        samples.extend(Arc::new([]), &[], 0);
        let told = |samples: &Samples| (samples.reference.pieces().concat(), samples.current.pieces().concat());
        assert_eq!(told(&samples), (vec![1.0, 3.0, 4.0, 5.0, 6.0], vec![2.0]));
        samples.forget_first(2, 1);
        assert_eq!(told(&samples), (vec![4.0, 5.0, 6.0], vec![]));
    }

    #[test]
    fn bits_of_a_range_are_counted_as_one_by_one() {
        let bits = [0b1011_0101, 0b0110_1110, 0b1111_0001];
        let one = |at: usize| usize::from(bits[at / 8] >> (at % 8) & 1);
        for (start, end) in (0..24).flat_map(|start| (start..=24).map(move |end| (start, end))) {
            assert_eq!(stated(&bits, start..end), (start..end).map(one).sum::<usize>(), "{start} {end}");
        }
    }

    /// Infinite numbers are ordered as others are.
    #[test]
    fn infinite_numbers_stand_below_and_above_all_others() {
        let far = [f64::NEG_INFINITY, 1.0, 2.0, 3.0, 4.0, f64::INFINITY];
        let finite = [-1e9, 1.0, 2.0, 3.0, 4.0, 1e9];
        for (bins, of) in [2, 5, 10, 100].into_iter().flat_map(|bins| [(bins, 0..6), (bins, 0..5), (bins, 1..6)]) {
            let one =
                |reference: &[f64], current: &[f64]| Samples { reference: reference.to_vec().into(), current: current.to_vec().into() };
            for samples in
                [one(&far[of.clone()], &far[1..5]), one(&far[1..5], &far[of.clone()]), one(&[f64::MIN, f64::MAX], &far[of.clone()])]
            {
                let told = [psi(&samples, bins), js(&samples, bins)].map(|answer| answer.expect("both are there"));
                assert!((0.0..20.0).contains(&told[0]) && (0.0..0.8326).contains(&told[1]), "{told:?}");
            }
            let same = one(&far[of.clone()], &far[of.clone()]);
            assert_eq!((psi(&same, bins), js(&same, bins)), (Some(0.0), Some(0.0)));
            let (infinite, large) = (one(&far[1..5], &far[of.clone()]), one(&finite[1..5], &finite[of]));
            assert_eq!((psi(&infinite, bins), ks(&infinite)), (psi(&large, bins), ks(&large)));
        }
    }

    #[test]
    fn an_empty_sample_has_no_answer_and_a_nan_gives_none() {
        let one = |reference: &[f64], current: &[f64]| Samples { reference: reference.to_vec().into(), current: current.to_vec().into() };
        assert_eq!((ks(&one(&[], &[1.0])), psi(&one(&[1.0], &[]), 10)), (None, None));
        for samples in [one(&[1.0], &[f64::NAN]), one(&[f64::NAN, 1.0], &[1.0])] {
            let told = [psi(&samples, 10), js(&samples, 10), ks(&samples), wasserstein(&samples)];
            assert!(told.iter().all(|answer| answer.is_some_and(f64::is_nan)), "{told:?}");
        }
        let apart = psi(&one(&[1.0; 5], &[0.0; 5]), 10).expect("an answer");
        assert!((apart - 2.0 * (1.0 - OF_AN_EMPTY_BIN) * (1.0 / OF_AN_EMPTY_BIN).ln()).abs() < 1e-12);
    }
}
