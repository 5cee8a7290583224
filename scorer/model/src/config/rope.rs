//! How fast each pair of a head turns with its position: plain, or scaled as Llama 3.x and linear interpolation do it.
//!
//! The names are those of `rope_scaling` in Hugging Face's `config.json`. Kinds that change with the length of the text, or that
//! change more than the frequencies, are refused by name.

use serde_json::Value;

use crate::config::{Config, ConfigError};

/// Positions that are counted beside a note's own: what opens it, the longest question if each of its bytes were a token, and what the last of the tables that
/// are made together is filled up with.
const BESIDE_NOTE: usize = 1024;

/// What scales the frequencies.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scaling {
    /// Nothing.
    Plain,
    /// Every frequency divided by one factor.
    Linear(f64),
    /// Slow pairs divided by `factor`, fast ones left, a ramp between.
    Llama3 {
        /// By how much the slow pairs are slowed.
        factor: f64,
        /// Fewest turns within `positions` that make a pair no slow one.
        low: f64,
        /// Turns within `positions` from which on a pair is a fast one.
        high: f64,
        /// Positions that the model knew before.
        positions: f64,
    },
    /// A divisor for each pair, as GGUF files carry them.
    Each(Vec<f64>),
}

fn number(scaling: &Value, key: &'static str) -> Result<f64, ConfigError> {
    let found = scaling.get(key).and_then(Value::as_f64).filter(|number| number.is_finite() && *number > 0.0);
    found.ok_or_else(|| ConfigError::Unsupported(format!("scaled rotary positions without a positive {key}")))
}

fn divisors(scaling: &Value, key: &'static str) -> Option<Vec<f64>> {
    let listed = scaling.get(key)?.as_array()?.iter().map(|each| each.as_f64().filter(|each| each.is_finite() && *each > 0.0));
    listed.collect()
}

/// The `rope_scaling` that says what [`Scaling::Each`] means in a `config.json` that `transformers` computes alike: one list for short
/// texts and for long ones, and no change of the scores.
pub(crate) fn each_pair(divisors: &[f32]) -> Value {
    serde_json::json!({"rope_type": "longrope", "short_factor": divisors, "long_factor": divisors, "attention_factor": 1.0})
}

