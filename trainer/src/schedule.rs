//! When a cycle is due: a first one, an alarm with enough to learn from, or the calendar of the log. All of it is read from the
//! tables and the registry, so whoever starts later knows what is still to be done.

use jiff::{SignedDuration, Timestamp};
use schemas::{DriftAlert, DriftKind};
use warehouse::{Champion, Registry, Warehouse};

use crate::cycle::CycleError;
use crate::report::Reason;
use crate::settings::Settings;

/// What calls for a cycle now; whether there is enough to learn from is for [`ready`] to say. A performance alarm about the
/// champion calls until another model takes its place; a plumbing alarm calls for a person. Alarms that were raised before a model was brought back call
/// no more: whoever did so knew of them, and the refresh that they called for is what was taken off.
///
/// # Errors
/// Where the registry or the warehouse cannot be read.
pub async fn called(warehouse: &Warehouse, registry: &Registry, settings: &Settings) -> Result<Option<Reason>, CycleError> {
    let Some(champion) = registry.champion().await? else {
        return Ok((settings.min_first_examples > 0).then_some(Reason::First));
    };
    let alarm = alarmed(&warehouse.alarms().await?, &champion);
    Ok(alarm.or((settings.refresh_days > 0).then_some(Reason::Scheduled)))
}

/// The oldest month of which an alarm says that the champion fell, since it is the champion.
fn alarmed(alarms: &[DriftAlert], champion: &Champion) -> Option<Reason> {
    let about = |alarm: &&DriftAlert| alarm.kind == DriftKind::Performance && alarm.model_version == champion.model_version.0;
    let open = alarms.iter().filter(about).filter(|alarm| alarm.alarmed_at > champion.promoted_at);
    open.map(|alarm| Reason::Alarm { since: alarm.month }).min()
}

/// Whether the cycle can begin: enough labelled examples are mature, or the calendar has come round. Each refused attempt for
/// the same reason waits for half as much more. `now`: the log's time.
///
/// # Errors
/// Where the registry or the warehouse cannot be read.
pub async fn ready(
    warehouse: &Warehouse,
    registry: &Registry,
    settings: &Settings,
    (reason, refused): (Reason, usize),
    now: Option<Timestamp>,
) -> Result<bool, CycleError> {
    let enough = |examples: usize| examples + refused * examples / 2;
    Ok(match reason {
        Reason::First => warehouse.examples_since(Timestamp::UNIX_EPOCH).await? >= enough(settings.min_first_examples),
        Reason::Alarm { since } => warehouse.examples_since(since).await? >= enough(settings.min_recent_examples),
        Reason::Scheduled => match (registry.champion().await?, now) {
            (Some(Champion { promoted_at, .. }), Some(now)) => {
                let days = enough(usize::try_from(settings.refresh_days).unwrap_or(usize::MAX));
                now.duration_since(promoted_at) >= SignedDuration::from_hours(24 * i64::try_from(days).unwrap_or(i64::MAX / 24))
            }
            _ => false,
        },
    })
}

#[cfg(test)]
mod tests {
    use schemas::ModelVersion;

    use super::*;

    fn at(month: i8) -> Timestamp {
        format!("2024-{month:02}-01T00:00:00Z").parse().expect("an instant")
    }

    /// Raised two months after the month that it is about.
    fn alarm(kind: DriftKind, model_version: &str, month: i8) -> DriftAlert {
        DriftAlert {
            alert_id: DriftAlert::derive_id("mortality", model_version, at(month), kind, "auroc"),
            task: "mortality".to_owned(),
            model_version: model_version.to_owned(),
            month: at(month),
            kind,
            measure: "auroc".to_owned(),
            value: 0.5,
            low: None,
            high: None,
            limit: 0.7,
            alarmed_at: at(month + 2),
        }
    }

    /// A refresh that an operator takes off again must not come back by itself within the hour, on the word of the alarm that it answered.
    #[test]
    fn an_alarm_from_before_a_model_was_brought_back_calls_no_more() {
        use DriftKind::{Performance, Population};
        let champion = |promoted_at| Champion { model_version: ModelVersion("a".to_owned()), weights_uri: "a".to_owned(), promoted_at };
        let since = |month| Some(Reason::Alarm { since: at(month) });
        let mut alarms =
            vec![alarm(Population, "a", 2), alarm(Performance, "b", 3), alarm(Performance, "a", 5), alarm(Performance, "a", 4)];
        assert_eq!(alarmed(&alarms, &champion(at(1))), since(4));
        // Brought back in August, when those of April and May had been raised.
        assert_eq!(alarmed(&alarms, &champion(at(8))), None);
        alarms.push(alarm(Performance, "a", 7));
        assert_eq!(alarmed(&alarms, &champion(at(8))), since(7), "it falls still");
    }
}
