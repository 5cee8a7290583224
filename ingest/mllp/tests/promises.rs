//! The listener's promises, over TCP and against librdkafka's mock cluster.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bus::{Feed, Received, Record, Start};
use mllp::{Answers, Listener, MllpError, Order, Port, Settings, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

type Mock = MockCluster<'static, DefaultProducerContext>;
type Done = Result<(), Box<dyn std::error::Error>>;

const PATIENCE: Duration = Duration::from_secs(60);
const TOPIC: &str = "hl7.raw";

/// A listener beside a mock of Kafka.
struct Stand {
    mock: Mock,
    addresses: Vec<SocketAddr>,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), MllpError>>,
}

fn port() -> Port {
    Port { listen: SocketAddr::from(([127, 0, 0, 1], 0)), topic: TOPIC.to_owned(), tls: None, order: Order::Peer, answers: Answers::Asked }
}

fn settings() -> Settings {
    Settings { ports: vec![port()], ..Settings::default() }
}

impl Stand {
    async fn open(settings: Settings) -> Result<Self, Box<dyn std::error::Error>> {
        let mock = Mock::new(1)?;
        mock.create_topic(TOPIC, 4, 1)?;
        let listener = Listener::bind(&settings).await?;
        let (addresses, stop) = (listener.addresses(), CancellationToken::new());
        let (bus, token) = (bus::Settings::new(mock.bootstrap_servers(), "tests"), stop.clone());
        let clock = || "2026-01-02T03:04:05Z".parse().expect("an instant");
        #[expect(clippy::disallowed_methods, reason = "the stand joins it in `close`")]
        let serving = tokio::spawn(async move { listener.serve(&bus, clock, &token).await });
        Ok(Self { mock, addresses, stop, serving })
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.addresses.first().expect("a port")).await
    }

    /// The first `count` records of the topic.
    async fn records(&self, count: usize) -> Result<Vec<Record>, bus::BusError> {
        let settings = bus::Settings::new(self.mock.bootstrap_servers(), "reader");
        let mut feed = Feed::subscribe(&settings, &[TOPIC.to_owned()], |_: &schemas::TopicPartition| Start::Beginning).await?;
        let mut records = Vec::new();
        while records.len() < count {
            if let Received::Record(record) = tokio::time::timeout(PATIENCE, feed.recv()).await.expect("records are missing")? {
                records.push(record);
            }
        }
        feed.close().await;
        Ok(records)
    }

    async fn close(self) -> Done {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.serving).await???;
        Ok(())
    }
}

fn message(id: &str, conditions: &str) -> Vec<u8> {
    format!("MSH|^~\\&|ADT|NORTH|WARD|HUB|20260102||ADT^A01|{id}|P|2.5|||{conditions}\rPID|1||4711\r").into_bytes()
}

fn framed(content: &[u8]) -> Vec<u8> {
    [b"\x0b", content, b"\x1c\r"].concat()
}

/// The next answer: its code and the id that it answers. `None` where the connection ended.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, String)> {
    let reading = async {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\x1c\r") {
            bytes.push(stream.read_u8().await.ok()?);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let msa = text.split('\r').find(|line| line.starts_with("MSA"))?.to_owned();
        let mut fields = msa.split('|').skip(1).map(str::to_owned);
        Some((fields.next()?, fields.next().unwrap_or_default()))
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("no answer in time")
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), content: &[u8]) -> Option<(String, String)> {
    stream.write_all(&framed(content)).await.ok()?;
    answer(stream).await
}

fn said(code: &str, id: &str) -> Option<(String, String)> {
    Some((code.to_owned(), id.to_owned()))
}

fn payload(record: &Record) -> &[u8] {
    record.payload.as_deref().unwrap_or_default()
}

fn header<'a>(record: &'a Record, name: &str) -> &'a [u8] {
    record.headers.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.as_deref()).unwrap_or_default()
}

