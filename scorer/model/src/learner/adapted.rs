//! A learner whose model is frozen, and whose adapters learn.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use schemas::ModelVersion;

use crate::adapters::{Adapters, Draw, Frozen, Lora};
use crate::folder::{self, SaveError};
use crate::layout::{Layout, Place};
use crate::learner::{Computing, LearnError, Learner};
use crate::load_error::LoadError;
use crate::memory;
use crate::network::Parameters;

/// The model that does not learn, and where its adapters lie among what does.
#[derive(Clone, Debug)]
pub(super) struct Adapted {
    frozen: Arc<Frozen>,
    adapters: Adapters,
    /// Which model it is.
    pub base: ModelVersion,
    /// What adapters began from, and what is dropped while they learn.
    pub seed: u64,
}

impl Adapted {
    /// The settings.
    pub fn lora(&self) -> &Lora {
        &self.adapters.lora
    }

    /// The adapters' matrices.
    pub fn places(&self) -> &[Place] {
        &self.adapters.places
    }

    /// Bytes of what does not learn.
    pub fn bytes(&self) -> usize {
        self.frozen.bytes()
    }

    /// What a pass of batch `batch` multiplies with.
    pub fn parameters<'a>(&'a self, weights: &'a [f32], (batch, first_row): (u64, usize)) -> Parameters<'a> {
        let draw = self.draw(batch, first_row);
        Parameters::Adapted { frozen: &self.frozen, adapters: &self.adapters, weights, draw }
    }

    /// What is dropped of batch `batch` behind so many rows.
    pub fn draw(&self, batch: u64, first_row: usize) -> Draw {
        Draw { seed: self.seed, batch, first_row }
    }

    /// What does not learn, and where its adapters stand.
    pub fn parts(&self) -> (&Frozen, &Adapters) {
        (&self.frozen, &self.adapters)
    }

    /// The numbers of `range` of the model's layout, one norm or whole rows of matrices, with what the adapters add to them.
    pub fn merged(&self, weights: &[f32], range: Range<usize>) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(range.len());
        self.frozen.widen(range.clone(), &mut numbers);
        self.adapters.merge(weights, &range, &mut numbers);
        numbers
    }
}

impl Learner {
    /// Adapters beside the weights of an exported or downloaded model, which are held once, as products of `computing` have them, and never
    /// change. The same seed gives the same adapters, and drops the same of their inputs.
    ///
    /// # Errors
    /// As [`Model::load`](crate::Model::load), or if the model is too narrow for such adapters.
    pub fn adapting(dir: &Path, lora: Lora, seed: u64, computing: Computing) -> Result<Self, LearnError> {
        let opened = folder::open(dir)?;
        let layout = Layout::of(&opened.config);
        let adapters = Adapters::of(lora, &layout)?;
        let precision = computing.arithmetic().precision();
        // What learns, its two moments and a gradient.
        let learned = 4 * adapters.total() as u64 * size_of::<f32>() as u64;
        let frozen = layout.total() as u64 * precision.bytes() + opened.rotary_bytes();
        memory::room_for(frozen + learned).map_err(LoadError::from)?;
        let (digest, frozen) = rayon::join(|| opened.weights.digest(), || Frozen::read(precision, &layout, &opened.weights));
        let manifest = opened.manifest(&digest)?;
        let weights = adapters.fresh(seed);
        let adapted = Adapted { frozen: Arc::new(frozen?), adapters, base: manifest.model_version, seed };
        let learner = Self::with(opened.config, opened.tokenizer, weights, manifest.max_note_tokens)?;
        Ok(Self { adapted: Some(adapted), computing, ..learner })
    }

    /// How the model is adapted; nothing where all of it learns.
    #[must_use]
    pub fn lora(&self) -> Option<&Lora> {
        self.adapted.as_ref().map(Adapted::lora)
    }

    /// Writes `adapter_model.safetensors` and `adapter_config.json`, which `peft` puts beside the model that was adapted; nothing where all of it
    /// learns. Into a folder of its own: in a model's, `transformers` would take the model for an adapter.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn export_adapters(&self, dir: &Path) -> Result<(), SaveError> {
        let Some(adapted) = &self.adapted else { return Ok(()) };
        folder::export_adapters(dir, &adapted.adapters, &self.weights()?)
    }
}

#[cfg(test)]
mod tests;
