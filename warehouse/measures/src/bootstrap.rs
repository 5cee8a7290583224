//! The bootstrap of an AUROC: rows drawn again and again, sorted once. Each resample has numbers of its own from the seed, so that
//! how many threads draw, and in which order the rows came, changes no bit.

use crate::order;
use crate::rows::Rows;

/// Resamples of one call; more tell nothing more.
pub const MOST_RESAMPLES: usize = 10_000;
/// Rows drawn by one call, all groups and resamples together: some ten seconds.
pub const MOST_DRAWS: usize = 2_000_000_000;
/// Threads that draw.
const THREADS: usize = 2;
/// Draws below which one thread does.
const BESIDE: usize = 200_000;

/// Whole numbers after SplitMix64 (Steele, Lea and Flood 2014).
pub struct Random(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

impl Random {
    /// The stream `stream` of a seed.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(mixed(seed.wrapping_add(STEP)) ^ mixed(stream.wrapping_mul(STEP).wrapping_add(STEP)))
    }

    /// Below `limit`, by the high half of a product: off by less than one in 2^64 / `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(STEP);
        ((u128::from(mixed(self.0)) * limit as u128) >> 64) as usize
    }
}

const HIT: u8 = 1;
const LAST_OF_TIES: u8 = 2;

/// One class against the rest, sorted by score: for each row whether it hits and whether it is the last of its score.
struct Ranking {
    /// The drawn row that stands at each place; empty where rows are drawn by their place.
    rows: Vec<u32>,
    marks: Vec<u8>,
}

/// Rows in an order that depends on them alone, ranked once for each class asked.
struct Prepared {
    count: usize,
    rankings: Vec<Ranking>,
    /// Empty, or one a drawn row.
    weights: Vec<f64>,
}

impl Prepared {
    fn new(rows: &Rows) -> Self {
        let (width, labels, scores) = (rows.width().max(1), rows.labels(), rows.scores());
        let classes = rows.asked();
        let at = |row: u32, class: u8| {
            let score = scores.get(row as usize * width + rows.column(class)).copied().unwrap_or(f64::NAN);
            (order::key(score), labels[row as usize] == class)
        };
        let weight = |row: u32| rows.weights().get(row as usize).map_or(0, |weight| weight.to_bits());
        let mut canonical: Vec<(u64, bool, u64, u32)> = (0..u32::try_from(rows.len()).unwrap_or(u32::MAX))
            .filter(|row| rows.weights().get(*row as usize) != Some(&0.0))
            .map(|row| {
                let (key, hit) = classes.first().map_or((0, false), |class| at(row, *class));
                (key, hit, weight(row), row)
            })
            .collect();
        let rest = |row: u32| classes.iter().skip(1).map(move |class| at(row, *class));
        canonical.sort_unstable_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)).then_with(|| rest(a.3).cmp(rest(b.3))));
        let rankings = classes
            .iter()
            .enumerate()
            .map(|(nth, class)| {
                let mut ranked: Vec<(u64, bool, u32)> = canonical
                    .iter()
                    .zip(0..)
                    .map(|(row, drawn)| {
                        let (key, hit) = at(row.3, *class);
                        (key, hit, drawn)
                    })
                    .collect();
                if nth > 0 {
                    ranked.sort_unstable();
                }
                Ranking::new(&ranked, nth == 0)
            })
            .collect();
        let weights = if rows.weights().is_empty() { Vec::new() } else { canonical.iter().map(|row| f64::from_bits(row.2)).collect() };
        Self { count: canonical.len(), rankings, weights }
    }

    /// The macro mean over the classes that the resample holds; `None` where it holds none beside others.
    fn resampled(&self, mut random: Random, drawn: &mut Vec<u8>) -> Option<f64> {
        drawn.clear();
        drawn.resize(self.count, 0);
        for _ in 0..self.count {
            // A row is drawn 255 times once in 10^500 resamples.
            let row = &mut drawn[random.below(self.count)];
            *row = row.saturating_add(1);
        }
        let area = |ranking: &Ranking| if self.weights.is_empty() { ranking.counted(drawn) } else { ranking.weighed(drawn, &self.weights) };
        let each: Vec<f64> = self.rankings.iter().filter_map(area).collect();
        (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64)
    }
}

impl Ranking {
    fn new(ranked: &[(u64, bool, u32)], by_place: bool) -> Self {
        let last = |at: usize| ranked.get(at + 1).is_none_or(|next| next.0 != ranked[at].0);
        let mark = |(at, row): (usize, &(u64, bool, u32))| if row.1 { HIT } else { 0 } | if last(at) { LAST_OF_TIES } else { 0 };
        Self {
            rows: if by_place { Vec::new() } else { ranked.iter().map(|row| row.2).collect() },
            marks: ranked.iter().enumerate().map(mark).collect(),
        }
    }

    /// How often the row at each place was drawn.
    fn counts<'a>(&'a self, drawn: &'a [u8]) -> impl Iterator<Item = (u8, u8)> + 'a {
        let by_place = self.rows.is_empty();
        let count = move |at: usize| if by_place { drawn[at] } else { drawn[self.rows[at] as usize] };
        self.marks.iter().enumerate().map(move |(at, mark)| (*mark, count(at)))
    }

