//! Reading and mapping records of files, on one thread: bytes to facts and notes.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::{Figure, ROUNDS, median, rounded};
use crate::commands::facility;
use crate::config::Config;

/// Reads and maps the records of `files` several times; the median round.
///
/// # Errors
/// Where a file cannot be read or holds no record.
pub fn run(config: &Config, name: &str, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let facility = facility(config, name);
    for file in files {
        let bytes = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
        let bytes = maps::split::unzip(bytes).with_context(|| format!("could not unzip {}", file.display()))?;
        let records = maps::split::records(&bytes);
        ensure!(!records.is_empty(), "{} holds no record", file.display());
        let seconds = (0..ROUNDS)
            .map(|_| {
                let began = Instant::now();
                for record in &records {
                    black_box(maps::map_record(black_box(record), &facility));
                }
                began.elapsed().as_secs_f64()
            })
            .collect();
        let median = median(seconds);
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
        let (count, size) = (records.len() as f64, records.iter().map(|record| record.len()).sum::<usize>() as f64);
        Figure {
            messages: Some(records.len()),
            messages_per_second: Some((count / median).round()),
            megabytes_per_second: Some(rounded(size / median / 1e6)),
            ms_median: Some(rounded(median * 1e3)),
            ..Figure::new("parse and map", 1)
        }
        .tell()?;
    }
    Ok(ExitCode::SUCCESS)
}
