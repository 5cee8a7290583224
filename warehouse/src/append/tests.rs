//! Several processes over one warehouse: whatever they believe to own and in whatever order they commit, every record lands once.

use jiff::Timestamp;
use schemas::{Digest, EventCode, EventStamp, Facility, Fact, Format, Message, Outcome, Source};

use super::*;
use crate::read::AsOf;
use crate::{Format as Rows, Settings, render};

const PARTITIONS: i32 = 3;
const RECORDS: i64 = 120;

fn partition(number: i32) -> TopicPartition {
    TopicPartition { topic: "hl7.raw".to_owned(), partition: number }
}

fn message(partition: i32, offset: i64) -> Message {
    Message {
        digest: "d".to_owned(),
        format: Format::Unknown,
        outcome: Outcome::Rejected,
        ..crate::store::tests::message(Source { topic: "hl7.raw".to_owned(), partition, offset }, Timestamp::UNIX_EPOCH)
    }
}

/// What a process of this version makes of that message: the same facts, and as many more as its version says.
fn events(message: &Message, version: usize) -> Vec<Event> {
    let digest = Digest::of(format!("{}/{}", message.source.partition, message.source.offset).as_bytes());
    let facility = Facility::new("north");
    let mut stamp = EventStamp::new(&facility, &digest, message.known_at, &message.source);
    let fact = || Fact {
        code: EventCode::PatientSex,
        time: None,
        asserted_at: None,
        patient: None,
        encounter: None,
        numeric_value: None,
        text_value: None,
        related: None,
    };
    (0..=version).map(|_| stamp.event(fact())).collect()
}

/// A small generator (xorshift): the same seed gives the same story.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 16).unwrap_or(0) % limit
    }
}

/// One process: its own view of the tables, and where it believes each partition to be.
struct Process {
    warehouse: Warehouse,
    next: BTreeMap<i32, i64>,
    begun: BTreeMap<TopicPartition, Begun>,
    /// Of its maps: no two processes read a message alike.
    version: usize,
}

impl Process {
    /// As after a rebalance or a restart: goes on where the tables are.
    async fn look(&mut self) {
        let partitions = (0..PARTITIONS).map(partition).collect();
        let held = self.warehouse.held(&partitions).await.expect("the logs can be read");
        for number in 0..PARTITIONS {
            self.next.insert(number, crate::held_by_all(held.get(&partition(number))) + 1);
        }
        self.begun = self.warehouse.begun(&partitions).await.expect("the logs can be read");
    }

    /// The next records of some partitions, as it believes them to be.
    fn batch(&self, dice: &mut Dice) -> Batch {
        let mut batch = Batch::default();
        for number in (0..PARTITIONS).filter(|_| dice.below(2) == 0).collect::<Vec<_>>() {
            let from = self.next.get(&number).copied().unwrap_or(0);
            let until = (from + 1 + dice.below(6)).min(RECORDS);
            batch.messages.extend((from..until).map(|offset| message(number, offset)));
            if until > from {
                batch.upto.insert(partition(number), until - 1);
            }
        }
        for message in &mut batch.messages {
            let facts = events(message, self.version);
            message.events = i32::try_from(facts.len()).expect("a few");
            batch.events.extend(facts);
        }
        batch.resume(&self.begun);
        batch
    }

    /// Dies between the commits of two tables, and begins again.
    async fn die(&mut self, dice: &mut Dice) {
        let batch = self.batch(dice);
        let tables = usize::try_from(dice.below(4)).expect("small");
        let landed = self.warehouse.landed(&batch).await.expect("the log can be read");
        for table in Table::ALL.into_iter().take(tables) {
            if self.warehouse.append_to(table, &batch, &landed).await.is_err() {
                break;
            }
        }
        self.look().await;
    }

    async fn commit(&mut self, dice: &mut Dice) {
        let mut batch = self.batch(dice);
        match self.warehouse.append(&mut batch).await {
            Ok(()) => self.next.extend(batch.upto.iter().map(|(partition, last)| (partition.partition, last + 1))),
            // The consumer's reaction: begin again where the tables are.
            Err(_) => self.look().await,
        }
    }
}

async fn told(warehouse: &Warehouse, sql: &str) -> String {
    render(&warehouse.query(sql, &AsOf::default()).await.expect("answers"), Rows::Csv).expect("csv")
}

#[tokio::test]
async fn whatever_several_processes_believe_and_wherever_they_die_every_record_lands_once() {
    for seed in 1..=4_u64 {
        let folder = std::env::temp_dir().join(format!("wardstream-writers-{}-{seed}", std::process::id()));
        let settings = Settings { url: folder.display().to_string(), ..Settings::default() };
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut processes = Vec::new();
        for version in 0..3 {
            let warehouse = Warehouse::open(&settings).await.expect("opens");
            processes.push(Process { warehouse, next: BTreeMap::new(), begun: BTreeMap::new(), version });
        }
        for _ in 0..60 {
            let at = usize::try_from(dice.below(3)).expect("small");
            let process = processes.get_mut(at).expect("one of three");
            match dice.below(8) {
                0 => process.look().await,
                2 => process.die(&mut dice).await,
                1 => process.warehouse.compact().await.expect("merges"),
                _ => process.commit(&mut dice).await,
            }
        }
        let warehouse = &processes.first().expect("one of three").warehouse;
        let lost =
            "SELECT \"table\", \"partition\", missing, doubled FROM conservation WHERE missing <> 0 OR doubled <> 0 OR first_offset <> 0";
        assert_eq!(told(warehouse, lost).await, "table,partition,missing,doubled\n", "seed {seed}");
        let landed = told(warehouse, "SELECT count(*) > 60 FROM messages").await;
        assert!(landed.ends_with("true\n"), "seed {seed}: the story says nothing");
        std::fs::remove_dir_all(&folder).expect("was made");
    }
}
