//! The feed's promises, against librdkafka's mock cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use schemas::{Skip, Skipped, TopicPartition};

use super::{Feed, Received, Start};
use crate::cloudevents::{CloudEvent, HeaderList};
use crate::{BusError, Outgoing, Publisher, Record, Settings};

type Mock = MockCluster<'static, DefaultProducerContext>;

const PATIENCE: Duration = Duration::from_secs(60);

fn cluster(topics: &[&str]) -> Mock {
    let mock = MockCluster::new(1).expect("a mock cluster");
    for topic in topics {
        mock.create_topic(topic, 2, 1).expect("a mock topic");
    }
    mock
}

fn settings(mock: &Mock, group: &str) -> Settings {
    Settings::new(mock.bootstrap_servers(), group)
}

fn place(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}

/// Records with one key, so that all land in one partition, in order.
fn numbered(topic: &str, numbers: std::ops::Range<u32>) -> Vec<Outgoing> {
    let one = |number: u32| Outgoing {
        topic: topic.to_owned(),
        key: Some(b"ward".to_vec()),
        payload: Some(number.to_string().into_bytes()),
        ..Outgoing::default()
    };
    numbers.map(one).collect()
}

async fn next(feed: &mut Feed) -> Result<Received, BusError> {
    tokio::time::timeout(PATIENCE, feed.recv()).await.expect("nothing came in time")
}

async fn record(feed: &mut Feed) -> Result<Record, BusError> {
    loop {
        if let Received::Record(record) = next(feed).await? {
            return Ok(record);
        }
    }
}

async fn payloads(feed: &mut Feed, count: usize) -> Result<Vec<String>, BusError> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let payload = record(feed).await?.payload.unwrap_or_default();
        texts.push(String::from_utf8_lossy(&payload).into_owned());
    }
    Ok(texts)
}

/// A topic that nobody leads takes nothing; what may be given up leaves the queue then, and does not fill it for ever.
#[tokio::test]
async fn what_may_be_given_up_is_given_up() -> Result<(), BusError> {
    let mock = cluster(&["letters"]);
    mock.topic_error("letters", RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE).expect("a mock topic");
    let publisher = Publisher::giving_up(&settings(&mock, ""), Duration::from_millis(500))?;
    let sent = tokio::time::timeout(PATIENCE, publisher.send_all(numbered("letters", 0..3))).await;
    assert!(matches!(sent, Ok(Err(BusError::Undelivered { .. }))));
    assert!(tokio::time::timeout(PATIENCE, publisher.flush()).await.is_ok(), "nothing is on its way any more");
    Ok(())
}

/// Who begins behind what stands there begins at the same place again after a crash: what came meanwhile is not left out.
#[tokio::test]
async fn a_beginning_behind_the_newest_record_is_noted_with_the_group() -> Result<(), BusError> {
    let mock = cluster(&["raw"]);
    let publisher = Publisher::new(&settings(&mock, "")).expect("a publisher");
    let home = publisher.send_all(numbered("raw", 0..10)).await?.first().map(|(partition, _)| *partition).expect("ten places");
    for came in [10..15, 15..20] {
        let mut feed = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], |_: &TopicPartition| Start::End).await?;
        let Received::Assigned(ours) = next(&mut feed).await? else { panic!("an assignment comes first") };
        assert_eq!(feed.beginnings(&ours).await?, [(place("raw", home), 10), (place("raw", 1 - home), 0)].into());
        publisher.send_all(numbered("raw", came)).await?;
        feed.close().await;
    }
    Ok(())
}

/// A topic that takes no record of the past or the future takes our events all the same; of what carries no time of its own it is told.
#[tokio::test]
async fn an_event_whose_timestamp_is_refused_is_published_at_the_time_of_sending() -> Result<(), BusError> {
    let mock = cluster(&["events"]);
    let publisher = Publisher::new(&settings(&mock, "")).expect("a publisher");
    let time = Timestamp::from_second(4_102_444_800).expect("an instant");
    let event = CloudEvent { id: "7".to_owned(), source: "/ward".to_owned(), kind: "note".to_owned(), time };
    let outgoing = |headers: HeaderList| {
        let mut all = numbered("events", 7..8);
        for one in &mut all {
            (one.timestamp, one.headers) = (Some(time), headers.clone());
        }
        all
    };
    for refused in [RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD] {
        mock.request_errors(RDKafkaApiKey::Produce, &[refused]);
        assert_eq!(publisher.send_all(outgoing(event.headers())).await?.len(), 1);
        mock.request_errors(RDKafkaApiKey::Produce, &[refused]);
        assert!(matches!(publisher.send_all(outgoing(Vec::new())).await, Err(BusError::Undelivered { .. })));
    }

    let mut feed = Feed::subscribe(&settings(&mock, "g"), &["events".to_owned()], |_: &TopicPartition| Start::Beginning).await?;
    for _ in 0..2 {
        let record = record(&mut feed).await?;
        assert!(record.timestamp != time && CloudEvent::of(&record).is_some_and(|read| read == event));
    }
    Ok(())
}

