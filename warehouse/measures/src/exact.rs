//! Sums without rounding until they are asked for (Shewchuk 1997): the same bits in any order, and what was added can be taken away.

/// A sum of finite numbers, held as parts that do not overlap, the smallest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExactSum {
    parts: Vec<f64>,
}

impl ExactSum {
    /// Adds a finite number; a negative one takes away.
    pub fn add(&mut self, number: f64) {
        let mut carried = number;
        let mut kept = 0;
        for at in 0..self.parts.len() {
            let part = self.parts[at];
            let (large, small) = if carried.abs() < part.abs() { (part, carried) } else { (carried, part) };
            carried = large + small;
            let lost = small - (carried - large);
            if lost != 0.0 {
                self.parts[kept] = lost;
                kept += 1;
            }
        }
        self.parts.truncate(kept);
        if carried != 0.0 {
            self.parts.push(carried);
        }
    }

    /// Adds all of another sum.
    pub fn merge(&mut self, parts: &[f64]) {
        parts.iter().for_each(|part| self.add(*part));
    }

    /// What `merge` takes.
    #[must_use]
    pub fn parts(&self) -> &[f64] {
        &self.parts
    }

    /// The nearest double to the exact sum, ties to even.
    #[must_use]
    pub fn value(&self) -> f64 {
        let mut rest = self.parts.iter().rev().copied();
        let mut total = rest.next().unwrap_or(0.0);
        let mut lost = 0.0;
        for part in rest.by_ref() {
            let larger = total;
            total = larger + part;
            lost = part - (total - larger);
            if lost != 0.0 {
                break;
            }
        }
        // Exactly half way, what is left below decides; the addition itself has rounded to even.
        if let Some(below) = rest.next().filter(|below| (lost < 0.0) == (*below < 0.0) && lost != 0.0) {
            let twice = lost * 2.0;
            let moved = total + twice;
            if twice == moved - total && below != 0.0 {
                total = moved;
            }
        }
        total
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn size(&self) -> usize {
        self.parts.capacity() * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Random;

    fn drawn(seed: u64, count: usize) -> Vec<f64> {
        let mut random = Random::new(seed, 0);
        (0..count)
            .map(|_| {
                let scale = 2.0_f64.powi(i32::try_from(random.below(120)).unwrap_or(0) - 60);
                (random.below(1 << 53) as f64 / 2.0_f64.powi(53) - 0.5) * scale
            })
            .collect()
    }

    #[test]
    fn the_order_of_the_numbers_changes_no_bit() {
        for seed in 0..200 {
            let mut numbers = drawn(seed, 60);
            let sum = |numbers: &[f64]| {
                let mut sum = ExactSum::default();
                sum.merge(numbers);
                sum.value().to_bits()
            };
            let (forward, half) = (sum(&numbers), 30);
            let (mut left, mut right) = (ExactSum::default(), ExactSum::default());
            left.merge(&numbers[half..]);
            right.merge(&numbers[..half]);
            left.merge(right.parts());
            numbers.reverse();
            assert_eq!((forward, forward), (sum(&numbers), left.value().to_bits()));
        }
    }

    #[test]
    fn what_was_added_can_be_taken_away_without_a_trace() {
        let numbers = drawn(7, 100);
        let mut sum = ExactSum::default();
        sum.merge(&numbers);
        numbers[1..].iter().for_each(|number| sum.add(-number));
        assert_eq!(sum.value().to_bits(), numbers[0].to_bits());
        sum.add(-numbers[0]);
        assert_eq!(sum, ExactSum::default());
    }

    #[test]
    fn large_numbers_swallow_no_small_ones() {
        let mut sum = ExactSum::default();
        sum.merge(&[1e100, 1.0, -1e100, 2.0_f64.powi(-60)]);
        assert_eq!(sum.value(), 1.0 + 2.0_f64.powi(-60));
        let mut half_way = ExactSum::default();
        half_way.merge(&[1.0, 2.0_f64.powi(-53), 2.0_f64.powi(-120)]);
        assert_eq!(half_way.value(), 1.0 + f64::EPSILON);
    }
}
