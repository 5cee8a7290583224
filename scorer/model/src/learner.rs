//! Everything that changes weights, or adapters beside them: lessons, the step (forward, backward, AdamW), and the state that survives a crash.

mod adamw;
mod adapted;
mod computing;
mod state;
mod watch;

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::{Rng as _, SeedableRng as _};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;
use schemas::{ModelVersion, Task};
use tokenizers::Tokenizer;

use crate::adapters::{Draw, LoraError};
use crate::config::{Config, ConfigError};
use crate::device::{DeviceError, DeviceScorer, Devices, Replicas, Team};
use crate::division::{passes, rows};
use crate::folder::{self, Draft, Exported, MAX_NOTE_TOKENS, SaveError};
use crate::layout::{Layout, Place};
use crate::load_error::LoadError;
use crate::loss::{Labelled, Losses, Shares};
use crate::model::{Answer, Asked, ScoreError, answered, pages, score};
use crate::network::{Network, Parameters, Trace};
use crate::packed::{InstructionSet, Kernel};
use crate::page::Page;
use crate::scoring::{PoolError, Scorer, Settings, pool};
use crate::tokens::{Reader, TokenizerError};

pub(crate) use adamw::Move;
pub use adamw::Recipe;
use adapted::Adapted;
pub use computing::{Arithmetic, Computing, UnknownArithmetic};
pub use watch::Watch;

/// Rows that are read in one pass, unless one lesson has more: a step's gradient is the sum of its passes'.
const PASS: usize = 2048;

/// One note in tokens with its labelled questions. It belongs to the tokenizer that made it.
#[derive(Clone, PartialEq, Eq)]
pub struct Lesson {
    page: Page,
    labels: Vec<usize>,
}

