//! Whether the warehouse opens, what it holds, and whether its records and this machine's clock agree with this release.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use warehouse::{AsOf, Format, Warehouse};

use super::finding::Finding;
use super::{WITHIN, in_time, is_not_there_yet};
use crate::commands::open;
use crate::config::Config;
use crate::services;

const WAREHOUSE: &str = "warehouse";
const REPLAY: &str = "replay";
const CLOCK: &str = "clock";
const HELD: &str = "SELECT 'messages' AS name, count(*) AS held FROM message_rows UNION ALL SELECT 'events', count(*) FROM event_rows \
                    UNION ALL SELECT 'notes', count(*) FROM note_rows UNION ALL SELECT 'predictions', count(*) FROM prediction_rows ORDER BY 1";
/// What is there where there are tables: the log of one of them.
const TABLES: &str = "messages/_delta_log";
/// So much may the brokers' clocks run before ours.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// No clock runs so far before another by itself: what is dated so is of a time of its own, as a simulated feed is, or this machine does not know the day.
const ANOTHER_TIME: SignedDuration = SignedDuration::from_hours(24);

/// A table and its rows.
#[derive(Deserialize)]
struct Held {
    name: String,
    held: u64,
}

/// Records that another version of the maps has read.
#[derive(Deserialize)]
struct Due {
    due: u64,
}

pub async fn look(config: &Config, deadline: Instant) -> [Finding; 3] {
    let url = &config.warehouse.url;
    if is_not_there_yet(url, TABLES) {
        let of_tables = Finding::not_asked(WAREHOUSE, format!("{url} has no tables yet"), "whatever brings records in makes them");
        return [of_tables, Finding::not_asked(REPLAY, "there are no records", ""), of_clock(services::now(), Ok(None))];
    }
    let warehouse = match in_time(deadline, open(config)).await {
        Ok(warehouse) => warehouse,
        Err(error) => {
            let advice = "mend what is named, or set warehouse.url";
            return [
                Finding::wrong(WAREHOUSE, format!("{error:#}"), advice),
                Finding::not_asked(REPLAY, "the warehouse cannot be asked", "see there"),
                of_clock(services::now(), Ok(None)),
            ];
        }
    };
    let watermark = in_time(deadline, async { anyhow::Ok(warehouse.watermark().await?) }).await;
    [held(&warehouse, url, deadline).await, replay(&warehouse, deadline).await, of_clock(services::now(), watermark)]
}

async fn held(warehouse: &Warehouse, url: &str, deadline: Instant) -> Finding {
    match tokio::time::timeout_at(deadline, rows::<Held>(warehouse, HELD)).await {
        Ok(Ok(held)) => {
            let held: Vec<String> = held.iter().map(|table| format!("{} {}", table.name, table.held)).collect();
            Finding::ok(WAREHOUSE, format!("{url} opens; rows of its tables: {}", held.join(", ")))
        }
        Ok(Err(error)) => Finding::wrong(WAREHOUSE, format!("{error:#}"), "`wardstream verify` says what is missing"),
        // It is large, or others ask a lot of it.
        Err(_) => Finding::not_asked(
            WAREHOUSE,
            format!("{url} opens; its rows were not counted within {} s", WITHIN.as_secs()),
            "`wardstream verify` counts them without haste",
        ),
    }
}

/// Whether records were read by maps of another version: what those made of them may not be what these would.
async fn replay(warehouse: &Warehouse, deadline: Instant) -> Finding {
    let ours = maps::PARSER_VERSION;
    match in_time(deadline, due(warehouse)).await {
        Ok(0) => Finding::ok(REPLAY, format!("all records were read by the maps of this release, version {ours}")),
        Ok(due) => Finding::wrong(
            REPLAY,
            format!("{due} records were read by maps of another version than {ours}"),
            "`wardstream replay` reads them again",
        ),
        Err(error) => {
            Finding::not_asked(REPLAY, format!("{error:#}"), "ask `messages` for parser_version in SQL, where nothing cuts it off")
        }
    }
}

