//! The sorting of whole numbers by digits, order statistics of doubles, and counts between edges. NaN has no place here.

use crate::beside::{half, halves};
use crate::scale::Places;

/// A whole number that is smaller exactly where the double is; 0 and -0 are one.
#[must_use]
pub fn key(number: f64) -> u64 {
    let bits = (number + 0.0).to_bits();
    bits ^ if bits >> 63 == 1 { u64::MAX } else { 1 << 63 }
}

/// The most bits of a digit.
const DIGIT: u32 = 11;
const DIGITS: usize = 3;
const VALUES: usize = 1 << DIGIT;

/// A whole number that is sorted.
pub trait Word: Copy + Default + Ord + Send {
    /// The last bits of a number; those before are 0 in what is given.
    fn of(number: u64) -> Self;
    /// The number.
    fn number(self) -> u64;
}

impl Word for u32 {
    fn of(number: u64) -> Self {
        number as Self
    }

    fn number(self) -> u64 {
        u64::from(self)
    }
}

impl Word for u64 {
    fn of(number: u64) -> Self {
        number
    }

    fn number(self) -> u64 {
        self
    }
}

/// Which bits of whole numbers tell them apart.
#[derive(Clone, Copy)]
pub struct Bits {
    /// The lowest that counts; those below are carried along.
    pub from: u32,
    /// The first that is 0 in all.
    pub upto: u32,
}

/// Sorts whole numbers by some of their bits, smallest first. From two thousand on by the three uppermost digits, last one first; the
/// few that those leave equal are then compared.
pub fn sort<W: Word>(numbers: &mut Vec<W>, bits: Bits) {
    if numbers.len() < VALUES || u32::try_from(numbers.len()).is_err() {
        return numbers.sort_unstable_by_key(|number| number.number() >> bits.from);
    }
    let low = bits.from.max(bits.upto.saturating_sub(DIGIT * DIGITS as u32));
    let width = bits.upto.saturating_sub(low).div_ceil(DIGITS as u32);
    by_digits(numbers, low, width);
    if low > bits.from {
        for equal in numbers.chunk_by_mut(|one, next| one.number() >> low == next.number() >> low) {
            let told_apart = |one: &W| one.number() >> bits.from != equal[0].number() >> bits.from;
            if equal.iter().any(told_apart) {
                equal.sort_unstable();
            }
        }
    }
}

fn by_digits<W: Word>(numbers: &mut Vec<W>, low: u32, width: u32) {
    let digit = |number: W, place: usize| (number.number() >> (low + width * place as u32)) as usize & ((1 << width) - 1);
    let mut counts = [[0_u32; VALUES]; DIGITS];
    for number in numbers.iter() {
        for (place, counts) in counts.iter_mut().enumerate() {
            counts[digit(*number, place)] += 1;
        }
    }
    let mut sorted = vec![W::default(); numbers.len()];
    for (place, counts) in counts.iter_mut().enumerate() {
        if counts.iter().any(|count| *count as usize == numbers.len()) {
            continue;
        }
        let mut start = 0;
        for count in counts.iter_mut() {
            start += std::mem::replace(count, start);
        }
        for number in numbers.iter() {
            let slot = &mut counts[digit(*number, place)];
            sorted[*slot as usize] = *number;
            *slot += 1;
        }
        std::mem::swap(numbers, &mut sorted);
    }
}

/// Places fall into at most this many drawers by their first bits.
const DRAWERS: usize = 1 << 15;

/// The numbers that stand at `ranks` (from 0, rising, below the count) once the numbers of all pieces are sorted.
/// Only the drawers that hold one of them are looked into.
#[must_use]
pub fn at_ranks(pieces: &[&[f64]], places: Places, ranks: &[usize]) -> Vec<f64> {
    let count = pieces.iter().map(|piece| piece.len()).sum();
    let below = places.bits().saturating_sub(DRAWERS.trailing_zeros());
    let drawer = |place: u64| (place >> below) as usize & (DRAWERS - 1);
    let [mut counts, others] = halves(count, |nth| {
        let mut counts = vec![0_usize; DRAWERS];
        half(pieces, nth).for_each(|run| run.iter().for_each(|one| counts[drawer(places.of(*one))] += 1));
        counts
    });
    counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
    let mut wanted = vec![false; DRAWERS];
    // The rank of each among what the wanted drawers hold.
    let mut held_ranks = Vec::with_capacity(ranks.len());
    let (mut at, mut before, mut held) = (0, 0, 0);
    for rank in ranks {
        while before + counts[at] <= *rank {
            before += counts[at];
            held += if wanted[at] { counts[at] } else { 0 };
            at += 1;
        }
        wanted[at] = true;
        held_ranks.push(held + rank - before);
    }
    let [mut found, others] = halves(count, |nth| {
        let mut found = Vec::new();
        half(pieces, nth).for_each(|run| found.extend(run.iter().map(|one| places.of(*one)).filter(|place| wanted[drawer(*place)])));
        found
    });
    found.extend(others);
    sort(&mut found, Bits { from: 0, upto: places.bits() });
    held_ranks.into_iter().map(|rank| places.number(found[rank])).collect()
}

