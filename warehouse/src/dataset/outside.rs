//! Examples that no split takes, because none of them lies in a configured period: of records whose years were shifted, or that are older or newer than the
//! paper's.

use std::collections::BTreeMap;
use std::fmt;

use datafusion::prelude::SessionContext;
use jiff::Timestamp;

use crate::error::QueryError;
use crate::read::{instants, ints, texts};
use crate::settings::{DEFAULT_RULE, Splits, TaskSplits};

/// Where all examples of a dataset lie, if outside every configured period: its files are empty. `Display` says it, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    examples: i64,
    first: Timestamp,
    last: Timestamp,
    periods: BTreeMap<String, String>,
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { examples, first, last, periods } = self;
        let periods: Vec<String> = periods.iter().map(|(rule, told)| format!("[warehouse.splits.{rule}] has {told}")).collect();
        write!(
            f,
            "the dataset is empty: its examples ({examples}) lie from {first} to {last}, and no configured period holds one of them ({}); \
             write there a main period, and temporal tests, that do",
            periods.join("; ")
        )
    }
}

/// The periods by which these tasks are split, in words, under the name of the rule.
pub(super) fn periods(splits: &Splits, tasks: &[String]) -> BTreeMap<String, String> {
    let rule = |task: &String| if splits.0.contains_key(task) { task.clone() } else { DEFAULT_RULE.to_owned() };
    tasks.iter().map(|task| (rule(task), in_words(&splits.of(task)))).collect()
}

fn in_words(splits: &TaskSplits) -> String {
    let tests = splits.temporal.iter().map(|test| (test.name.as_str(), test.from, test.until));
    let all = std::iter::once(("main", splits.main.from, splits.main.until)).chain(tests);
    all.map(|(name, from, until)| format!("{name} from {} until {}", day(from), day(until))).collect::<Vec<_>>().join(", ")
}

/// An instant; where a day begins with it, the day.
fn day(at: Timestamp) -> String {
    at.to_string().trim_end_matches("T00:00:00Z").to_owned()
}

/// Where the examples of these tasks lie; `None` where there are none.
pub(super) async fn found(
    ctx: &SessionContext,
    tasks: &[String],
    periods: BTreeMap<String, String>,
) -> Result<Option<Outside>, QueryError> {
    let sql = "SELECT task, CAST(count(*) AS BIGINT) AS examples, min(prediction_at) AS first_at, max(prediction_at) AS last_at FROM examples GROUP BY task";
    let (mut examples, mut between) = (0, None);
    for batch in ctx.sql(sql).await?.collect().await? {
        let (of, counts) = (texts(&batch, "task")?, ints(&batch, "examples")?);
        let bounds = instants(&batch, "first_at")?.into_iter().zip(instants(&batch, "last_at")?);
        for ((task, count), (first, last)) in of.into_iter().zip(counts).zip(bounds) {
            let (Some(first), Some(last)) = (first, last) else { continue };
            if task.is_some_and(|task| tasks.contains(&task)) {
                examples += count.unwrap_or_default();
                between = Some(between.map_or((first, last), |(from, to): (Timestamp, Timestamp)| (from.min(first), to.max(last))));
            }
        }
    }
    Ok(between.map(|(first, last)| Outside { examples, first, last, periods }))
}
