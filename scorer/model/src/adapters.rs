//! LoRA: a frozen model, and thin pairs of matrices beside some of its weights, which alone learn.
//!
//! A weight `W` becomes `W + alpha / rank * B A` with `A` `[rank, in]` and `B` `[out, rank]` (Hu et al. 2021, and peft's names). Here is where the
//! pairs lie in one flat vector, as the optimiser and the state on disk see them; what is multiplied with them is the network's.

mod frozen;
mod lora;
mod merge;

use std::ops::Range;

use rand::{Rng as _, SeedableRng as _};

use crate::layout::{Layout, Place, Site};
use crate::products::{Dropout, Pair, PairSlopes, key_of};
pub(crate) use frozen::Frozen;
pub use lora::{Lora, LoraError, Target};

/// The pair beside one weight.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    layer: usize,
    target: Target,
    /// The weight beside which it stands, in the model's layout.
    weight: Range<usize>,
    /// Numbers of a row of that weight.
    inner: usize,
    /// Columns of the site's product that it adds to.
    pub outputs: Range<usize>,
    /// `A`, in the adapters' own vector.
    down: Range<usize>,
    /// `B`, likewise.
    up: Range<usize>,
}

/// Which pairs there are, and where.
#[derive(Clone, Debug)]
pub(crate) struct Adapters {
    pub lora: Lora,
    /// Every matrix under the name that peft has for it, in order.
    pub places: Vec<Place>,
    pairs: Vec<Adapter>,
}

/// The draw of one batch: what is dropped follows from it and from each number's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    pub seed: u64,
    /// Which batch.
    pub batch: u64,
    /// Rows of the batch that were read in the passes before.
    pub first_row: usize,
}

impl Adapter {
    /// Where `A` lies in the adapters' own vector.
    pub fn down(&self) -> &Range<usize> {
        &self.down
    }

    /// Where `B` does.
    pub fn up(&self) -> &Range<usize> {
        &self.up
    }
}

impl Adapters {
    /// The pairs that `lora` puts beside the weights of `layout`, whose layers are `layers`.
    pub fn of(lora: Lora, layout: &Layout) -> Result<Self, LoraError> {
        let (mut places, mut pairs, mut end) = (Vec::new(), Vec::new(), 0);
        for (layer, whole) in layout.layers.iter().enumerate() {
            for target in lora.targets() {
                let name = format!("model.layers.{layer}.{}", target.path());
                let weight = layout.places.iter().find(|place| place.name.strip_suffix(".weight") == Some(name.as_str()));
                let Some(Place { shape, range, .. }) = weight else { continue };
                let (outputs, inner) = (shape[0], shape[1]);
                lora.fits(outputs.min(inner))?;
                let first = (range.start - whole.at(target.site()).start) / inner;
                let mut put = |letter: char, shape: [usize; 2]| {
                    let range = end..end + shape[0] * shape[1];
                    end = range.end;
                    let name = format!("base_model.model.{name}.lora_{letter}.weight");
                    places.push(Place { name, shape: shape.to_vec(), range: range.clone() });
                    range
                };
                let (down, up) = (put('A', [lora.rank(), inner]), put('B', [outputs, lora.rank()]));
                let outputs = first..first + outputs;
                pairs.push(Adapter { layer, target, weight: range.clone(), inner, outputs, down, up });
            }
        }
        Ok(Self { lora, places, pairs })
    }

    /// How many numbers there are.
    pub fn total(&self) -> usize {
        self.places.last().map_or(0, |place| place.range.end)
    }

    /// As peft begins: `A` evenly distributed up to one over the root of its width (Kaiming's with a slope of the root of five), `B` zero.
    pub fn fresh(&self, seed: u64) -> Vec<f32> {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut weights = vec![0.0; self.total()];
        for pair in &self.pairs {
            let most = (pair.inner as f32).sqrt().recip();
            weights[pair.down.clone()].fill_with(|| random.random_range(-most..most));
        }
        weights
    }

    /// The pairs that add to the product at `site` of `layer`.
    pub fn at(&self, layer: usize, site: Site) -> impl Iterator<Item = &Adapter> {
        self.pairs.iter().filter(move |pair| pair.layer == layer && pair.target.site() == site)
    }

    /// The matrices of a pair.
    pub fn pair<'a>(&self, adapter: &Adapter, weights: &'a [f32]) -> Pair<'a> {
        let (down, up) = (&weights[adapter.down.clone()], &weights[adapter.up.clone()]);
        Pair { down, up, rank: self.lora.rank(), scale: self.lora.scale() }
    }

    /// Where a pair's gradient is added to.
    pub fn slopes<'a>(&self, adapter: &Adapter, gradient: &'a mut [f32]) -> PairSlopes<'a> {
        let (down, up) = gradient[adapter.down.start..adapter.up.end].split_at_mut(adapter.down.len());
        PairSlopes { down, up }
    }

    /// What a pair drops of its input.
    pub fn dropout(&self, adapter: &Adapter, draw: Draw) -> Option<Dropout> {
        let key = key_of(&[draw.seed, draw.batch, adapter.layer as u64, adapter.target as u64]);
        (self.lora.dropout() > 0.0).then(|| Dropout::new(self.lora.dropout(), key, draw.first_row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn adapters_have_the_names_the_shapes_and_the_number_of_peft() -> Result<(), LoraError> {
        let adapters = Adapters::of(Lora::new(16, 32.0, 0.05, Target::ALL)?, &Layout::of(&Config::lang1_1b()))?;
        let named = |name: &str| adapters.places.iter().find(|place| place.name == name).map(|place| place.shape.as_slice());
        let of = |path: &str, letter: char| named(&format!("base_model.model.model.layers.21.{path}.lora_{letter}.weight"));
        assert_eq!((of("self_attn.k_proj", 'A'), of("self_attn.k_proj", 'B')), (Some([16, 2048].as_slice()), Some([256, 16].as_slice())));
        assert_eq!((of("mlp.down_proj", 'A'), of("mlp.down_proj", 'B')), (Some([16, 5632].as_slice()), Some([2048, 16].as_slice())));
        assert_eq!((adapters.places.len(), adapters.total()), (22 * 7 * 2, 12_615_680));
        let columns = |site| adapters.at(3, site).map(|adapter| adapter.outputs.clone()).collect::<Vec<_>>();
        assert_eq!(columns(Site::Qkv), [0..2048, 2048..2304, 2304..2560]);
        assert_eq!(columns(Site::GateUp), [0..5632, 5632..11_264]);
        Ok(())
    }

    #[test]
    fn adapters_begin_as_pefts_do() -> Result<(), LoraError> {
        let adapters = Adapters::of(Lora::new(4, 8.0, 0.0, [Target::VProj, Target::DownProj])?, &Layout::of(&Config::demo(50)))?;
        let weights = adapters.fresh(1);
        for place in &adapters.places {
            let numbers = &weights[place.range.clone()];
            let most = numbers.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
            let bound = (place.shape[1] as f32).sqrt().recip();
            let begins = if place.name.contains("lora_A") { most > 0.9 * bound && most <= bound } else { most == 0.0 };
            assert!(begins, "{}: {most} of {bound}", place.name);
        }
        assert_eq!(adapters.fresh(1), weights);
        Ok(())
    }
}
