//! A step of learning to be measured: lessons of random tokens, and what one step over them costs.

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng as _;
use schemas::Task;

use super::batch::MOST;
use super::shape::CONTEXT;
use super::{BenchError, Figure, Rounds, Shape, median, process, random_folder, rounded};
use crate::adapters::Lora;
use crate::device::Devices;
use crate::learner::{Computing, Learner, Lesson, Recipe};
use crate::tokens::train_tokenizer;

/// Entries of the learner's tokenizer, which reads nothing here.
const VOCABULARY: usize = 400;
/// Random tokens lie below this.
const TOKENS: u32 = 32_000;

/// `ROWSxTOKENS`: notes of one length; with `+QUESTIONSxTOKENS` behind it each is asked so many questions jointly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lessons {
    rows: usize,
    tokens: usize,
    questions: usize,
    question: usize,
}

impl fmt::Display for Lessons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.tokens)?;
        if self.questions > 0 { write!(f, "+{}x{}", self.questions, self.question) } else { Ok(()) }
    }
}

impl FromStr for Lessons {
    type Err = BenchError;

    fn from_str(name: &str) -> Result<Self, BenchError> {
        let known = "ROWSxTOKENS, ROWSxTOKENS+QUESTIONSxTOKENS";
        let unknown = || BenchError::Unknown { name: name.to_owned(), known };
        let sizes = |text: &str| -> Option<(usize, usize)> {
            let (count, length) = text.split_once('x')?;
            Some((count.parse().ok()?, length.parse().ok()?))
        };
        let (notes, asked) = name.split_once('+').unwrap_or((name, "0x0"));
        let ((rows, tokens), (questions, question)) = sizes(notes).zip(sizes(asked)).ok_or_else(unknown)?;
        let one = questions.checked_mul(question).and_then(|asked| asked.checked_add(tokens));
        let fits = one.and_then(|one| one.checked_mul(rows)).is_some_and(|all| all <= MOST) && tokens.saturating_add(question) <= CONTEXT;
        if rows == 0 || tokens < 3 || !fits || (questions == 0) != (question == 0) {
            return Err(unknown());
        }
        Ok(Self { rows, tokens, questions, question })
    }
}

/// What a step minimises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The next token everywhere.
    Full,
    /// The answers alone; one behind each note where no questions are asked.
    Answer,
}

impl Loss {
    /// The name, as it is parsed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Answer => "answer",
        }
    }
}

impl FromStr for Loss {
    type Err = BenchError;

    fn from_str(name: &str) -> Result<Self, BenchError> {
        let known = [Self::Full, Self::Answer].into_iter().find(|loss| loss.as_str() == name);
        known.ok_or_else(|| BenchError::Unknown { name: name.to_owned(), known: "full, answer" })
    }
}

/// What to learn, and how.
#[derive(Clone, Debug)]
pub struct Training {
    /// Which model.
    pub shape: Shape,
    /// How it is adapted; nothing if all of it learns.
    pub lora: Option<Lora>,
    /// How it computes.
    pub computing: Computing,
    /// Where it learns.
    pub devices: Devices,
    /// Threads of a step.
    pub threads: usize,
    /// What is minimised.
    pub loss: Loss,
    /// What each step reads.
    pub lessons: Vec<Lessons>,
    /// Steps of which the median is told, after one that is not.
    pub rounds: usize,
}

impl Training {
    /// Measures a step over each of the lessons and gives each figure to `tell` as soon as it is known.
    ///
    /// # Errors
    /// If there are no threads to be had or the model cannot be made, or what `tell` gives.
    pub fn steps<E: From<BenchError>>(&self, mut tell: impl FnMut(&Figure) -> Result<(), E>) -> Result<(), E> {
        let mut learner = self.learner()?;
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(2);
        let before = process::peak_rss_gb();
        for lessons in &self.lessons {
            let figure = self.step(&mut learner, (lessons, &self.drawn(lessons, &mut random)))?;
            tell(&Figure { rss_before_gb: Some(before), ..figure })?;
        }
        Ok(())
    }

    /// All of whose weights learn, or which was read from a folder, as one is that is adapted.
    fn learner(&self) -> Result<Learner, BenchError> {
        let learner = match &self.lora {
            Some(lora) => Learner::adapting(random_folder(self.shape)?.path(), lora.clone(), 1, self.computing)?,
            None => {
                let tokenizer = train_tokenizer(std::iter::once("The patient was seen and examined."), VOCABULARY)?;
                Learner::new(self.shape.config(), tokenizer, 1)?.computing(self.computing)
            }
        };
        Ok(learner.on(self.devices.clone())?)
    }

    fn step(&self, learner: &mut Learner, (asked, lessons): (&Lessons, &[Lesson])) -> Result<Figure, BenchError> {
        let next_token_weight = if self.loss == Loss::Full { 1.0 } else { 0.0 };
        let recipe = Recipe { learning_rate: 1e-4, next_token_weight, ..Recipe::default() };
        let chosen: Vec<&Lesson> = lessons.iter().collect();
        let rounds = Rounds::of(self.rounds, || learner.step(&chosen, &recipe, self.threads).map(drop).map_err(BenchError::from))?;
        let (tokens, answers) = (lessons.iter().map(Lesson::tokens).sum(), lessons.iter().map(Lesson::answers).sum());
        let a_second = |count: usize| Some(rounded(count as f64 / median(&rounds.wall_ms) * 1e3));
        Ok(Figure {
            loss: Some(self.loss.as_str()),
            lora: self.lora.as_ref().map(Lora::rank),
            precision: learner.arithmetic().as_str(),
            instructions: learner.instructions().as_str(),
            threads: self.threads,
            device: self.devices.clone(),
            batch: Some(asked.to_string()),
            tokens: Some(tokens),
            tokens_per_second: a_second(tokens),
            answers: Some(answers),
            answers_per_second: a_second(answers),
            ..Figure::new("train", self.shape.as_str().into(), (&rounds, learner.bytes()))
        })
    }

    fn drawn(&self, asked: &Lessons, random: &mut impl rand::Rng) -> Vec<Lesson> {
        let mut tokens = |count: usize| -> Vec<u32> { (0..count).map(|_| random.random_range(0..TOKENS)).collect() };
        // One answer behind each note: its question is the last of the note's tokens but one.
        let (note, questions, question) = match (self.loss, asked.questions) {
            (Loss::Answer, 0) => (asked.tokens - 2, 1, 1),
            _ => (asked.tokens, asked.questions, asked.question),
        };
        let lesson = |_| {
            let note = tokens(note);
            let texts: Vec<Vec<u32>> = (0..questions).map(|_| tokens(question)).collect();
            let answers: Vec<(Task, &[u32], usize)> =
                texts.iter().enumerate().map(|(index, tokens)| (Task::Comorbidity, tokens.as_slice(), index % 4)).collect();
            Lesson::of(&note, &answers)
        };
        (0..asked.rows).map(lesson).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lessons_are_read_as_they_are_written_and_others_refused() -> Result<(), BenchError> {
        for name in ["8x512", "2x512+4x40"] {
            assert_eq!(name.parse::<Lessons>()?.to_string(), name);
        }
        let long = ["1x4097", "1x4090+1x7", "257x4096", "1x512+20000x60", "1x512+1152921504606846976x16", "1x512+0x3", "1x512+3x0"];
        for wrong in ["", "8", "8x", "0x512", "1x2", "1x512+4", "1x512mixed"].into_iter().chain(long) {
            assert!(wrong.parse::<Lessons>().is_err(), "{wrong}");
        }
        assert!("half".parse::<Loss>().is_err());
        Ok(())
    }
}
