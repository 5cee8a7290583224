//! A consumer group's feed: records in order, and every change of what is ours, in the order it happened.
//!
//! A rebalance has two phases. `recv` first tells of it: the reader appends what it holds (`Revoked`), or reads from the tables where
//! to go on (`Assigned`). The next `recv` carries it out, and asks `SeekTo` for positions before anything is fetched, so there is no
//! moment in which a record from a wrong offset could be seen. Whoever stays away from `recv` longer than `max.poll.interval.ms`
//! (5 minutes) loses the partitions.
//!
//! A record after offsets that hold none says so in `Record::skip`, with the reason; records that were lost are told as `Gap` besides.
//! A partition that begins later than it should is told at once, even where no record follows. While a feed reads, that is seen with
//! the next record alone, since what the client holds ahead of us may be older than what the broker still has.

mod beginning;
mod bounds;
mod group;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures::{FutureExt, Stream, StreamExt};
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use schemas::TopicPartition;

use self::bounds::{Before, Glance, HELD_BYTES, HELD_RECORDS, Held, Inquiry, before};
use self::group::{Group, Turn, give, take};
use crate::admin::ANSWER_WITHIN;
use crate::{BusError, Record, Settings};

/// Where to begin a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this offset: the one after the last that is safe.
    At(i64),
    /// After this offset, the last that is safe. The record that stands there is shown first, as [`Received::Landmark`]: by it a reader
    /// tells whether the topic is still the one it knows.
    After(i64),
    /// At the oldest record.
    Beginning,
    /// Behind the newest record.
    End,
    /// Where the group committed, else at the oldest record.
    Committed,
}

/// Says where to begin. Asked for each partition when it becomes ours, after `Assigned` was received and before a record is fetched.
pub trait SeekTo: Send + Sync + 'static {
    /// Where to begin this partition.
    fn start(&self, partition: &TopicPartition) -> Start;
}

impl<F: Fn(&TopicPartition) -> Start + Send + Sync + 'static> SeekTo for F {
    fn start(&self, partition: &TopicPartition) -> Start {
        self(partition)
    }
}

/// What a feed tells its reader.
#[derive(Debug)]
pub enum Received {
    /// The next record of one of our partitions.
    Record(Record),
    /// What stands at the offset after which a partition is begun. It comes before the partition's records, or never, where it was deleted.
    Landmark(Record),
    /// These partitions become ours with the next `recv`.
    Assigned(Vec<TopicPartition>),
    /// These partitions cease to be ours with the next `recv`: append what was received of them first.
    Revoked(Vec<TopicPartition>),
    /// The wanted offset does not exist any more. Where `found` is larger, the records between were deleted before we read them; the
    /// record that follows, if one does, says the same in its `skip`. Where `found` is smaller, the topic was deleted and made anew:
    /// its offsets begin again below those that the reader knows, and a reader that skips what it holds would skip new records.
    Gap {
        /// Where.
        partition: TopicPartition,
        /// The offset we asked for.
        wanted: i64,
        /// The offset of the record that follows, or of the oldest that exists.
        found: i64,
    },
}

/// How far a partition is read.
#[derive(Clone, Copy)]
struct Place {
    next: i64,
    /// The record at `next` must be the next one. Where we only began at the oldest record, any is.
    firm: bool,
    /// The reader has heard that the record at `next` does not exist.
    told: bool,
    /// Nothing has come yet, and the record before `next` is asked for as well.
    from_landmark: bool,
}

impl Place {
    fn at(next: i64, firm: bool) -> Self {
        Self { next, firm, told: false, from_landmark: false }
    }
}

/// A member of a consumer group.
pub struct Feed {
    consumer: Arc<StreamConsumer<Group>>,
    seek: Box<dyn SeekTo>,
    /// Announced to the reader, carried out by the next `recv`.
    announced: Option<Turn>,
    /// Where each partition of ours stands, where that is known.
    places: BTreeMap<TopicPartition, Place>,
    ours: BTreeSet<TopicPartition>,
    ready: VecDeque<Received>,
    inquiry: Option<Inquiry>,
    glance: Glance,
    /// Seen while records were gathered, and not yet told.
    aside: Option<Step>,
}

