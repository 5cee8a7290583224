//! How far one sample of numbers has moved from a reference: PSI, Jensen-Shannon, Kolmogorov-Smirnov, Wasserstein.

use crate::order;

/// Two samples.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// What is compared with.
    pub reference: Vec<f64>,
    /// What is compared.
    pub current: Vec<f64>,
}

impl Samples {
    /// Takes in numbers; bit `from + n` of `references`, the lowest of a byte first, says whether number `n` is of the reference.
    pub fn extend(&mut self, numbers: &[f64], references: &[u8], from: usize) {
        if numbers.is_empty() {
            return;
        }
        let of = |at: usize| references[(from + at) / 8] >> ((from + at) % 8) & 1 == 1;
        let first = of(0);
        if (1..numbers.len()).all(|at| of(at) == first) {
            let side = if first { &mut self.reference } else { &mut self.current };
            return side.extend_from_slice(numbers);
        }
        for (at, number) in numbers.iter().enumerate() {
            if of(at) { self.reference.push(*number) } else { self.current.push(*number) }
        }
    }

    /// Lets the first numbers of each sample go.
    pub fn forget_first(&mut self, reference: usize, current: usize) {
        self.reference.drain(..reference.min(self.reference.len()));
        self.current.drain(..current.min(self.current.len()));
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn size(&self) -> usize {
        (self.reference.capacity() + self.current.capacity()) * size_of::<f64>()
    }
}

/// The share that an empty bin counts as in the PSI, whose logarithm knows no 0.
const OF_AN_EMPTY_BIN: f64 = 0.0001;
/// Numbers from which the two samples are worked on beside one another.
const BESIDE: usize = 100_000;

/// Does the same to both samples.
fn both<T: Send>(samples: &Samples, work: impl Fn(&[f64]) -> T + Sync) -> (T, T) {
    if samples.reference.len() + samples.current.len() < BESIDE {
        return (work(&samples.reference), work(&samples.current));
    }
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| work(&samples.reference));
        let current = work(&samples.current);
        (beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), current)
    })
}

/// The whole part of a place in a sample.
#[expect(clippy::cast_sign_loss, reason = "a place is not negative")]
fn whole(place: f64) -> usize {
    place as usize
}

