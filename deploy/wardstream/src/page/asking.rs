//! What the page asks: the views, one after the other, so that it takes little from whoever else asks, and each for so long only. Aggregates alone are asked
//! for; no query here names a patient, a stay or a note's text.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use warehouse::{AsOf, Champion, Format, Warehouse};

use super::facts::{Facts, Told};

/// No answer is waited for longer.
const LIMIT: Duration = Duration::from_secs(30);

const HISTORY: &str = "SELECT model_version, event, at, \"by\", reason FROM model_history ORDER BY at DESC LIMIT 20";
// Of the rows themselves: which predictions stand is no matter here, and costs a join over all stays.
const ANSWERS: &str = "SELECT model_version, task, max(threshold) AS threshold, max(predicted_at) AS last_at FROM prediction_rows \
                       WHERE mode = 'live' AND retracts IS NULL GROUP BY model_version, task LIMIT 2000";
const TITLES: &str = "SELECT task, title FROM task_definitions";
const DRIFT: &str = "WITH judged AS (\
                       SELECT *, max(CASE WHEN NOT alarm THEN month END) OVER (PARTITION BY task, model_version, kind, measure) AS sound FROM drift\
                     ) \
                     SELECT task, model_version, month, kind, measure, value, \"limit\", alarm, alarm AND (sound IS NULL OR month > sound) AS standing \
                     FROM judged WHERE alarm OR kind = 'performance' ORDER BY month DESC, task, model_version, measure LIMIT 20000";
const MONTHS: &str = "SELECT task, model_version, month, n, positives, immature, auroc, auroc_low, auroc_high FROM performance \
                      WHERE month > (SELECT max(month) FROM performance) - INTERVAL '48 months' ORDER BY month, task, model_version LIMIT 20000";
const FEEDS: &str = "SELECT w.facility, w.watermark, count(*) AS messages, count(*) FILTER (WHERE m.outcome = 'rejected') AS refused, \
                     count(*) FILTER (WHERE m.outcome = 'partly') AS partly \
                     FROM watermarks AS w JOIN messages AS m ON m.facility = w.facility AND m.known_at > w.watermark - INTERVAL '7 days' \
                     GROUP BY w.facility, w.watermark ORDER BY w.watermark, w.facility LIMIT 1000";
// A file that was backfilled is a topic of its own there, and there may be tens of thousands.
const CONSERVED: &str = "SELECT CASE WHEN topic LIKE 'backfill.%' THEN 'backfilled files' ELSE split_part(topic, '#', 1) END AS topic, \"table\", \
                         sum(landed) AS landed, sum(missing) AS missing, sum(doubled) AS doubled, sum(lost) AS lost \
                         FROM conservation GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 2000";
const MATURITY: &str = "SELECT task, sum(stays) AS stays, sum(labelled) AS labelled, sum(excluded) AS excluded, sum(immature) AS immature, \
                        sum(waiting) AS waiting, min(month) FILTER (WHERE immature > 0) AS first_immature, \
                        min(all_mature_at) FILTER (WHERE immature > 0) AS mature_at FROM label_maturity GROUP BY task ORDER BY task";

/// Asks for everything. `champion` is the registry's word on who answers, `now` the wall clock.
pub async fn facts(
    warehouse: &Warehouse,
    champion: impl Future<Output = anyhow::Result<Option<Champion>>>,
    now: impl Fn() -> Timestamp,
) -> Facts {
    let began = Instant::now();
    Facts {
        watermark: told("How far the log has come", async { Ok(warehouse.watermark().await?) }).await,
        champion: told("Which model answers", champion).await,
        history: told("What happened to models", rows(warehouse, HISTORY)).await,
        answers: told("What the model was asked", rows(warehouse, ANSWERS)).await,
        titles: told("What the tasks ask", rows(warehouse, TITLES)).await,
        drift: told("What has drifted", rows(warehouse, DRIFT)).await,
        landed: told("Which alarms were published", async { Ok(warehouse.alarms().await?) }).await,
        months: told("How well the models do", rows(warehouse, MONTHS)).await,
        feeds: told("How far the feeds have come", rows(warehouse, FEEDS)).await,
        conserved: told("What the tables hold", rows(warehouse, CONSERVED)).await,
        maturity: told("How many labels are there", rows(warehouse, MATURITY)).await,
        computed_at: now(),
        took: began.elapsed(),
    }
}

/// The answer, or a sentence in its place. Why there is none stands in the log: what an engine says may quote a row.
async fn told<T>(what: &str, answer: impl Future<Output = anyhow::Result<T>>) -> Told<T> {
    match tokio::time::timeout(LIMIT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            tracing::warn!(what, error = format!("{error:#}"), "the page could not ask");
            Err(format!("{what} could not be read; the log of this process says why."))
        }
        Err(_) => {
            tracing::warn!(what, seconds = LIMIT.as_secs(), "the page was not answered in time");
            Err(format!("{what} was not answered within {} s; ask in SQL, where nothing cuts it off.", LIMIT.as_secs()))
        }
    }
}

async fn rows<T: DeserializeOwned>(warehouse: &Warehouse, sql: &str) -> anyhow::Result<Vec<T>> {
    let json = warehouse.query_text(sql, &AsOf::default(), Format::Json, Vec::new()).await.context("could not ask the views")?;
    serde_json::from_slice(&json).context("an answer has another shape")
}
