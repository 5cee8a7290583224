//! Doubles as small whole numbers of the same order, within the range that is in use: what is sorted or counted by digits has
//! fewer of them. Judges nothing; NaN has no scale.

const SIGN: u64 = 1 << 63;

/// The range of some doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Bits of the smallest number but 0, without its sign.
    least: u64,
    /// Bits of the largest, without its sign.
    largest: u64,
    /// All bits that are in use, without signs.
    used: u64,
}

impl Scale {
    /// The range of no number.
    pub const NONE: Self = Self { least: u64::MAX, largest: 0, used: 0 };

    /// The range of numbers; `None` where one is NaN.
    pub fn of(numbers: impl Iterator<Item = f64>) -> Option<Self> {
        let (mut least, mut largest, mut used, mut zeros) = (f64::INFINITY, 0.0_f64, 0, 0.0_f64);
        // Without a branch a number, and without a chain through `NaN`: a sum is NaN if any of it is.
        numbers.for_each(|number| {
            let size = number.abs();
            used |= size.to_bits();
            largest = if size > largest { size } else { largest };
            let stated = if size > 0.0 { size } else { f64::INFINITY };
            least = if stated < least { stated } else { least };
            zeros += if number.is_nan() { f64::NAN } else { 0.0 };
        });
        let nothing = largest == 0.0;
        (!zeros.is_nan()).then_some(if nothing { Self::NONE } else { Self { least: least.to_bits(), largest: largest.to_bits(), used } })
    }

    /// The range of all numbers of runs; `None` where one is NaN.
    pub fn of_all<'a>(mut runs: impl Iterator<Item = &'a [f64]>) -> Option<Self> {
        runs.try_fold(Self::NONE, |scale, run| Some(scale.with(Self::of(run.iter().copied())?)))
    }

    /// The range of both.
    pub fn with(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), largest: self.largest.max(other.largest), used: self.used | other.used }
    }

    /// The whole numbers of this range.
    pub fn places(self) -> Places {
        if self.largest == 0 {
            return Places { least: 0, unused: 0, zero: 0 };
        }
        let unused = self.used.trailing_zeros();
        Places { least: self.least, unused, zero: ((self.largest - self.least) >> unused) + 1 }
    }
}

/// What maps doubles of one range to whole numbers from 0.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    least: u64,
    /// Last bits that are 0 in all.
    unused: u32,
    /// The place of 0; as many are above it as below.
    zero: u64,
}

impl Places {
    /// The place of a number of this range: smaller exactly where the number is. 0 and -0 are one.
    pub fn of(&self, number: f64) -> u64 {
        let bits = number.to_bits();
        let size = bits & !SIGN;
        let apart = if size == 0 { 0 } else { (size.wrapping_sub(self.least) >> self.unused) + 1 };
        let negative = 0_u64.wrapping_sub(bits >> 63);
        self.zero.wrapping_add((apart ^ negative).wrapping_sub(negative))
    }

    /// The number at a place.
    pub fn number(&self, place: u64) -> f64 {
        let apart = place.abs_diff(self.zero);
        if apart == 0 {
            return 0.0;
        }
        let size = f64::from_bits(((apart - 1) << self.unused) + self.least);
        if place < self.zero { -size } else { size }
    }

    /// Bits that a place takes.
    pub fn bits(&self) -> u32 {
        u64::BITS - (2 * self.zero).leading_zeros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_order_as_their_numbers_do_and_lead_back_to_them() {
        let rising = [f64::NEG_INFINITY, f64::MIN, -1.0, -1e-310, 0.0, f64::from_bits(1), 1e-310, 0.5, 1.0, f64::MAX, f64::INFINITY];
        for used in [&rising[..], &rising[2..5], &rising[4..5], &rising[6..9], &[]] {
            let places = Scale::of(used.iter().copied()).expect("numbers").places();
            assert!(used.windows(2).all(|pair| places.of(pair[0]) < places.of(pair[1])), "{used:?}");
            assert!(used.iter().all(|number| places.number(places.of(*number)) == *number), "{used:?}");
            assert!(used.iter().all(|number| places.of(*number).checked_shr(places.bits()).unwrap_or(0) == 0), "{used:?}");
            assert_eq!(places.of(-0.0), places.of(0.0));
        }
    }

    #[test]
    fn probabilities_of_single_precision_take_few_bits() {
        let places = Scale::of((1..=1_000_u16).map(|nth| f64::from(f32::from(nth) / 1_000.0))).expect("numbers").places();
        assert!(places.bits() <= 29, "{}", places.bits());
    }

    #[test]
    fn what_is_no_number_has_no_scale() {
        assert_eq!(Scale::of([1.0, f64::NAN, 2.0].into_iter()), None);
        let (left, right) = ([-3.0, 0.0, 0.5], [0.25, 7.0]);
        let each = [&left[..], &right[..]].map(|numbers| Scale::of(numbers.iter().copied()).expect("numbers"));
        assert_eq!(Scale::of(left.iter().chain(&right).copied()), Some(each[0].with(each[1]).with(Scale::NONE)));
    }
}
