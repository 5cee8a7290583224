//! The shape of a Llama: `config.json` as Hugging Face writes it, and what of it is computed here.
//!
//! It refuses by name what the forward pass does not compute: other architectures, biases, quantised weights, sliding windows, other
//! rotary scalings, other activations.

mod presets;
mod rope;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use rope::each_pair;

/// No known Llama comes near; what a file may claim is bounded, so that no count of numbers overflows.
const MAX_WIDTH: usize = 1 << 20;
const MAX_LAYERS: usize = 1 << 10;
const MAX_VOCABULARY: usize = 1 << 24;
const MAX_POSITIONS: usize = 1 << 24;

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
    /// How rotary positions are scaled: null, `default`, `linear`, `llama3`, or `longrope` with one list; others are refused.
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
    #[error("the model has {0}, which is not computed here: choose a plain Llama")]
    Unsupported(String),
    /// Sizes that do not divide, are zero, or are beyond any model.
    #[error("the model's sizes do not fit each other: {0}; the file is damaged or not what its name says")]
    Sizes(&'static str),
}

fn unsupported(what: &str, value: &Value) -> ConfigError {
    let shown: String = value.to_string().chars().take(60).collect();
    ConfigError::Unsupported(format!("{what} {shown}"))
}

/// Features that stand in a `config.json` beside what [`Config`] holds, each with the value under which nothing changes; an absent one
/// changes nothing either.
const REFUSED: [(&str, &str, Value); 6] = [
    ("quantization_config", "weights quantised by", Value::Null),
    ("sliding_window", "a sliding window of", Value::Null),
    ("partial_rotary_factor", "a partial rotary factor of", Value::Null),
    ("rope_interleaved", "interleaved rotary positions:", Value::Bool(false)),
    ("num_local_experts", "experts:", Value::Null),
    ("rope_parameters", "rotary positions of several kinds:", Value::Null),
];

/// Puts what `transformers` 5 calls `rope_parameters` under the older names.
fn renamed(mut said: Map<String, Value>) -> Map<String, Value> {
    match said.remove("rope_parameters").filter(|rope| !rope.is_null()) {
        // One for each kind of layer: it is refused by its own name.
        Some(Value::Object(rope)) if rope.values().any(Value::is_object) => {
            said.insert("rope_parameters".to_owned(), Value::Object(rope));
        }
        Some(Value::Object(mut rope)) => {
            if let Some(theta) = rope.remove("rope_theta") {
                said.insert("rope_theta".to_owned(), theta);
            }
            if let Some(factor) = rope.remove("partial_rotary_factor") {
                said.insert("partial_rotary_factor".to_owned(), factor);
            }
            // An older name of the kind.
            if rope.get("rope_type").or(rope.get("type")).is_some_and(|kind| kind != "default") {
                said.insert("rope_scaling".to_owned(), Value::Object(rope));
            }
        }
        Some(other) => {
            said.insert("rope_scaling".to_owned(), other);
        }
        None => {}
    }
    if let Some(theta) = said.get_mut("rope_scaling").and_then(Value::as_object_mut).and_then(|rope| rope.remove("rope_theta")) {
        said.insert("rope_theta".to_owned(), theta);
    }
    if said.get("partial_rotary_factor").and_then(Value::as_f64) == Some(1.0) {
        said.remove("partial_rotary_factor");
    }
    // A null means the default.
    said.retain(|_, value| !value.is_null());
    said
}

