//! Numbers of two kinds in one order: scores that hit and scores that miss, values of a reference and of what is compared with it.
//! Sorts and counts; what the counts mean is their reader's.

use crate::beside::{self, both, half, halves};
use crate::order::{self, Bits, Word};
use crate::scale::{Places, Scale};

/// Numbers with their kinds.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub numbers: &'a [f64],
    pub kinds: Kinds<'a>,
}

/// Which of the numbers are of the first kind.
#[derive(Clone, Copy)]
pub enum Kinds<'a> {
    All,
    None,
    /// Those with this label; one label a number.
    Labelled(&'a [u8], u8),
}

/// Numbers in their order, each with its kind.
pub struct Ranking {
    places: Places,
    sorted: Sorted,
}

enum Sorted {
    /// The kind in the last bit, the place above it. All of the second part are above all of the first.
    Short([Vec<u32>; 2]),
    /// The same where the places are longer.
    Long([Vec<u64>; 2]),
    /// Places and kinds of numbers whose range leaves no bit for the kind.
    Wide(Vec<(u64, u64)>),
}

/// Numbers among which a middle is looked for.
const TRIED: usize = 255;
/// Numbers that are packed at a time.
const BLOCK: usize = 1_024;

impl Ranking {
    /// `None` where a number is NaN.
    pub fn new(runs: &[Run<'_>]) -> Option<Self> {
        let count: usize = runs.iter().map(|run| run.numbers.len()).sum();
        let pieces: Vec<&[f64]> = runs.iter().map(|run| run.numbers).collect();
        let [first, second] = halves(count, |nth| Scale::of_all(half(&pieces, nth)));
        let places = first?.with(second?).places();
        let bits = places.bits() + 1;
        let sorted = if bits <= u32::BITS {
            Sorted::Short(packed(runs, places, count))
        } else if bits <= u64::BITS {
            Sorted::Long(packed(runs, places, count))
        } else {
            Sorted::Wide(wide(runs, places))
        };
        Some(Self { places, sorted })
    }

    /// Each distinct number from the highest down: how many are of the first kind, and of the second.
    pub fn falling(&self, mut take: impl FnMut(f64, f64)) {
        let mut take = |_, first, second| take(first, second);
        match &self.sorted {
            Sorted::Short(parts) => parts.iter().rev().for_each(|part| levels(part.iter().rev().map(unpacked), &mut take)),
            Sorted::Long(parts) => parts.iter().rev().for_each(|part| levels(part.iter().rev().map(unpacked), &mut take)),
            Sorted::Wide(all) => levels(all.iter().rev().copied(), take),
        }
    }

    /// Each distinct number from the lowest up: itself, and how many are of the first kind and of the second.
    pub fn rising(&self, mut take: impl FnMut(f64, f64, f64)) {
        let mut take = |place, first, second| take(self.places.number(place), first, second);
        match &self.sorted {
            Sorted::Short(parts) => parts.iter().for_each(|part| levels(part.iter().map(unpacked), &mut take)),
            Sorted::Long(parts) => parts.iter().for_each(|part| levels(part.iter().map(unpacked), &mut take)),
            Sorted::Wide(all) => levels(all.iter().copied(), take),
        }
    }
}

fn unpacked<W: Word>(packed: &W) -> (u64, u64) {
    (packed.number() >> 1, packed.number() & 1)
}

/// Visits each run of equal places: the place, and how many are of the first kind and of the second.
fn levels(mut sorted: impl Iterator<Item = (u64, u64)>, mut visit: impl FnMut(u64, f64, f64)) {
    let Some((mut at, kind)) = sorted.next() else { return };
    let (mut first, mut all) = (kind.cast_signed(), 1_i64);
    sorted.for_each(|(place, kind)| {
        if place != at {
            visit(at, first as f64, (all - first) as f64);
            (at, first, all) = (place, 0, 0);
        }
        first += kind.cast_signed();
        all += 1;
    });
    visit(at, first as f64, (all - first) as f64);
}

fn each(run: &Run<'_>, mut take: impl FnMut(f64, u64)) {
    match run.kinds {
        Kinds::All => run.numbers.iter().for_each(|number| take(*number, 1)),
        Kinds::None => run.numbers.iter().for_each(|number| take(*number, 0)),
        Kinds::Labelled(labels, first) => {
            run.numbers.iter().zip(labels).for_each(|(number, label)| take(*number, u64::from(*label == first)));
        }
    }
}

fn wide(runs: &[Run<'_>], places: Places) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    runs.iter().for_each(|run| each(run, |number, kind| all.push((places.of(number), kind))));
    all.sort_unstable();
    all
}

/// A place with about as many numbers at or above it as below.
fn middle(runs: &[Run<'_>], places: Places, count: usize) -> u64 {
    let step = (count / TRIED).max(1);
    let mut tried: Vec<u64> = runs.iter().flat_map(|run| run.numbers.iter().step_by(step)).map(|number| places.of(*number)).collect();
    tried.sort_unstable();
    tried.get(tried.len() / 2).copied().unwrap_or(0)
}

impl<'a> Run<'a> {
    /// The first half or the second, 0 or 1.
    fn half(&self, nth: usize) -> Self {
        let at = beside::middle(self.numbers);
        let numbers = self.numbers.split_at(at);
        let kinds = match self.kinds {
            Kinds::Labelled(labels, first) if nth == 0 => Kinds::Labelled(&labels[..at], first),
            Kinds::Labelled(labels, first) => Kinds::Labelled(&labels[at..], first),
            kinds => kinds,
        };
        Self { numbers: if nth == 0 { numbers.0 } else { numbers.1 }, kinds }
    }
}

/// Packed numbers of which a block at a time is put behind the others.
struct Blocks<W> {
    all: Vec<W>,
    block: [W; BLOCK],
    filled: usize,
}

impl<W: Word> Blocks<W> {
    fn new(capacity: usize) -> Self {
        Self { all: Vec::with_capacity(capacity), block: [W::default(); BLOCK], filled: 0 }
    }

    /// Writes a number, and keeps it where `kept` is 1: no branch that cannot be foretold.
    fn push(&mut self, packed: W, kept: usize) {
        self.block[self.filled % BLOCK] = packed;
        self.filled += kept;
        if self.filled == BLOCK {
            self.all.extend_from_slice(&self.block);
            self.filled = 0;
        }
    }

    fn into_all(mut self) -> Vec<W> {
        self.all.extend_from_slice(&self.block[..self.filled]);
        self.all
    }
}

fn packed<W: Word>(runs: &[Run<'_>], places: Places, count: usize) -> [Vec<W>; 2] {
    let middle = middle(runs, places, count);
    let [first, second] = halves(count, |nth| {
        // The first half makes room for the second, which is put behind it.
        let capacity = if nth == 0 { count / 2 + count / 16 } else { count / 4 + count / 32 };
        let (mut lower, mut upper) = (Blocks::new(capacity), Blocks::new(capacity));
        for run in runs {
            each(&run.half(nth), |number, kind| {
                let place = places.of(number);
                let above = usize::from(place >= middle);
                let packed = W::of(place << 1 | kind);
                lower.push(packed, 1 - above);
                upper.push(packed, above);
            });
        }
        [lower.into_all(), upper.into_all()]
    });
    let [[lower, upper], [lower_rest, upper_rest]] = [first, second];
    both(count, [(lower, lower_rest), (upper, upper_rest)], |(mut part, rest)| {
        part.extend_from_slice(&rest);
        drop(rest);
        order::sort(&mut part, Bits { from: 1, upto: places.bits() + 1 });
        part
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Random;
    use std::collections::BTreeMap;

    /// Scores whose places take few bits, more than 32, and all 64.
    const RANGES: [fn(f64) -> f64; 3] =
        [|share| f64::from(share as f32), |share| share - 0.5, |share| if share < 0.1 { f64::NEG_INFINITY } else { share * 1e-300 }];

    #[test]
    fn every_range_is_ranked_as_an_ordered_map_ranks_it() {
        for (of, bits) in RANGES.into_iter().zip([0..32, 32..64, 64..65]) {
            for (count, distinct) in [(1, 9), (3_000, 1 << 53), (3_000, 40), (120_000, 1 << 53), (120_000, 40)] {
                let mut random = Random::new(count as u64, 8);
                let numbers: Vec<f64> = (0..count).map(|_| of((random.below(distinct) + 1) as f64 / distinct as f64)).collect();
                let labels: Vec<u8> = (0..count).map(|_| u8::from(random.below(3) == 0)).collect();
                let mut expected: BTreeMap<u64, (f64, f64, f64)> = BTreeMap::new();
                for (number, label) in numbers.iter().zip(&labels) {
                    let level = expected.entry(order::key(*number)).or_insert((*number, 0.0, 0.0));
                    *(if *label == 1 { &mut level.1 } else { &mut level.2 }) += 1.0;
                }
                let expected: Vec<(f64, f64, f64)> = expected.into_values().collect();
                let (start, rest) = (numbers.split_at(count / 3), labels.split_at(count / 3));
                let run = |numbers, labels| Run { numbers, kinds: Kinds::Labelled(labels, 1) };
                let ranking = Ranking::new(&[run(start.0, rest.0), run(start.1, rest.1)]).expect("numbers");
                let (mut rising, mut falling) = (Vec::new(), Vec::new());
                ranking.rising(|number, first, second| rising.push((number, first, second)));
                ranking.falling(|first, second| falling.push((first, second)));
                falling.reverse();
                assert!(count < 2 || distinct < 100 || bits.contains(&ranking.places.bits()), "{}", ranking.places.bits());
                assert_eq!(rising, expected);
                assert_eq!(falling, expected.iter().map(|level| (level.1, level.2)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn what_is_no_number_has_no_rank() {
        let run = |numbers| Run { numbers, kinds: Kinds::All };
        assert!(Ranking::new(&[run(&[1.0, 2.0]), run(&[f64::NAN])]).is_none());
    }
}
