//! Shapes that are known by name: those of L1 section 4, and the one of the demo.

use crate::config::{Config, architectures, hidden_act, model_type, rope_theta, torch_dtype};

/// What the presets differ in.
struct Preset {
    layers: usize,
    hidden: usize,
    feed: usize,
    heads: (usize, usize),
    context: usize,
}

const LANG1_100M: Preset = Preset { layers: 6, hidden: 768, feed: 3072, heads: (24, 8), context: 1024 };
const LANG1_1B: Preset = Preset { layers: 22, hidden: 2048, feed: 5632, heads: (32, 4), context: 2048 };
const LANG1_7B: Preset = Preset { layers: 32, hidden: 4096, feed: 11_008, heads: (32, 32), context: 4096 };
const DEMO: Preset = Preset { layers: 2, hidden: 64, feed: 176, heads: (4, 4), context: 1024 };

impl Preset {
    fn config(&self) -> Config {
        Config {
            architectures: architectures(),
            model_type: model_type(),
            hidden_size: self.hidden,
            intermediate_size: self.feed,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads.0,
            num_key_value_heads: Some(self.heads.1),
            head_dim: Some(self.hidden / self.heads.0),
            vocab_size: 32_000,
            rms_norm_eps: 1e-5,
            rope_theta: rope_theta(),
            rope_scaling: None,
            max_position_embeddings: self.context,
            tie_word_embeddings: false,
            hidden_act: hidden_act(),
            attention_bias: false,
            mlp_bias: false,
            bos_token_id: Some(1),
            eos_token_id: Some(2.into()),
            torch_dtype: torch_dtype(),
        }
    }
}

impl Config {
    /// Lang1-100M: 101.07 M parameters.
    #[must_use]
    pub fn lang1_100m() -> Self {
        LANG1_100M.config()
    }

    /// Lang1-1B: 1,100.05 M parameters.
    #[must_use]
    pub fn lang1_1b() -> Self {
        LANG1_1B.config()
    }

    /// Lang1-7B: 6.74 B parameters.
    #[must_use]
    pub fn lang1_7b() -> Self {
        LANG1_7B.config()
    }

    /// What learns from simulated notes within minutes on two cores: 2 layers, 64 wide, tied embeddings. A head is only 16 wide:
    /// with the usual rotary base of 10,000 five of its eight pairs turn round within a note, and cannot find a word wherever it
    /// stands; with a million, three do.
    #[must_use]
    pub fn demo(vocab: usize) -> Self {
        Self {
            vocab_size: vocab,
            tie_word_embeddings: true,
            rope_theta: 1e6,
            bos_token_id: Some(0),
            eos_token_id: Some(1.into()),
            ..DEMO.config()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counted twice: from the layout that the pass uses, and by hand from the published shape. The paper's figures are these, rounded.
    #[test]
    fn the_presets_have_the_parameters_of_the_paper() {
        for (preset, exact, millions) in
            [(LANG1_100M, 101_066_496_usize, 101.07), (LANG1_1B, 1_100_048_384, 1_100.05), (LANG1_7B, 6_738_415_616, 6_738.42)]
        {
            let (hidden, feed, keys) = (preset.hidden, preset.feed, preset.hidden / preset.heads.0 * preset.heads.1);
            let layer = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * feed + 2 * hidden;
            assert_eq!(2 * 32_000 * hidden + preset.layers * layer + hidden, exact);
            assert_eq!(preset.config().parameters(), exact);
            assert_eq!(preset.config().check(), Ok(()));
            assert_eq!((exact as f64 / 1e4).round() / 100.0, millions);
        }
    }
}
