//! The shape of a Llama: `config.json` as Hugging Face writes it, and the presets of L1 section 4.
//!
//! It refuses what the forward pass does not compute: biases, scaled rotary positions, other activations.

use serde::{Deserialize, Serialize};

/// A Llama `config.json`, under the names that `transformers` uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Always `["LlamaForCausalLM"]` when we write it.
    #[serde(default = "architectures")]
    pub architectures: Vec<String>,
    /// Always `llama`.
    #[serde(default = "model_type")]
    pub model_type: String,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; absent means as many as query heads.
    #[serde(default)]
    pub num_key_value_heads: Option<usize>,
    /// Width of one head; absent means `hidden_size / num_attention_heads`.
    #[serde(default)]
    pub head_dim: Option<usize>,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Added to the mean square before the root.
    #[serde(default = "rms_norm_eps")]
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    #[serde(default = "rope_theta")]
    pub rope_theta: f64,
    /// Refused unless null: scaled rotary positions are not computed here.
    #[serde(default)]
    pub rope_scaling: Option<serde_json::Value>,
    /// Longest sequence, questions included.
    #[serde(default = "max_position_embeddings")]
    pub max_position_embeddings: usize,
    /// Whether the head is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Activation; only `silu`.
    #[serde(default = "hidden_act")]
    pub hidden_act: String,
    /// Refused if true.
    #[serde(default)]
    pub attention_bias: bool,
    /// Refused if true.
    #[serde(default)]
    pub mlp_bias: bool,
    /// Token before the note, where the tokenizer adds one.
    #[serde(default)]
    pub bos_token_id: Option<u32>,
    /// A number, a list of numbers, or nothing; kept as it came.
    #[serde(default)]
    pub eos_token_id: Option<serde_json::Value>,
    /// Weights are written as `float32`, whatever was read.
    #[serde(default = "torch_dtype")]
    pub torch_dtype: String,
}

fn architectures() -> Vec<String> {
    vec!["LlamaForCausalLM".to_owned()]
}
fn model_type() -> String {
    "llama".to_owned()
}
fn rms_norm_eps() -> f64 {
    1e-6
}
fn rope_theta() -> f64 {
    10_000.0
}
fn max_position_embeddings() -> usize {
    2048
}
fn hidden_act() -> String {
    "silu".to_owned()
}
fn torch_dtype() -> String {
    "float32".to_owned()
}

/// A configuration that the forward pass does not compute.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A feature that is not a plain Llama's.
    #[error("config.json asks for {0}, which this forward pass does not compute")]
    Unsupported(&'static str),
    /// Sizes that do not divide, or are zero.
    #[error("config.json has sizes that do not fit each other: {0}")]
    Sizes(&'static str),
}

impl Config {
    fn preset(layers: usize, widths: (usize, usize), heads: (usize, usize), context: usize) -> Self {
        Self {
            architectures: architectures(),
            model_type: model_type(),
            hidden_size: widths.0,
            intermediate_size: widths.1,
            num_hidden_layers: layers,
            num_attention_heads: heads.0,
            num_key_value_heads: Some(heads.1),
            head_dim: Some(widths.0 / heads.0),
            vocab_size: 32_000,
            rms_norm_eps: 1e-5,
            rope_theta: rope_theta(),
            rope_scaling: None,
            max_position_embeddings: context,
            tie_word_embeddings: false,
            hidden_act: hidden_act(),
            attention_bias: false,
            mlp_bias: false,
            bos_token_id: Some(1),
            eos_token_id: Some(2.into()),
            torch_dtype: torch_dtype(),
        }
    }

    /// Lang1-100M: 101.07 M parameters.
    #[must_use]
    pub fn lang1_100m() -> Self {
        Self::preset(6, (768, 3072), (24, 8), 1024)
    }

    /// Lang1-1B: 1,100.05 M parameters.
    #[must_use]
    pub fn lang1_1b() -> Self {
        Self::preset(22, (2048, 5632), (32, 4), 2048)
    }

    /// Lang1-7B: 6.74 B parameters.
    #[must_use]
    pub fn lang1_7b() -> Self {
        Self::preset(32, (4096, 11_008), (32, 32), 4096)
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
            ..Self::preset(2, (64, 176), (4, 4), 1024)
        }
    }

    /// Query heads, key and value heads, width of a head.
    #[must_use]
    pub fn heads(&self) -> (usize, usize, usize) {
        let heads = self.num_attention_heads;
        (heads, self.num_key_value_heads.unwrap_or(heads), self.head_dim.unwrap_or(self.hidden_size / heads.max(1)))
    }

    /// Trainable numbers.
    #[must_use]
    pub fn parameters(&self) -> usize {
        crate::layout::Layout::of(self).total()
    }

    /// Whether the forward pass computes exactly this model.
    ///
    /// # Errors
    /// Names the first thing that it would compute wrongly.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.model_type != "llama" {
            return Err(ConfigError::Unsupported("a model type other than llama"));
        }
        if self.hidden_act != "silu" {
            return Err(ConfigError::Unsupported("an activation other than silu"));
        }
        if self.attention_bias || self.mlp_bias {
            return Err(ConfigError::Unsupported("biases"));
        }
        if self.rope_scaling.as_ref().is_some_and(|scaling| !scaling.is_null()) {
            return Err(ConfigError::Unsupported("scaled rotary positions"));
        }
        let sizes = [self.hidden_size, self.intermediate_size, self.num_hidden_layers, self.num_attention_heads, self.vocab_size];
        if sizes.contains(&0) || self.max_position_embeddings == 0 {
            return Err(ConfigError::Sizes("a size is zero"));
        }
        let (heads, key_value_heads, width) = self.heads();
        if key_value_heads == 0 || heads % key_value_heads != 0 {
            return Err(ConfigError::Sizes("query heads are no multiple of key and value heads"));
        }
        if width == 0 || width % 2 != 0 {
            return Err(ConfigError::Sizes("the width of a head is odd or zero"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_have_the_parameters_of_the_paper() {
        assert_eq!(Config::lang1_100m().parameters().div_ceil(10_000), 10_107);
        assert_eq!(Config::lang1_1b().parameters().div_ceil(10_000), 110_005);
        assert_eq!(Config::lang1_7b().parameters().div_ceil(10_000_000), 674);
    }

    #[test]
    fn what_the_pass_does_not_compute_is_refused() {
        assert_eq!(Config::demo(300).check(), Ok(()));
        let scaled = Config { rope_scaling: Some(serde_json::json!({"type": "llama3"})), ..Config::demo(300) };
        assert!(matches!(scaled.check(), Err(ConfigError::Unsupported(_))));
        assert!(matches!(Config { num_key_value_heads: Some(3), ..Config::demo(300) }.check(), Err(ConfigError::Sizes(_))));
    }
}
