//! When a cycle is due: a first one, an alarm with enough to learn from, or the calendar of the log. All of it is read from the
//! tables and the registry, so whoever starts later knows what is still to be done.

use jiff::{SignedDuration, Timestamp};
use schemas::DriftKind;
use warehouse::{Champion, Registry, Warehouse};

use crate::cycle::CycleError;
use crate::report::Reason;
use crate::settings::Settings;

/// What calls for a cycle now; whether there is enough to learn from is for [`ready`] to say. A performance alarm about the
/// champion calls until another model takes its place; a plumbing alarm calls for a person.
///
/// # Errors
/// Where the registry or the warehouse cannot be read.
pub async fn called(warehouse: &Warehouse, registry: &Registry, settings: &Settings) -> Result<Option<Reason>, CycleError> {
    let Some(champion) = registry.champion().await? else {
        return Ok((settings.min_first_examples > 0).then_some(Reason::First));
    };
    let alarms = warehouse.alarms().await?;
    let open = alarms.iter().filter(|alarm| alarm.kind == DriftKind::Performance && alarm.model_version == champion.model_version.0);
    let alarm = open.map(|alarm| Reason::Alarm { since: alarm.month }).min();
    Ok(alarm.or((settings.refresh_days > 0).then_some(Reason::Scheduled)))
}

/// Whether the cycle can begin: enough labelled examples are mature, or the calendar has come round. Each refused attempt for
/// the same reason waits for half as much more.
///
/// # Errors
/// Where the registry or the warehouse cannot be read.
pub async fn ready(
    warehouse: &Warehouse,
    registry: &Registry,
    settings: &Settings,
    (reason, refused): (Reason, usize),
) -> Result<bool, CycleError> {
    let enough = |examples: usize| examples + refused * examples / 2;
    Ok(match reason {
        Reason::First => warehouse.examples_since(Timestamp::UNIX_EPOCH).await? >= enough(settings.min_first_examples),
        Reason::Alarm { since } => warehouse.examples_since(since).await? >= enough(settings.min_recent_examples),
        Reason::Scheduled => match (registry.champion().await?, warehouse.watermark().await?) {
            (Some(Champion { promoted_at, .. }), Some(now)) => {
                let days = enough(usize::try_from(settings.refresh_days).unwrap_or(usize::MAX));
                now.duration_since(promoted_at) >= SignedDuration::from_hours(24 * i64::try_from(days).unwrap_or(i64::MAX / 24))
            }
            _ => false,
        },
    })
}
