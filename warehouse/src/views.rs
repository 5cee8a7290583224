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

use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use crate::computed::{Computed, Query};
use crate::tasks::Tasks;

/// How a view is kept within a session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Planned anew wherever it stands, so that filters reach the files.
    Planned,
    /// Computed once, when first asked for.
    Once,
}

macro_rules! views {
    ($($name:literal $kept:ident,)+) => {
        const VIEWS: &[(&str, Kept, &str)] = &[$(($name, Kept::$kept, include_str!(concat!("../views/", $name, ".sql"))),)+];
    };
}

views! {
    "readings" Once,
    "standing_messages" Planned,
    "standing_events" Planned,
    "standing_notes" Planned,
    "messages" Planned,
    "duplicates" Planned,
    "watermarks" Once,
    "survivors" Once,
    "encounter_survivors" Once,
    "copies" Once,
    "events" Planned,
    "identifiers" Planned,
    "patients" Once,
    "aliases" Once,
    "stays" Once,
    "encounters" Once,
    "diagnoses" Planned,
    "procedures" Planned,
    "coverages" Planned,
    "movements" Planned,
    "claims" Once,
    "planned_stays" Once,
    "episodes" Once,
    "outcomes" Once,
    "cohort" Planned,
    "reporting_lags" Once,
    "note_states" Once,
    "stated_notes" Once,
    "note_versions" Once,
    "note_places" Once,
    "notes" Planned,
    "prompt_notes" Once,
    "reporting_delays" Planned,
    "task_delays" Once,
    "task_rules" Once,
    "labels" Once,
    "attrition" Planned,
    "cohort_rules" Planned,
    "cohort_flow" Planned,
    "label_maturity" Planned,
    "examples" Once,
    "predictions" Planned,
    "judged" Once,
    "performance" Once,
    "subgroup_performance" Planned,
    "scored_by" Planned,
    "logits" Planned,
    "population" Once,
    "shifts" Planned,
    "plumbing" Once,
    "drift" Planned,
    "conservation" Once,
}

/// The first view that knows of tasks: those before it are about stays, and tasks are made of them.
const FIRST_OF_TASKS: &str = "reporting_delays";
/// Name and SQL of every view, in the order in which they build on each other.
pub fn sources() -> impl Iterator<Item = (&'static str, &'static str)> {
    VIEWS.iter().map(|(name, _, sql)| (*name, *sql))
}

/// Registers every view over the base relations that the session holds already.
///
/// # Errors
/// Where a view does not plan: a bug, or tables of another release.
pub async fn register(ctx: &SessionContext, tasks: &Tasks) -> Result<()> {
    register_of_stays(ctx, tasks).await?;
    tasks.register(ctx).await?;
    for view in VIEWS.iter().skip_while(|(name, _, _)| *name != FIRST_OF_TASKS) {
        register_one(ctx, view).await?;
    }
    Ok(())
}

/// Registers the views that know of no task.
///
/// # Errors
/// As [`register`].
pub async fn register_of_stays(ctx: &SessionContext, tasks: &Tasks) -> Result<()> {
    tasks.register_departments(ctx).await?;
    for view in VIEWS.iter().take_while(|(name, _, _)| *name != FIRST_OF_TASKS) {
        register_one(ctx, view).await?;
    }
    Ok(())
}

async fn register_one(ctx: &SessionContext, (name, kept, sql): &(&str, Kept, &str)) -> Result<()> {
    let frame = ctx.sql(sql).await.map_err(|error| error.context(format!("view {name}")))?;
    match kept {
        Kept::Planned => ctx.register_table(*name, frame.into_view())?,
        Kept::Once => ctx.register_table(*name, Arc::new(Computed::once(Query::new(frame, ctx.runtime_env())?)))?,
    };
    Ok(())
}

/// Names of all views.
pub fn names() -> impl Iterator<Item = &'static str> {
    VIEWS.iter().map(|(name, _, _)| *name)
}