/// Edges up to which each is compared with every number.
const FEW: usize = 64;

/// How many numbers are at or above each edge.
#[must_use]
pub fn at_or_above(pieces: &[&[f64]], edges: &[f64]) -> Vec<u64> {
    let count = pieces.iter().map(|piece| piece.len()).sum();
    let sought = edges.len() > FEW && edges.is_sorted();
    let [mut counts, others] = halves(count, |nth| {
        let runs = half(pieces, nth);
        if sought { by_search(runs, edges) } else { by_comparison(runs, edges) }
    });
    counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
    counts
}

fn by_comparison<'a>(runs: impl Iterator<Item = &'a [f64]>, edges: &[f64]) -> Vec<u64> {
    let mut counts = vec![0_u64; edges.len()];
    runs.for_each(|run| {
        for (edge, count) in edges.iter().zip(&mut counts) {
            *count += run.iter().map(|one| u64::from(*one >= *edge)).sum::<u64>();
        }
    });
    counts
}

fn by_search<'a>(runs: impl Iterator<Item = &'a [f64]>, edges: &[f64]) -> Vec<u64> {
    let mut counts = vec![0_u64; edges.len() + 1];
    runs.for_each(|run| run.iter().for_each(|one| counts[edges.partition_point(|edge| *one >= *edge)] += 1));
    // What is at or above an edge is also so for all before it.
    for at in (1..edges.len()).rev() {
        counts[at] += counts[at + 1];
    }
    counts.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Random;
    use crate::scale::Scale;

    fn drawn(seed: u64, count: usize, distinct: usize) -> Vec<f64> {
        let mut random = Random::new(seed, 1);
        (0..count).map(|_| random.below(distinct) as f64 / distinct as f64 - 0.3).collect()
    }

    #[test]
    fn keys_order_as_their_numbers_do() {
        let rising = [f64::NEG_INFINITY, -1e300, -1.0, -1e-310, 0.0, 1e-310, 0.5, 1.0, f64::INFINITY];
        assert!(rising.iter().map(|one| key(*one)).is_sorted());
        assert_eq!(key(-0.0), key(0.0));
    }

    #[test]
    fn sorting_by_digits_sorts() {
        let mut random = Random::new(1, 2);
        for upto in [1, 9, 33, 34, 58, 64] {
            for (count, distinct) in [(0, 1 << 62), (1, 1), (2_047, 1 << 62), (2_048, 1 << 62), (30_000, 1 << 62), (30_000, 7)] {
                let mut numbers: Vec<u64> = (0..count).map(|_| (random.below(distinct) as u64) << 2 >> (64 - upto)).collect();
                let mut expected = numbers.clone();
                expected.sort_unstable();
                sort(&mut numbers, Bits { from: 0, upto });
                assert_eq!(numbers, expected);
            }
        }
    }

    #[test]
    fn bits_that_do_not_count_are_carried_along() {
        let mut random = Random::new(3, 2);
        let mut numbers: Vec<u64> = (0..50_000).map(|_| random.below(1 << 45) as u64).collect();
        let sum = |numbers: &[u64]| numbers.iter().fold(0_u64, |sum, number| sum.wrapping_add(*number));
        let before = sum(&numbers);
        sort(&mut numbers, Bits { from: 1, upto: 45 });
        assert!(numbers.is_sorted_by_key(|number| number >> 1) && sum(&numbers) == before);
    }

    #[test]
    fn numbers_at_ranks_are_those_of_the_sorted_whole() {
        for (seed, distinct) in [(1, 1 << 53), (2, 7), (3, 1), (4, 1_000)] {
            for count in [5_000, 120_000] {
                let numbers = drawn(seed, count, distinct);
                let mut sorted = numbers.clone();
                sorted.sort_by(f64::total_cmp);
                let ranks = [0, 1, 1, 499, 500, 2_500, 2_501, 4_998, 4_999, count - 1];
                let expected: Vec<f64> = ranks.iter().map(|rank| sorted[*rank]).collect();
                let places = Scale::of(numbers.iter().copied()).expect("numbers").places();
                assert_eq!(at_ranks(&[&numbers[..700], &[], &numbers[700..]], places, &ranks), expected);
            }
        }
    }

    #[test]
    fn many_edges_are_counted_as_few() {
        let numbers = drawn(5, 9_000, 500);
        let mut edges: Vec<f64> = drawn(6, 200, 500);
        edges.sort_by(f64::total_cmp);
        let each: Vec<u64> = edges.iter().map(|edge| by_comparison(std::iter::once(&numbers[..]), &[*edge])[0]).collect();
        assert_eq!(at_or_above(&[&numbers[..10], &numbers[10..]], &edges), each);
    }
}
