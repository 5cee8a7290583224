//! Doubles as whole numbers of the same order, their sorting by digits, and order statistics. NaN has no place here.

/// A whole number that is smaller exactly where the double is; 0 and -0 are one.
#[must_use]
pub fn key(number: f64) -> u64 {
    let bits = (number + 0.0).to_bits();
    bits ^ if bits >> 63 == 1 { u64::MAX } else { 1 << 63 }
}

/// The double of a key.
#[must_use]
pub fn number(key: u64) -> f64 {
    f64::from_bits(key ^ if key >> 63 == 1 { 1 << 63 } else { u64::MAX })
}

const DIGIT: u32 = 11;
const DIGITS: usize = 6;
const VALUES: usize = 1 << DIGIT;

/// The digit of a key at `place`, counted from the last.
fn digit(key: u64, place: usize) -> usize {
    (key >> (DIGIT * place as u32)) as usize & (VALUES - 1)
}

/// Sorts keys, smallest first. From two thousand on by digits, last one first, leaving out digits that are the same in all.
pub fn sort(keys: &mut Vec<u64>) {
    if keys.len() < VALUES {
        return keys.sort_unstable();
    }
    let mut counts = vec![[0_usize; VALUES]; DIGITS];
    for key in keys.iter() {
        for (place, counts) in counts.iter_mut().enumerate() {
            counts[digit(*key, place)] += 1;
        }
    }
    let mut sorted = vec![0; keys.len()];
    for (place, counts) in counts.iter_mut().enumerate() {
        if counts.contains(&keys.len()) {
            continue;
        }
        let mut start = 0;
        for count in counts.iter_mut() {
            let next = start + *count;
            *count = start;
            start = next;
        }
        for key in keys.iter() {
            let slot = &mut counts[digit(*key, place)];
            sorted[*slot] = *key;
            *slot += 1;
        }
        std::mem::swap(keys, &mut sorted);
    }
}

/// Keys fall into this many drawers by sign, exponent and the first bits of the fraction.
const DRAWERS: usize = 1 << 16;
const BELOW_DRAWER: u32 = 48;

fn drawer(key: u64) -> usize {
    (key >> BELOW_DRAWER) as usize
}

/// The numbers that stand at `places` (from 0, rising) once `numbers` are sorted.
/// Only the drawers that hold a place are sorted.
#[must_use]
pub fn at_places(numbers: &[f64], places: &[usize]) -> Vec<f64> {
    let mut counts = vec![0_usize; DRAWERS];
    numbers.iter().for_each(|one| counts[drawer(key(*one))] += 1);
    let mut wanted = vec![false; DRAWERS];
    let mut starts = Vec::with_capacity(places.len());
    let (mut at, mut before) = (0, 0);
    for place in places {
        while at < DRAWERS && before + counts[at] <= *place {
            before += counts[at];
            at += 1;
        }
        if let Some(wanted) = wanted.get_mut(at) {
            *wanted = true;
            starts.push((at, before));
        }
    }
    let held: usize = wanted.iter().zip(&counts).filter(|(wanted, _)| **wanted).map(|(_, count)| count).sum();
    // Written without a branch: whether a number is in a wanted drawer cannot be foretold.
    let mut keys = vec![0_u64; held + 1];
    let mut filled = 0;
    for one in numbers {
        let key = key(*one);
        keys[filled] = key;
        filled += usize::from(wanted[drawer(key)]);
    }
    keys.truncate(held);
    sort(&mut keys);
    let mut found = Vec::with_capacity(places.len());
    let mut opened: Option<(usize, usize)> = None;
    let mut first = 0;
    for (place, (drawer, before)) in places.iter().zip(starts) {
        if let Some((last, size)) = opened.filter(|(last, _)| *last != drawer) {
            debug_assert!(last < drawer);
            first += size;
        }
        opened = Some((drawer, counts[drawer]));
        found.extend(keys.get(first + place - before).map(|key| number(*key)));
    }
    found
}

/// Numbers read by one task at a time from the nearest memory.
const RUN: usize = 1024;

/// How many of `numbers` are at or above each edge.
#[must_use]
pub fn at_or_above(numbers: &[f64], edges: &[f64]) -> Vec<u64> {
    let mut counts = vec![0_u64; edges.len()];
    for run in numbers.chunks(RUN) {
        for (edge, count) in edges.iter().zip(&mut counts) {
            *count += run.iter().map(|one| u64::from(*one >= *edge)).sum::<u64>();
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Random;

    fn drawn(seed: u64, count: usize, distinct: usize) -> Vec<f64> {
        let mut random = Random::new(seed, 1);
        (0..count).map(|_| random.below(distinct) as f64 / distinct as f64 - 0.3).collect()
    }

    #[test]
    fn keys_order_as_their_numbers_do() {
        let rising = [f64::NEG_INFINITY, -1e300, -1.0, -1e-310, 0.0, 1e-310, 0.5, 1.0, f64::INFINITY];
        assert!(rising.iter().map(|one| key(*one)).is_sorted());
        assert!(rising.iter().all(|one| number(key(*one)) == *one));
        assert_eq!(key(-0.0), key(0.0));
    }

    #[test]
    fn sorting_by_digits_sorts() {
        for (seed, distinct) in [(1, 1 << 53), (2, 7), (3, 1), (4, 100_000)] {
            for count in [0, 1, 2_047, 2_048, 30_000] {
                let mut keys: Vec<u64> = drawn(seed, count, distinct).into_iter().map(key).collect();
                let mut expected = keys.clone();
                expected.sort_unstable();
                sort(&mut keys);
                assert_eq!(keys, expected);
            }
        }
    }

    #[test]
    fn numbers_at_places_are_those_of_the_sorted_whole() {
        for (seed, distinct) in [(1, 1 << 53), (2, 7), (3, 1), (4, 1_000)] {
            let numbers = drawn(seed, 5_000, distinct);
            let mut sorted = numbers.clone();
            sorted.sort_by(f64::total_cmp);
            let places = [0, 1, 1, 499, 500, 2_500, 2_501, 4_998, 4_999, 4_999];
            let expected: Vec<f64> = places.iter().map(|place| sorted[*place]).collect();
            assert_eq!(at_places(&numbers, &places), expected);
        }
    }
}
