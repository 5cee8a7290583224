//! How well a model foretells a note's own words: what its language-model head says of each next token, in `f32`.
//!
//! The path that answers knows five rows of the head alone. This one is the forward pass of learning, without a gradient: whole-vocabulary logits exist for
//! a chunk of rows at a time.

use std::path::Path;

use schemas::ModelVersion;

use crate::folder::{self, Folder};
use crate::load_error::LoadError;
use crate::model::ScoreError;
use crate::network::{Network, Parameters, Trace};
use crate::packed::{Kernel, Precision};
use crate::scoring::{Settings, pool};
use crate::tokens::Reader;

/// A model that foretells: all of its weights, in `f32`.
#[derive(Debug)]
pub struct NextTokens {
    version: ModelVersion,
    network: Network,
    weights: Vec<f32>,
    reader: Reader,
    pool: rayon::ThreadPool,
    trace: Trace,
}

/// What was foretold of one note.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Foretold {
    /// Cross-entropies of its tokens together, natural logarithm. Divide by `tokens` for the mean.
    pub nats: f64,
    /// Tokens that something stands before: one less than were read, the opening token among these where the tokenizer has one.
    pub tokens: usize,
}

impl NextTokens {
    /// Loads what [`Model::load_with`](crate::Model::load_with) loads, onto the processor. Of `settings` instructions and threads count.
    ///
    /// # Errors
    /// As there.
    pub fn load(path: &Path, settings: &Settings) -> Result<Self, LoadError> {
        let Folder { config, tokenizer, weights, manifest } = folder::load(path, 1)?;
        let reader = Reader::new(tokenizer, &config, manifest.max_note_tokens)?;
        let trace = Trace::new(Kernel::of(Precision::F32, settings.instructions()), 0);
        let (version, pool) = (manifest.model_version, pool(settings.threads(), "foretell")?);
        Ok(Self { version, network: Network::new(config), weights, reader, pool, trace })
    }

    /// Who foretells.
    #[must_use]
    pub fn version(&self) -> &ModelVersion {
        &self.version
    }

    /// Reads a note as it is read for an answer: cleaned, cut at as many tokens, and opened as the tokenizer opens a text.
    ///
    /// # Errors
    /// If it cannot be split into tokens, or the loss is not a number.
    pub fn of(&mut self, text: &str) -> Result<Foretold, ScoreError> {
        let Self { network, weights, reader, pool, trace, .. } = self;
        let page = reader.page(text, &[])?;
        let nats = pool.install(|| network.next_tokens(Parameters::Whole(weights), &page, trace));
        if nats.is_finite() { Ok(Foretold { nats, tokens: page.note.saturating_sub(1) }) } else { Err(ScoreError::NoLoss) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Tested = Result<(), Box<dyn std::error::Error>>;

    fn golden() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/linear")
    }

    /// A note of fewer tokens than two has no next one; and what is asked of others changes nothing.
    #[test]
    fn a_note_without_a_next_token_costs_nothing() -> Tested {
        let mut foretelling = NextTokens::load(&golden(), &Settings { threads: Some(2), ..Settings::default() })?;
        let long = foretelling.of("Patient 47 admitted with chest pain.")?;
        assert!(long.tokens > 5 && long.nats > 0.0);
        assert_eq!(foretelling.of("")?, Foretold::default());
        assert_eq!(foretelling.of("Patient 47 admitted with chest pain.")?, long);
        let mut alone = NextTokens::load(&golden(), &Settings { threads: Some(1), ..Settings::default() })?;
        assert_eq!(alone.of("Patient 47 admitted with chest pain.")?, long);
        Ok(())
    }

    #[test]
    fn a_model_that_is_broken_is_said_to_be() -> Tested {
        let mut foretelling = NextTokens::load(&golden(), &Settings::default())?;
        let norm = foretelling.network.layout.norm.start;
        foretelling.weights[norm] = f32::NAN;
        assert!(matches!(foretelling.of("Fever since Monday."), Err(ScoreError::NoLoss)));
        Ok(())
    }
}
