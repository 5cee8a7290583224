//! "Nothing is lost, nothing is doubled", against what a cluster does to a consumer: rebalances, zombies, retention, topics that are
//! made anew, and readings of stored records again.
#![cfg(feature = "live")]

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tests::stand::Stand;

/// Topics of several partitions for one facility, and commits small enough that faults fall between them.
const WIDE: &str =
    "[[ingest.routes]]\ntopic = '^hl7\\.wide.*'\nfacility = { name = 'north' }\n[ingest]\nbatch_records = 40\nbatch_age_ms = 100\n";

/// Admissions of patients `from..until`, one record each.
fn admissions(from: usize, until: usize) -> String {
    let mut text = String::new();
    for number in from..until {
        // Writing to memory does not fail.
        let _written = write!(
            text,
            "MSH|^~\\&|A|B|C|D|20200101{:02}00||ADT^A01|{number}|P|2.5\rEVN|A01|202001010800\rPID|1||P{number:06}^^^H^MR\rPV1|1|I|W|||||||MED|||||||||V{number:06}|||||||||||||||||||||||||202001010800\r",
            number % 24
        );
    }
    text
}

fn put(stand: &Stand, topic: &str, name: &str, text: &str) -> anyhow::Result<u64> {
    let folder = stand.path().join(name);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("feed.hl7"), text)?;
    stand.publish(topic, &folder)
}

fn admin(stand: &Stand) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    ClientConfig::new().set("bootstrap.servers", stand.address("kafka")?).create().context("could not make an admin client")
}

fn landed(topic: &str) -> String {
    format!("SELECT count(*) FROM messages WHERE topic LIKE '{topic}'")
}

/// Two processes share the partitions of a topic. One freezes, the other takes its partitions over and goes on; the frozen one wakes up
/// with a batch in its hands that is no longer its own. A third comes and is killed.
#[test]
fn a_zombie_that_wakes_up_changes_nothing() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    stand.configure(WIDE)?;
    let bus = stand.bus("makes-topics")?;
    tokio::runtime::Runtime::new()?.block_on(bus::create_topics(&bus, &[bus::TopicSpec::new("hl7.wide", 4)]))?;
    let first = stand.service("ingest")?;
    let second = stand.service("ingest")?;
    // Who is frozen while it makes the registry's schema holds up everybody, which is another story.
    put(&stand, "hl7.wide", "zero", &admissions(0, 1))?;
    stand.until(&landed("hl7.wide"), 1)?;
    put(&stand, "hl7.wide", "one", &admissions(1, 2_000))?;
    first.signal("STOP")?;
    put(&stand, "hl7.wide", "two", &admissions(2_000, 3_000))?;
    // All of it can land only once the frozen one's partitions have moved on.
    stand.until(&landed("hl7.wide"), 3_000)?;
    first.signal("CONT")?;
    put(&stand, "hl7.wide", "three", &admissions(3_000, 4_000))?;
    let third = stand.service("ingest")?;
    std::thread::sleep(Duration::from_millis(1_500));
    drop(third);
    put(&stand, "hl7.wide", "four", &admissions(4_000, 5_000))?;
    stand.until(&landed("hl7.wide"), 5_000)?;
    drop((first, second));
    stand.must(&["verify"])?;
    assert_eq!(stand.count("SELECT count(DISTINCT visit_number) FROM encounters")?, 5_000);
    assert_eq!(stand.count("SELECT count(*) FROM conservation WHERE missing <> 0 OR doubled <> 0 OR lost <> 0")?, 0);
    Ok(())
}

/// What the broker deletes before it was read is lost, and said: in `conservation`, by `verify`, in the log. A topic that is made anew
/// begins again at offset 0, and its records are new ones.
#[test]
fn what_the_broker_deleted_is_said_and_a_topic_made_anew_is_read() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    stand.configure(WIDE)?;
    let ingest = stand.service("ingest")?;
    put(&stand, "hl7.wide", "one", &admissions(0, 100))?;
    stand.until(&landed("hl7.wide"), 100)?;
    drop(ingest);
    put(&stand, "hl7.wide", "two", &admissions(100, 200))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut upto = TopicPartitionList::new();
    upto.add_partition_offset("hl7.wide", 0, Offset::Offset(150))?;
    runtime.block_on(admin(&stand)?.delete_records(&upto, &AdminOptions::new()))?;
    let ingest = stand.service("ingest")?;
    stand.until(&landed("hl7.wide"), 150)?;
    assert_eq!(stand.count("SELECT lost FROM conservation WHERE \"table\" = 'messages' AND topic = 'hl7.wide'")?, 50);
    let verified = stand.run(&["verify"])?;
    assert_eq!(verified.status.code(), Some(1));
    assert!(String::from_utf8(verified.stdout)?.contains("\"missing\":50"));
    assert!(stand.logs()?.contains("were deleted before they were read"));
    drop(ingest);
    runtime.block_on(admin(&stand)?.delete_topics(&["hl7.wide"], &AdminOptions::new()))?;
    std::thread::sleep(Duration::from_secs(2));
    put(&stand, "hl7.wide", "three", &admissions(200, 260))?;
    let _ingest = stand.service("ingest")?;
    stand.until(&landed("hl7.wide#2"), 60)?;
    put(&stand, "hl7.wide", "four", &admissions(260, 300))?;
    stand.until(&landed("hl7.wide#2"), 100)?;
    assert_eq!(stand.count("SELECT count(DISTINCT visit_number) FROM encounters")?, 250);
    Ok(())
}

