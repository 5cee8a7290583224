//! Models to measure, by the names that the peers' scripts have for them.

use std::str::FromStr;

use super::BenchError;
use crate::config::Config;

/// Longest text of a measured model, as the peers have it.
pub(crate) const CONTEXT: usize = 4096;

/// A model's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// 110 M parameters: 12 layers, 768 wide, embedding and head tied.
    Llama110m,
    /// The paper's smallest: 101 M parameters, 6 layers.
    Lang1100m,
    /// The paper's middle one: 1.1 B parameters.
    Lang11b,
    /// SmolLM2's smallest: 135 M parameters, 30 layers, 576 wide, a vocabulary of 49,152.
    Smollm2,
    /// For tests of the measuring itself.
    #[cfg(test)]
    Tiny,
    /// As small, with a vocabulary as large as a measured one's.
    #[cfg(test)]
    Wide,
}

impl Shape {
    /// Those that can be asked for.
    pub const ALL: [Self; 4] = [Self::Llama110m, Self::Lang1100m, Self::Lang11b, Self::Smollm2];

    /// The name, as it is parsed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llama110m => "llama-110m",
            Self::Lang1100m => "lang1-100m",
            Self::Lang11b => "lang1-1b",
            Self::Smollm2 => "smollm2-135m",
            #[cfg(test)]
            Self::Tiny => "tiny",
            #[cfg(test)]
            Self::Wide => "wide",
        }
    }

    /// The configuration.
    #[must_use]
    pub fn config(self) -> Config {
        let lang1 = Config { max_position_embeddings: CONTEXT, ..Config::lang1_100m() };
        let heads = |queries: usize, keys: usize, config: Config| Config {
            num_attention_heads: queries,
            num_key_value_heads: Some(keys),
            head_dim: Some(64),
            tie_word_embeddings: true,
            ..config
        };
        match self {
            Self::Lang1100m => lang1,
            Self::Lang11b => Config::lang1_1b(),
            Self::Llama110m => heads(12, 12, Config { num_hidden_layers: 12, intermediate_size: 2048, ..lang1 }),
            Self::Smollm2 => {
                let sizes = Config { num_hidden_layers: 30, hidden_size: 576, intermediate_size: 1536, vocab_size: 49_152, ..lang1 };
                heads(9, 3, sizes)
            }
            #[cfg(test)]
            Self::Tiny => Config { max_position_embeddings: CONTEXT, ..Config::demo(3000) },
            #[cfg(test)]
            Self::Wide => Config { max_position_embeddings: CONTEXT, ..Config::demo(32_000) },
        }
    }
}

impl FromStr for Shape {
    type Err = BenchError;

    fn from_str(name: &str) -> Result<Self, BenchError> {
        let known = Self::ALL.into_iter().find(|shape| shape.as_str() == name);
        known.ok_or_else(|| BenchError::Unknown { name: name.to_owned(), known: "llama-110m, lang1-100m, lang1-1b, smollm2-135m" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_the_parameters_in_their_names_and_others_are_refused() {
        for (shape, millions) in [(Shape::Llama110m, 109.5), (Shape::Lang1100m, 101.1), (Shape::Lang11b, 1100.0), (Shape::Smollm2, 134.5)] {
            let config = shape.config();
            assert_eq!(((config.parameters() as f64 / 1e5).round() / 10.0, config.check()), (millions, Ok(())));
            assert_eq!(shape.as_str().parse().ok(), Some(shape));
        }
        assert!("llama-7b".parse::<Shape>().is_err());
    }
}