/// Bytes are evidence: NULs, vertical tabs and bytes of any charset stand on the topic as they came.
#[tokio::test]
async fn an_accepted_message_is_on_the_topic_byte_for_byte() -> Done {
    let stand = Stand::open(settings()).await?;
    let mut stream = stand.connect().await?;
    let content = [message("1", "|").as_slice(), b"NTE|1||D\xfcsseldorf \x0b \0 \x1c end\r\n"].concat();
    assert_eq!(ask(&mut stream, &content).await, said("AA", "1"));
    let records = stand.records(1).await?;
    assert!(payload(&records[0]) == content);
    assert_eq!(records[0].key.as_deref(), Some(format!("mllp/{}/127.0.0.1", port().listen.port()).as_bytes()));
    assert_eq!(header(&records[0], "mllp_frame"), b"whole");
    assert_eq!(header(&records[0], "mllp_received_at"), b"2026-01-02T03:04:05Z");
    assert_eq!(records[0].timestamp.to_string(), "2026-01-02T03:04:05Z");
    stand.close().await
}

/// The promise: a broker that is slow or dead, at whatever moment, costs no message that was answered AA.
#[tokio::test]
async fn no_acknowledged_message_is_ever_missing_on_the_topic() -> Done {
    let stand = Stand::open(Settings { patience_ms: 400, ..settings() }).await?;
    let mut acknowledged = Vec::new();
    let mut failures = 0;
    let mut stream = stand.connect().await?;
    for number in 0..60 {
        match number % 20 {
            5 => stand.mock.broker_down(1)?,
            9 => stand.mock.broker_round_trip_time(1, Duration::from_millis(600))?,
            _ => {}
        }
        let id = format!("m{number}");
        loop {
            let Some((code, answered)) = ask(&mut stream, &message(&id, "|")).await else { panic!("the connection ended") };
            assert_eq!(answered, id, "answers keep the order of the messages");
            if code == "AA" {
                acknowledged.push(id);
                break;
            }
            assert_eq!(code, "AE");
            failures += 1;
            if failures % 3 == 0 {
                stand.mock.broker_round_trip_time(1, Duration::ZERO)?;
                stand.mock.broker_up(1)?;
            }
        }
    }
    assert!(failures >= 6, "the broker was never away");
    let ends = bus::end_offsets(&bus::Settings::new(stand.mock.bootstrap_servers(), "tests"), &[TOPIC.to_owned()]).await?;
    let stored = usize::try_from(ends.values().sum::<i64>())?;
    assert!(stored > acknowledged.len(), "what was answered AE and arrived later stands there too");
    let records = stand.records(stored).await?;
    let id = |record: &Record| Some(std::str::from_utf8(payload(record)).ok()?.split('|').nth(9)?.to_owned());
    let found: BTreeSet<String> = records.iter().filter_map(id).collect();
    assert!(acknowledged.iter().all(|id| found.contains(id)), "an acknowledged message is missing");
    stand.close().await
}

/// A sender that asked for no answer would take it for the answer to its next message.
#[tokio::test]
async fn who_asks_for_no_answer_gets_none_and_is_kept_all_the_same() -> Done {
    let stand = Stand::open(settings()).await?;
    let mut stream = stand.connect().await?;
    let all = [framed(&message("1", "NE|NE")), framed(&message("2", "AL|NE")), framed(&message("3", "ER|")), framed(&message("4", "|"))];
    stream.write_all(&all.concat()).await?;
    assert_eq!(answer(&mut stream).await, said("CA", "2"));
    assert_eq!(answer(&mut stream).await, said("AA", "4"));
    let ids: Vec<_> = stand.records(4).await?.iter().map(|record| payload(record).to_vec()).collect();
    assert!(ids == [message("1", "NE|NE"), message("2", "AL|NE"), message("3", "ER|"), message("4", "|")], "in the order they were sent");
    stand.close().await
}

/// What is no message is kept and refused; what is a fragment is kept and marked, and nobody waits for its answer.
#[tokio::test]
async fn nothing_that_came_is_lost_be_it_a_message_or_not() -> Done {
    let stand = Stand::open(settings()).await?;
    let mut stream = stand.connect().await?;
    assert_eq!(ask(&mut stream, b"hello").await, said("AR", ""));
    stream.write_all(b"noise").await?;
    stream.write_all(b"\x0bMSH|^~\\&|A||||2026||ADT^A01|cut|P|2.5\rPI").await?;
    assert_eq!(ask(&mut stream, &message("2", "|")).await, said("AA", "2"));
    stream.write_all(b"\x0bMSH|^~\\&|A||||2026||ADT^A01|left").await?;
    stream.shutdown().await?;
    assert_eq!(answer(&mut stream).await, None);
    let records = stand.records(5).await?;
    let kinds: Vec<String> = records.iter().map(|record| String::from_utf8_lossy(header(record, "mllp_frame")).into_owned()).collect();
    assert_eq!(kinds, ["whole", "stray", "cut", "whole", "cut"]);
    assert!(payload(&records[1]) == b"noise" && payload(&records[4]).ends_with(b"left"));
    stand.close().await
}

