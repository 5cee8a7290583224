//! A task is tried on a hospital of a dozen stays before it is taken: its query must run, give a row a stay, and ask for what is still open at the prediction:
//! by its own word, and in that what becomes known later matters to it.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
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
const TRIAL: &str = "SELECT count(*) AS answers, count(DISTINCT q.encounter_id) AS stays, count(q.outcome_at) FILTER (WHERE q.outcome IS NOT NULL) AS outcomes, max(q.outcome) AS largest, \
                     count(*) FILTER (WHERE q.outcome IS NOT NULL AND q.outcome_at > e.written_at) AS ahead \
                     FROM (SELECT encounter_id, arrow_cast(outcome_at, 'Timestamp(Microsecond, Some(\"UTC\"))') AS outcome_at, outcome FROM tried) AS q \
                     LEFT JOIN (SELECT encounter_id, written_at FROM written) AS e ON e.encounter_id = q.encounter_id";

/// The facts that were known when each patient left for the first time.
const UNTIL_DISCHARGE: &str = "SELECT e.* FROM event_rows AS e \
                               LEFT JOIN (SELECT patient_id, min(time) AS left_at FROM event_rows WHERE code = 'encounter.discharged' GROUP BY patient_id) AS f \
                               ON f.patient_id = e.patient_id WHERE f.left_at IS NULL OR e.known_at <= f.left_at";

/// Outcomes of the stays that had ended then.
const FIRST_STAYS: &str = "SELECT t.encounter_id, CAST(t.outcome AS DOUBLE) AS outcome FROM tried AS t JOIN encounters AS e ON e.encounter_id = t.encounter_id \
                           WHERE e.discharged_at IS NOT NULL AND t.encounter_id LIKE '%1' ORDER BY t.encounter_id";

/// How much of the hospital's story is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    All,
    UntilDischarge,
}

/// Checks a task's query, then tries it.
pub async fn check(definition: &Definition, departments: &Departments) -> std::result::Result<(), TaskError> {
    let failed = |error: DataFusionError| TaskError::unanswered(&definition.name, &error);
    let ctx = session(departments, Told::All).await.map_err(failed)?;
    query::check(definition, &ctx).await?;
    let [answers, stays, outcomes, ahead] = tried(definition, &ctx).await.map_err(failed)?;
    if answers > stays {
        return Err(TaskError::new(&definition.name, "its query gives several rows for a stay; it must give one"));
    }
    let mut is_open = outcomes == 0 || ahead > 0;
    if definition.note == NoteKind::Discharge && is_open && outcomes > 0 {
        // It may say that its outcome comes later: then what is known later must matter to it.
        let then = session(departments, Told::UntilDischarge).await.map_err(failed)?;
        tried(definition, &then).await.map_err(failed)?;
        is_open = first_stays(&ctx).await.map_err(failed)? != first_stays(&then).await.map_err(failed)?;
    }
    if is_open {
        return Ok(());
    }
    let (asked, at) = match definition.note {
        NoteKind::Discharge => ("a discharge note".to_owned(), "discharge"),
        NoteKind::Admission => ("an admission note".to_owned(), "admission"),
        other => (format!("a note of the kind {}", other.as_str()), "admission"),
    };
    let reason = format!(
        "it asks {asked} about what is decided at or before {at}, which the note may say; ask another kind of note, or for something that is still open then"
    );
    Err(TaskError::new(&definition.name, reason))
}

async fn first_stays(ctx: &SessionContext) -> Result<String> {
    let batches = ctx.sql(FIRST_STAYS).await?.collect().await?;
    Ok(pretty_format_batches(&batches)?.to_string())
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
async fn session(departments: &Departments, told: Told) -> Result<SessionContext> {
    let whole = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    functions::register(&whole);
    views::bare::register(&whole)?;
    for statement in ROWS.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        whole.sql(statement).await?.collect().await?;
    }
    if told == Told::UntilDischarge {
        let known = whole.sql(UNTIL_DISCHARGE).await?;
        let (schema, batches) = (Arc::clone(known.schema().inner()), known.collect().await?);
        whole.deregister_table("event_rows")?;
        whole.register_table("event_rows", Arc::new(MemTable::try_new(schema, vec![batches])?))?;
    }
    let none = Tasks { definitions: Arc::default(), departments: departments.clone() };
    views::register_of_stays(&whole, &none, None).await?;
    let readable = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    functions::register(&readable);
    for name in READABLE {
        readable.register_table(name, whole.table_provider(name).await?)?;
    }
    Ok(readable)
}
