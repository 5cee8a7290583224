//! Which offsets hold no record for us, and why. The decisions are pure; the questions to the brokers are asked beside the stream,
//! only where records are not consecutive, and once for all that was at hand.
//!
//! A hole is [`Skipped::Void`] where the partition still begins at or before it: the broker deleted nothing there, so that it holds
//! markers of transactions, aborted records, or keys that were compacted away. It is [`Skipped::Deleted`] where the partition begins
//! later: retention was faster than we. The answer must be younger than the records it is used for, or it proves nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::consumer::{Consumer, StreamConsumer};
use schemas::{Skip, Skipped, TopicPartition};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Received;
use super::group::Group;
use crate::Record;
use crate::admin::ANSWER_WITHIN;

/// How many records may wait for one answer,
pub(super) const HELD_RECORDS: usize = 1_000;
/// and how many bytes of them.
pub(super) const HELD_BYTES: usize = 16 << 20;
/// How often a question is asked before its answer is presumed to be the worst.
const ATTEMPTS: usize = 3;
/// How long one question at an assignment may take,
const GLANCE_WITHIN: Duration = Duration::from_secs(2);
/// and how long after it the unanswered ones are asked again.
const GLANCE_AGAIN: Duration = Duration::from_secs(3);

/// What stands before a record, seen from the offset that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// The record that was expected, or nothing was.
    Nothing,
    /// Offsets from `start` on, up to the record, hold no record for us.
    Hole {
        /// The offset that was expected.
        start: i64,
    },
    /// The record is older than the expected one: the topic was made anew.
    Anew {
        /// The offset that was expected.
        wanted: i64,
    },
}

pub(super) fn before(expected: Option<i64>, found: i64) -> Before {
    match expected {
        Some(start) if found > start => Before::Hole { start },
        Some(wanted) if found < wanted => Before::Anew { wanted },
        _ => Before::Nothing,
    }
}

/// Why the offsets from `start` on are missing, where the partition begins at `low`. Without an answer the loss is presumed: a false
/// alarm is looked into, a missed one is not.
pub(super) fn because(start: i64, low: Option<i64>) -> Skipped {
    if low.is_some_and(|low| low <= start) { Skipped::Void } else { Skipped::Deleted }
}

/// A record and what stands before it.
pub(super) struct Held {
    pub(super) record: Record,
    pub(super) before: Before,
    /// The reader has heard of it already.
    pub(super) told: bool,
}

impl Held {
    /// What is to be handed over, where the record's partition begins at `low`.
    pub(super) fn settle(mut self, low: Option<i64>) -> impl Iterator<Item = Received> {
        let (partition, found) = (self.record.topic_partition(), self.record.offset);
        let lost = match self.before {
            Before::Nothing => None,
            Before::Anew { wanted } => Some(wanted),
            Before::Hole { start } => {
                let because = because(start, low);
                self.record.skip = Some(Skip { offsets: found - start, because });
                (because == Skipped::Deleted).then_some(start)
            }
        };
        let gap = lost.filter(|_| !self.told).map(|wanted| Received::Gap { partition, wanted, found });
        gap.into_iter().chain([Received::Record(self.record)])
    }
}

/// Records in the order they came, while the brokers are asked about what is missing between them.
pub(super) struct Inquiry {
    held: VecDeque<Held>,
    lows: JoinHandle<BTreeMap<TopicPartition, i64>>,
}

impl Inquiry {
    /// Asks about every partition that has a hole in what is held.
    pub(super) fn ask(consumer: &Arc<StreamConsumer<Group>>, held: VecDeque<Held>) -> Self {
        let holes = held.iter().filter(|one| matches!(one.before, Before::Hole { .. }));
        let holes: BTreeSet<TopicPartition> = holes.map(|one| one.record.topic_partition()).collect();
        let consumer = Arc::clone(consumer);
        let ask = move || {
            let low = |partition: &TopicPartition| (0..ATTEMPTS).find_map(|_| bounds(&consumer, partition, ANSWER_WITHIN));
            holes.into_iter().filter_map(|partition| Some((partition.clone(), low(&partition)?.0))).collect()
        };
        Self { held, lows: tokio::task::spawn_blocking(ask) }
    }

    /// Waits for the answers. Cancel safe.
    pub(super) async fn answers(&mut self) -> BTreeMap<TopicPartition, i64> {
        (&mut self.lows).await.unwrap_or_default()
    }

    /// What is to be handed over, now that the answers are there.
    pub(super) fn settle(self, lows: &BTreeMap<TopicPartition, i64>) -> impl Iterator<Item = Received> {
        self.held.into_iter().flat_map(|one| {
            let low = lows.get(&one.record.topic_partition()).copied();
            one.settle(low)
        })
    }
}

/// A partition, where we begin to read it, and `(low, high)` of it where the brokers answered.
type Seen = (TopicPartition, i64, Option<(i64, i64)>);

/// A look at partitions that have just become ours: a quiet topic must not hide that its records are gone.
#[derive(Default)]
pub(super) struct Glance {
    due: Vec<(TopicPartition, i64)>,
    /// Not before this instant.
    after: Option<Instant>,
    asking: Option<JoinHandle<Vec<Seen>>>,
}