/// The tables say where to go on; whatever the group committed, no other record is seen first.
#[tokio::test]
async fn a_feed_begins_where_it_is_told_and_nowhere_else() -> Result<(), BusError> {
    let mock = cluster(&["raw"]);
    let publisher = Publisher::new(&settings(&mock, "")).expect("a publisher");
    let places = publisher.send_all(numbered("raw", 0..10)).await?;
    let home = places.first().map(|(partition, _)| *partition).expect("ten places");

    let mut feed = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], |_: &TopicPartition| Start::At(7)).await?;
    let first = next(&mut feed).await?;
    assert!(matches!(first, Received::Assigned(ours) if ours.len() == 2), "an assignment comes before its records");
    assert_eq!(payloads(&mut feed, 3).await?, ["7", "8", "9"]);
    feed.commit(&BTreeMap::from([(place("raw", home), 10)]))?;
    feed.close().await;

    // A new process whose tables hold less than the group committed.
    let mut feed = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], |_: &TopicPartition| Start::At(4)).await?;
    assert_eq!(payloads(&mut feed, 2).await?, ["4", "5"]);
    Ok(())
}

/// The record after which a partition is begun is shown once, and a reader that finds another there reads the partition from its beginning.
#[tokio::test]
async fn a_landmark_comes_first_and_a_partition_can_be_begun_anew_on_it() -> Result<(), BusError> {
    let mock = cluster(&["raw"]);
    let publisher = Publisher::new(&settings(&mock, "")).expect("a publisher");
    let home = publisher.send_all(numbered("raw", 0..10)).await?.first().map(|(partition, _)| *partition).expect("ten places");
    let begin = move |partition: &TopicPartition| if partition.partition == home { Start::After(6) } else { Start::Beginning };
    for is_known in [true, false] {
        let mut feed = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], begin).await?;
        let landmark = loop {
            match next(&mut feed).await? {
                Received::Landmark(record) => break record,
                Received::Assigned(_) => {}
                other => panic!("{other:?} came before the landmark"),
            }
        };
        assert_eq!((landmark.offset, landmark.payload), (6, Some(b"6".to_vec())));
        if is_known {
            assert_eq!(payloads(&mut feed, 3).await?, ["7", "8", "9"]);
        } else {
            feed.begin_anew(&place("raw", home)).await?;
            assert_eq!(payloads(&mut feed, 10).await?.concat(), "0123456789");
        }
        feed.close().await;
    }
    Ok(())
}

/// What was received and not made safe comes again after a restart.
#[tokio::test]
async fn a_restart_without_commit_repeats_and_one_with_commit_goes_on() -> Result<(), BusError> {
    let mock = cluster(&["raw"]);
    let publisher = Publisher::new(&settings(&mock, "")).expect("a publisher");
    publisher.send_all(numbered("raw", 0..4)).await?;
    let committed = |_: &TopicPartition| Start::Committed;

    let mut feed = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], committed).await?;
    assert_eq!(payloads(&mut feed, 4).await?, ["0", "1", "2", "3"]);
    feed.close().await;

    let mut feed = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], committed).await?;
    let first = record(&mut feed).await?;
    assert_eq!(first.offset, 0);
    feed.commit(&BTreeMap::from([(first.topic_partition(), 2)]))?;
    // The commit is asynchronous; leaving the group sends what is still queued.
    tokio::time::sleep(Duration::from_millis(500)).await;
    feed.close().await;

    let mut feed = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], committed).await?;
    assert_eq!(record(&mut feed).await?.offset, 2);
    Ok(())
}

/// Topics may be named by a pattern, and what was read of them is no lag any more.
#[tokio::test]
async fn a_pattern_finds_its_topics() -> Result<(), BusError> {
    let mock = cluster(&["north.raw", "south.raw", "other"]);
    let publisher = Publisher::new(&settings(&mock, "")).expect("a publisher");
    for topic in ["north.raw", "south.raw", "other"] {
        publisher.send_all(numbered(topic, 0..3)).await?;
    }
    let mut feed = Feed::subscribe(&settings(&mock, "g"), &["^.*\\.raw$".to_owned()], |_: &TopicPartition| Start::Beginning).await?;
    let mut records = Vec::new();
    while records.len() < 6 {
        if let Received::Record(record) = next(&mut feed).await? {
            records.push(record.topic);
        }
    }
    records.sort();
    assert_eq!(records, ["north.raw", "north.raw", "north.raw", "south.raw", "south.raw", "south.raw"]);
    assert_eq!(feed.lag().await?.values().sum::<i64>(), 0);
    Ok(())
}

