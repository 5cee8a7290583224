//! What a measured model reads: whole prompts of given lengths, or questions behind one note.

use std::fmt;
use std::str::FromStr;

use rand::{Rng as _, SeedableRng as _};
use schemas::Task;
use tokenizers::Tokenizer;

use super::BenchError;
use crate::config::Config;
use crate::tokens::{Reader, TokenizerError, train_tokenizer, wordy_tokenizer};

/// Tokens of the note behind which questions are asked, and of each question, as the peers' script has them.
const NOTE: usize = 512;
const QUESTION: usize = 60;
/// Entries of the tokenizers that split the real questions: enough for each of their words to be one token, as in a large vocabulary.
const VOCABULARY: usize = 1000;
/// The most that a batch may hold, so that a slip of the hand takes no machine down.
pub(super) const MOST: usize = 1 << 20;

/// What is read in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// `ROWSxTOKENS`: whole prompts of which the last position is read.
    Whole {
        /// How many.
        rows: usize,
        /// Tokens of each.
        tokens: usize,
    },
    /// `ROWSxTOKENSmixed`: the same with lengths from 25 to 100 %.
    Mixed {
        /// How many.
        rows: usize,
        /// Tokens of the longest.
        tokens: usize,
    },
    /// `questionsN`: N questions of 60 random tokens, which have nothing in common, behind a note of 512.
    Questions(usize),
    /// `tasksN`: the first N of the questions that are really asked behind a note of 512: in the tokens of the model that is named, or of one trained here.
    Tasks(usize),
    /// `wordsN`: the same questions word by word, as a model that was not trained here has them.
    Words(usize),
}

/// A prompt of random tokens.
#[derive(Debug)]
pub(crate) struct Note {
    pub tokens: Vec<u32>,
    pub questions: Vec<Vec<u32>>,
}

impl Note {
    /// Tokens of the note and of its questions.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.questions.iter().map(Vec::len).sum::<usize>()
    }

    /// Positions that it takes: each question stands right behind the note.
    pub fn positions(&self) -> usize {
        self.tokens.len() + self.questions.iter().map(Vec::len).max().unwrap_or(0)
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole { rows, tokens } => write!(f, "{rows}x{tokens}"),
            Self::Mixed { rows, tokens } => write!(f, "{rows}x{tokens}mixed"),
            Self::Questions(count) => write!(f, "questions{count}"),
            Self::Tasks(count) => write!(f, "tasks{count}"),
            Self::Words(count) => write!(f, "words{count}"),
        }
    }
}

impl FromStr for Batch {
    type Err = BenchError;

    fn from_str(name: &str) -> Result<Self, BenchError> {
        let known = "ROWSxTOKENS, ROWSxTOKENSmixed, questionsN, tasksN and wordsN with N up to 5";
        let unknown = || BenchError::Unknown { name: name.to_owned(), known };
        let number = |text: &str, most: usize| text.parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(unknown);
        if let Some(count) = name.strip_prefix("questions") {
            return Ok(Self::Questions(number(count, MOST / QUESTION)?));
        }
        for (what, of) in [("tasks", Self::Tasks as fn(usize) -> Self), ("words", Self::Words)] {
            if let Some(count) = name.strip_prefix(what) {
                return Ok(of(number(count, Task::ALL.len())?));
            }
        }
        let (sizes, mixed) = name.strip_suffix("mixed").map_or((name, false), |sizes| (sizes, true));
        let (rows, tokens) = sizes.split_once('x').ok_or_else(unknown)?;
        let (rows, tokens) = (number(rows, MOST)?, number(tokens, super::shape::CONTEXT)?);
        if rows * tokens > MOST || tokens < 4 {
            return Err(unknown());
        }
        Ok(if mixed { Self::Mixed { rows, tokens } } else { Self::Whole { rows, tokens } })
    }
}

