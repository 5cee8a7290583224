//! The views, each from its own file, in the order in which they build on each other.
//!
//! What several views build on is computed once a session, when it is first asked for: DataFusion plans a view anew
//! wherever it stands.

pub(crate) mod bare;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod golden;
#[cfg(test)]
pub(crate) mod history;
pub mod questions;
#[cfg(test)]
mod then;

use std::sync::Arc;

use datafusion::common::internal_datafusion_err;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use crate::computed::{Computed, Query, Renewed};
use crate::renewal::Renewal;
use crate::tasks::Tasks;

/// How a view is kept within a session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Planned anew wherever it stands, so that filters reach the files.
    Planned,
    /// Computed once, when first asked for.
    Once,
    /// As well; rows of records and of no subject, which are made of those of before and of the records that came (see `renewal::records`).
    OfRecords,
    /// As well; this column says of which subject a row is (see `renewal`), so that it holds until facts of that subject come.
    By(&'static str),
    /// As well, and computed once for each task, with what its file says put into the SQL: one task after the other.
    ByTask(&'static str),
}

impl Kept {
    /// The column that says of which subject a row is, where it holds until facts of that subject come.
    fn key(self) -> Option<&'static str> {
        match self {
            Self::Planned | Self::Once | Self::OfRecords => None,
            Self::By(key) | Self::ByTask(key) => Some(key),
        }
    }
}

macro_rules! views {
    ($($name:literal $kept:ident $(($key:literal))?,)+) => {
        const VIEWS: &[(&str, Kept, &str)] = &[$(($name, Kept::$kept $(($key))?, include_str!(concat!("../views/", $name, ".sql"))),)+];
    };
}

views! {
    "readings" OfRecords,
    "standing_messages" Planned,
    "standing_events" Planned,
    "standing_notes" Planned,
    "messages" Planned,
    "duplicates" Planned,
    "watermarks" OfRecords,
    "survivors" By("patient_id"),
    "merged_stays" By("encounter_id"),
    "tied_stays" By("encounter_id"),
    "encounter_survivors" By("encounter_id"),
    "copies" OfRecords,
    "events" Planned,
    "identifiers" Planned,
    "aliases" By("patient_id"),
    "stays" By("encounter_id"),
    "patients" By("patient_id"),
    "encounters" By("encounter_id"),
    "moved_stays" By("encounter_id"),
    "diagnoses" Planned,
    "procedures" Planned,
    "coverages" Planned,
    "movements" Planned,
    "claims" By("claim_id"),
    "planned_stays" By("encounter_id"),
    "numbered_stays" By("encounter_id"),
    "episodes" By("encounter_id"),
    "outcomes" By("encounter_id"),
    "cohort" Planned,
    "reported_facts" By("subject"),
    "reporting_lags" Once,
    "note_states" By("note_id"),
    "note_versions" By("note_id"),
    "note_places" By("note_id"),
    "notes" Planned,
    "prompt_notes" By("encounter_id"),
    "asked_stays" ByTask("encounter_id"),
    "reporting_delays" Planned,
    "task_delays" Once,
    "task_rules" Once,
    "labels" Planned,
    "attrition" Planned,
    "cohort_rules" Planned,
    "cohort_flow" Planned,
    "label_maturity" Planned,
    "examples" Once,
    "fallen_predictions" Once,
    "predictions" Planned,
    "scored_prompts" Once,
    "judged" Planned,
    "performance" Once,
    "subgroup_performance" Once,
    "scored_by" Planned,
    "logits" Planned,
    "population" Once,
    "shifts" Planned,
    "plumbing" Once,
    "drift" Planned,
    "conservation" Once,
}

/// The SQL of a view.
///
/// # Errors
/// Where there is no view of this name: a mistake in this crate.
pub(crate) fn source(view: &str) -> Result<&'static str> {
    let found = sources().find(|(name, _)| *name == view);
    found.map(|(_, sql)| sql).ok_or_else(|| internal_datafusion_err!("no view is called {view}"))
}

