//! The SQL functions over made-up rows in memory, each asked as anybody asks it: through SQL, all of the answer read.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use warehouse::functions::trial::Trial;

use super::{Figure, ROUNDS, median, process, rounded};
use crate::cli::BenchSql;
use crate::output;

/// A question, by the name under which it is asked for and told.
struct Question {
    name: &'static str,
    what: &'static str,
    sql: &'static str,
}

/// The aggregates. What they read has as many rows as are asked for; the distributions have as many in each of two samples.
const AGGREGATES: [Question; 6] = [
    Question { name: "auroc", what: "auroc", sql: "SELECT auroc(label, score) FROM predictions" },
    Question { name: "bootstraps", what: "1000 bootstraps", sql: "SELECT auroc_ci(label, score, 1000, 1) FROM predictions" },
    Question { name: "delong", what: "auroc_ci", sql: "SELECT auroc_ci(label, score) FROM predictions" },
    Question { name: "psi", what: "psi", sql: "SELECT psi(value, is_reference) FROM samples" },
    Question { name: "ks", what: "ks", sql: "SELECT ks(value, is_reference) FROM samples" },
    Question { name: "wasserstein", what: "wasserstein", sql: "SELECT wasserstein(value, is_reference) FROM samples" },
];

/// After this long a question is not asked again: one round of a long one says enough.
const LONG: Duration = Duration::from_secs(10);

/// Measures the questions that are named, or all.
///
/// # Errors
/// Where a question cannot be answered.
pub async fn run(wanted: &BenchSql) -> anyhow::Result<ExitCode> {
    let known: Vec<&str> = AGGREGATES.iter().map(|question| question.name).collect();
    if let Some(name) = wanted.questions.iter().find(|name| !known.contains(&name.as_str())) {
        let error = anyhow!("there is no question `{name}`; there are {}", known.join(", "));
        return Ok(output::failure(&error, output::WRONG_USAGE));
    }
    let trial = Trial::of(wanted.rows).context("could not make the rows")?;
    let asked = |question: &&Question| wanted.questions.is_empty() || wanted.questions.iter().any(|name| name == question.name);
    for question in AGGREGATES.iter().filter(asked) {
        measure(&trial, question, wanted.rows).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(trial: &Trial, question: &Question, rows: usize) -> anyhow::Result<()> {
    process::forget_peak_rss();
    let mut seconds = Vec::new();
    let began = Instant::now();
    // The first round of a short question warms and is not told.
    for round in 0..=ROUNDS {
        let asked = Instant::now();
        let answer = trial.ask(question.sql).await.with_context(|| format!("could not answer {}", question.name))?;
        ensure!(answer.iter().any(|batch| batch.num_rows() == 1), "{} gave no answer", question.name);
        if round > 0 || asked.elapsed() > LONG {
            seconds.push(asked.elapsed().as_secs_f64());
        }
        if began.elapsed() > LONG && !seconds.is_empty() {
            break;
        }
    }
    let median = median(seconds);
    Figure {
        rows: Some(rows),
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
        rows_per_second: Some((rows as f64 / median).round()),
        ms_median: Some(rounded(median * 1e3)),
        ..Figure::new(question.what, 2)
    }
    .tell()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_that_nobody_knows_is_wrong_usage() -> anyhow::Result<()> {
        let wanted = BenchSql { questions: vec!["auroc".to_owned(), "zzz".to_owned()], rows: 1 };
        assert_eq!(run(&wanted).await?, ExitCode::from(output::WRONG_USAGE));
        Ok(())
    }
}