/// A peer that never ends a frame must not fill the memory.
#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_its_connection_closed() -> Done {
    let stand = Stand::open(Settings { max_message_bytes: 10_000, ..settings() }).await?;
    let mut stream = stand.connect().await?;
    let endless = [b"\x0b".as_slice(), &message("1", "AL|"), &[b'a'; 20_000]].concat();
    stream.write_all(&endless).await?;
    assert_eq!(answer(&mut stream).await, said("CR", "1"));
    assert_eq!(answer(&mut stream).await, None);
    assert_eq!(ask(&mut stand.connect().await?, &message("2", "|")).await, said("AA", "2"));
    stand.close().await
}

/// AR says that to repeat is of no use: it is not said of a message that may only have stood beside one that is too large.
#[tokio::test]
async fn what_the_broker_finds_too_large_is_refused_only_if_it_was_sent_alone() -> Done {
    let stand = Stand::open(settings()).await?;
    let mut stream = stand.connect().await?;
    let refuse = || stand.mock.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let large = [message("1", "|").as_slice(), b"NTE|", &[b'a'; 2_000_000], b"\r"].concat();
    refuse();
    assert_eq!(ask(&mut stream, &large).await, said("AR", "1"));
    refuse();
    assert_eq!(ask(&mut stream, &message("2", "|")).await, said("AE", "2"));
    assert_eq!(ask(&mut stream, &message("2", "|")).await, said("AA", "2"));
    stand.close().await
}

/// A sender without the last byte of the frame waits for its answer as any other.
#[tokio::test]
async fn a_frame_without_its_last_byte_is_answered_after_a_moment() -> Done {
    let stand = Stand::open(settings()).await?;
    let mut stream = stand.connect().await?;
    for id in ["1", "2"] {
        stream.write_all(&[b"\x0b", message(id, "|").as_slice(), b"\x1c"].concat()).await?;
        assert_eq!(answer(&mut stream).await, said("AA", id));
    }
    stand.close().await
}

/// Whoever hangs, reads no answers or waits for Kafka holds up nobody else.
#[tokio::test]
async fn one_stuck_peer_does_not_block_another() -> Done {
    let stand = Stand::open(Settings { in_flight: 2, ..settings() }).await?;
    let mut half = stand.connect().await?;
    half.write_all(b"\x0bMSH|^~\\&|").await?;
    let mut deaf = stand.connect().await?;
    let many = framed(&message("x", "|")).repeat(200);
    deaf.write_all(&many).await?;
    let mut stream = stand.connect().await?;
    assert_eq!(ask(&mut stream, &message("1", "|")).await, said("AA", "1"));
    stand.close().await
}

/// While Kafka is away nothing is piled up: the sender is held back by TCP.
#[tokio::test]
async fn a_dead_broker_holds_the_sender_back() -> Done {
    let stand = Stand::open(Settings { in_flight: 4, patience_ms: 60_000, ..settings() }).await?;
    let mut stream = stand.connect().await?;
    assert_eq!(ask(&mut stream, &message("0", "|")).await, said("AA", "0"));
    stand.mock.broker_down(1)?;
    let large = framed(&[message("1", "|").as_slice(), b"NTE|", &[b'a'; 500_000], b"\r"].concat());
    let mut written = 0;
    while written < 200 && tokio::time::timeout(Duration::from_secs(2), stream.write_all(&large)).await.is_ok() {
        written += 1;
    }
    assert!(written < 60, "{written} messages of 500 kB were taken in without an answer");
    stand.mock.broker_up(1)?;
    assert_eq!(answer(&mut stream).await, said("AA", "1"));
    stand.close().await
}

