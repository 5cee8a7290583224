//! How fast and how large a model is on this machine: figures with the fields of the peers' scripts, for whoever prints them.
//!
//! Weights are random unless a model is named, for a product of matrices takes as long whatever they hold. Nothing here answers about anybody; it is the
//! one place of this room that reads a clock.

mod batch;
mod loading;
mod process;
mod shape;
mod training;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use crate::config::Config;
use crate::device::{DeviceError, DeviceScorer, Devices};
use crate::learner::LearnError;
use crate::load_error::LoadError;
use crate::model::{Engine, Limits, Model, ScoreError};
use crate::packed::Precision;
use crate::scoring::{PoolError, Prompt, Scorer, Settings, random_numbers};
use crate::tokens::TokenizerError;

pub use batch::Batch;
pub use loading::random_folder;
pub use process::instruction_sets;
pub use shape::Shape;
pub use training::{Lessons, Loss, Training};

/// What is measured, in the order in which it is told.
pub const BATCHES: [&str; 11] =
    ["1x128", "1x512", "8x512", "1x2048", "8x512mixed", "questions1", "questions5", "tasks1", "tasks5", "words1", "words5"];

/// Which model is measured.
#[derive(Clone, Debug)]
pub enum Measured {
    /// Random weights of a known shape.
    Random(Shape),
    /// A folder or GGUF file, as [`crate::Model::load`] takes it.
    Stored(PathBuf),
}

impl Measured {
    /// The shape's name, or the file's.
    fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Random(shape) => shape.as_str().into(),
            Self::Stored(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned().into(),
        }
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which model.
    pub model: Measured,
    /// How it answers.
    pub settings: Settings,
    /// What it reads.
    pub batches: Vec<Batch>,
    /// Rounds of which the median is told, after one that is not.
    pub rounds: usize,
}