    fn counted(&self, drawn: &[u8]) -> Option<f64> {
        let (mut below, mut hits, mut twice_won, mut hit, mut missed) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
        for (mark, count) in self.counts(drawn) {
            let (count, is_hit) = (u64::from(count), u64::from(mark & HIT));
            hit += count * is_hit;
            missed += count * (1 - is_hit);
            if mark & LAST_OF_TIES != 0 {
                twice_won += hit * (2 * below + missed);
                below += missed;
                hits += hit;
                (hit, missed) = (0, 0);
            }
        }
        (hits > 0 && below > 0).then(|| twice_won as f64 / 2.0 / (hits as f64 * below as f64))
    }

    fn weighed(&self, drawn: &[u8], weights: &[f64]) -> Option<f64> {
        let weight = |at: usize| if self.rows.is_empty() { weights[at] } else { weights[self.rows[at] as usize] };
        let (mut below, mut hits, mut won, mut hit, mut missed) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (at, (mark, count)) in self.counts(drawn).enumerate() {
            let weight = f64::from(count) * weight(at);
            if mark & HIT != 0 {
                hit += weight
            } else {
                missed += weight
            }
            if mark & LAST_OF_TIES != 0 {
                won += hit * (below + missed / 2.0);
                below += missed;
                hits += hit;
                (hit, missed) = (0.0, 0.0);
            }
        }
        (hits > 0.0 && below > 0.0).then(|| won / (hits * below))
    }
}

/// Standard deviation (over `n - 1`) of the AUROCs of `resamples` resamples, each of as many rows as there are, drawn with
/// replacement and keeping their weights. A resample with one class only is left out. `None` where fewer than two are left.
#[must_use]
pub fn auroc_deviation(rows: &Rows, resamples: usize, seed: u64) -> Option<f64> {
    if !rows.usable() {
        return Some(f64::NAN);
    }
    let prepared = Prepared::new(rows);
    let mut areas: Vec<Option<f64>> = vec![None; resamples];
    let threads = if prepared.count.saturating_mul(resamples) < BESIDE { 1 } else { THREADS };
    let each = resamples.div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        for (nth, areas) in areas.chunks_mut(each).enumerate() {
            let prepared = &prepared;
            scope.spawn(move || {
                let mut drawn = Vec::new();
                for (area, stream) in areas.iter_mut().zip((nth * each) as u64..) {
                    *area = prepared.resampled(Random::new(seed, stream), &mut drawn);
                }
            });
        }
    });
    let areas: Vec<f64> = areas.into_iter().flatten().collect();
    let mean = areas.iter().sum::<f64>() / areas.len() as f64;
    let spread = areas.iter().map(|area| (area - mean) * (area - mean)).sum::<f64>();
    (areas.len() > 1).then(|| (spread / (areas.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::auroc_delong;

    fn drawn(seed: u64, count: usize, levels: usize) -> Rows {
        let mut random = Random::new(seed, 3);
        let rows: Vec<(u8, f64)> = (0..count)
            .map(|_| {
                let score = random.below(levels) as f64 / levels as f64;
                (u8::from((random.below(1_000) as f64) < 200.0 + 500.0 * score), score)
            })
            .collect();
        Rows::new(1, rows.iter().map(|row| row.0).collect(), rows.iter().map(|row| row.1).collect::<Vec<_>>()).expect("binary")
    }

    #[test]
    fn the_bootstrap_agrees_with_delong() {
        for (seed, levels) in [(1, 1_000_000), (2, 10)] {
            let rows = drawn(seed, 3_000, levels);
            let (_, delong) = auroc_delong(&rows).expect("both occur");
            let deviation = auroc_deviation(&rows, 2_000, 1).expect("both occur");
            assert!((deviation / delong - 1.0).abs() < 0.06, "{deviation} {delong}");
        }
    }

    #[test]
    fn equal_weights_weigh_nothing_and_the_order_of_rows_changes_no_bit() {
        let rows = drawn(5, 800, 30);
        let turned = |by: usize| {
            let at = |row: usize| (row * 7 + by) % 800;
            let scores: Vec<f64> = (0..800).map(|row| rows.scores()[at(row)]).collect();
            Rows::new(1, (0..800).map(|row| rows.labels()[at(row)]).collect(), scores).expect("binary")
        };
        let deviation = |rows: &Rows| auroc_deviation(rows, 300, 9).map(f64::to_bits);
        assert_eq!(deviation(&rows), deviation(&turned(3)));
        let weighted = auroc_deviation(&rows.clone().with_weights(vec![2.0; 800]), 300, 9).expect("both occur");
        assert!((weighted - auroc_deviation(&rows, 300, 9).expect("both occur")).abs() < 1e-12);
    }

    #[test]
    fn another_seed_draws_other_rows() {
        let rows = drawn(6, 200, 1_000);
        assert_ne!(auroc_deviation(&rows, 50, 1), auroc_deviation(&rows, 50, 2));
        assert_eq!(auroc_deviation(&Rows::default(), 50, 1), None);
    }
}