/// The first view that knows of tasks: those before it are about stays, and tasks are made of them.
const FIRST_OF_TASKS: &str = "asked_stays";

/// Name and SQL of every view, in the order in which they build on each other.
pub fn sources() -> impl Iterator<Item = (&'static str, &'static str)> {
    VIEWS.iter().map(|(name, _, sql)| (*name, *sql))
}

/// Names of the views of records, which are of no subject.
pub(crate) fn of_records() -> impl Iterator<Item = &'static str> {
    VIEWS.iter().filter(|(_, kept, _)| *kept == Kept::OfRecords).map(|(name, _, _)| *name)
}

/// Registers every view over the base relations that the session holds already. What `renewal` has of earlier moments is taken over.
///
/// # Errors
/// Where a view does not plan: a bug, or tables of another release.
pub(crate) async fn register(ctx: &SessionContext, tasks: &Tasks, renewal: Option<&Arc<Renewal>>) -> Result<()> {
    register_of_stays(ctx, tasks, renewal).await?;
    tasks.register(ctx, renewal).await?;
    // A site's own query may make of one stay what it likes of others.
    let renewal = renewal.filter(|_| tasks.are_the_papers());
    for view in VIEWS.iter().skip_while(|(name, _, _)| *name != FIRST_OF_TASKS) {
        register_one(ctx, view, tasks, renewal).await?;
    }
    Ok(())
}

/// Registers the views that know of no task.
///
/// # Errors
/// As [`register`].
pub(crate) async fn register_of_stays(ctx: &SessionContext, tasks: &Tasks, renewal: Option<&Arc<Renewal>>) -> Result<()> {
    tasks.register_departments(ctx).await?;
    for view in VIEWS.iter().take_while(|(name, _, _)| *name != FIRST_OF_TASKS) {
        if !ctx.table_exist(view.0)? {
            register_one(ctx, view, tasks, renewal).await?;
        }
    }
    Ok(())
}

/// Registers the views that are renewed, and what they build on; those that the session holds already stay.
///
/// # Errors
/// As [`register`].
pub(crate) async fn register_of_subjects(ctx: &SessionContext, tasks: &Tasks) -> Result<()> {
    register_of_stays(ctx, tasks, None).await?;
    tasks.register(ctx, None).await?;
    let of_tasks = VIEWS.iter().skip_while(|(name, _, _)| *name != FIRST_OF_TASKS);
    for view in of_tasks.filter(|(_, kept, _)| kept.key().is_some()) {
        register_one(ctx, view, tasks, None).await?;
    }
    Ok(())
}

async fn register_one(
    ctx: &SessionContext,
    (name, kept, sql): &(&str, Kept, &str),
    tasks: &Tasks,
    renewal: Option<&Arc<Renewal>>,
) -> Result<()> {
    let stated = match kept {
        Kept::ByTask(_) => tasks.asked(sql),
        Kept::Planned | Kept::Once | Kept::OfRecords | Kept::By(_) => vec![(*sql).to_owned()],
    };
    let mut frames = Vec::new();
    for sql in stated {
        frames.push(ctx.sql(&sql).await.map_err(|error| error.context(format!("view {name}")))?);
    }
    if *kept == Kept::Planned {
        for frame in frames {
            ctx.register_table(*name, frame.into_view())?;
        }
        return Ok(());
    }
    let query = Query::in_parts(frames, ctx.runtime_env())?;
    let query = if matches!(kept, Kept::ByTask(_)) { query.of_tasks(tasks.names().map(str::to_owned).collect()) } else { query };
    let query = match renewal {
        Some(renewal) if *kept != Kept::Once => {
            let key = kept.key().map(str::to_owned);
            query.renewed(Renewed { view: (*name).to_owned(), key, renewal: Arc::clone(renewal) })
        }
        _ => query,
    };
    ctx.register_table(*name, Arc::new(Computed::once(query))).map(|_| ())
}

/// Names of all views.
pub fn names() -> impl Iterator<Item = &'static str> {
    VIEWS.iter().map(|(name, _, _)| *name)
}
