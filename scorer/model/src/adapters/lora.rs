//! How a model is adapted: which weights get a pair of matrices, how thin the pairs are, and how much they count.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::layout::Site;

/// Widest pair that anybody is taken to mean.
const MAX_RANK: usize = 1024;

/// A weight of a layer, under the name that `transformers` and `peft` have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Queries.
    QProj,
    /// Keys.
    KProj,
    /// Values.
    VProj,
    /// Behind attention.
    OProj,
    /// Gates of the feed-forward block.
    GateProj,
    /// What they let through.
    UpProj,
    /// Back to the residual stream.
    DownProj,
}

impl Target {
    /// All of them, in the order in which a layer has them.
    pub const ALL: [Self; 7] = [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// Its name within a layer.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::QProj => "self_attn.q_proj",
            Self::KProj => "self_attn.k_proj",
            Self::VProj => "self_attn.v_proj",
            Self::OProj => "self_attn.o_proj",
            Self::GateProj => "mlp.gate_proj",
            Self::UpProj => "mlp.up_proj",
            Self::DownProj => "mlp.down_proj",
        }
    }

    /// The product that it is a part of.
    pub(crate) fn site(self) -> Site {
        match self {
            Self::QProj | Self::KProj | Self::VProj => Site::Qkv,
            Self::OProj => Site::Output,
            Self::GateProj | Self::UpProj => Site::GateUp,
            Self::DownProj => Site::Down,
        }
    }
}

/// LoRA's settings. There is none that cannot be used, but for a rank that a small model has no room for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Said")]
pub struct Lora {
    rank: usize,
    alpha: f64,
    dropout: f64,
    targets: BTreeSet<Target>,
}

/// The settings as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    rank: usize,
    alpha: f64,
    #[serde(default)]
    dropout: f64,
    targets: BTreeSet<Target>,
}

/// Why settings are none that a model can be adapted by.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum LoraError {
    /// No pair, or one that is no thinner than a weight may be.
    #[error("LoRA's rank is {0}: choose one from 1 to {MAX_RANK}")]
    Rank(usize),
    /// A pair that counts for nothing, or for no number.
    #[error("LoRA's alpha is {0}: choose a number above 0; often it is twice the rank")]
    Alpha(f64),
    /// Everything would be dropped, or less than nothing.
    #[error("LoRA's dropout is {0}: choose a share from 0 to below 1")]
    Dropout(f64),
    /// Nothing would learn.
    #[error("LoRA has no targets: name some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj")]
    NoTargets,
    /// The model is too small for it.
    #[error("LoRA's rank is {rank}, and a weight of the model is only {width} wide: choose a rank of at most {width}")]
    WiderThanWeight {
        /// Asked for.
        rank: usize,
        /// The narrower side of the narrowest target.
        width: usize,
    },
}

impl Lora {
    /// Pairs of `rank` beside `targets`, which count `alpha / rank`; `dropout` is the share of their inputs that is dropped while they learn.
    ///
    /// # Errors
    /// If one of them is out of its range.
    pub fn new(rank: usize, alpha: f64, dropout: f64, targets: impl IntoIterator<Item = Target>) -> Result<Self, LoraError> {
        let targets: BTreeSet<Target> = targets.into_iter().collect();
        match () {
            () if !(1..=MAX_RANK).contains(&rank) => Err(LoraError::Rank(rank)),
            () if !(alpha.is_finite() && alpha > 0.0) => Err(LoraError::Alpha(alpha)),
            () if !(0.0..1.0).contains(&(dropout as f32)) => Err(LoraError::Dropout(dropout)),
            () if targets.is_empty() => Err(LoraError::NoTargets),
            () => Ok(Self { rank, alpha, dropout, targets }),
        }
    }

    /// Numbers between the two matrices of a pair.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// What the pairs' products are multiplied with.
    pub(crate) fn scale(&self) -> f32 {
        (self.alpha / self.rank as f64) as f32
    }

    pub(crate) fn dropout(&self) -> f32 {
        self.dropout as f32
    }

    /// In the order in which a layer has them.
    pub(crate) fn targets(&self) -> impl Iterator<Item = Target> {
        self.targets.iter().copied()
    }

    /// The `adapter_config.json` that says the same.
    pub(crate) fn peft(&self) -> serde_json::Value {
        serde_json::json!({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": self.rank, "lora_alpha": self.alpha, "lora_dropout": self.dropout,
            "target_modules": self.targets, "bias": "none", "fan_in_fan_out": false, "inference_mode": true, "base_model_name_or_path": null})
    }

    /// Whether a pair beside a weight, `width` wide on its narrower side, is no wider than the weight.
    pub(crate) fn fits(&self, width: usize) -> Result<(), LoraError> {
        if self.rank <= width { Ok(()) } else { Err(LoraError::WiderThanWeight { rank: self.rank, width }) }
    }
}

impl TryFrom<Said> for Lora {
    type Error = LoraError;

    fn try_from(said: Said) -> Result<Self, LoraError> {
        Self::new(said.rank, said.alpha, said.dropout, said.targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused_in_a_sentence() {
        let refusal = |json: &str| serde_json::from_str::<Lora>(json).err().map(|error| error.to_string()).unwrap_or_default();
        for (json, said) in [
            (r#"{"rank": 0, "alpha": 8, "targets": ["q_proj"]}"#, "LoRA's rank is 0: choose one from 1 to 1024"),
            (r#"{"rank": 4, "alpha": 0, "targets": ["q_proj"]}"#, "LoRA's alpha is 0: choose a number above 0"),
            (r#"{"rank": 4, "alpha": 8, "dropout": 1, "targets": ["q_proj"]}"#, "LoRA's dropout is 1: choose a share"),
            (r#"{"rank": 4, "alpha": 8, "targets": []}"#, "LoRA has no targets: name some of q_proj"),
            (r#"{"rank": 4, "alpha": 8, "targets": ["x_proj"]}"#, "unknown variant `x_proj`, expected one of `q_proj`"),
            (r#"{"rank": 4, "alpha": 8, "targets": ["q_proj"], "bias": "none"}"#, "unknown field `bias`"),
            (r#"{"alpha": 8, "targets": ["q_proj"]}"#, "missing field `rank`"),
        ] {
            assert!(refusal(json).contains(said), "{}", refusal(json));
        }
        let narrow = Lora::new(64, 1.0, 0.0, Target::ALL).and_then(|lora| lora.fits(32));
        assert_eq!(narrow, Err(LoraError::WiderThanWeight { rank: 64, width: 32 }));
    }

    #[test]
    fn settings_are_read_as_they_are_written() -> Result<(), Box<dyn std::error::Error>> {
        let lora = Lora::new(16, 32.0, 0.05, [Target::VProj, Target::QProj])?;
        let json = r#"{"rank":16,"alpha":32.0,"dropout":0.05,"targets":["q_proj","v_proj"]}"#;
        assert_eq!((serde_json::to_string(&lora)?, lora.peft()["lora_dropout"].to_string()), (json.to_owned(), "0.05".to_owned()));
        assert_eq!(serde_json::from_str::<Lora>(json)?, lora);
        assert_eq!(lora.scale(), 2.0);
        Ok(())
    }
}