impl Config {
    /// What `rope_scaling` asks for.
    ///
    /// # Errors
    /// Names a kind that is not computed here, or a number that is missing.
    pub(crate) fn scaling(&self) -> Result<Scaling, ConfigError> {
        let Some(scaling) = self.rope_scaling.as_ref().filter(|scaling| !scaling.is_null()) else { return Ok(Scaling::Plain) };
        let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str);
        match kind {
            Some("default") => Ok(Scaling::Plain),
            Some("linear") => Ok(Scaling::Linear(number(scaling, "factor")?)),
            Some("llama3") => {
                let (low, high) = (number(scaling, "low_freq_factor")?, number(scaling, "high_freq_factor")?);
                if high <= low {
                    return Err(ConfigError::Unsupported("a high_freq_factor that is not above its low_freq_factor".to_owned()));
                }
                let positions = number(scaling, "original_max_position_embeddings")?;
                Ok(Scaling::Llama3 { factor: number(scaling, "factor")?, low, high, positions })
            }
            Some("longrope") => match (divisors(scaling, "short_factor"), divisors(scaling, "long_factor")) {
                (Some(short), Some(long)) if short == long && number(scaling, "attention_factor") == Ok(1.0) => self.each(short),
                _ => Err(ConfigError::Unsupported("rotary positions that change with the text's length (longrope)".to_owned())),
            },
            Some(other) => Err(ConfigError::Unsupported(format!("rotary positions scaled by \"{}\"", other.escape_default()))),
            None => Err(ConfigError::Unsupported("scaled rotary positions without a rope_type".to_owned())),
        }
    }

    fn each(&self, divisors: Vec<f64>) -> Result<Scaling, ConfigError> {
        if divisors.len() == self.heads().2 / 2 {
            Ok(Scaling::Each(divisors))
        } else {
            Err(ConfigError::Sizes("the rotary factors are not half as many as a head is wide"))
        }
    }

    /// Bytes of a sine and a cosine, as `f32`, for each pair at each position that notes of so many tokens and their questions take.
    pub(crate) fn rotary_bytes(&self, note_tokens: usize) -> u64 {
        let positions = self.max_position_embeddings.min(note_tokens.saturating_add(BESIDE_NOTE));
        positions as u64 * self.heads().2 as u64 * size_of::<f32>() as u64
    }

    /// Radians a position for each pair of a head: `[width / 2]`, fastest first. A scaling that [`Config::check`] refuses counts as none.
    pub(crate) fn frequencies(&self) -> Vec<f64> {
        let width = self.heads().2;
        let plain = (0..width / 2).map(|index| 1.0 / self.rope_theta.powf(2.0 * index as f64 / width as f64));
        match self.scaling().unwrap_or(Scaling::Plain) {
            Scaling::Plain => plain.collect(),
            Scaling::Linear(factor) => plain.map(|frequency| frequency / factor).collect(),
            Scaling::Llama3 { factor, low, high, positions } => {
                let scaled = |frequency: f64| {
                    let turns = positions * frequency / std::f64::consts::TAU;
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * (kept + (1.0 - kept) / factor)
                };
                plain.map(scaled).collect()
            }
            Scaling::Each(divisors) => plain.zip(divisors).map(|(frequency, divisor)| frequency / divisor).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scaled(scaling: Value) -> Config {
        Config { head_dim: Some(64), rope_theta: 500_000.0, rope_scaling: Some(scaling), ..Config::demo(300) }
    }

    /// Llama 3.2 1B; the figures are those that `transformers` gives for its `config.json`.
    #[test]
    fn llama_3_leaves_fast_pairs_and_slows_the_others() {
        let scaling = json!({"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"});
        let (plain, found) = (scaled(Value::Null).frequencies(), scaled(scaling).frequencies());
        assert_eq!(found.len(), 32);
        assert!(found.iter().zip(&plain).take(14).all(|(found, plain)| found == plain));
        assert!(found.iter().zip(&plain).skip(18).all(|(found, plain)| (found * 32.0 / plain - 1.0).abs() < 1e-12));
        for (index, expected) in [(5, 0.128_687_381), (15, 0.001_290_548), (16, 0.000_429_556_7), (17, 9.708_286e-5), (31, 9.418_306_5e-8)]
        {
            assert!((found[index] / expected - 1.0).abs() < 1e-6, "{index}: {}", found[index]);
        }
    }

    /// 4.6 GB would be asked for if all positions counted.
    #[test]
    fn room_is_asked_for_what_is_read() {
        let far = Config { max_position_embeddings: 1 << 24, ..scaled(Value::Null) };
        assert_eq!(far.rotary_bytes(512), (512 + 1024) * 64 * 4);
        assert_eq!(Config { max_position_embeddings: 600, ..far.clone() }.rotary_bytes(512), 600 * 64 * 4);
        assert_eq!(far.rotary_bytes(usize::MAX), (1 << 24) * 64 * 4);
        let longest = schemas::Task::ALL.into_iter().map(|task| crate::prompt::question(task).len()).max();
        assert!(longest.is_some_and(|longest| longest < BESIDE_NOTE / 2));
    }

    #[test]
    fn linear_scaling_divides_and_a_list_divides_each() {
        let plain = scaled(Value::Null).frequencies();
        let halved = scaled(json!({"type": "linear", "factor": 2.0})).frequencies();
        assert!(halved.iter().zip(&plain).all(|(halved, plain)| halved * 2.0 == *plain));
        let divisors: Vec<f32> = (1..=32_u8).map(f32::from).collect();
        let listed = scaled(each_pair(&divisors));
        assert_eq!(listed.check(), Ok(()));
        assert!(listed.frequencies().iter().zip(&plain).zip(1..).all(|((found, plain), by)| *found == plain / f64::from(by)));
    }

    #[test]
    fn other_scalings_are_refused_by_name() {
        for (scaling, name) in [
            (json!({"rope_type": "yarn", "factor": 4.0}), "\"yarn\""),
            (json!({"type": "dynamic", "factor": 4.0}), "\"dynamic\""),
            (json!({"rope_type": "linear", "factor": -1.0}), "factor"),
            (json!({"rope_type": "llama3", "factor": 8.0}), "low_freq_factor"),
            (json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}), "longrope"),
            (json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0], "attention_factor": 1.0}), "factors"),
            (json!({"factor": 4.0}), "rope_type"),
        ] {
            let refused = scaled(scaling).check().map_err(|error| error.to_string());
            assert!(refused.as_ref().is_err_and(|message| message.contains(name)), "{refused:?} does not name {name}");
        }
    }
}
