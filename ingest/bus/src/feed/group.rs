//! What the consumer group tells us. A rebalance is only noted here; the feed carries it out once its reader has heard of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use schemas::TopicPartition;

/// One step of a rebalance that the group waits for us to take.
#[derive(Clone, Debug)]
pub(super) enum Turn {
    /// These partitions become ours.
    Take(Vec<TopicPartition>),
    /// These partitions are no longer ours.
    Give(Vec<TopicPartition>),
}

/// The callbacks of one consumer.
#[derive(Default)]
pub(super) struct Group {
    turns: Mutex<VecDeque<Turn>>,
    closing: AtomicBool,
}

impl Group {
    /// The oldest turn not yet announced.
    pub(super) fn next(&self) -> Option<Turn> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// From now on the reader is gone, and partitions are given back at once.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }
}

impl ClientContext for Group {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka client reports an error, and tries again");
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: rd_kafka_resp_err_t, list: &mut TopicPartitionList) {
        let partitions = partitions(list);
        let takes = code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::SeqCst) {
            let none = TopicPartitionList::new();
            let left = if takes { take(consumer, &none) } else { give(consumer, list) };
            if let Err(error) = left {
                tracing::warn!(%error, "could not give partitions back while closing");
            }
            return;
        }
        let turn = if takes { Turn::Take(partitions) } else { Turn::Give(partitions) };
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).push_back(turn);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            // The group's offsets are for lag tools only; the tables say where to go on.
            tracing::debug!(%error, "kafka did not take the group's offsets");
        }
    }
}

/// Begins to fetch these partitions at the offsets given with them.
pub(super) fn take<C: ConsumerContext>(consumer: &impl Consumer<C>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
    }
}

/// Ceases to fetch these partitions; with the eager protocol, all.
pub(super) fn give<C: ConsumerContext>(consumer: &impl Consumer<C>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|one| TopicPartition { topic: one.topic().to_owned(), partition: one.partition() }).collect()
}
