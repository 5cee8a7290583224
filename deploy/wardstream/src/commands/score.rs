//! `score`: notes of a file through a model folder, without any service.

use std::process::ExitCode;

use anyhow::Context as _;
use model::{Answer, Asked};
use schemas::Task;
use serde::{Deserialize, Serialize};

use super::notes;
use crate::cli::Score;
use crate::output;

#[derive(Deserialize)]
struct Line {
    id: serde_json::Value,
    text: String,
    #[serde(default = "all")]
    tasks: Vec<Task>,
}

#[derive(Serialize)]
struct Scored<'a> {
    id: &'a serde_json::Value,
    task: Task,
    probabilities: &'a [f64],
    #[serde(skip_serializing_if = "Option::is_none")]
    logits: Option<&'a [f32]>,
    tokens_read: u32,
    truncated: bool,
}

fn all() -> Vec<Task> {
    Task::ALL.to_vec()
}

pub fn run(wanted: &Score) -> anyhow::Result<ExitCode> {
    let model = notes::model(&wanted.model, &wanted.how)?;
    for line in notes::lines::<Line>(&wanted.file, r#"{"id", "text", "tasks"}"#)? {
        let (_, line) = line?;
        let answers = model.score(&[Asked { text: &line.text, tasks: &line.tasks }]).context("could not score")?;
        for answer in answers.iter().flatten() {
            output::line(scored(&line.id, answer, wanted.logits)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn scored(id: &serde_json::Value, answer: &Answer, with_logits: bool) -> serde_json::Result<String> {
    let Answer { task, probabilities, logits, tokens_read, truncated } = answer;
    let logits = with_logits.then_some(logits.as_slice());
    serde_json::to_string(&Scored { id, task: *task, probabilities, logits, tokens_read: *tokens_read, truncated: *truncated })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_stand_in_a_line_where_they_are_asked_for() -> serde_json::Result<()> {
        let answer =
            Answer { task: Task::Denial, probabilities: vec![0.25, 0.75], logits: vec![-1.5, 0.5], tokens_read: 7, truncated: false };
        let (id, plain) =
            (serde_json::json!("a"), r#"{"id":"a","task":"denial","probabilities":[0.25,0.75],"tokens_read":7,"truncated":false}"#);
        assert_eq!(scored(&id, &answer, false)?, plain);
        assert_eq!(scored(&id, &answer, true)?, plain.replace("\"tokens_read", "\"logits\":[-1.5,0.5],\"tokens_read"));
        Ok(())
    }
}
