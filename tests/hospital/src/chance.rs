//! Chance: streams of its own for each patient, so that the order in which patients are simulated does not matter.

use jiff::{SignedDuration, Timestamp};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What is drawn. How a feed sends never changes what comes to pass, and what is sent never changes how it is worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    Process,
    Sending,
    Prose,
}

/// A stream of chance.
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream of one patient for one purpose.
    pub fn of(seed: u64, patient: u32, draw: Draw) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let purpose = match draw {
            Draw::Process => 0,
            Draw::Sending => 1,
            Draw::Prose => 2,
        };
        random.set_stream(4 * u64::from(patient) + purpose);
        Self(random)
    }

    /// True with this probability.
    pub fn hit(&mut self, probability: f64) -> bool {
        self.0.random::<f64>() < probability
    }

    /// A number from the first until before the second.
    pub fn between(&mut self, from: f64, until: f64) -> f64 {
        from + (until - from) * self.0.random::<f64>()
    }

    /// A whole number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0.random_range(0..limit.max(1))
    }

    /// One of these.
    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        let index = self.below(from.len());
        from.get(index).or(from.first()).copied().unwrap_or_else(|| unreachable!("lists of words are not empty"))
    }

    /// The class drawn from these probabilities.
    pub fn class(&mut self, probabilities: &[f64]) -> usize {
        let mut left = self.0.random::<f64>();
        for (class, probability) in probabilities.iter().enumerate() {
            left -= probability;
            if left < 0.0 {
                return class;
            }
        }
        probabilities.len().saturating_sub(1)
    }

    /// Mixes a list.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        use rand::seq::SliceRandom as _;
        list.shuffle(&mut self.0);
    }

    /// `at` and so many hours, drawn from this range, to the second.
    pub fn after(&mut self, at: Timestamp, from_hours: f64, until_hours: f64) -> Timestamp {
        hours_after(at, self.between(from_hours, until_hours))
    }
}

/// `at` and so many hours, to the second.
pub fn hours_after(at: Timestamp, hours: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "a few years of seconds")]
    let seconds = (hours * 3_600.0).round() as i64;
    at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(at)
}