/// How many records are to be read again. Whether their bytes are there still is asked of those alone: it takes long to ask it of all.
async fn due(warehouse: &Warehouse) -> anyhow::Result<u64> {
    let others =
        format!("SELECT count(*) AS due FROM messages WHERE facility <> 'wardstream' AND parser_version <> {}", maps::PARSER_VERSION);
    let mut due = 0;
    for sql in [others.clone(), format!("{others} AND payload IS NOT NULL")] {
        due = rows::<Due>(warehouse, &sql).await?.iter().map(|one| one.due).sum();
        if due == 0 {
            break;
        }
    }
    Ok(due)
}

async fn rows<T: DeserializeOwned>(warehouse: &Warehouse, sql: &str) -> anyhow::Result<Vec<T>> {
    let json = warehouse.query_text(sql, &AsOf::default(), Format::Json, Vec::new()).await?;
    Ok(serde_json::from_slice(&json)?)
}

/// A record cannot have come to be known in the future: one of the two clocks is wrong, or it is dated by a time of its own.
fn of_clock(now: Timestamp, watermark: anyhow::Result<Option<Timestamp>>) -> Finding {
    let watermark = match watermark {
        Ok(watermark) => watermark,
        Err(error) => return Finding::not_asked(CLOCK, format!("{now}; of the newest record: {error:#}"), "see the warehouse"),
    };
    match watermark {
        Some(known_at) if known_at.duration_since(now) > ANOTHER_TIME => Finding::not_asked(
            CLOCK,
            format!(
                "the newest record is dated {known_at}, as a simulated feed's may be or one sender's mistake, and this machine's clock says {now}"
            ),
            "set this machine's clock if it is another day",
        ),
        Some(known_at) if known_at.duration_since(now) > AHEAD => Finding::wrong(
            CLOCK,
            format!("the newest record came to be known at {known_at}, and this machine's clock says {now}"),
            "let this machine, the brokers and whoever sends keep the time (NTP)",
        ),
        Some(known_at) => Finding::ok(CLOCK, format!("{now}; the newest record came to be known at {known_at}")),
        None => Finding::ok(CLOCK, format!("{now}; there is no record to hold it against")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::render;
    use super::*;

    #[test]
    fn a_record_of_the_future_is_a_wrong_clock() {
        let at = |text: &str| text.parse::<Timestamp>().expect("an instant");
        let now = at("2026-01-01T08:00:00Z");
        for (known_at, is_wrong) in [("2026-01-01T07:00:00Z", false), ("2026-01-01T08:05:00Z", false), ("2026-01-01T08:05:01Z", true)] {
            assert_eq!(of_clock(now, Ok(Some(at(known_at)))).is_wrong(), is_wrong, "{known_at}");
        }
        assert!(!of_clock(now, Ok(None)).is_wrong());
        assert!(!of_clock(now, Ok(Some(at("2031-01-01T00:00:00Z")))).is_wrong(), "a feed of another time is no clock");
        assert!(!of_clock(now, Err(anyhow::anyhow!("it did not answer"))).is_wrong());
    }

    #[tokio::test]
    async fn a_warehouse_that_takes_long_to_count_is_not_wrong() -> anyhow::Result<()> {
        let place = tempfile::tempdir()?;
        let url = place.path().display().to_string();
        let warehouse = Warehouse::open(&warehouse::Settings { url: url.clone(), ..warehouse::Settings::default() }).await?;
        let told = |finding: Finding| render(&[finding], Format::Csv);
        let counted = told(held(&warehouse, &url, Instant::now() + 10 * WITHIN).await)?;
        assert!(counted.contains("warehouse,ok,") && counted.contains("events 0, messages 0, notes 0, predictions 0"), "{counted}");
        let late = told(held(&warehouse, &url, Instant::now()).await)?;
        assert!(late.contains("warehouse,not asked,"), "{late}");
        Ok(())
    }
}