impl Batch {
    /// What is measured with it.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Self::Whole { .. } | Self::Mixed { .. } => "prefill",
            Self::Questions(_) => "questions",
            Self::Tasks(_) => "tasks",
            Self::Words(_) => "words",
        }
    }

    /// The prompts, of tokens below `vocabulary`, the same each time; `own` are the questions as the model's tokenizer has them, where it has one.
    pub(crate) fn notes(&self, vocabulary: usize, own: Option<&[Vec<u32>]>) -> Result<Vec<Note>, BenchError> {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(2);
        let highest = u32::try_from(vocabulary).unwrap_or(u32::MAX);
        let mut tokens = |count: usize| -> Vec<u32> { (0..count).map(|_| random.random_range(0..highest)).collect() };
        let mut whole = |length: usize| Note { tokens: tokens(length - 1), questions: vec![tokens(1)] };
        Ok(match *self {
            Self::Whole { rows, tokens } => (0..rows).map(|_| whole(tokens)).collect(),
            Self::Mixed { rows, tokens } => {
                let steps = rows.saturating_sub(1).max(1);
                (0..rows).map(|row| whole((tokens * (steps + 3 * row) / (4 * steps)).max(2))).collect()
            }
            Self::Questions(count) => vec![Note { tokens: tokens(NOTE), questions: (0..count).map(|_| tokens(QUESTION)).collect() }],
            Self::Tasks(count) => {
                let asked = own.map_or_else(|| asked(train_tokenizer(std::iter::empty(), VOCABULARY)), |own| Ok(own.to_vec()))?;
                vec![Note { tokens: tokens(NOTE), questions: asked.into_iter().take(count).collect() }]
            }
            Self::Words(count) => {
                vec![Note { tokens: tokens(NOTE), questions: asked(wordy_tokenizer(VOCABULARY))?.into_iter().take(count).collect() }]
            }
        })
    }
}

/// All questions by a tokenizer.
fn asked(tokenizer: Result<Tokenizer, TokenizerError>) -> Result<Vec<Vec<u32>>, BenchError> {
    Ok(Reader::new(tokenizer?, &Config::demo(VOCABULARY), NOTE)?.questions().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_read_as_they_are_written_and_others_refused() -> Result<(), BenchError> {
        for name in super::super::BATCHES {
            assert_eq!(name.parse::<Batch>()?.to_string(), name);
        }
        for name in ["", "x", "0x8", "8x", "1x2", "8x512half", "tasks6", "questions0", "questions-1", "1048576x512", "1x5000"] {
            assert!(name.parse::<Batch>().is_err(), "{name}");
        }
        Ok(())
    }

    #[test]
    fn mixed_lengths_are_those_of_the_peers_script() -> Result<(), BenchError> {
        let notes = "8x512mixed".parse::<Batch>()?.notes(100, None)?;
        let lengths: Vec<usize> = notes.iter().map(Note::len).collect();
        assert_eq!(lengths, [128, 182, 237, 292, 347, 402, 457, 512]);
        Ok(())
    }

    #[test]
    fn real_questions_begin_alike() -> Result<(), BenchError> {
        let alike = |batch: Batch| -> Result<(usize, usize), BenchError> {
            let note = batch.notes(32_000, None)?.swap_remove(0);
            let (admission, other) = (&note.questions[1], &note.questions[2]);
            Ok((admission.iter().zip(other).take_while(|(x, y)| x == y).count(), other.len()))
        };
        assert_eq!(alike(Batch::Tasks(5))?, (1, 3));
        let (shared, whole) = alike(Batch::Words(5))?;
        assert!(shared >= 8 && shared < whole, "{shared} of {whole}");
        Ok(())
    }

    #[test]
    fn a_model_is_asked_in_its_own_tokens() -> Result<(), BenchError> {
        let own = [vec![7], vec![8, 9]];
        assert_eq!(Batch::Tasks(1).notes(10, Some(&own))?[0].questions, [[7]]);
        assert_ne!(Batch::Words(1).notes(10, Some(&own))?[0].questions, [[7]]);
        Ok(())
    }
}
