//! Where partitions begin whose older records are to be left out. The place is noted with the group before anything is read: whoever goes on
//! after a crash before the first commit begins there too, and not behind what came meanwhile.

use std::collections::BTreeMap;

use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use schemas::TopicPartition;

use super::group::Group;
use crate::admin::ANSWER_WITHIN;

/// The offset that the group has noted for each of these partitions; where it has noted none, the next one that is written, which is noted
/// then. Blocks.
pub(super) fn noted(consumer: &StreamConsumer<Group>, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>, KafkaError> {
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        asked.add_partition(&partition.topic, partition.partition);
    }
    let committed = consumer.committed_offsets(asked, ANSWER_WITHIN)?;
    let (mut begins, mut fresh) = (BTreeMap::new(), TopicPartitionList::new());
    for partition in partitions {
        let found = committed.find_partition(&partition.topic, partition.partition);
        if let Some(found) = &found {
            found.error()?;
        }
        let begin = match found.map(|found| found.offset()) {
            Some(Offset::Offset(offset)) => offset,
            _ => {
                let (_, next) = consumer.fetch_watermarks(&partition.topic, partition.partition, ANSWER_WITHIN)?;
                fresh.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(next))?;
                next
            }
        };
        begins.insert(partition.clone(), begin);
    }
    if fresh.count() > 0 {
        consumer.commit(&fresh, CommitMode::Sync)?;
    }
    Ok(begins)
}