impl Feed {
    /// Joins the group for these topics; a name that begins with `^` is a regular expression. Does not wait for a broker.
    pub async fn subscribe(settings: &Settings, topics: &[String], seek: impl SeekTo) -> Result<Self, BusError> {
        let config = settings.consumer()?;
        let consumer: StreamConsumer<Group> =
            config.create_with_context(Group::default()).map_err(|source| BusError::building("create a feed", source))?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|source| BusError::unanswered("subscribe to", names.join(", "), source))?;
        Ok(Self {
            consumer: Arc::new(consumer),
            seek: Box::new(seek),
            announced: None,
            places: BTreeMap::new(),
            ours: BTreeSet::new(),
            ready: VecDeque::new(),
            inquiry: None,
            glance: Glance::default(),
            aside: None,
        })
    }

    /// Waits for what comes next, through any absence of the brokers. Cancel safe. An error means the feed must be dropped.
    pub async fn recv(&mut self) -> Result<Received, BusError> {
        loop {
            self.finish_inquiry().await;
            if let Some(ready) = self.ready.pop_front() {
                return Ok(ready);
            }
            if let Some(turn) = self.announced.take() {
                self.carry_out(&turn)?;
            }
            match self.step().await {
                Step::Turn(turn) => {
                    self.announced = Some(turn.clone());
                    return Ok(match turn {
                        Turn::Take(partitions) => Received::Assigned(partitions),
                        Turn::Give(partitions) => Received::Revoked(partitions),
                    });
                }
                Step::Record(record) => self.hand_over(record),
                Step::Seen(seen) => seen.into_iter().for_each(|(partition, wanted, bounds)| self.judge(partition, wanted, bounds)),
                Step::Trouble(source @ KafkaError::MessageConsumptionFatal(_)) => {
                    return Err(BusError::Fatal { action: "consume", source });
                }
                Step::Trouble(error) => tracing::warn!(%error, "cannot read from kafka, and tries again"),
            }
        }
    }

    /// Tells the group that everything below these offsets is processed. For lag tools only: where to go on is for the tables to say.
    pub fn commit(&self, upto: &BTreeMap<TopicPartition, i64>) -> Result<(), BusError> {
        let mut list = TopicPartitionList::with_capacity(upto.len());
        for (partition, next) in upto {
            place(&mut list, partition, Offset::Offset(*next))?;
        }
        match self.consumer.commit(&list, CommitMode::Async) {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
            Err(source) => Err(BusError::unanswered("commit offsets of", "the group", source)),
        }
    }

    /// Where these partitions begin for a reader that has read none of them and wants what comes from now on: behind their newest record,
    /// or where that was noted with the group before. To be called when they are announced, before the next `recv`.
    pub async fn beginnings(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        let (consumer, partitions) = (Arc::clone(&self.consumer), partitions.to_vec());
        let noted = tokio::task::spawn_blocking(move || beginning::noted(&consumer, &partitions)).await;
        let noted = noted.unwrap_or(Err(KafkaError::Canceled));
        noted.map_err(|source| BusError::unanswered("note where to begin with", "the group", source))
    }

    /// How many records each of our partitions is behind. Asks the brokers.
    pub async fn lag(&self) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        let (consumer, places) = (Arc::clone(&self.consumer), self.places.clone());
        let ours = self.ours.clone();
        let asking = tokio::task::spawn_blocking(move || {
            ours.into_iter()
                .map(|partition| {
                    let remaining = remaining(&consumer, &partition, places.get(&partition).map(|place| place.next));
                    let remaining =
                        remaining.map_err(|source| BusError::unanswered("ask for the end of", partition.to_string(), source))?;
                    Ok((partition, remaining))
                })
                .collect()
        });
        asking.await.unwrap_or_else(|_| Err(BusError::Fatal { action: "ask for the lag", source: KafkaError::Canceled }))
    }

    /// Reads a partition from its oldest record on. To be called on a landmark that shows another topic, before the next `recv`.
    pub async fn begin_anew(&mut self, partition: &TopicPartition) -> Result<(), BusError> {
        self.places.insert(partition.clone(), Place::at(0, false));
        self.glance.forget(partition);
        let mut list = TopicPartitionList::new();
        place(&mut list, partition, Offset::Beginning)?;
        let consumer = Arc::clone(&self.consumer);
        let sought = tokio::task::spawn_blocking(move || {
            let sought = consumer.seek_partitions(list, ANSWER_WITHIN)?;
            sought.elements().iter().try_for_each(rdkafka::topic_partition_list::TopicPartitionListElem::error)
        });
        let sought = sought.await.unwrap_or(Err(KafkaError::Canceled));
        sought.map_err(|source| BusError::unanswered("go back to the beginning of", partition.to_string(), source))
    }

    /// Leaves the group and waits for the goodbye. Dropping the feed does the same, but blocks its thread meanwhile.
    pub async fn close(self) {
        // A panic in the client's destructor is all that could fail here, and nothing is left to be done about it.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    async fn step(&mut self) -> Step {
        if let Some(step) = self.aside.take() {
            return step;
        }
        tokio::select! {
            biased;
            seen = self.glance.seen(&self.consumer) => Step::Seen(seen),
            step = step(&self.consumer) => step,
        }
    }

    fn carry_out(&mut self, turn: &Turn) -> Result<(), BusError> {
        let mut list = TopicPartitionList::new();
        let done = match turn {
            Turn::Take(partitions) => {
                for partition in partitions {
                    let offset = self.begin(partition);
                    place(&mut list, partition, offset)?;
                }
                take(self.consumer.as_ref(), &list)
            }
            Turn::Give(partitions) => {
                for partition in partitions {
                    self.forget(partition);
                    list.add_partition(&partition.topic, partition.partition);
                }
                give(self.consumer.as_ref(), &list)
            }
        };
        // A group that was lost meanwhile refuses the step; it then begins anew with another.
        if let Err(error) = done {
            tracing::warn!(%error, "a rebalance was overtaken by another");
        }
        Ok(())
    }

    fn begin(&mut self, partition: &TopicPartition) -> Offset {
        self.forget(partition);
        self.ours.insert(partition.clone());
        match self.seek.start(partition) {
            Start::At(offset) => {
                self.places.insert(partition.clone(), Place::at(offset, true));
                self.glance.at([(partition.clone(), offset)]);
                Offset::Offset(offset)
            }
            Start::After(last) => {
                self.places.insert(partition.clone(), Place { from_landmark: true, ..Place::at(last + 1, true) });
                self.glance.at([(partition.clone(), last + 1)]);
                Offset::Offset(last)
            }
            Start::Beginning => {
                self.places.insert(partition.clone(), Place::at(0, false));
                Offset::Beginning
            }
            Start::End => Offset::End,
            Start::Committed => Offset::Stored,
        }
    }

    fn forget(&mut self, partition: &TopicPartition) {
        self.ours.remove(partition);
        self.places.remove(partition);
        self.glance.forget(partition);
    }

    /// Notes how far we are, and looks at what stands before the record.
    fn advance(&mut self, record: Record) -> Held {
        let place = self.places.insert(record.topic_partition(), Place::at(record.offset + 1, true)).filter(|place| place.firm);
        Held { before: before(place.map(|place| place.next), record.offset), told: place.is_some_and(|place| place.told), record }
    }

    /// Whether this is the record after which its partition is begun.
    fn is_landmark(&self, record: &Record) -> bool {
        self.places.get(&record.topic_partition()).is_some_and(|place| place.from_landmark && record.offset + 1 == place.next)
    }

    /// Hands a record over, unless it follows a hole: then the brokers are asked about it, and about those of all records at hand.
    fn hand_over(&mut self, record: Record) {
        if self.is_landmark(&record) {
            self.places.insert(record.topic_partition(), Place::at(record.offset + 1, true));
            return self.ready.push_back(Received::Landmark(record));
        }
        let first = self.advance(record);
        if !matches!(first.before, Before::Hole { .. }) {
            return self.ready.extend(first.settle(None));
        }
        let mut bytes = first.record.size();
        let mut held = VecDeque::from([first]);
        while held.len() < HELD_RECORDS && bytes < HELD_BYTES {
            match at_hand(&self.consumer) {
                Some(Step::Record(record)) if !self.is_landmark(&record) => {
                    bytes += record.size();
                    held.push_back(self.advance(record));
                }
                other => {
                    self.aside = other;
                    break;
                }
            }
        }
        self.inquiry = Some(Inquiry::ask(&self.consumer, held));
    }

    /// What a look at a partition showed that we began at `wanted`, if no record of it told the same meanwhile.
    fn judge(&mut self, partition: TopicPartition, wanted: i64, bounds: (i64, i64)) {
        let Some(place) = self.places.get_mut(&partition).filter(|place| place.firm && place.next == wanted) else { return };
        if let Some(found) = bounds::found(wanted, bounds) {
            tracing::debug!(%partition, wanted, found, "the offset to begin at does not exist");
            place.told = true;
            self.ready.push_back(Received::Gap { partition, wanted, found });
        }
    }

    async fn finish_inquiry(&mut self) {
        // The inquiry stays until it has ended, so that a `recv` that is dropped meanwhile loses no record.
        let Some(inquiry) = &mut self.inquiry else { return };
        let lows = inquiry.answers().await;
        if let Some(inquiry) = self.inquiry.take() {
            self.ready.extend(inquiry.settle(&lows));
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let group = Arc::clone(self.consumer.context());
        group.close();
        // The group waits for every turn we heard of; nobody is left to hear of them, so all that is ours is given back.
        let waiting = self.announced.take().is_some() | std::iter::from_fn(|| group.next()).count().gt(&0);
        if waiting && let Err(error) = self.consumer.unassign() {
            tracing::debug!(%error, "could not give partitions back while closing");
        }
    }
}