/// One line. What was not measured is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figure {
    /// Always `wardstream`.
    pub engine: &'static str,
    /// Of this program.
    pub version: &'static str,
    /// `prefill`, `questions`, `tasks`, `words`, `load` or `train`.
    pub what: &'static str,
    /// What a step minimised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<&'static str>,
    /// The rank of the adapters that alone learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<usize>,
    /// The model's name.
    pub shape: Cow<'static, str>,
    /// `f32`, `bf16`, `int16` or `int8`.
    pub precision: &'static str,
    /// By how much 8 bits move the model's answers, where they were asked for and not taken for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub int8_apart: Option<f64>,
    /// The kernels' instruction set.
    pub instructions: &'static str,
    /// The instruction sets that decide figures, of those that the processor has.
    pub instruction_sets: String,
    /// Threads of the model's pool.
    pub threads: usize,
    /// Where it was computed; on a card instructions and threads say nothing.
    pub device: Devices,
    /// What was read, as it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Tokens of all prompts, each note once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
    /// Tokens a second of the wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// Notes a second of the wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes_per_second: Option<f64>,
    /// Labelled answers that a step learned from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<usize>,
    /// Answers a second of the wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers_per_second: Option<f64>,
    /// Wall clock.
    pub ms_median: f64,
    /// The shortest round.
    pub ms_min: f64,
    /// Time of all threads: on a machine shared with others it moves less than the wall clock.
    pub cpu_ms_median: f64,
    /// Rounds.
    pub reps: usize,
    /// The weights as they are held, on each card where they are several.
    pub weights_mb: f64,
    /// What loading added to the resident memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_mb: Option<f64>,
    /// The most memory that the process had held before the first step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_before_gb: Option<f64>,
    /// The most memory that the process has held so far.
    pub peak_rss_gb: f64,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// There are no threads to be had.
    #[error("could not make the model ready to answer")]
    Threads(#[from] PoolError),
    /// The prompts could not be made.
    #[error("could not make the prompts")]
    Tokenizer(#[from] TokenizerError),
    /// There is no learner, or no step of it.
    #[error("could not learn")]
    Learn(#[from] LearnError),
    /// There is no such device.
    #[error(transparent)]
    NoDevice(#[from] DeviceError),
    /// The device refused.
    #[error("could not answer on the device")]
    Device(#[from] candle_core::Error),
    /// The model that was named cannot answer.
    #[error("could not answer")]
    Score(#[from] ScoreError),
    /// The folder to be loaded could not be written.
    #[error("could not write the model that is to be loaded")]
    Write(#[from] std::io::Error),
    /// There is no such model, or none that is understood.
    #[error("could not load the model")]
    Load(#[from] LoadError),
    /// Prompts of more tokens than the model has positions.
    #[error("{batch} is longer than the {positions} positions that the model has: name shorter ones with --batch")]
    Long {
        /// What was asked for.
        batch: Batch,
        /// Of the model.
        positions: usize,
    },
    /// A name that is none of a shape or of a batch.
    #[error("{name} is none of {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: &'static str,
    },
}

/// What answers.
struct Answering {
    engine: Engine,
    limits: Limits,
    /// The questions in the model's own tokens, where it has some.
    questions: Option<Vec<Vec<u32>>>,
    /// How weights are held where the model decided it.
    precision: Option<Precision>,
    int8_apart: Option<f64>,
}

impl Answering {
    fn of(model: &Measured, settings: &Settings) -> Result<Self, BenchError> {
        match model {
            Measured::Random(shape) => {
                let config = shape.config();
                Ok(Self {
                    engine: random(&config, settings)?,
                    limits: Limits::of(&config),
                    questions: None,
                    precision: None,
                    int8_apart: None,
                })
            }
            Measured::Stored(path) => {
                let model = Model::load_with(path, settings)?;
                let (precision, int8_apart) = (Some(model.precision()), apart(&model));
                let questions = Some(model.questions().to_vec());
                let (engine, limits) = model.into_engine();
                Ok(Self { engine, limits, questions, precision, int8_apart })
            }
        }
    }
}

/// By how much 8 bits move the model's answers, where they were asked for and not taken.
fn apart(model: &Model) -> Option<f64> {
    model.too_coarse().map(|too_coarse| too_coarse.apart)
}

/// What answers with random weights.
fn random(config: &Config, settings: &Settings) -> Result<Engine, BenchError> {
    let Some(device) = settings.device.open()? else { return Ok(Engine::Packed(Scorer::random(config, 1, settings)?)) };
    let read = |range| Ok::<_, BenchError>(Cow::Owned(random_numbers(config, 1, range)));
    Ok(Engine::Device(DeviceScorer::new(config, &read, &[0, 1, 2, 3, 4], (&device, settings.precision()))?))
}

/// Times of some rounds.
#[derive(Debug, Default)]
struct Rounds {
    wall_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
}

impl Rounds {
    /// Runs `work` once untold and then `count` times.
    fn of<E>(count: usize, mut work: impl FnMut() -> Result<(), E>) -> Result<Self, E> {
        work()?;
        let mut rounds = Self::default();
        for _ in 0..count.max(1) {
            let (began, before) = (Instant::now(), process::cpu_ms());
            work()?;
            rounds.wall_ms.push(began.elapsed().as_secs_f64() * 1e3);
            rounds.cpu_ms.push(process::cpu_ms() - before);
        }
        rounds.wall_ms.sort_by(f64::total_cmp);
        rounds.cpu_ms.sort_by(f64::total_cmp);
        Ok(rounds)
    }
}

/// The one in the middle of what is sorted; no number where nothing was measured.
fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

impl Wanted {
    /// Measures every batch and gives each figure to `tell` as soon as it is known.
    ///
    /// # Errors
    /// If there are no threads to be had, the model cannot be loaded or the prompts cannot be made, or what `tell` gives.
    pub fn answering<E: From<BenchError>>(&self, mut tell: impl FnMut(&Figure) -> Result<(), E>) -> Result<(), E> {
        let scorer = Answering::of(&self.model, &self.settings)?;
        for batch in &self.batches {
            tell(&self.answer(&scorer, batch)?)?;
        }
        Ok(())
    }

    fn answer(&self, scorer: &Answering, batch: &Batch) -> Result<Figure, BenchError> {
        let Limits { vocabulary, positions } = scorer.limits;
        let notes = batch.notes(vocabulary, scorer.questions.as_deref())?;
        if notes.iter().any(|note| note.positions() > positions) {
            return Err(BenchError::Long { batch: *batch, positions });
        }
        let questions: Vec<Vec<&[u32]>> = notes.iter().map(|note| note.questions.iter().map(Vec::as_slice).collect()).collect();
        let prompts: Vec<Prompt<'_>> =
            notes.iter().zip(&questions).map(|(note, questions)| Prompt { note: &note.tokens, questions }).collect();
        let rounds = Rounds::of(self.rounds, || {
            let logits = std::hint::black_box(scorer.engine.logits(&prompts)?);
            if logits.len() == prompts.len() { Ok(()) } else { Err(BenchError::Write(std::io::ErrorKind::Other.into())) }
        })?;
        let tokens: usize = notes.iter().map(batch::Note::len).sum();
        let a_second = |count: usize| Some((count as f64 / median(&rounds.wall_ms) * 1e4).round() / 10.0);
        Ok(Figure {
            batch: Some(batch.to_string()),
            tokens: Some(tokens),
            tokens_per_second: a_second(tokens),
            notes_per_second: a_second(notes.len()),
            int8_apart: scorer.int8_apart,
            ..self.figure(batch.what(), &rounds, (scorer.engine.bytes(), scorer.precision))
        })
    }

    /// Loads the model, whose random weights are first written to a folder of its own: the resident memory of the first time, and the times of
    /// the others, when the file is in the system's page cache.
    ///
    /// # Errors
    /// If the folder cannot be written or loaded.
    pub fn loading(&self) -> Result<Figure, BenchError> {
        let written;
        let path = match &self.model {
            Measured::Random(shape) => {
                written = random_folder(*shape)?;
                written.path()
            }
            Measured::Stored(path) => path,
        };
        let before = process::resident_mb();
        let load = || Model::load_with(path, &self.settings);
        let first = load()?;
        let resident = process::resident_mb() - before;
        let (held, int8_apart) = ((first.bytes(), Some(first.precision())), apart(&first));
        drop(first);
        let rounds = Rounds::of(self.rounds, || load().map(drop))?;
        Ok(Figure { resident_mb: Some(rounded(resident)), int8_apart, ..self.figure("load", &rounds, held) })
    }

    /// Of weights of so many bytes, held as the model or else the settings say.
    fn figure(&self, what: &'static str, rounds: &Rounds, (bytes, precision): (usize, Option<Precision>)) -> Figure {
        Figure {
            precision: precision.unwrap_or_else(|| self.settings.precision()).as_str(),
            instructions: self.settings.instructions().as_str(),
            threads: self.settings.threads(),
            device: self.settings.device.into(),
            ..Figure::new(what, self.model.name(), (rounds, bytes))
        }
    }
}

impl Figure {
    /// What every figure says, of rounds and of weights of so many bytes.
    fn new(what: &'static str, shape: Cow<'static, str>, (rounds, bytes): (&Rounds, usize)) -> Self {
        Self {
            engine: "wardstream",
            version: env!("CARGO_PKG_VERSION"),
            what,
            shape,
            instruction_sets: process::instruction_sets(),
            ms_median: rounded(median(&rounds.wall_ms)),
            ms_min: rounded(rounds.wall_ms.first().copied().unwrap_or(f64::NAN)),
            cpu_ms_median: rounded(median(&rounds.cpu_ms)),
            reps: rounds.wall_ms.len(),
            weights_mb: rounded(bytes as f64 / 1e6),
            peak_rss_gb: process::peak_rss_gb(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::{Lora, Target};
    use crate::learner::Computing;

    #[test]
    fn a_model_that_is_stored_is_measured_as_it_answers() -> Result<(), BenchError> {
        let folder = random_folder(Shape::Tiny)?;
        let settings = Settings { threads: Some(1), precision: Some(Precision::Int8), ..Settings::default() };
        let wanted = Wanted { model: Measured::Stored(folder.path().to_owned()), settings, batches: vec!["1x9".parse()?], rounds: 1 };
        let mut lines = vec![serde_json::to_value(wanted.loading()?).unwrap_or_default()];
        wanted.answering(|figure| {
            lines.push(serde_json::to_value(figure).unwrap_or_default());
            Ok::<_, BenchError>(())
        })?;
        let name = folder.path().file_name().and_then(|name| name.to_str());
        for line in &lines {
            assert_eq!((line["shape"].as_str(), line["precision"].as_str()), (name, Some("int8")), "{line}");
        }
        let long = Wanted { batches: vec!["1x4096".parse()?], ..wanted.clone() };
        std::fs::remove_file(folder.path().join("wardstream.json"))?;
        let config = Config { max_position_embeddings: 4_095, ..Shape::Tiny.config() };
        std::fs::write(folder.path().join("config.json"), serde_json::to_vec(&config).unwrap_or_default())?;
        let refused = long.answering(|_| Ok::<_, BenchError>(())).map_err(|error| error.to_string());
        assert!(refused.is_err_and(|message| message.contains("1x4096 is longer than the 4095 positions")));
        let none = Wanted { model: Measured::Stored(folder.path().join("none")), ..wanted };
        assert!(matches!(none.answering(|_| Ok::<_, BenchError>(())), Err(BenchError::Load(_))));
        Ok(())
    }

    #[test]
    fn a_figure_has_the_fields_of_the_peers() -> Result<(), BenchError> {
        let batches = ["2x9mixed", "questions2", "tasks5", "words2"].map(|name| name.parse()).into_iter().collect::<Result<_, _>>()?;
        let settings = Settings { threads: Some(1), ..Settings::default() };
        let wanted = Wanted { model: Measured::Random(Shape::Tiny), settings, batches, rounds: 2 };
        let mut lines = Vec::new();
        wanted.answering(|figure| {
            lines.push(serde_json::to_value(figure).unwrap_or_default());
            Ok::<_, BenchError>(())
        })?;
        lines.push(serde_json::to_value(wanted.loading()?).unwrap_or_default());
        let lessons = vec!["2x9+3x4".parse()?];
        let (shape, lora, computing) = (Shape::Wide, None, Computing::default());
        let whole = Training { shape, lora, computing, devices: Devices::default(), threads: 1, loss: Loss::Answer, lessons, rounds: 2 };
        let lora = Lora::new(4, 8.0, 0.05, Target::ALL).ok();
        for training in [whole.clone(), Training { lora, ..whole }] {
            training.steps(|figure| {
                lines.push(serde_json::to_value(figure).unwrap_or_default());
                Ok::<_, BenchError>(())
            })?;
        }
        let whats: Vec<&str> = lines.iter().filter_map(|line| line["what"].as_str()).collect();
        assert_eq!(whats, ["prefill", "questions", "tasks", "words", "load", "train", "train"]);
        assert_eq!((lines[5].get("lora"), lines[6]["lora"].as_u64()), (None, Some(4)));
        assert_eq!(
            (lines[5]["loss"].as_str(), lines[5]["answers"].as_u64(), lines[5]["batch"].as_str()),
            (Some("answer"), Some(6), Some("2x9+3x4"))
        );
        assert_eq!((lines[0]["tokens"].as_u64(), lines[1]["tokens"].as_u64()), (Some(2 + 9), Some(512 + 2 * 60)));
        for line in &lines {
            assert!(line["ms_median"].as_f64().is_some_and(|ms| ms > 0.0) && line["reps"] == 2 && line["threads"] == 1, "{line}");
        }
        assert!(lines[4].get("tokens").is_none() && lines[4]["resident_mb"].is_number());
        Ok(())
    }
}