/// Why a `config.json` gives no [`Config`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadConfigError {
    /// It is no JSON object with the sizes of a Llama.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It is one of a model that is not computed here.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Config {
    /// What a `config.json` says, checked.
    pub(crate) fn read(json: &[u8]) -> Result<Self, ReadConfigError> {
        let said = renamed(serde_json::from_slice(json)?);
        let kind = said.get("model_type").unwrap_or(&Value::Null);
        if !kind.is_null() && kind != "llama" {
            return Err(unsupported("the architecture", kind).into());
        }
        let architectures = said.get("architectures").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
        if let Some(other) = architectures.iter().find(|name| *name != "LlamaForCausalLM") {
            return Err(unsupported("the architecture", other).into());
        }
        for (key, what, plain) in REFUSED {
            if let Some(value) = said.get(key).filter(|value| **value != plain) {
                return Err(unsupported(what, value.get("quant_method").unwrap_or(value)).into());
            }
        }
        let config = Self { torch_dtype: torch_dtype(), ..serde_json::from_value(Value::Object(said))? };
        config.check()?;
        Ok(config)
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
            return Err(unsupported("the architecture", &self.model_type.as_str().into()));
        }
        if !["silu", "swish"].contains(&self.hidden_act.as_str()) {
            return Err(unsupported("the activation", &self.hidden_act.as_str().into()));
        }
        if self.attention_bias || self.mlp_bias {
            return Err(ConfigError::Unsupported("biases".to_owned()));
        }
        self.check_sizes()?;
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0 && self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return Err(ConfigError::Sizes("rms_norm_eps or rope_theta is no positive number"));
        }
        self.scaling().map(|_| ())
    }

    fn check_sizes(&self) -> Result<(), ConfigError> {
        let (heads, key_value_heads, width) = self.heads();
        let sizes = [
            (self.hidden_size, MAX_WIDTH),
            (self.intermediate_size, MAX_WIDTH),
            (heads, MAX_WIDTH),
            (self.num_hidden_layers, MAX_LAYERS),
            (self.vocab_size, MAX_VOCABULARY),
            (self.max_position_embeddings, MAX_POSITIONS),
        ];
        if sizes.iter().any(|(size, _)| *size == 0) {
            return Err(ConfigError::Sizes("a size is zero"));
        }
        if sizes.iter().any(|(size, most)| size > most) || heads.checked_mul(width).is_none_or(|wide| wide > MAX_WIDTH) {
            return Err(ConfigError::Sizes("a size is beyond any model"));
        }
        if key_value_heads == 0 || heads % key_value_heads != 0 {
            return Err(ConfigError::Sizes("query heads are no multiple of key and value heads"));
        }
        if self.head_dim.is_none() && !self.hidden_size.is_multiple_of(heads) {
            return Err(ConfigError::Sizes("the width is no multiple of the heads"));
        }
        if width == 0 || width % 2 != 0 {
            return Err(ConfigError::Sizes("the width of a head is odd or zero"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The demo's, as a file, with one thing changed.
    fn with(key: &str, value: Value) -> Result<Config, String> {
        let mut said = serde_json::to_value(Config::demo(300)).map_err(|error| error.to_string())?;
        said[key] = value;
        Config::read(said.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_written_is_read_again() {
        assert_eq!(with("architectures", Value::Null), Ok(Config::demo(300)));
    }

    #[test]
    fn what_the_pass_does_not_compute_is_refused_by_name() {
        for (key, value, name) in [
            ("model_type", json!("mistral"), "mistral"),
            ("architectures", json!(["LlamaForSequenceClassification"]), "LlamaForSequenceClassification"),
            ("hidden_act", json!("gelu"), "gelu"),
            ("attention_bias", json!(true), "biases"),
            ("mlp_bias", json!(true), "biases"),
            ("quantization_config", json!({"quant_method": "gptq", "bits": 4}), "gptq"),
            ("sliding_window", json!(4096), "sliding window"),
            ("partial_rotary_factor", json!(0.5), "partial"),
            ("rope_scaling", json!({"rope_type": "yarn"}), "yarn"),
            ("rope_parameters", json!({"rope_type": "dynamic", "rope_theta": 1e4}), "dynamic"),
            ("num_local_experts", json!(8), "experts"),
            ("rope_parameters", json!({"full_attention": {"rope_type": "default", "rope_theta": 1e6}}), "several kinds: {\"full_attention"),
        ] {
            let refused = with(key, value);
            assert!(refused.as_ref().is_err_and(|message| message.contains(name)), "{key}: {refused:?}");
        }
    }

    #[test]
    fn sizes_that_no_model_has_are_refused() {
        for (key, value) in [
            ("num_key_value_heads", json!(3)),
            ("num_hidden_layers", json!(1_u64 << 40)),
            ("hidden_size", json!(u64::MAX)),
            ("head_dim", json!(1_u64 << 62)),
            ("head_dim", json!(15)),
            ("vocab_size", json!(0)),
            ("max_position_embeddings", json!(1_u64 << 50)),
            ("rope_theta", json!(-1.0)),
            ("num_attention_heads", json!(0)),
        ] {
            let refused = with(key, value);
            assert!(refused.as_ref().is_err_and(|message| message.contains("sizes")), "{key}: {refused:?}");
        }
        assert!(with("hidden_size", json!(-1)).is_err());
    }

    #[test]
    fn the_names_of_transformers_5_mean_the_same() {
        let scaled = json!({"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        let found = with("rope_parameters", scaled.clone()).map(|config| (config.rope_theta, config.rope_scaling.is_some()));
        assert_eq!(found, Ok((5e5, true)));
        let plain = with("rope_parameters", json!({"rope_type": "default", "rope_theta": 5e5}));
        assert_eq!(plain.map(|config| (config.rope_theta, config.rope_scaling)), Ok((5e5, None)));
        assert_eq!(with("torch_dtype", json!("bfloat16")).map(|config| config.torch_dtype), Ok("float32".to_owned()));
    }
}
