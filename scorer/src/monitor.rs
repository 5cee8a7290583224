//! The watch: the warehouse judges drift in SQL, in the log's time; what alarms is published once.

use std::collections::BTreeSet;
use std::time::Duration;

use bus::{Outgoing, Publisher, cloudevents::CloudEvent};
use schemas::{DriftAlert, topic};
use tokio_util::sync::CancellationToken;
use warehouse::{AsOf, Warehouse};

use crate::metrics;
use crate::settings::{Period, Settings};

/// Judges drift once a period of the log until `stop`, publishes the alarms that are new, and then says at which time of the
/// log it judged; `now` tells the wall clock's. An alarm's id says what it is about: one that has landed is not raised again, by this process or a later one.
///
/// # Errors
/// Where the producer cannot be made; everything later is tried again at the next turn.
pub async fn run(
    settings: &Settings,
    bus: &bus::Settings,
    warehouse: &Warehouse,
    (judged_at, now): (impl Fn(jiff::Timestamp), impl Fn() -> jiff::Timestamp),
    stop: &CancellationToken,
) -> Result<(), bus::BusError> {
    let publisher = Publisher::new(bus)?;
    let mut published = BTreeSet::new();
    let mut judged = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(settings.monitor_ms)) => {}
            () = stop.cancelled() => return Ok(()),
        }
        match turn(settings.judge_once_a, warehouse, &publisher, now(), (&mut judged, &mut published)).await {
            Ok(Some(at)) => judged_at(at),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "could not judge drift; trying again at the next turn"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error("could not read the log's watermark or its alarms")]
    Log(#[from] warehouse::ReadError),
    #[error("could not read drift")]
    Drift(#[from] warehouse::QueryError),
    #[error("could not publish an alarm")]
    Publish(#[from] bus::BusError),
    #[error("could not encode an alarm")]
    Encode(#[from] serde_json::Error),
}

/// One judgement, only where the log has come into another period since the last one.
async fn turn(
    period: Period,
    warehouse: &Warehouse,
    publisher: &Publisher,
    wall: jiff::Timestamp,
    (judged, published): (&mut Option<jiff::Timestamp>, &mut BTreeSet<uuid::Uuid>),
) -> Result<Option<jiff::Timestamp>, TurnError> {
    let Some(watermark) = warehouse.watermark().await? else {
        return Ok(None);
    };
    let Some(at) = due(period, *judged, (watermark, wall)) else {
        return Ok(None);
    };
    published.extend(warehouse.alarms().await?.iter().map(|alarm| alarm.alert_id));
    let alarms: Vec<DriftAlert> =
        warehouse.drift(&AsOf::default()).await?.into_iter().filter(|alarm| !published.contains(&alarm.alert_id)).collect();
    let outgoing = alarms.iter().map(outgoing).collect::<Result<Vec<_>, _>>()?;
    publisher.send_all(outgoing).await?;
    for alarm in &alarms {
        metrics::alarmed();
        tracing::warn!(task = alarm.task, measure = alarm.measure, month = %alarm.month, value = alarm.value, limit = alarm.limit, "drift alarm");
        published.insert(alarm.alert_id);
    }
    *judged = Some(at);
    Ok(Some(at))
}

/// The time of the log at which to judge now; `None` in the period of the last judgement. Of a log whose newest record was stamped ahead of the wall clock, that
/// clock's: its watermark stands still there for as long as it takes.
fn due(period: Period, judged: Option<jiff::Timestamp>, (watermark, wall): (jiff::Timestamp, jiff::Timestamp)) -> Option<jiff::Timestamp> {
    let at = watermark.min(wall);
    judged.is_none_or(|last| !period.is_same(last, at)).then_some(at)
}

fn outgoing(alarm: &DriftAlert) -> Result<Outgoing, serde_json::Error> {
    Ok(Outgoing {
        topic: topic::DRIFT_ALERT.to_owned(),
        key: Some(alarm.task.clone().into_bytes()),
        payload: Some(serde_json::to_vec(alarm)?),
        headers: CloudEvent {
            id: alarm.alert_id.to_string(),
            source: "/wardstream/monitor".to_owned(),
            kind: "wardstream.drift.alert.v1".to_owned(),
            time: alarm.alarmed_at,
        }
        .headers(),
        timestamp: Some(alarm.alarmed_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_from_the_future_does_not_end_the_watch() -> Result<(), jiff::Error> {
        let at = |text: &str| text.parse::<jiff::Timestamp>();
        let (past, today, tomorrow, ahead) =
            (at("2013-05-01T10:00:00Z")?, at("2026-03-01T10:00:00Z")?, at("2026-03-02T10:00:00Z")?, at("2099-01-01T00:00:00Z")?);
        assert_eq!(due(Period::Day, None, (past, today)), Some(past));
        assert_eq!(due(Period::Day, Some(past), (past, tomorrow)), None, "the log stands still");
        assert_eq!(due(Period::Day, Some(past), (ahead, today)), Some(today));
        assert_eq!(due(Period::Day, Some(today), (ahead, today)), None);
        assert_eq!(due(Period::Day, Some(today), (ahead, tomorrow)), Some(tomorrow));
        Ok(())
    }
}
