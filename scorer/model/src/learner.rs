//! Everything that changes weights: lessons, the step (forward, backward, AdamW), and the state that survives a crash.

mod adamw;
mod state;

use std::path::Path;

use rand::{Rng as _, SeedableRng as _};
use schemas::{ModelVersion, Task};
use tokenizers::Tokenizer;

use crate::config::{Config, ConfigError};
use crate::folder::{self, Draft, Exported, MAX_NOTE_TOKENS, SaveError};
use crate::layout::Layout;
use crate::load_error::LoadError;
use crate::loss::{Losses, Shares, Slopes};
use crate::model::{Answer, Asked, ScoreError, score};
use crate::network::{Network, Trace};
use crate::page::Page;
use crate::scoring::{Scorer, Settings};
use crate::tokens::{Reader, TokenizerError};

pub use adamw::Recipe;

/// One note in tokens with its labelled questions. It belongs to the tokenizer that made it.
#[derive(Clone, PartialEq, Eq)]
pub struct Lesson {
    page: Page,
    labels: Vec<usize>,
}

impl Lesson {
    /// Tokens that a step over it reads, questions included.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.page.tokens.len()
    }

    /// Labelled questions in it.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.labels.len()
    }

    fn next_tokens(&self) -> usize {
        self.page.note.saturating_sub(1)
    }
}

/// Blind: tokens are text.
impl std::fmt::Debug for Lesson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lesson").field("tokens", &self.tokens()).field("answers", &self.answers()).finish_non_exhaustive()
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// What was minimised: answers, and the next tokens' share. Nats.
    pub loss: f64,
    /// Mean over the answers alone. Nats.
    pub answer_loss: f64,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens read.
    pub tokens: usize,
    /// The loss or the gradient was no number, or there was nothing to learn: the weights are as before.
    pub skipped: bool,
}

