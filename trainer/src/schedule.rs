//! When a refresh is due: an alarm with enough to learn from, or the calendar of the log.

use jiff::{SignedDuration, Timestamp};
use warehouse::{Registry, Warehouse};

use crate::cycle::CycleError;
use crate::report::Reason;
use crate::settings::Settings;

/// Whether enough labelled examples since the alarm are mature. Each refused attempt waits for half as many more.
///
/// # Errors
/// Where the warehouse cannot be read.
pub async fn ready(warehouse: &Warehouse, settings: &Settings, since: Timestamp, attempts: usize) -> Result<bool, CycleError> {
    let wanted = settings.min_recent_examples + attempts * settings.min_recent_examples / 2;
    Ok(warehouse.examples_since(since).await? >= wanted)
}

/// A scheduled refresh, where one is due.
///
/// # Errors
/// Where the registry or the warehouse cannot be read.
pub async fn scheduled(warehouse: &Warehouse, registry: &Registry, settings: &Settings) -> Result<Option<Reason>, CycleError> {
    if settings.refresh_days == 0 {
        return Ok(None);
    }
    let (champion, now) = (registry.champion().await?, warehouse.watermark().await?);
    let waited = champion.zip(now).map(|(champion, now)| now.duration_since(champion.promoted_at));
    let due = waited.is_some_and(|waited| waited >= SignedDuration::from_hours(24 * i64::from(settings.refresh_days)));
    Ok(due.then_some(Reason::Scheduled))
}