impl Lesson {
    /// A note in tokens with questions in tokens behind it, each with the label of its answer, which must be one of the task's classes.
    #[must_use]
    pub fn of(note: &[u32], answers: &[(Task, &[u32], usize)]) -> Self {
        let questions: Vec<(Task, &[u32])> = answers.iter().map(|&(task, tokens, _)| (task, tokens)).collect();
        let labels = answers.iter().map(|&(task, _, label)| label.min(task.classes().saturating_sub(1))).collect();
        Self { page: Page::of(&[], note, &questions), labels }
    }

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
    /// The model cannot be adapted so.
    #[error("could not adapt the model")]
    Lora(#[from] LoraError),
    /// A state was left by a learner of other things.
    #[error("could not go on from {}, which is the state of {what}", file.display())]
    OtherState {
        /// Which file.
        file: PathBuf,
        /// Whose state it is.
        what: &'static str,
    },
    /// A lesson holds tokens that this model does not have.
    #[error("a lesson was encoded by another tokenizer")]
    ForeignLesson,
    /// There are no threads to be had; the weights are as before.
    #[error(transparent)]
    Threads(#[from] PoolError),
    /// The device refused in the midst of something, such as for want of memory: go on from the last state.
    #[error("could not learn on the device")]
    Device(#[from] candle_core::Error),
    /// There is no such device.
    #[error(transparent)]
    NoDevice(#[from] DeviceError),
}

/// What a step works with, made by the first one.
#[derive(Debug)]
struct Workshop {
    pool: rayon::ThreadPool,
    trace: Trace,
    gradient: Vec<f32>,
}

/// What learns, the model's weights or its adapters', and its optimiser: one flat vector each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learned {
    pub weights: Vec<f32>,
    /// The mean of the gradient.
    pub first: Vec<f32>,
    /// The mean of its square.
    pub second: Vec<f32>,
}

impl Learned {
    /// Weights of which no gradient was seen yet.
    pub fn fresh(weights: Vec<f32>) -> Self {
        let zeros = vec![0.0; weights.len()];
        Self { weights, first: zeros.clone(), second: zeros }
    }
}

/// A model under training.
#[derive(Debug)]
pub struct Learner {
    network: Network,
    reader: Reader,
    /// Empty while it lies on a device.
    learned: Learned,
    device: Option<Replicas>,
    /// What does not learn, where adapters alone do.
    adapted: Option<Adapted>,
    steps: u64,
    position: u64,
    computing: Computing,
    workshop: Option<Workshop>,
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
        let (network, learned) = (Network::new(config), Learned::fresh(weights));
        let (device, adapted, computing, workshop) = (None, None, Computing::default(), None);
        Ok(Self { network, reader, learned, device, adapted, steps: 0, position: 0, computing, workshop })
    }

    /// The same learner reading at most `tokens` of a note (512 unless said), fewer where the model has no room.
    ///
    /// # Errors
    /// None that its construction did not meet already.
    pub fn read_at_most(mut self, tokens: usize) -> Result<Self, LearnError> {
        self.reader = Reader::new(self.reader.tokenizer, &self.network.config, tokens)?;
        Ok(self)
    }

    /// The same learner computing so, on a processor.
    #[must_use]
    pub fn computing(mut self, computing: Computing) -> Self {
        self.computing = computing;
        self.workshop = None;
        self
    }

    /// The same learner on devices: on a card with products of `bf16` unless its computing says otherwise, and with bits of the card's own; on
    /// several, each of which holds all of it, with a portion of each step's lessons on each.
    ///
    /// # Errors
    /// If there are no such devices, they cannot be joined, or one has no room.
    pub fn on(self, devices: impl Into<Devices>) -> Result<Self, LearnError> {
        match devices.into().open()? {
            None => Ok(self),
            Some(team) => self.through_candle(team),
        }
    }

    pub(crate) fn through_candle(mut self, team: impl Into<Team>) -> Result<Self, LearnError> {
        let team = team.into();
        let usual = if team.is_cuda() { Arithmetic::Bf16 } else { Arithmetic::F32 };
        let arithmetic = self.computing.arithmetic.unwrap_or(usual);
        let learned = self.settled()?.into_owned();
        let shape = (&self.network.config, &self.network.layout);
        let adapted = self.adapted.as_ref().map(Adapted::parts);
        self.device = Some(Replicas::new(shape, &learned, adapted, (team, arithmetic))?);
        (self.learned, self.workshop) = (Learned::default(), None);
        Ok(self)
    }

    /// What learns and its optimiser, wherever they lie.
    fn settled(&self) -> Result<Cow<'_, Learned>, candle_core::Error> {
        self.device.as_ref().map_or(Ok(Cow::Borrowed(&self.learned)), |device| device.learned().map(Cow::Owned))
    }

    /// What learns, wherever it lies.
    fn weights(&self) -> Result<Cow<'_, [f32]>, candle_core::Error> {
        self.device.as_ref().map_or(Ok(Cow::Borrowed(&self.learned.weights)), |device| device.weights().map(Cow::Owned))
    }

    /// Puts what another learner of the same left in the place of what learns.
    fn settle(&mut self, learned: Learned) -> Result<(), candle_core::Error> {
        match &mut self.device {
            Some(device) => device.take(&learned)?,
            None => self.learned = learned,
        }
        Ok(())
    }

    /// What its products are made of.
    #[must_use]
    pub fn arithmetic(&self) -> Arithmetic {
        self.device.as_ref().map_or_else(|| self.computing.arithmetic(), Replicas::arithmetic)
    }

    /// What multiplies.
    #[must_use]
    pub fn instructions(&self) -> InstructionSet {
        self.computing.instructions()
    }