/// The edges between bins of equal shares of the reference: quantiles by linear interpolation as in numpy, each once.
fn edges(reference: &[f64], bins: usize) -> Vec<f64> {
    let last = reference.len() - 1;
    let positions: Vec<f64> = (1..bins).map(|nth| last as f64 * (nth as f64 * (1.0 / bins as f64))).collect();
    let places: Vec<usize> = positions.iter().map(|position| whole(*position)).flat_map(|place| [place, (place + 1).min(last)]).collect();
    let stand = order::at_places(reference, &places);
    let between = |(position, ends): (&f64, &[f64])| {
        let ([low, high], share) = ([ends[0], ends[1]], position - position.floor());
        let apart = high - low;
        if low == high {
            low
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

/// The share of each bin, from the lowest; a number on an edge is in the bin above.
fn shares(numbers: &[f64], edges: &[f64]) -> Vec<f64> {
    let above = order::at_or_above(numbers, edges);
    let starts = std::iter::once(numbers.len() as u64).chain(above.iter().copied());
    let ends = above.iter().copied().chain(std::iter::once(0));
    starts.zip(ends).map(|(start, end)| (start - end) as f64 / numbers.len() as f64).collect()
}

/// An answer without looking further: `None` where a sample is empty, NaN where one holds a NaN.
fn settled(samples: &Samples) -> Option<Option<f64>> {
    if samples.reference.is_empty() || samples.current.is_empty() {
        return Some(None);
    }
    let (a, b) = both(samples, |numbers| numbers.iter().fold(false, |any, number| any | number.is_nan()));
    (a || b).then_some(Some(f64::NAN))
}

fn binned(samples: &Samples, bins: usize) -> (Vec<f64>, Vec<f64>) {
    let edges = edges(&samples.reference, bins);
    both(samples, |numbers| shares(numbers, &edges))
}

/// Population stability index over `bins` bins of equal shares of the reference: the sum of `(q - p) ln(q / p)`. An empty bin counts as
/// a share of 0.0001. `None` where a sample is empty, NaN where one holds a NaN.
#[must_use]
pub fn psi(samples: &Samples, bins: usize) -> Option<f64> {
    settled(samples).unwrap_or_else(|| {
        let (reference, current) = binned(samples, bins);
        let stated = |share: f64| if share == 0.0 { OF_AN_EMPTY_BIN } else { share };
        Some(reference.into_iter().zip(current).map(|(p, q)| (stated(p), stated(q))).map(|(p, q)| (q - p) * (q / p).ln()).sum())
    })
}

/// Jensen-Shannon distance over the bins of `psi`, natural logarithm: 0 to `sqrt(ln 2)`, as `scipy.spatial.distance.jensenshannon`.
#[must_use]
pub fn js(samples: &Samples, bins: usize) -> Option<f64> {
    settled(samples).unwrap_or_else(|| {
        let (reference, current) = binned(samples, bins);
        let term = |share: f64, middle: f64| if share > 0.0 { share * (share / middle).ln() } else { 0.0 };
        let terms = reference.into_iter().zip(current).map(|(p, q)| term(p, (p + q) / 2.0) + term(q, (p + q) / 2.0));
        Some((terms.sum::<f64>() / 2.0).max(0.0).sqrt())
    })
}

/// Walks over the distinct numbers of both samples, smallest first: the number, and the shares at or below it.
fn walk(samples: &Samples, mut visit: impl FnMut(f64, f64, f64)) {
    let (reference, current) = both(samples, |numbers| {
        let mut keys: Vec<u64> = numbers.iter().map(|number| order::key(*number)).collect();
        order::sort(&mut keys);
        keys
    });
    let (mut a, mut b) = (0, 0);
    while let Some(key) = [reference.get(a), current.get(b)].into_iter().flatten().min().copied() {
        a += reference[a..].iter().take_while(|one| **one == key).count();
        b += current[b..].iter().take_while(|one| **one == key).count();
        visit(order::number(key), a as f64 / reference.len() as f64, b as f64 / current.len() as f64);
    }
}

/// The two-sample statistic of Kolmogorov and Smirnov: the largest distance of the cumulative shares, as `scipy.stats.ks_2samp`.
#[must_use]
pub fn ks(samples: &Samples) -> Option<f64> {
    settled(samples).unwrap_or_else(|| {
        let mut largest = 0.0_f64;
        walk(samples, |_, reference, current| largest = largest.max((reference - current).abs()));
        Some(largest)
    })
}

/// The first Wasserstein distance in the unit of the numbers, as `scipy.stats.wasserstein_distance`.
#[must_use]
pub fn wasserstein(samples: &Samples) -> Option<f64> {
    settled(samples).unwrap_or_else(|| {
        let (mut before, mut apart, mut total): (Option<f64>, f64, f64) = (None, 0.0, 0.0);
        walk(samples, |number, reference, current| {
            total += before.map_or(0.0, |before| apart * (number - before));
            (before, apart) = (Some(number), (reference - current).abs());
        });
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
        let samples = Samples { reference: same.clone(), current: same };
        assert_eq!(
            (psi(&samples, 10), js(&samples, 10), ks(&samples), wasserstein(&samples)),
            (Some(0.0), Some(0.0), Some(0.0), Some(0.0))
        );
    }

    #[test]
    fn moving_all_by_a_step_is_that_far_by_wasserstein() {
        let reference = drawn(1, 150_000, 1_000_000);
        let current = reference.iter().map(|number| number + 0.25).collect();
        let far = wasserstein(&Samples { reference, current }).expect("both are there");
        assert!((far - 0.25).abs() < 1e-9);
    }

    #[test]
    fn the_order_of_the_numbers_changes_no_bit() {
        for levels in [7, 1_000_000] {
            let samples = Samples { reference: drawn(1, 900, levels), current: drawn(2, 700, levels) };
            let mut turned = samples.clone();
            turned.reference.reverse();
            turned.current.rotate_left(123);
            let told =
                |samples: &Samples| [psi(samples, 10), js(samples, 10), ks(samples), wasserstein(samples)].map(|one| one.map(f64::to_bits));
            assert_eq!(told(&samples), told(&turned));
        }
    }

    #[test]
    fn numbers_go_to_the_sample_that_their_bit_names_and_leave_in_order() {
        let mut samples = Samples::default();
        samples.extend(&[1.0, 2.0, 3.0, 4.0], &[0b1010_0000, 0b0000_0001], 5);
        samples.extend(&[5.0, 6.0], &[0b11], 0);
        samples.extend(&[], &[], 0);
        assert_eq!((samples.reference.clone(), samples.current.clone()), (vec![1.0, 3.0, 4.0, 5.0, 6.0], vec![2.0]));
        samples.forget_first(2, 1);
        assert_eq!((samples.reference, samples.current), (vec![4.0, 5.0, 6.0], vec![]));
    }

    #[test]
    fn an_empty_sample_has_no_answer_and_a_nan_gives_none() {
        let one = |reference: &[f64], current: &[f64]| Samples { reference: reference.to_vec(), current: current.to_vec() };
        assert_eq!((ks(&one(&[], &[1.0])), psi(&one(&[1.0], &[]), 10)), (None, None));
        assert!(js(&one(&[1.0], &[f64::NAN]), 10).expect("an answer").is_nan());
        let apart = psi(&one(&[1.0; 5], &[0.0; 5]), 10).expect("an answer");
        assert!((apart - 2.0 * (1.0 - OF_AN_EMPTY_BIN) * (1.0 / OF_AN_EMPTY_BIN).ln()).abs() < 1e-12);
    }
}