/// A topic that was deleted, made anew and has grown past our offset while nobody read it holds another record where ours stood.
#[test]
fn a_topic_made_anew_that_outgrew_the_old_one_is_read_from_its_beginning() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    stand.configure(WIDE)?;
    let ingest = stand.service("ingest")?;
    put(&stand, "hl7.wide", "one", &admissions(0, 50))?;
    stand.until(&landed("hl7.wide"), 50)?;
    drop(ingest);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(admin(&stand)?.delete_topics(&["hl7.wide"], &AdminOptions::new()))?;
    std::thread::sleep(Duration::from_secs(2));
    put(&stand, "hl7.wide", "two", &admissions(50, 150))?;
    let ingest = stand.service("ingest")?;
    stand.until(&landed("hl7.wide#2"), 100)?;
    drop(ingest);
    // The same topic again: nothing is read twice.
    put(&stand, "hl7.wide", "three", &admissions(150, 160))?;
    let _ingest = stand.service("ingest")?;
    stand.until(&landed("hl7.wide#2"), 110)?;
    assert_eq!(stand.count("SELECT count(*) FROM messages WHERE topic LIKE 'hl7.wide%'")?, 160);
    assert_eq!(stand.count("SELECT count(DISTINCT visit_number) FROM encounters")?, 160);
    stand.must(&["verify"])?;
    Ok(())
}

/// Markers of transactions take offsets and hold nothing: that is no loss.
#[test]
fn markers_of_transactions_are_no_loss() -> anyhow::Result<()> {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    let stand = Stand::start()?;
    let _ingest = stand.service("ingest")?;
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", stand.address("kafka")?).set("transactional.id", "engine").create()?;
    let patience = Duration::from_secs(30);
    producer.init_transactions(patience)?;
    for transaction in 0..5 {
        producer.begin_transaction()?;
        for number in 0..4 {
            let payload = admissions(transaction * 10 + number, transaction * 10 + number + 1);
            producer.send(BaseRecord::<(), str>::to("hl7.raw").payload(&payload)).map_err(|(error, _)| error)?;
        }
        if transaction == 2 {
            producer.flush(patience)?;
            producer.abort_transaction(patience)?;
        } else {
            producer.commit_transaction(patience)?;
        }
    }
    stand.until(&landed("hl7.raw"), 16)?;
    stand.must(&["verify"])?;
    Ok(())
}

/// A facility's zone was wrong. Its records are read again: new facts stand, the old ones are history, and a second replay does nothing.
#[test]
fn a_replay_replaces_what_stood_and_a_second_one_changes_nothing() -> anyhow::Result<()> {
    let stand = Stand::folder_only()?;
    let feed = stand.path().join("feed.hl7");
    std::fs::write(&feed, admissions(0, 50))?;
    let file = feed.to_str().context("a file has a name")?;
    stand.must(&["backfill", "--facility", "west", file])?;
    let began = "SELECT count(*) FROM encounters WHERE admitted_at = '2020-01-01T08:00:00Z'";
    assert_eq!(stand.count(began)?, 50);
    let replayed = |arguments: &[&str]| -> anyhow::Result<(u64, u64, u64)> {
        let told: serde_json::Value = serde_json::from_str(&stand.must(&[&["replay"], arguments].concat())?)?;
        let number = |key: &str| told.get(key).and_then(serde_json::Value::as_u64).context("replay says how many");
        Ok((number("read")?, number("changed")?, number("restated")?))
    };
    assert_eq!(replayed(&[])?, (0, 0, 0), "nothing was refused, and the maps are the same");
    stand.configure("[[ingest.routes]]\ntopic = 'west.raw'\nfacility = { name = 'west', zone = 'America/Los_Angeles' }\n")?;
    let some = "control_id < '2'";
    let (read, changed, _) = replayed(&["--where", some])?;
    assert!(read > 5 && read < 50 && read == changed);
    assert_eq!(replayed(&["--where", "true"])?, (50, 50 - changed, 0));
    assert_eq!(replayed(&["--where", "true"])?, (50, 0, 0));
    assert_eq!(stand.count(began)?, 0);
    assert_eq!(stand.count("SELECT count(*) FROM encounters WHERE admitted_at = '2020-01-01T16:00:00Z'")?, 50);
    assert_eq!(stand.count("SELECT count(*) FROM messages")?, 50);
    assert_eq!(stand.count("SELECT count(*) FROM messages WHERE payload IS NOT NULL AND reading > 0")?, 50);
    stand.must(&["verify"])?;
    Ok(())
}
