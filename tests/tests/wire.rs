//! The wire against real services: an engine that sends by MLLP, records in wrappings, and dead letters.
#![cfg(feature = "live")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Headers as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tests::stand::Stand;

fn message(number: usize) -> String {
    format!(
        "MSH|^~\\&|E|F|W|H|20200101080000||ADT^A01^ADT_A01|C{number}|P|2.5\rEVN|A01|20200101080000\rPID|1||P{number:06}^^^H^MR\r\
         PV1|1|I|W|||||||MED|||||||||V{number:06}|||||||||||||||||||||||||202001010800\r"
    )
}

/// Sends one message as an engine does, and waits for its answer: MSA-1 and MSA-2.
fn sent(engine: &mut TcpStream, message: &str) -> anyhow::Result<(String, String)> {
    engine.write_all(format!("\u{b}{message}\u{1c}\r").as_bytes())?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\x1c\r") {
        ensure!(engine.read(&mut byte)? == 1, "the listener hung up");
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer)?;
    let msa = answer.split('\r').find(|segment| segment.starts_with("MSA|")).context("an answer has an MSA")?;
    let field = |number: usize| msa.split('|').nth(number).unwrap_or_default().to_owned();
    Ok((field(1), field(2)))
}

fn connected(port: u16) -> anyhow::Result<TcpStream> {
    let began = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(engine) => {
                engine.set_read_timeout(Some(Duration::from_secs(30)))?;
                return Ok(engine);
            }
            Err(error) => ensure!(began.elapsed() < Duration::from_secs(30), "nobody listens: {error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// While Kafka goes and comes the engine hears AE, and repeats. Whatever was answered AA is in the tables, whole.
#[test]
fn what_was_acknowledged_is_in_the_tables_though_kafka_goes_and_comes() -> anyhow::Result<()> {
    let mut stand = Stand::start()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    stand.configure(&format!("[mllp]\npatience_ms = 700\n[[mllp.ports]]\nlisten = '127.0.0.1:{port}'\ntopic = 'hl7.raw'\n"))?;
    let (_listener, ingest) = (stand.service("mllp")?, stand.service("ingest")?);
    let mut engine = connected(port)?;
    let mut acknowledged = 0;
    let mut refused = 0;
    for number in 0..60 {
        if number == 20 {
            stand.stop_services()?;
        }
        if number == 24 {
            stand.start_services()?;
        }
        let (code, id) = sent(&mut engine, &message(number))?;
        assert_eq!(id, format!("C{number}"));
        match code.as_str() {
            "AA" => acknowledged += 1,
            "AE" => refused += 1,
            other => anyhow::bail!("the listener answers {other}"),
        }
    }
    assert!(acknowledged >= 30 && refused >= 3, "{acknowledged} acknowledged, {refused} refused");
    let (code, _) = sent(&mut engine, "this is no message")?;
    assert_eq!(code, "AR");
    // What was answered AE may have come through as well: at least once.
    let landed = "SELECT count(DISTINCT control_id) FROM messages WHERE outcome = 'mapped'";
    let began = Instant::now();
    while stand.count(landed)? < acknowledged {
        ensure!(began.elapsed() < Duration::from_secs(60), "acknowledged messages are not in the tables");
        std::thread::sleep(Duration::from_millis(300));
    }
    drop(ingest);
    stand.must(&["verify"])?;
    Ok(())
}

/// Frames, compression and JSON around a message come off; what is nothing is a row, and a dead letter with its own bytes.
#[test]
fn wrappings_come_off_and_what_is_rejected_is_copied() -> anyhow::Result<()> {
    let stand = Stand::start()?;
    stand.configure("[ingest]\ndead_letters = true\n")?;
    stand.must(&["topics", "create"])?;
    let _ingest = stand.service("ingest")?;
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(message(2).as_bytes())?;
    let mut outgoing: Vec<Vec<u8>> = vec![
        [b"\0\0\0\0\x07", message(1).as_bytes()].concat(),
        zipped.finish()?,
        serde_json::json!({"message": message(3)}).to_string().into_bytes(),
        serde_json::json!({"specversion": "1.0", "id": "1", "source": "/engine", "type": "hl7", "data": message(4)})
            .to_string()
            .into_bytes(),
        b"\xde\xad\xbe\xef".to_vec(),
    ];
    outgoing.push(message(5).into_bytes());
    let bus = stand.bus("engine")?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let publisher = bus::Publisher::new(&bus)?;
        let record = |payload: Vec<u8>| bus::Outgoing {
            topic: "hl7.raw".to_owned(),
            key: Some(b"k".to_vec()),
            payload: Some(payload),
            headers: vec![("h".to_owned(), Some(b"v".to_vec()))],
            timestamp: None,
        };
        publisher.send_all(outgoing.into_iter().map(record).collect()).await
    })?;
    stand.until("SELECT count(*) FROM messages WHERE outcome = 'mapped' AND topic = 'hl7.raw'", 5)?;
    stand.until("SELECT count(*) FROM messages WHERE outcome = 'rejected' AND reject_stage = 'wire'", 1)?;
    assert_eq!(stand.count("SELECT count(DISTINCT visit_number) FROM encounters")?, 5);
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", stand.address("kafka")?).set("group.id", "letters").create()?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset("hl7.raw.dlq", 0, Offset::Beginning)?;
    consumer.assign(&from)?;
    let letter = consumer.poll(Duration::from_secs(30)).context("no dead letter came")??;
    assert_eq!((letter.key(), letter.payload()), (Some(b"k".as_slice()), Some(b"\xde\xad\xbe\xef".as_slice())));
    let headers = letter.headers().context("a dead letter has headers")?;
    let named: BTreeMap<&str, String> =
        headers.iter().map(|header| (header.key, String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned())).collect();
    assert_eq!(named.get("h").map(String::as_str), Some("v"));
    assert_eq!(named.get("__connect.errors.topic").map(String::as_str), Some("hl7.raw"));
    assert_eq!(named.get("__connect.errors.offset").map(String::as_str), Some("4"));
    assert!(named.contains_key("__connect.errors.exception.message"));
    stand.must(&["verify"])?;
    Ok(())
}
