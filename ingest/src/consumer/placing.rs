//! Where each partition goes on, and under which name its records stand in the tables.
//!
//! A topic that was deleted and made anew counts its offsets from zero again. Its new records are no old ones, so they stand under a
//! name of their own: `hl7.raw#2` is the second topic of the name `hl7.raw`. No Kafka topic can have such a name.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bus::{Record, SeekTo, Start};
use schemas::TopicPartition;
use warehouse::{Positions, ReadError, Warehouse, held_by_all};

use crate::settings::Oldest;

const AGAIN: char = '#';

/// The topic whose records stand under this name.
pub fn topic_of(name: &str) -> &str {
    name.split_once(AGAIN).map_or(name, |(topic, _)| topic)
}

/// How often a topic of this name has been made.
fn making_of(name: &str) -> u32 {
    name.split_once(AGAIN).and_then(|(_, number)| number.parse().ok()).unwrap_or(1)
}

fn named(topic: &str, making: u32) -> String {
    if making <= 1 { topic.to_owned() } else { format!("{topic}{AGAIN}{making}") }
}

/// What the tables hold of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    making: u32,
    next: i64,
}

/// The places of all partitions. Clones share them.
#[derive(Clone)]
pub struct Places {
    known: Arc<RwLock<BTreeMap<TopicPartition, Place>>>,
    unknown: Oldest,
}

impl Places {
    /// Nothing is known yet; partitions that the tables do not hold begin as `unknown` says.
    pub fn starting(unknown: Oldest) -> Self {
        Self { known: Arc::default(), unknown }
    }

    /// Reads what the tables hold: every partition goes on after the last offset that all of them hold.
    pub async fn refresh(&self, warehouse: &Warehouse) -> Result<(), ReadError> {
        self.take(places(warehouse.positions().await?));
        Ok(())
    }

    /// Takes what the tables say, unless a later topic of the name is known of which nothing has landed yet.
    fn take(&self, fresh: BTreeMap<TopicPartition, Place>) {
        let mut places = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (partition, place) in fresh {
            let known = places.entry(partition).or_insert(place);
            if known.making <= place.making {
                *known = place;
            }
        }
    }

    /// Those of these partitions of which nothing is known, where what stands on them already is to be left out.
    pub fn unread(&self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let places = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let leaves_out = self.unknown == Oldest::Latest;
        partitions.iter().filter(|one| leaves_out && !places.contains_key(*one)).cloned().collect()
    }

    /// Unread partitions begin at these offsets.
    pub fn begin(&self, at: BTreeMap<TopicPartition, i64>) {
        let mut places = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (partition, next) in at {
            places.entry(partition).or_insert(Place { making: 1, next });
        }
    }

    /// From now on the partition's records stand under the name of another topic.
    pub fn began_anew(&self, partition: &TopicPartition) {
        let mut places = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(partition.clone()).or_insert(Place { making: 1, next: 0 });
        *place = Place { making: place.making + 1, next: 0 };
    }

    /// Gives a record the name under which it stands in the tables.
    pub fn name(&self, record: &mut Record) {
        let places = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(&record.topic_partition()).filter(|place| place.making > 1) {
            record.topic = named(&record.topic, place.making);
        }
    }

    /// These partitions under the names of their records.
    pub fn names(&self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let places = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let making = |partition: &TopicPartition| places.get(partition).map_or(1, |place| place.making);
        partitions.iter().map(|one| TopicPartition { topic: named(&one.topic, making(one)), partition: one.partition }).collect()
    }

    /// Where the last records stand, which the tables hold of these partitions.
    pub fn landmarks(&self, partitions: &[TopicPartition]) -> BTreeMap<TopicPartition, i64> {
        let places = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let held = partitions.iter().filter_map(|partition| Some((partition, places.get(partition).filter(|place| place.next > 0)?)));
        let named =
            held.map(|(own, place)| (TopicPartition { topic: named(&own.topic, place.making), partition: own.partition }, place.next - 1));
        named.collect()
    }