/// A stopped broker is waited out, by the publisher and by the feed.
#[tokio::test]
async fn a_broker_that_goes_away_and_returns_costs_nothing_but_time() -> Result<(), BusError> {
    let mock = cluster(&["raw"]);
    let publisher = Publisher::new(&settings(&mock, "")).expect("a publisher");
    publisher.send_all(numbered("raw", 0..2)).await?;
    let mut feed = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], |_: &TopicPartition| Start::Beginning).await?;
    assert_eq!(payloads(&mut feed, 2).await?, ["0", "1"]);

    mock.broker_down(1).expect("a broker to stop");
    let mut deliveries = Vec::new();
    for outgoing in numbered("raw", 2..5) {
        deliveries.push(publisher.send(outgoing).await?);
    }
    let silence = tokio::time::timeout(Duration::from_secs(2), record(&mut feed)).await;
    assert!(silence.is_err(), "a stopped broker is neither an error nor a record");
    mock.broker_up(1).expect("a broker to start");

    for delivery in deliveries {
        delivery.done().await?;
    }
    let mut after = payloads(&mut feed, 3).await?;
    after.dedup();
    assert_eq!(after, ["2", "3", "4"]);
    Ok(())
}

/// Bytes, tombstones, headers and instants arrive as they were sent.
#[tokio::test]
async fn a_record_arrives_as_it_was_sent() -> Result<(), BusError> {
    let mock = cluster(&["raw"]);
    let publisher = Publisher::new(&settings(&mock, "")).expect("a publisher");
    let sent_at = "2013-04-05T06:07:08.009Z".parse().expect("an instant");
    let headers = vec![("h".to_owned(), Some(vec![0, 255])), ("h".to_owned(), Some(vec![])), ("none".to_owned(), None)];
    let key = Some(b"ward".to_vec());
    let sent = [
        Outgoing {
            topic: "raw".into(),
            key: key.clone(),
            payload: Some(vec![0xff, 0x00, 0xfe]),
            headers: headers.clone(),
            timestamp: Some(sent_at),
        },
        Outgoing { topic: "raw".into(), key: key.clone(), payload: None, headers: vec![], timestamp: Some(sent_at) },
        Outgoing { topic: "raw".into(), key: key.clone(), payload: Some(vec![]), headers: vec![], timestamp: Some(sent_at) },
    ];
    publisher.send_all(sent.to_vec()).await?;
    publisher.flush().await;

    let mut feed = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], |_: &TopicPartition| Start::Beginning).await?;
    for wanted in sent {
        let found = record(&mut feed).await?;
        assert!(found.payload == wanted.payload && found.key == wanted.key && found.headers == wanted.headers);
        assert_eq!(found.timestamp, sent_at);
    }
    Ok(())
}

/// An offset beyond the end means that the topic was made anew: it is told, and reading goes on at the oldest record.
#[tokio::test]
async fn an_offset_that_does_not_exist_is_reported_and_stops_nothing() -> Result<(), BusError> {
    let mock = cluster(&["raw"]);
    let publisher = Publisher::new(&settings(&mock, "")).expect("a publisher");
    publisher.send_all(numbered("raw", 0..2)).await?;
    let mut feed = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], |_: &TopicPartition| Start::At(500)).await?;
    loop {
        match next(&mut feed).await? {
            Received::Gap { wanted, found, .. } => {
                assert_eq!((wanted, found), (500, 0));
                break;
            }
            Received::Record(_) => panic!("the gap comes before the record"),
            _ => {}
        }
    }
    assert_eq!(payloads(&mut feed, 2).await?, ["0", "1"]);
    Ok(())
}

