//! The joint fine-tune: batches of notes with all their questions, warm-up and cosine, checkpoints on the way.

use std::collections::BTreeMap;
use std::path::Path;

use model::{Learner, Lesson, Watch};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};

use crate::checkpoints::Checkpoints;
use crate::cycle::CycleError;
use crate::dataset::Known;
use crate::settings::Settings;

/// What a run of steps saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    pub notes: usize,
    pub tokens: usize,
    #[serde(with = "model::bits")]
    pub last_loss: f64,
    /// Steps whose loss was not a number.
    pub skipped: usize,
    /// How often a loss that was no number or far above the others sent the weights back to the last good checkpoint.
    pub went_back: usize,
}

/// A run on its way, kept with each checkpoint: one that goes on from there tells and judges as if it had never died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    tuned: Tuned,
    watch: Watch,
    /// The answers' losses since the last checkpoint together, and their steps.
    #[serde(with = "model::bits")]
    loss: f64,
    since: u32,
}

impl Progress {
    /// As it is kept.
    fn kept(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// How much is read, and how fast it moves the weights.
pub struct Plan {
    pub notes: usize,
    pub learning_rate: f32,
}

/// Reads `plan.notes` notes in an order that the seed decides, going over `known` as often as that takes. A checkpoint
/// that lies in `checkpoint` is gone on from, and the last good one gone back to from a loss that spikes.
pub fn tune(
    learner: &mut Learner,
    known: &[Known<'_>],
    plan: &Plan,
    settings: &Settings,
    checkpoint: &Path,
    said: &dyn Fn(String),
) -> Result<Tuned, CycleError> {
    let order = order(known.len(), plan.notes, settings.seed);
    let lessons = lessons(learner, known, &order);
    let steps = order.len() / settings.batch_notes.max(1);
    let (mut progress, mut checkpoints) = (Progress::default(), Checkpoints::of(checkpoint));
    if let Some(kept) = checkpoints.begin(learner, &progress.kept(), said)? {
        progress = serde_json::from_str(&kept).unwrap_or_default();
        said(format!("going on from step {} of {steps}", learner.position()));
    }
    let from = usize::try_from(learner.position()).unwrap_or(0);
    for (step, batch) in order.chunks_exact(settings.batch_notes.max(1)).enumerate().skip(from) {
        let batch: Vec<&Lesson> = batch.iter().filter_map(|index| lessons.get(index)).collect();
        let recipe = settings.recipe(rate(step, steps, plan.learning_rate, settings.warm_up_steps));
        let report = learner.step(&batch, &recipe, settings.threads)?;
        progress.tuned.notes += batch.len();
        progress.tuned.tokens += report.tokens;
        progress.tuned.skipped += usize::from(report.skipped);
        if progress.watch.spikes(&report) {
            checkpoints.go_back(learner)?;
            progress.tuned.went_back += 1;
            said(format!("step {} of {steps}, a loss of {:.3} nats: back to the last good checkpoint", step + 1, report.loss));
            continue;
        }
        checkpoints.seen_good()?;
        (progress.loss, progress.since) = (progress.loss + report.answer_loss, progress.since + 1);
        if (step + 1) % settings.checkpoint_steps.max(1) == 0 || step + 1 == steps {
            progress.tuned.last_loss = progress.loss / f64::from(progress.since.max(1));
            said(format!("step {} of {steps}, answers' loss {:.3} nats", step + 1, progress.tuned.last_loss));
            (progress.loss, progress.since) = (0.0, 0);
            checkpoints.keep(learner, &progress.kept())?;
        }
    }
    Ok(progress.tuned)
}

/// What `order` reads, by its number among `known`, and no other notes.
fn lessons(learner: &Learner, known: &[Known<'_>], order: &[usize]) -> BTreeMap<usize, Lesson> {
    // All of them are in the first pass.
    let read = order.get(..known.len()).unwrap_or(order);
    let notes: Vec<_> = read.iter().filter_map(|index| known.get(*index)).map(|known| (known.text, known.answers.as_slice())).collect();
    read.iter().copied().zip(learner.encode_all(&notes)).collect()
}

/// Whole passes, each in an order of its own, until `notes` are read.
fn order(lessons: usize, notes: usize, seed: u64) -> Vec<usize> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut order = Vec::with_capacity(notes);
    while order.len() < notes && lessons > 0 {
        let mut pass: Vec<usize> = (0..lessons).collect();
        pass.shuffle(&mut random);
        order.extend(pass);
    }
    order.truncate(notes);
    order
}

/// Warm-up, then a cosine down to a twentieth of the peak.
fn rate(step: usize, steps: usize, peak: f32, warm_up: usize) -> f32 {
    let warm = (step + 1) as f32 / warm_up.max(1) as f32;
    let way = step as f32 / steps.max(1) as f32;
    peak * warm.min(1.0) * (0.05 + 0.95 * 0.5 * (1.0 + (std::f32::consts::PI * way).cos()))
}

#[cfg(test)]
mod tests {
    use model::{Config, StepReport, train_tokenizer};
    use schemas::Task;

    use super::*;

    /// From the first step on, long before the first checkpoint that the settings ask for.
    #[test]
    fn weights_that_a_step_spoiled_are_taken_back_and_counted() {
        let tokenizer = train_tokenizer(std::iter::once("The patient was seen and examined."), 400).expect("a tokenizer");
        let mut learner = Learner::new(Config::demo(tokenizer.get_vocab_size(true)), tokenizer, 1).expect("a learner");
        let answers = |label: i32| vec![(Task::Mortality, label)];
        let known: Vec<Known<'_>> = (0..12).map(|note| Known { text: "Seen with the team.", answers: answers(note % 2) }).collect();
        let settings = Settings { batch_notes: 2, warm_up_steps: 1, checkpoint_steps: 1_000, threads: 1, ..Settings::default() };
        let place = tempfile::tempdir().expect("room");
        let plan = Plan { notes: 12, learning_rate: 50.0 };
        let tuned = tune(&mut learner, &known, &plan, &settings, &place.path().join("state"), &|_| ()).expect("six steps");
        assert_eq!((tuned.went_back, learner.steps(), learner.position()), (3, 0, 6));
    }

    #[test]
    fn every_lesson_is_read_once_before_any_is_read_twice() {
        let mut first: Vec<usize> = order(10, 25, 1).into_iter().take(10).collect();
        first.sort_unstable();
        assert_eq!(first, (0..10).collect::<Vec<_>>());
        assert_eq!(order(10, 25, 1), order(10, 25, 1));
        assert!(order(0, 5, 1).is_empty());
    }

    #[test]
    fn what_is_kept_of_a_run_is_read_back_to_the_bit() {
        let report = |loss: f64| StepReport { loss, answer_loss: loss, gradient_norm: 1.0, tokens: 7, skipped: false };
        let mut progress = Progress { loss: 0.1 + 0.2, since: 3, ..Progress::default() };
        for step in 0..40_u32 {
            progress.watch.spikes(&report(2.0 / f64::from(step + 3)));
        }
        progress.tuned = Tuned { notes: 3, tokens: 5, last_loss: f64::NAN, skipped: 1, went_back: 2 };
        let read: Progress = serde_json::from_str(&progress.kept()).expect("as written");
        assert!(read.tuned.last_loss.is_nan());
        let known = |one: Progress| Progress { tuned: Tuned { last_loss: 0.0, ..one.tuned }, ..one };
        assert_eq!(known(read), known(progress));
    }

    #[test]
    fn the_rate_rises_then_falls() {
        let at = |step| rate(step, 1_000, 1.0, 50);
        assert!(at(0) < at(49) && at(49) > at(500) && at(999) < 0.06);
    }
}