    /// Bytes of the weights as they are held, on each device if there are several, those included that do not learn; the optimiser and the gradient
    /// are not.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let here = size_of_val(self.learned.weights.as_slice()) + self.adapted.as_ref().map_or(0, Adapted::bytes);
        self.device.as_ref().map_or(here, Replicas::bytes)
    }

    /// Steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Batches that were asked to be learned from, those included that changed nothing and those whose steps were undone: where to go on in the
    /// data.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
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

    /// As [`Learner::encode`], of many notes side by side.
    #[must_use]
    pub fn encode_all(&self, notes: &[(&str, &[(Task, i32)])]) -> Vec<Lesson> {
        notes.par_iter().map(|(text, answers)| self.encode(text, answers)).collect()
    }

    /// One step over a batch, on `threads` threads. Lessons are read some thousands of rows at a time and their gradients added, so that a batch
    /// may be of any size. The same lessons and weights give the same weights bit for bit, on any number of threads.
    ///
    /// # Errors
    /// If a lesson is another tokenizer's, or there are no threads. A loss that is no number is reported, not an error.
    pub fn step(&mut self, lessons: &[&Lesson], recipe: &Recipe, threads: usize) -> Result<StepReport, LearnError> {
        let vocab = self.network.config.vocab_size;
        if lessons.iter().any(|lesson| lesson.page.tokens.iter().any(|&token| token as usize >= vocab)) {
            return Err(LearnError::ForeignLesson);
        }
        let answers: usize = lessons.iter().map(|lesson| lesson.answers()).sum();
        let next_tokens: usize = lessons.iter().map(|lesson| lesson.next_tokens()).sum();
        let shares = Shares { answer: 1.0 / answers.max(1) as f32, next_token: recipe.next_token_weight / next_tokens.max(1) as f32 };
        let (losses, gradient_norm) = self.gradient(lessons, shares, threads.max(1))?;
        let answer_loss = losses.answers / answers.max(1) as f64;
        let loss = answer_loss + f64::from(recipe.next_token_weight) * losses.next_tokens / next_tokens.max(1) as f64;
        let skipped = !(loss.is_finite() && gradient_norm.is_finite() && gradient_norm > 0.0);
        if !skipped {
            self.apply(recipe, recipe.clipping(gradient_norm))?;
        }
        self.position += 1;
        let tokens = lessons.iter().map(|lesson| lesson.tokens()).sum();
        Ok(StepReport { loss, answer_loss, gradient_norm, tokens, skipped })
    }

    /// The workshop of the step before, if it has as many threads.
    fn workshop(&mut self, threads: usize) -> Result<Workshop, LearnError> {
        let (kernel, room) = (Kernel::of(self.arithmetic().precision(), self.instructions()), self.computing.activation_bytes);
        let (trace, gradient) = match self.workshop.take() {
            Some(workshop) if workshop.pool.current_num_threads() == threads => return Ok(workshop),
            Some(workshop) => (workshop.trace, workshop.gradient),
            None => (Trace::new(kernel, room), Vec::new()),
        };
        Ok(Workshop { pool: pool(threads, "learn")?, trace, gradient })
    }

    /// The batch's losses and the norm of its gradient, pass by pass; the gradient stays where it was found.
    fn gradient(&mut self, lessons: &[&Lesson], shares: Shares, threads: usize) -> Result<(Losses, f64), LearnError> {
        let known = lessons.iter().filter(|lesson| lesson.tokens() > 0);
        let pages: Vec<Labelled<'_>> = known.map(|lesson| (&lesson.page, lesson.labels.as_slice())).collect();
        if let Some(device) = &mut self.device {
            let (batch, adapted) = (self.position, self.adapted.as_ref());
            let draw = |first_row| adapted.map_or(Draw { seed: 0, batch, first_row }, |adapted| adapted.draw(batch, first_row));
            return Ok(device.gradient(&pages, (&self.reader.letters, shares), draw)?);
        }
        let mut workshop = self.workshop(threads)?;
        let Workshop { pool, trace, gradient } = &mut workshop;
        let found = pool.install(|| {
            gradient.resize(self.learned.weights.len(), 0.0);
            gradient.par_chunks_mut(1 << 16).for_each(|run| run.fill(0.0));
            let (mut sum, mut first_row) = (Losses::default(), 0);
            for pages in passes(&pages, PASS) {
                sum.add(self.network.learn((self.parameters(first_row), gradient), (pages, &self.reader.letters), shares, trace));
                first_row += rows(pages);
            }
            (sum, adamw::norm(gradient))
        });
        self.workshop = Some(workshop);
        Ok(found)
    }

    /// What a pass multiplies with, before which the step has read `first_row` rows.
    fn parameters(&self, first_row: usize) -> Parameters<'_> {
        match &self.adapted {
            None => Parameters::Whole(&self.learned.weights),
            Some(adapted) => adapted.parameters(&self.learned.weights, (self.position, first_row)),
        }
    }

    /// The numbers of `range` of the model's layout, one norm or whole rows of matrices, with what adapters add to them.
    fn numbers<'a>(&self, weights: &'a [f32], range: Range<usize>) -> Cow<'a, [f32]> {
        match &self.adapted {
            None => Cow::Borrowed(&weights[range]),
            Some(adapted) => Cow::Owned(adapted.merged(weights, range)),
        }
    }

    /// Moves what learns by the gradient that was found, `scale` times.
    fn apply(&mut self, recipe: &Recipe, scale: f32) -> Result<(), LearnError> {
        self.steps += 1;
        if let Some(device) = &mut self.device {
            return Ok(device.apply(recipe, scale, self.steps)?);
        }
        let Some(Workshop { pool, gradient, .. }) = &self.workshop else { return Ok(()) };
        let places: &[Place] = self.adapted.as_ref().map_or(self.network.layout.places.as_slice(), Adapted::places);
        let Learned { weights, first, second } = &mut self.learned;
        pool.install(|| {
            for place in places {
                let at = place.range.clone();
                let decay = if place.shape.len() > 1 { recipe.weight_decay } else { 0.0 };
                let update = adamw::Update { gradient: &gradient[at.clone()], scale, decay, steps: self.steps };
                update.apply(recipe, &mut weights[at.clone()], &mut first[at.clone()], &mut second[at]);
            }
        });
        Ok(())
    }

    /// As [`Model::score`](crate::Model::score), with the weights of this moment, where they lie: ask many notes at once.
    ///
    /// # Errors
    /// As there.
    pub fn score(&self, notes: &[Asked<'_>]) -> Result<Vec<Vec<Answer>>, ScoreError> {
        let Some(device) = &self.device else { return self.score_with(notes, &Settings::default()) };
        let weights = self.weights()?;
        let read = |range: Range<usize>| Ok::<_, ScoreError>(self.numbers(&weights, range));
        let place = (device.device(), device.arithmetic().precision());
        let scorer = DeviceScorer::new(&self.network.config, &read, &self.reader.letters, place)?;
        answered(&pages(&self.reader, notes)?, |prompts| Ok(scorer.logits(prompts)?))
    }

    /// The same on a processor, in the precision of `settings`, packed for it.
    ///
    /// # Errors
    /// As there.
    pub fn score_with(&self, notes: &[Asked<'_>], settings: &Settings) -> Result<Vec<Vec<Answer>>, ScoreError> {
        let weights = self.weights()?;
        let read = |range: Range<usize>| Ok::<_, ScoreError>(self.numbers(&weights, range));
        score(&Scorer::packed(&self.network.config, &read, &self.reader.letters, settings)?, &self.reader, notes)
    }

    /// Writes the Hugging Face folder of the weights of this moment, adapters merged into theirs, and returns the version that it has.
    ///
    /// # Errors
    /// If the disk refuses; files are replaced one by one, the manifest last.
    pub fn export(&self, dir: &Path, draft: Draft) -> Result<ModelVersion, SaveError> {
        let weights = self.weights()?;
        let model = Exported {
            config: &self.network.config,
            tokenizer: &self.reader.tokenizer,
            layout: &self.network.layout,
            numbers: &|range| self.numbers(&weights, range),
            max_note_tokens: self.reader.max_note_tokens,
        };
        folder::export(dir, &model, draft)
    }
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
mod device_tests;
#[cfg(test)]
mod replica_tests;
#[cfg(test)]
mod tests;