/// Why there is no learner, or no step.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The configuration is none that we compute.
    #[error("could not use the configuration")]
    Config(#[from] ConfigError),
    /// The tokenizer does not fit.
    #[error("could not use the tokenizer")]
    Tokenizer(#[from] TokenizerError),
    /// The folder or the state could not be read.
    #[error("could not load what learning should go on from")]
    Load(#[from] LoadError),
    /// A lesson holds tokens that this model does not have.
    #[error("a lesson was encoded by another tokenizer")]
    ForeignLesson,
    /// A thread died; the weights are as before.
    #[error("a thread of the step panicked")]
    Thread,
}

#[derive(Default, Debug)]
struct Worker {
    trace: Trace,
    slopes: Slopes,
    gradient: Vec<f32>,
}

/// A model under training.
#[derive(Debug)]
pub struct Learner {
    network: Network,
    reader: Reader,
    weights: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: u64,
    workers: Vec<Worker>,
}

impl Learner {
    /// Fresh weights, normally distributed with deviation one over the root of the input's width (a third of that for queries and
    /// keys), and norms of one. The same seed gives the same weights.
    ///
    /// # Errors
    /// If the configuration is none that we compute, or the tokenizer does not fit it.
    pub fn new(config: Config, tokenizer: Tokenizer, seed: u64) -> Result<Self, LearnError> {
        config.check()?;
        let weights = fresh(&Layout::of(&config), seed);
        Self::with(config, tokenizer, weights, MAX_NOTE_TOKENS)
    }

    /// Goes on from an exported or downloaded model, with a fresh optimiser.
    ///
    /// # Errors
    /// As [`Model::load`](crate::Model::load).
    pub fn from(dir: &Path) -> Result<Self, LearnError> {
        // The weights, two moments and a gradient.
        let folder = folder::load(dir, 4)?;
        Self::with(folder.config, folder.tokenizer, folder.weights, folder.manifest.max_note_tokens)
    }

    fn with(config: Config, tokenizer: Tokenizer, weights: Vec<f32>, max_note_tokens: usize) -> Result<Self, LearnError> {
        let reader = Reader::new(tokenizer, &config, max_note_tokens)?;
        let zeros = vec![0.0; weights.len()];
        Ok(Self { network: Network::new(config), reader, first: zeros.clone(), second: zeros, weights, steps: 0, workers: Vec::new() })
    }

    /// The same learner reading at most `tokens` of a note (512 unless said), fewer where the model has no room.
    ///
    /// # Errors
    /// None that its construction did not meet already.
    pub fn read_at_most(mut self, tokens: usize) -> Result<Self, LearnError> {
        self.reader = Reader::new(self.reader.tokenizer, &self.network.config, tokens)?;
        Ok(self)
    }

    /// Steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.network.config
    }

    /// One note with the questions whose answers are known. Labels outside of their task's classes are left out; a note that the
    /// tokenizer refuses gives an empty lesson.
    #[must_use]
    pub fn encode(&self, text: &str, answers: &[(Task, i32)]) -> Lesson {
        let known = answers.iter().filter_map(|&(task, label)| Some((task, usize::try_from(label).ok().filter(|&l| l < task.classes())?)));
        let (tasks, labels): (Vec<_>, Vec<_>) = known.unzip();
        match self.reader.page(text, &tasks) {
            Ok(page) => Lesson { page, labels },
            Err(_) => Lesson { page: Page::default(), labels: Vec::new() },
        }
    }

    /// One step over a batch, on `threads` threads: lessons are shared out by length, each thread sums its gradients, the sums are added in
    /// order. The same lessons, weights and number of threads give the same weights bit for bit.
    ///
    /// # Errors
    /// If a lesson is another tokenizer's, or a thread panics. A loss that is no number is reported, not an error.
    pub fn step(&mut self, lessons: &[&Lesson], recipe: &Recipe, threads: usize) -> Result<StepReport, LearnError> {
        let vocab = self.network.config.vocab_size;
        if lessons.iter().any(|lesson| lesson.page.tokens.iter().any(|&token| token as usize >= vocab)) {
            return Err(LearnError::ForeignLesson);
        }
        let answers: usize = lessons.iter().map(|lesson| lesson.answers()).sum();
        let next_tokens: usize = lessons.iter().map(|lesson| lesson.next_tokens()).sum();
        let shares = Shares { answer: 1.0 / answers.max(1) as f32, next_token: recipe.next_token_weight / next_tokens.max(1) as f32 };
        let losses = self.gradients(lessons, shares, threads)?;
        let answer_loss = losses.answers / answers.max(1) as f64;
        let next_loss = losses.next_tokens / next_tokens.max(1) as f64;
        let loss = answer_loss + f64::from(recipe.next_token_weight) * next_loss;
        let tokens = lessons.iter().map(|lesson| lesson.tokens()).sum();
        let gradient = self.workers.first().map_or(&[] as &[f32], |worker| &worker.gradient);
        let gradient_norm = adamw::norm(gradient);
        let skipped = !(loss.is_finite() && gradient_norm.is_finite() && gradient_norm > 0.0);
        if !skipped {
            self.steps += 1;
            let scale = recipe.clipping(gradient_norm);
            for place in &self.network.layout.places {
                let at = place.range.clone();
                let decay = if place.shape.len() > 1 { recipe.weight_decay } else { 0.0 };
                let update = adamw::Update { gradient: &gradient[at.clone()], scale, decay, steps: self.steps };
                update.apply(recipe, &mut self.weights[at.clone()], &mut self.first[at.clone()], &mut self.second[at]);
            }
        }
        Ok(StepReport { loss, answer_loss, gradient_norm, tokens, skipped })
    }

    /// Leaves the batch's gradient with the first worker.
    fn gradients(&mut self, lessons: &[&Lesson], shares: Shares, threads: usize) -> Result<Losses, LearnError> {
        let groups = groups(lessons, threads.clamp(1, lessons.len().max(1)));
        self.workers.resize_with(groups.len().max(self.workers.len()), Worker::default);
        let (network, weights, letters) = (&self.network, self.weights.as_slice(), &self.reader.letters);
        let work = |worker: &mut Worker, group: &[&Lesson]| worker.read(network, weights, (group, letters), shares);
        let used = self.workers.get_mut(..groups.len()).unwrap_or_default();
        let losses: Vec<Losses> = std::thread::scope(|scope| {
            let mut pairs = used.iter_mut().zip(&groups);
            let own = pairs.next();
            let others: Vec<_> = pairs.map(|(worker, group)| scope.spawn(move || work(worker, group))).collect();
            let first = own.map(|(worker, group)| work(worker, group));
            let rest = others.into_iter().map(|handle| handle.join().map_err(|_| LearnError::Thread));
            first.map(Ok).into_iter().chain(rest).collect::<Result<_, _>>()
        })?;
        if let Some((sum, rest)) = used.split_first_mut() {
            for worker in rest {
                crate::kernels::wide(|| crate::kernels::add_scaled(&mut sum.gradient, &worker.gradient, 1.0));
            }
        }
        let sum = |of: fn(&Losses) -> f64| losses.iter().map(of).sum();
        Ok(Losses { answers: sum(|each| each.answers), next_tokens: sum(|each| each.next_tokens) })
    }

    /// As [`Model::score`](crate::Model::score), with the weights of this moment, which are packed for it: ask many notes at once.
    ///
    /// # Errors
    /// As there.
    pub fn score(&self, notes: &[Asked<'_>]) -> Result<Vec<Vec<Answer>>, ScoreError> {
        let scorer = Scorer::new(&self.network.config, &self.weights, &self.reader.letters, &Settings::default())?;
        score(&scorer, &self.reader, notes)
    }

    /// Writes the Hugging Face folder of the weights of this moment and returns the version that it has.
    ///
    /// # Errors
    /// If the disk refuses; files are replaced one by one, the manifest last.
    pub fn export(&self, dir: &Path, draft: Draft) -> Result<ModelVersion, SaveError> {
        let model = Exported {
            config: &self.network.config,
            tokenizer: &self.reader.tokenizer,
            layout: &self.network.layout,
            weights: &self.weights,
            max_note_tokens: self.reader.max_note_tokens,
        };
        folder::export(dir, &model, draft)
    }
}

impl Worker {
    fn read(&mut self, network: &Network, weights: &[f32], (lessons, letters): (&[&Lesson], &[u32]), shares: Shares) -> Losses {
        let Self { trace, slopes, gradient } = self;
        gradient.clear();
        gradient.resize(weights.len(), 0.0);
        let mut sum = Losses::default();
        for lesson in lessons.iter().filter(|lesson| !lesson.page.tokens.is_empty()) {
            network.forward(weights, &lesson.page, trace);
            let losses = network.losses((weights, gradient), (&lesson.page, &lesson.labels), (trace, letters), shares, slopes);
            network.backward(weights, &lesson.page, trace, &slopes.normed, gradient);
            sum.answers += losses.answers;
            sum.next_tokens += losses.next_tokens;
        }
        sum
    }
}

/// Shares lessons out, longest first, each to the thread with the least to do.
fn groups<'a>(lessons: &[&'a Lesson], threads: usize) -> Vec<Vec<&'a Lesson>> {
    let mut sorted = lessons.to_vec();
    sorted.sort_by_key(|lesson| std::cmp::Reverse(lesson.tokens()));
    let mut groups: Vec<(usize, Vec<&Lesson>)> = vec![(0, Vec::new()); threads];
    for lesson in sorted {
        if let Some(group) = groups.iter_mut().min_by_key(|group| group.0) {
            group.0 += lesson.tokens();
            group.1.push(lesson);
        }
    }
    groups.into_iter().map(|group| group.1).collect()
}

fn fresh(layout: &Layout, seed: u64) -> Vec<f32> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut normal = || {
        let (radius, angle): (f32, f32) = (1.0 - random.random::<f32>(), random.random());
        (-2.0 * radius.ln()).sqrt() * (std::f32::consts::TAU * angle).cos()
    };
    let mut weights = Vec::with_capacity(layout.total());
    for place in &layout.places {
        match place.shape.as_slice() {
            // One over the root of the input's width: 0.022 at 2048, near Hugging Face's 0.02; a narrow model starts wider,
            // or it takes a thousand steps to leave its plateau.
            [.., width] if place.shape.len() > 1 => {
                // Queries and keys start at a third, so that attention is nearly even at first and the whole note is heard.
                let heard = if place.name.contains("q_proj") || place.name.contains("k_proj") { 0.3 } else { 1.0 };
                let spread = heard * (*width as f32).sqrt().recip();
                weights.extend(place.range.clone().map(|_| spread * normal()));
            }
            _ => weights.resize(place.range.end, 1.0),
        }
    }
    weights
}

#[cfg(test)]
mod tests;
