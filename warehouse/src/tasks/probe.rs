//! A task is tried on a hospital of a dozen stays before it is taken: its query must run, give a row a stay, and ask for what is still open at the prediction.

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::{SessionConfig, SessionContext};
use schemas::NoteKind;

use super::{Definition, READABLE, TaskError, Tasks, query};
use crate::functions;
use crate::settings::Departments;
use crate::views;

/// The messages of the hospital, as rows of the base relations.
const ROWS: &str = include_str!("probe.sql");

/// What the trial says: rows, stays among them, outcomes, and outcomes that came to be after the note may have been written.
const TRIAL: &str = "SELECT count(*) AS answers, count(DISTINCT q.encounter_id) AS stays, count(q.outcome_at) FILTER (WHERE q.outcome IS NOT NULL) AS outcomes, \
                     count(*) FILTER (WHERE q.outcome IS NOT NULL AND q.outcome_at > e.written_at) AS ahead \
                     FROM (SELECT encounter_id, arrow_cast(outcome_at, 'Timestamp(Microsecond, Some(\"UTC\"))') AS outcome_at, outcome FROM tried) AS q \
                     LEFT JOIN (SELECT encounter_id, written_at FROM written) AS e ON e.encounter_id = q.encounter_id";

/// Checks a task's query, then tries it.
pub async fn check(definition: &Definition, departments: &Departments) -> std::result::Result<(), TaskError> {
    let failed = |error: DataFusionError| {
        TaskError::new(&definition.name, format_args!("its query cannot be answered: {}", query::one_line(&error)))
    };
    let ctx = session(departments).await.map_err(failed)?;
    query::check(definition, &ctx).await?;
    let [answers, stays, outcomes, ahead] = tried(definition, &ctx).await.map_err(failed)?;
    if answers > stays {
        return Err(TaskError::new(&definition.name, "its query gives several rows for a stay; it must give one"));
    }
    if outcomes > 0 && ahead == 0 {
        let (note, at) = if definition.note == NoteKind::Discharge { ("a discharge", "discharge") } else { ("an", "admission") };
        let kind = if definition.note == NoteKind::Discharge { "" } else { definition.note.as_str() };
        let reason = format!(
            "it asks {note} {kind} note about what is decided at or before {at}, which the note may say; ask another kind of note, or for something that is still open then"
        );
        return Err(TaskError::new(&definition.name, reason.replace("  ", " ")));
    }
    Ok(())
}

async fn tried(definition: &Definition, ctx: &SessionContext) -> Result<[i64; 4]> {
    let frame = ctx.sql(&definition.sql).await?;
    ctx.register_table("tried", frame.into_view())?;
    // A discharge note is written when the patient leaves, any other after the patient came.
    let written = if definition.note == NoteKind::Discharge { "discharged_at" } else { "admitted_at" };
    let frame = ctx.sql(&format!("SELECT encounter_id, {written} AS written_at FROM encounters")).await?;
    ctx.register_table("written", frame.into_view())?;
    let batches = ctx.sql(TRIAL).await?.collect().await?;
    Ok(["answers", "stays", "outcomes", "ahead"].map(|name| batches.first().and_then(|batch| number(batch, name)).unwrap_or(0)))
}

fn number(batch: &RecordBatch, name: &str) -> Option<i64> {
    let column = batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
    column.iter().next().flatten()
}

/// The relations that a task may read, over the trial's rows, and no others.
async fn session(departments: &Departments) -> Result<SessionContext> {
    let whole = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    functions::register(&whole);
    views::bare::register(&whole)?;
    for statement in ROWS.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        whole.sql(statement).await?.collect().await?;
    }
    let none = Tasks { definitions: std::sync::Arc::default(), departments: departments.clone() };
    views::register_of_stays(&whole, &none).await?;
    let readable = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    functions::register(&readable);
    for name in READABLE {
        readable.register_table(name, whole.table_provider(name).await?)?;
    }
    Ok(readable)
}
