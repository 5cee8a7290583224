//! How a learner computes: the precision of its products, the instructions, and what its layers may keep.

use std::str::FromStr;

use crate::packed::{InstructionSet, Precision};

/// What the products of a learner are made of. Weights, sums, gradients and the optimiser are `f32` in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Products of `f32`.
    F32,
    /// Products of `bf16`, added in `f32`.
    Bf16,
}

impl Arithmetic {
    /// The name, as it is parsed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.precision().as_str()
    }

    pub(crate) fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
        }
    }
}

/// A name that is none of an arithmetic in which a model learns; in `int16` and `int8` it answers alone.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a model learns in f32 or bf16, not in {name}")]
pub struct UnknownArithmetic {
    name: String,
}

impl FromStr for Arithmetic {
    type Err = UnknownArithmetic;

    fn from_str(name: &str) -> Result<Self, UnknownArithmetic> {
        let known = [Self::F32, Self::Bf16].into_iter().find(|arithmetic| arithmetic.as_str() == name);
        known.ok_or_else(|| UnknownArithmetic { name: name.to_owned() })
    }
}

/// How a learner computes. What is not said is chosen for this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Computing {
    /// `None` for `bf16` where the processor multiplies it, and `f32` elsewhere.
    pub arithmetic: Option<Arithmetic>,
    /// The widest instructions to use; `None` for the widest there are.
    pub instructions: Option<InstructionSet>,
    /// Bytes that layers may keep between the forward pass and its gradient, beside their inputs. What does not fit is computed again: a third
    /// more work, and the same bits.
    pub activation_bytes: usize,
}

/// Room for 2,048 rows of a model of 100 M parameters, or of 1 B with a part of its layers computed again.
impl Default for Computing {
    fn default() -> Self {
        Self { arithmetic: None, instructions: None, activation_bytes: 1 << 30 }
    }
}

impl Computing {
    pub(crate) fn instructions(&self) -> InstructionSet {
        self.instructions.map_or_else(InstructionSet::widest, InstructionSet::or_widest_below)
    }

    /// What products are made of.
    pub(crate) fn arithmetic(&self) -> Arithmetic {
        self.arithmetic.unwrap_or(if self.instructions().multiplies_bf16() { Arithmetic::Bf16 } else { Arithmetic::F32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It once took `bf16` for it, without a word.
    #[test]
    fn a_learner_refuses_whole_numbers_in_a_sentence() {
        let refusal = |name: &str| name.parse::<Arithmetic>().err().map(|error| error.to_string());
        assert_eq!(refusal("int8").as_deref(), Some("a model learns in f32 or bf16, not in int8"));
        assert_eq!(refusal("int16").as_deref(), Some("a model learns in f32 or bf16, not in int16"));
        assert_eq!((refusal("bf16"), "f32".parse()), (None, Ok(Arithmetic::F32)));
    }
}