/// What one look at the stream gave.
enum Step {
    Turn(Turn),
    Record(Record),
    Seen(Vec<(TopicPartition, i64, (i64, i64))>),
    Trouble(KafkaError),
}

/// One look at the stream. Turns come before the records that follow them.
async fn step(consumer: &StreamConsumer<Group>) -> Step {
    let mut stream = std::pin::pin!(consumer.stream());
    poll_fn(|cx| {
        if let Some(turn) = consumer.context().next() {
            return Poll::Ready(Step::Turn(turn));
        }
        match stream.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => Poll::Ready(Step::Record(Record::copy(&message))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Step::Trouble(error)),
            Poll::Ready(None) => Poll::Ready(Step::Trouble(KafkaError::NoMessageReceived)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// What the client holds already, if anything.
fn at_hand(consumer: &StreamConsumer<Group>) -> Option<Step> {
    let message = consumer.stream().next().now_or_never().flatten()?;
    Some(message.map_or_else(Step::Trouble, |message| Step::Record(Record::copy(&message))))
}

/// How many records a partition holds from `next` on; where that is unknown, from where the group committed. Blocks.
fn remaining(consumer: &StreamConsumer<Group>, partition: &TopicPartition, next: Option<i64>) -> Result<i64, KafkaError> {
    let (low, high) = consumer.fetch_watermarks(&partition.topic, partition.partition, ANSWER_WITHIN)?;
    let from = match next {
        Some(next) => next,
        None => {
            let mut list = TopicPartitionList::new();
            list.add_partition(&partition.topic, partition.partition);
            let committed = consumer.committed_offsets(list, ANSWER_WITHIN)?;
            let found = committed.find_partition(&partition.topic, partition.partition).map(|found| found.offset());
            if let Some(Offset::Offset(offset)) = found { offset } else { low }
        }
    };
    Ok((high - from.max(low)).max(0))
}

fn place(list: &mut TopicPartitionList, partition: &TopicPartition, offset: Offset) -> Result<(), BusError> {
    list.add_partition_offset(&partition.topic, partition.partition, offset)
        .map_err(|source| BusError::unanswered("set the offset of", partition.to_string(), source))
}

#[cfg(test)]
mod tests;
