//! What the scorer is told.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use model::{Device, InstructionSet, Precision};
use serde::{Deserialize, Serialize};

/// The `[scorer]` part of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A batch is scored when its notes hold this many tokens (estimated at four bytes each),
    pub budget_tokens: usize,
    /// or when its oldest note has waited this long.
    pub batch_age_ms: u64,
    /// Where the champion answers: `cpu`, or `cuda:0` for an NVIDIA card of a program that was built with the feature `cuda`.
    pub device: Device,
    /// How the champion's weights are held and multiplied: `f32`, `bf16`, `int16` or `int8`. Absent: as its manifest allows and this machine is best at.
    pub precision: Option<Precision>,
    /// The widest instructions that it uses: `portable`, `avx2`, `avx512`, `avx512-bf16` or `amx`, or the widest below them that there are. Absent: the widest there are.
    pub instructions: Option<InstructionSet>,
    /// Threads of the champion's pool. Absent: one a processor.
    pub threads: Option<NonZeroUsize>,
    /// A folder that keeps packed weights, so that a start or a takeover need not pack them again. Absent: none.
    pub packed_cache: Option<PathBuf>,
    /// How many notes' last predictions are remembered here; older ones are asked of the warehouse.
    pub remembered_notes: usize,
    /// Pause between two attempts at a publication that failed.
    pub retry_ms: u64,
    /// How often the log is looked at for something new to judge.
    pub monitor_ms: u64,
    /// Drift is judged once in each of these of the log's time.
    pub judge_once_a: Period,
}

impl Settings {
    /// How the champion answers.
    #[must_use]
    pub fn answering(&self) -> model::Settings {
        let threads = self.threads.map(NonZeroUsize::get);
        model::Settings { precision: self.precision, instructions: self.instructions, threads, device: self.device }
    }
}

/// A calendar period of the log, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    Hour,
    Day,
    Month,
}

impl Period {
    /// Whether both instants fall into the same period.
    #[must_use]
    pub fn is_same(self, one: jiff::Timestamp, other: jiff::Timestamp) -> bool {
        let format = match self {
            Self::Hour => "%Y-%m-%dT%H",
            Self::Day => "%Y-%m-%d",
            Self::Month => "%Y-%m",
        };
        one.strftime(format).to_string() == other.strftime(format).to_string()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            budget_tokens: 16_384,
            batch_age_ms: 20,
            device: Device::Cpu,
            precision: None,
            instructions: None,
            threads: None,
            packed_cache: None,
            remembered_notes: 200_000,
            retry_ms: 1_000,
            monitor_ms: 5_000,
            judge_once_a: Period::Day,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_ends_with_its_calendar_unit() -> Result<(), jiff::Error> {
        let (late, midnight): (jiff::Timestamp, jiff::Timestamp) = ("2021-06-30T23:59:59Z".parse()?, "2021-07-01T00:00:00Z".parse()?);
        assert!(!Period::Month.is_same(late, midnight) && !Period::Hour.is_same(late, midnight));
        assert!(Period::Month.is_same("2021-06-01T00:00:00Z".parse()?, late));
        assert!(!Period::Day.is_same("2021-06-29T23:59:59Z".parse()?, late));
        Ok(())
    }
}
