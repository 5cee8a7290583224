//! The audit of erasures when a process starts: what it lacks is added, for an erasure may have been recorded beside the tables while no registry was there.

use anyhow::Context as _;
use warehouse::{Registry, Warehouse};

/// Takes into the registry what was recorded beside the tables, and lists what came of listed models. How many lines that took.
///
/// # Errors
/// Where the tables or PostgreSQL cannot be read or written: nothing is written, and the next call begins anew.
pub async fn caught_up(warehouse: &Warehouse, registry: &Registry) -> anyhow::Result<usize> {
    let beside = warehouse.deeds_beside().await.context("could not read the erasures that were recorded beside the tables")?;
    registry.catch_up(beside).await.context("could not bring the audit of erasures up to date in the registry")
}

/// The same, when a service starts: it says what was added, and starts all the same where that failed.
pub async fn catch_up(warehouse: &Warehouse, registry: &Registry) {
    match caught_up(warehouse, registry).await {
        Ok(0) => {}
        Ok(lines) => tracing::warn!(
            lines,
            "the audit got lines that it lacked, about erasures recorded beside the tables or models that carry on what listed ones learned: SELECT * FROM erasures"
        ),
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "the audit of erasures may lack lines until a service starts again, or `wardstream erase` runs"
            );
        }
    }
}
