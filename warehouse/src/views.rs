//! The views, each from its own file, in the order in which they build on each other.
//!
//! What several views build on is computed once a session, when it is first asked for: DataFusion plans a view anew
//! wherever it stands.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod golden;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use crate::computed::Computed;

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
    "events" Once,
    "identifiers" Planned,
    "patients" Planned,
    "stays" Once,
    "encounters" Once,
    "diagnoses" Planned,
    "claims" Planned,
    "note_states" Once,
    "note_versions" Once,
    "note_places" Once,
    "notes" Planned,
    "prompt_notes" Once,
    "task_rules" Planned,
    "outcomes" Once,
    "labels" Once,
    "attrition" Planned,
    "examples" Once,
    "predictions" Planned,
    "judged" Once,
    "performance" Once,
    "logits" Planned,
    "population" Once,
    "shifts" Planned,
    "plumbing" Planned,
    "drift" Planned,
    "conservation" Planned,
}

/// Name and SQL of every view, in the order in which they build on each other.
pub fn sources() -> impl Iterator<Item = (&'static str, &'static str)> {
    VIEWS.iter().map(|(name, _, sql)| (*name, *sql))
}

/// Registers every view over the base relations that the session holds already.
///
/// # Errors
/// Where a view does not plan: a bug, or tables of another release.
pub async fn register(ctx: &SessionContext) -> Result<()> {
    for (name, kept, sql) in VIEWS {
        let frame = ctx.sql(sql).await.map_err(|error| error.context(format!("view {name}")))?;
        match kept {
            Kept::Planned => ctx.register_table(*name, frame.into_view())?,
            Kept::Once => ctx.register_table(*name, Arc::new(Computed::once(frame.into_optimized_plan()?)))?,
        };
    }
    Ok(())
}