/// A restart must not turn what Kafka has into what the sender believes lost, where a moment's patience helps.
#[tokio::test]
async fn what_is_in_flight_is_answered_before_the_listener_ends() -> Done {
    let stand = Stand::open(Settings { patience_ms: 30_000, ..settings() }).await?;
    let mut stream = stand.connect().await?;
    assert_eq!(ask(&mut stream, &message("0", "|")).await, said("AA", "0"));
    stand.mock.broker_round_trip_time(1, Duration::from_millis(1_000))?;
    stream.write_all(&framed(&message("1", "|"))).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stand.stop.cancel();
    assert_eq!(answer(&mut stream).await, said("AA", "1"));
    assert_eq!(answer(&mut stream).await, None);
    assert!(stand.connect().await.is_err(), "nobody is let in any more");
    stand.close().await
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_says_what_to_do() -> Done {
    let stand = Stand::open(settings()).await?;
    let taken = Port { listen: *stand.addresses.first().expect("a port"), ..port() };
    let error = Listener::bind(&Settings { ports: vec![taken], ..settings() }).await.err().expect("the port is taken").to_string();
    assert!(error.contains("127.0.0.1") && error.contains("[[mllp.ports]]"), "{error}");
    stand.close().await
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_those_inside_are_served() -> Done {
    let stand = Stand::open(Settings { max_connections: 1, ..settings() }).await?;
    let mut first = stand.connect().await?;
    assert_eq!(ask(&mut first, &message("1", "|")).await, said("AA", "1"));
    assert_eq!(answer(&mut stand.connect().await?).await, None);
    assert_eq!(ask(&mut first, &message("2", "|")).await, said("AA", "2"));
    drop(first);
    // The place is free once the listener has seen the end of the first.
    let mut again = None;
    while again.is_none() {
        again = ask(&mut stand.connect().await?, &message("3", "|")).await;
    }
    assert_eq!(again, said("AA", "3"));
    stand.close().await
}

/// Certificates of one authority, in files as a configuration names them.
fn certificates(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    std::fs::write(folder.join("ca.pem"), authority.pem())?;
    for name in ["localhost", "engine"] {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &authority)?;
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem())?;
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}

fn connector(folder: &Path, shows_certificate: Option<&str>) -> Result<TlsConnector, Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem"))?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    let config = match shows_certificate {
        None => builder.with_no_client_auth(),
        Some(name) => builder.with_client_auth_cert(
            vec![CertificateDer::from_pem_file(folder.join(format!("{name}.pem")))?],
            PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key")))?,
        )?,
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// On a port that asks for certificates nobody speaks without one; a port beside it may speak plainly.
#[tokio::test]
async fn tls_lets_in_who_shows_a_certificate_and_nobody_else() -> Done {
    let folder = tempfile::tempdir()?;
    certificates(folder.path())?;
    let file = |name: &str| folder.path().join(name);
    let tls = Tls { certificate: file("localhost.pem"), key: file("localhost.key"), client_ca: Some(file("ca.pem")) };
    let mutual = Port { tls: Some(tls.clone()), ..port() };
    let stand = Stand::open(Settings { ports: vec![mutual, port()], ..settings() }).await?;
    let name = ServerName::try_from("localhost")?;

    let mut known = connector(folder.path(), Some("engine"))?.connect(name.clone(), stand.connect().await?).await?;
    assert_eq!(ask(&mut known, &message("1", "|")).await, said("AA", "1"));
    let unknown = connector(folder.path(), None)?.connect(name, stand.connect().await?).await;
    let refused = match unknown {
        Err(_) => true,
        Ok(mut stream) => ask(&mut stream, &message("2", "|")).await.is_none(),
    };
    assert!(refused, "a peer without a certificate was let in");
    assert_eq!(ask(&mut stand.connect().await?, &message("3", "|")).await, None, "nor one without TLS");
    let mut plain = TcpStream::connect(stand.addresses[1]).await?;
    assert_eq!(ask(&mut plain, &message("4", "|")).await, said("AA", "4"));
    assert_eq!(stand.records(2).await?.len(), 2);

    let wrong = Port { tls: Some(Tls { key: file("ca.pem"), ..tls }), ..port() };
    let error = Listener::bind(&Settings { ports: vec![wrong], ..settings() }).await.err().expect("no key").to_string();
    assert!(error.contains("ca.pem") && error.contains("no private key"), "{error}");
    stand.close().await
}