impl Glance {
    /// Adds partitions with the offset at which each is begun.
    pub(super) fn at(&mut self, wanted: impl IntoIterator<Item = (TopicPartition, i64)>) {
        self.due.extend(wanted);
    }

    /// Leaves out a partition that is no longer ours.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.due.retain(|(one, _)| one != partition);
    }

    /// Waits for answers, never where none are due. Cancel safe.
    pub(super) async fn seen(&mut self, consumer: &Arc<StreamConsumer<Group>>) -> Vec<(TopicPartition, i64, (i64, i64))> {
        if self.asking.is_none() && self.due.is_empty() {
            std::future::pending::<()>().await;
        }
        if let Some(after) = self.after {
            tokio::time::sleep_until(after).await;
            self.after = None;
        }
        if self.asking.is_none() {
            let (due, weak) = (std::mem::take(&mut self.due), Arc::downgrade(consumer));
            self.asking = Some(tokio::task::spawn_blocking(move || glance(due, &weak)));
        }
        let Some(asking) = &mut self.asking else { return Vec::new() };
        let seen = asking.await.unwrap_or_default();
        self.asking = None;
        let mut answered = Vec::new();
        for (partition, wanted, bounds) in seen {
            match bounds {
                Some(bounds) => answered.push((partition, wanted, bounds)),
                None => {
                    self.due.push((partition, wanted));
                    self.after = Some(Instant::now() + GLANCE_AGAIN);
                }
            }
        }
        answered
    }
}

/// Asks in turn; keeps no feed alive that was closed meanwhile. Blocks.
fn glance(due: Vec<(TopicPartition, i64)>, consumer: &Weak<StreamConsumer<Group>>) -> Vec<Seen> {
    let mut seen = Vec::with_capacity(due.len());
    let mut answers = true;
    for (partition, wanted) in due {
        let bounds = consumer.upgrade().filter(|_| answers).and_then(|consumer| bounds(&consumer, &partition, GLANCE_WITHIN));
        answers &= bounds.is_some();
        seen.push((partition, wanted, bounds));
    }
    seen
}

/// `(low, high)` of a partition. Blocks.
fn bounds(consumer: &StreamConsumer<Group>, partition: &TopicPartition, within: Duration) -> Option<(i64, i64)> {
    consumer.fetch_watermarks(&partition.topic, partition.partition, within).ok()
}

/// The offset that follows where `wanted` does not exist in a partition from `low` to `high`; `None` where it does, or will be next.
pub(super) fn found(wanted: i64, (low, high): (i64, i64)) -> Option<i64> {
    (wanted < low || wanted > high).then_some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_where_it_was_expected_or_after_a_hole_or_of_a_new_topic() {
        assert_eq!(before(None, 7), Before::Nothing);
        assert_eq!(before(Some(7), 7), Before::Nothing);
        assert_eq!(before(Some(7), 9), Before::Hole { start: 7 });
        assert_eq!(before(Some(7), 0), Before::Anew { wanted: 7 });
    }

    /// A marker of a transaction is not a loss; what retention took is one, and so is what nobody can tell.
    #[test]
    fn a_hole_is_void_only_where_the_partition_provably_begins_before_it() {
        assert_eq!(because(7, Some(0)), Skipped::Void);
        assert_eq!(because(7, Some(7)), Skipped::Void);
        assert_eq!(because(7, Some(8)), Skipped::Deleted);
        assert_eq!(because(7, None), Skipped::Deleted);
    }

    /// The row that lands carries what is missing before it; the alarm is raised once.
    #[test]
    fn a_hole_is_told_on_the_record_after_it_and_a_loss_besides() {
        let held = |before, told| Held {
            record: Record {
                topic: "t".into(),
                partition: 0,
                offset: 9,
                timestamp: jiff::Timestamp::UNIX_EPOCH,
                key: None,
                headers: vec![],
                payload: None,
                skip: None,
            },
            before,
            told,
        };
        let told = |held: Held, low| {
            let gaps_and_skips = held.settle(low).map(|received| match received {
                Received::Gap { wanted, found, .. } => format!("gap {wanted}-{found}"),
                Received::Record(record) => format!("{:?}", record.skip.map(|skip| (skip.offsets, skip.because))),
                Received::Assigned(_) | Received::Revoked(_) | Received::Landmark(_) => String::new(),
            });
            gaps_and_skips.collect::<Vec<_>>()
        };
        assert_eq!(told(held(Before::Nothing, false), None), ["None"]);
        assert_eq!(told(held(Before::Hole { start: 7 }, false), Some(7)), ["Some((2, Void))"]);
        assert_eq!(told(held(Before::Hole { start: 7 }, false), Some(8)), ["gap 7-9", "Some((2, Deleted))"]);
        assert_eq!(told(held(Before::Hole { start: 7 }, true), Some(8)), ["Some((2, Deleted))"]);
        assert_eq!(told(held(Before::Anew { wanted: 50 }, false), None), ["gap 50-9", "None"]);
    }

    #[test]
    fn an_offset_exists_from_the_low_watermark_to_the_one_that_is_written_next() {
        assert_eq!(found(7, (0, 7)), None);
        assert_eq!(found(7, (7, 9)), None);
        assert_eq!(found(7, (8, 9)), Some(8));
        assert_eq!(found(7, (0, 3)), Some(0), "the topic was made anew");
    }
}