    /// What the group is told: the next offset of each partition under its own name.
    pub fn next_offsets(upto: &BTreeMap<TopicPartition, i64>) -> BTreeMap<TopicPartition, i64> {
        let mut newest: BTreeMap<TopicPartition, (u32, i64)> = BTreeMap::new();
        for (partition, last) in upto {
            let topic = TopicPartition { topic: topic_of(&partition.topic).to_owned(), ..partition.clone() };
            let place = (making_of(&partition.topic), last + 1);
            newest.entry(topic).and_modify(|known| *known = place.max(*known)).or_insert(place);
        }
        newest.into_iter().map(|(partition, (_, next))| (partition, next)).collect()
    }
}

impl SeekTo for Places {
    fn start(&self, partition: &TopicPartition) -> Start {
        let places = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match (places.get(partition), self.unknown) {
            (Some(Place { next: 0, .. }), _) => Start::At(0),
            (Some(place), _) => Start::After(place.next - 1),
            (None, Oldest::Earliest) => Start::Beginning,
            (None, Oldest::Latest) => Start::End,
        }
    }
}

/// Of several topics of one name, the last one made.
fn places(positions: Positions) -> BTreeMap<TopicPartition, Place> {
    let mut places: BTreeMap<TopicPartition, Place> = BTreeMap::new();
    for (partition, tables) in positions {
        let place = Place { making: making_of(&partition.topic), next: held_by_all(Some(&tables)) + 1 };
        let own = TopicPartition { topic: topic_of(&partition.topic).to_owned(), partition: partition.partition };
        let known = places.entry(own).or_insert(place);
        if known.making < place.making {
            *known = place;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use schemas::Table;

    use super::*;

    fn partition(topic: &str) -> TopicPartition {
        TopicPartition { topic: topic.to_owned(), partition: 0 }
    }

    fn at(topic: &str, last: i64) -> (TopicPartition, BTreeMap<Table, i64>) {
        (partition(topic), Table::ALL.into_iter().map(|table| (table, last)).collect())
    }

    /// The tables that hold least decide where a partition goes on.
    #[test]
    fn a_partition_goes_on_where_every_table_is() {
        let mut positions: Positions = [at("hl7.raw", 9)].into();
        positions.entry(partition("hl7.raw")).or_default().insert(Table::Notes, 4);
        assert_eq!(places(positions).get(&partition("hl7.raw")), Some(&Place { making: 1, next: 5 }));
    }

    /// What comes after a partition was first seen is never left out, though nothing of it has landed: it begins where it was noted.
    #[test]
    fn an_unread_partition_begins_where_it_was_noted() {
        let (seen, other) = (partition("hl7.raw"), partition("fhir.raw"));
        assert_eq!(Places::starting(Oldest::Earliest).unread(std::slice::from_ref(&seen)), []);
        let held = Places::starting(Oldest::Latest);
        held.take(places([at("fhir.raw", 5)].into()));
        assert_eq!(held.unread(&[seen.clone(), other.clone()]), std::slice::from_ref(&seen));
        held.begin([(seen.clone(), 50), (other.clone(), 99)].into());
        assert!(matches!((held.start(&seen), held.start(&other)), (Start::After(49), Start::After(5))));
        assert_eq!(held.unread(&[seen, other]), []);
    }

    /// Records of a topic that was made anew never hide behind the offsets of the one before.
    #[test]
    fn a_topic_made_anew_stands_under_a_name_of_its_own() {
        let held = Places::starting(Oldest::Earliest);
        held.take(places([at("hl7.raw", 99), at("hl7.raw#2", 5)].into()));
        assert!(matches!(held.start(&partition("hl7.raw")), Start::After(5)));
        held.began_anew(&partition("hl7.raw"));
        assert!(matches!(held.start(&partition("hl7.raw")), Start::At(0)));
        held.take(places([at("hl7.raw", 99), at("hl7.raw#2", 5)].into()));
        assert!(matches!(held.start(&partition("hl7.raw")), Start::At(0)), "a rebalance forgets no topic of which nothing has landed");
        let told = Places::next_offsets(&[(partition("hl7.raw#10"), 5), (partition("hl7.raw#2"), 99)].into());
        assert_eq!(told, [(partition("hl7.raw"), 6)].into());
        assert_eq!((topic_of("hl7.raw#3"), named("hl7.raw", 3).as_str()), ("hl7.raw", "hl7.raw#3"));
    }
}