/// When another member takes partitions over, the old one hears of it first, and between them nothing is missed.
#[tokio::test]
async fn two_members_share_the_partitions_and_miss_nothing() -> Result<(), BusError> {
    let mock = cluster(&["raw"]);
    let publisher = Publisher::new(&settings(&mock, "")).expect("a publisher");
    let beginning = |_: &TopicPartition| Start::Beginning;
    let mut one = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], beginning).await?;
    assert!(matches!(next(&mut one).await?, Received::Assigned(_)));
    let mut two = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], beginning).await?;

    let (mut given, mut taken) = (None, None);
    tokio::time::timeout(PATIENCE, async {
        while taken.is_none() {
            tokio::select! {
                received = one.recv() => if let Received::Revoked(partitions) = received? { given = Some(partitions); },
                received = two.recv() => if let Received::Assigned(partitions) = received? { taken = Some(partitions).filter(|p| !p.is_empty()); },
            }
        }
        Ok::<(), BusError>(())
    })
    .await
    .expect("the second member gets nothing")?;
    assert_eq!(given, taken, "what one lost is what the other got");

    let everywhere = (0..40u32).map(|n| Outgoing {
        topic: "raw".into(),
        key: Some(n.to_string().into_bytes()),
        payload: Some(vec![1]),
        ..Outgoing::default()
    });
    publisher.send_all(everywhere.collect()).await?;
    let mut seen = std::collections::BTreeSet::new();
    tokio::time::timeout(PATIENCE, async {
        while seen.len() < 40 {
            let received = tokio::select! { received = one.recv() => received?, received = two.recv() => received? };
            if let Received::Record(record) = received {
                seen.insert((record.partition, record.offset));
            }
        }
        Ok::<(), BusError>(())
    })
    .await
    .expect("records are missed")?;
    assert_eq!(seen.len(), 40);
    Ok(())
}

/// Enough to push everything before it off a partition of the mock, which keeps 5 MB of each.
fn flood(topic: &str) -> Vec<Outgoing> {
    let mut dice = 0x9e37_79b9_u32;
    let mut noise = || {
        let step = |_| {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            dice.to_be_bytes()[0]
        };
        (0..900_000).map(step).collect::<Vec<u8>>()
    };
    (0..8)
        .map(|_| Outgoing { topic: topic.to_owned(), key: Some(b"ward".to_vec()), payload: Some(noise()), ..Outgoing::default() })
        .collect()
}

/// A loss is told at once, where no record may follow for days; the row of the first record then says the same, without a second alarm.
#[tokio::test]
async fn records_deleted_before_we_came_are_told_at_the_assignment_and_on_the_record_that_follows() -> Result<(), BusError> {
    let mock = cluster(&["raw"]);
    let publisher = Publisher::new(&settings(&mock, "")).expect("a publisher");
    publisher.send_all(numbered("raw", 0..4)).await?;
    publisher.send_all(flood("raw")).await?;
    let mut feed = Feed::subscribe(&settings(&mock, "g"), &["raw".to_owned()], |_: &TopicPartition| Start::At(2)).await?;
    let (mut gaps, mut first) = (Vec::new(), None);
    while first.is_none() {
        match next(&mut feed).await? {
            // The other partition is empty: there, offset 2 is one of a topic that was made anew.
            Received::Gap { wanted, found, .. } if found > wanted => gaps.push((wanted, found)),
            Received::Record(record) => first = Some(record),
            _ => {}
        }
    }
    let first = first.expect("a record");
    assert!(first.offset > 4, "the mock keeps everything");
    assert_eq!(gaps, [(2, first.offset)], "one alarm");
    assert_eq!(first.skip, Some(Skip { offsets: first.offset - 2, because: Skipped::Deleted }));
    assert_eq!(record(&mut feed).await?.skip, None);
    Ok(())
}

/// Retention that overtakes a slow reader is seen in the middle of the stream.
#[tokio::test]
async fn records_deleted_while_we_read_are_told_where_they_are_missing() -> Result<(), BusError> {
    let mock = cluster(&["raw"]);
    let publisher = Publisher::new(&settings(&mock, "")).expect("a publisher");
    publisher.send_all(numbered("raw", 0..4)).await?;
    publisher.send_all(flood("raw")[..2].to_vec()).await?;
    let mut slow = settings(&mock, "g");
    for (key, value) in [("queued.max.messages.kbytes", "1"), ("fetch.message.max.bytes", "1000"), ("fetch.queue.backoff.ms", "10")] {
        slow.properties.insert(key.to_owned(), value.into());
    }
    let mut feed = Feed::subscribe(&slow, &["raw".to_owned()], |_: &TopicPartition| Start::Beginning).await?;
    assert_eq!(record(&mut feed).await?.offset, 0);
    publisher.send_all(flood("raw")).await?;

    let (mut expected, mut gap) = (1, None);
    loop {
        match next(&mut feed).await? {
            Received::Gap { wanted, found, .. } => gap = Some((wanted, found)),
            Received::Record(record) if record.offset == expected => expected += 1,
            Received::Record(record) => {
                assert_eq!(gap, Some((expected, record.offset)), "the alarm comes before the record");
                assert_eq!(record.skip, Some(Skip { offsets: record.offset - expected, because: Skipped::Deleted }));
                return Ok(());
            }
            _ => {}
        }
    }
}
