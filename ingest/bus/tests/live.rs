//! The bus against a real Kafka: what a mock cannot show.
#![cfg(feature = "live")]

#[path = "live/broker.rs"]
mod broker;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use broker::Broker;
use bus::{Feed, Outgoing, Property, Publisher, Received, Record, Settings, Start, TopicSpec, create_topics};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use schemas::{Skip, Skipped, TopicPartition};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

type Done = Result<(), Box<dyn std::error::Error>>;

const PATIENCE: Duration = Duration::from_secs(40);

fn outgoing(topic: &str, payload: &str) -> Outgoing {
    Outgoing { topic: topic.to_owned(), key: Some(b"ward".to_vec()), payload: Some(payload.as_bytes().to_vec()), ..Outgoing::default() }
}

async fn next(feed: &mut Feed) -> Result<Received, bus::BusError> {
    tokio::time::timeout(PATIENCE, feed.recv()).await.expect("nothing came in time")
}

async fn record(feed: &mut Feed) -> Result<Record, bus::BusError> {
    loop {
        if let Received::Record(record) = next(feed).await? {
            return Ok(record);
        }
    }
}

async fn feed_at(settings: &Settings, topic: &str, offset: i64) -> Result<Feed, bus::BusError> {
    Feed::subscribe(settings, &[topic.to_owned()], move |_: &TopicPartition| Start::At(offset)).await
}

/// The gaps that come before the first record, and that record.
async fn gaps(feed: &mut Feed) -> Result<(Vec<(i64, i64)>, Record), bus::BusError> {
    let mut gaps = Vec::new();
    loop {
        match next(feed).await? {
            Received::Gap { wanted, found, .. } => gaps.push((wanted, found)),
            Received::Record(record) => return Ok((gaps, record)),
            _ => {}
        }
    }
}

/// A record goes out and comes back over this connection.
async fn passes(settings: &Settings, topic: &str) -> Done {
    settings.check()?;
    create_topics(settings, &[TopicSpec::new(topic, 1)]).await?;
    // A publisher that is dropped takes along what it has not delivered.
    let publisher = Publisher::new(settings)?;
    let sent = publisher.send(outgoing(topic, topic)).await?;
    tokio::time::timeout(PATIENCE, sent.done()).await.map_err(|_| format!("{topic}: nothing was delivered"))??;
    let mut feed = feed_at(settings, topic, 0).await?;
    assert!(record(&mut feed).await?.payload.as_deref() == Some(topic.as_bytes()));
    feed.close().await;
    Ok(())
}

fn secured(broker: &Broker, address: String, properties: &[(&str, Property)]) -> Settings {
    let mut settings = Settings::new(address, "live");
    settings.properties.insert("ssl.ca.location".to_owned(), broker.file("ca.pem").to_string_lossy().as_ref().into());
    // The node listens on 127.0.0.1 alone, and localhost may be ::1 first.
    settings.properties.insert("broker.address.family".to_owned(), "v4".into());
    settings.properties.extend(properties.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    settings
}

/// An identity provider: it gives everybody a token that is not signed, which a broker without further configuration believes.
async fn give_tokens(listener: TcpListener) {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    // The year 2100: no test reads the clock.
    let token = format!("{}.{}.", part(r#"{"alg":"none"}"#), part(r#"{"sub":"ward","iat":1700000000,"exp":4102444800}"#));
    let body = format!(r#"{{"access_token": "{token}", "token_type": "Bearer", "expires_in": 3600}}"#);
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 4_096];
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        if stream.read(&mut request).await.is_err() || stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Hospitals' clusters ask for TLS, for a name and a password, for a token, or for a certificate.
#[tokio::test]
async fn records_pass_through_every_kind_of_security_that_is_offered() -> Done {
    let broker = Broker::start().await?;
    let password = broker.file("password");
    std::fs::write(&password, "hunter2\n")?;
    let sasl = |mechanism: &str, password: Property| {
        let properties = [
            ("security.protocol", "SASL_SSL".into()),
            ("sasl.mechanism", mechanism.into()),
            ("sasl.username", "ward".into()),
            ("sasl.password", password),
        ];
        secured(&broker, broker.secure(), &properties)
    };
    passes(&sasl("PLAIN", "hunter2".into()), "by.plain").await?;
    passes(&sasl("SCRAM-SHA-256", Property::from(password.as_path())), "by.scram").await?;

    let tokens = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}/token", tokens.local_addr()?);
    let mut giving = tokio::task::JoinSet::new();
    giving.spawn(give_tokens(tokens));
    let oidc = [
        ("security.protocol", "SASL_SSL".into()),
        ("sasl.mechanism", "OAUTHBEARER".into()),
        ("sasl.oauthbearer.method", "oidc".into()),
        ("sasl.oauthbearer.token.endpoint.url", endpoint.as_str().into()),
        ("sasl.oauthbearer.client.id", "ward".into()),
        ("sasl.oauthbearer.client.secret", Property::from(password.as_path())),
    ];
    passes(&secured(&broker, broker.secure(), &oidc), "by.token").await?;

    let path = |name: &str| Property::from(broker.file(name).to_string_lossy().as_ref());
    let mutual =
        [("security.protocol", "SSL".into()), ("ssl.certificate.location", path("client.pem")), ("ssl.key.location", path("client.key"))];
    passes(&secured(&broker, broker.mutual(), &mutual), "by.certificate").await?;

    let wrong = sasl("PLAIN", "wrong".into());
    let publisher = Publisher::new(&wrong)?;
    let sent = publisher.send(outgoing("by.plain", "x")).await?;
    assert!(tokio::time::timeout(Duration::from_secs(2), sent.done()).await.is_err(), "a wrong password is not let in");
    Ok(())
}

/// Publishes in a transaction that is committed, or else aborted.
fn transaction(producer: &BaseProducer, payload: &str, committed: bool) -> Done {
    producer.begin_transaction()?;
    producer.send(BaseRecord::<str, str>::to("holes").payload(payload)).map_err(|(error, _)| error)?;
    producer.flush(PATIENCE)?;
    if committed {
        producer.commit_transaction(PATIENCE)?
    } else {
        producer.abort_transaction(PATIENCE)?
    }
    Ok(())
}

/// What conservation counts: markers and aborted records are no loss, deleted ones are, and a topic made anew is told.
#[tokio::test]
async fn offsets_without_a_record_are_told_with_their_cause() -> Done {
    let broker = Broker::start().await?;
    let settings = Settings::new(broker.plain(), "live");
    create_topics(&settings, &[TopicSpec::new("holes", 1)]).await?;
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", broker.plain()).set("transactional.id", "live").create()?;
    producer.init_transactions(PATIENCE)?;
    transaction(&producer, "0", true)?;
    transaction(&producer, "2", false)?;
    transaction(&producer, "4", true)?;
    Publisher::new(&settings)?.send(outgoing("holes", "6")).await?.done().await?;

    let mut feed = feed_at(&settings, "holes", 0).await?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match next(&mut feed).await? {
            Received::Record(record) => seen.push((record.offset, record.skip.map(|skip| (skip.offsets, skip.because)))),
            Received::Gap { wanted, found, .. } => panic!("{wanted} to {found} is no loss"),
            _ => {}
        }
    }
    assert_eq!(seen, [(0, None), (4, Some((3, Skipped::Void))), (6, Some((1, Skipped::Void)))]);
    feed.close().await;

    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", broker.plain()).create()?;
    let delete = async |upto: i64| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("holes", 0, Offset::Offset(upto))?;
        admin.delete_records(&list, &AdminOptions::new()).await
    };
    delete(4).await?;
    let mut feed = feed_at(&settings, "holes", 1).await?;
    let (found, first) = gaps(&mut feed).await?;
    assert_eq!(found, [(1, 4)]);
    assert_eq!((first.offset, first.skip), (4, Some(Skip { offsets: 3, because: Skipped::Deleted })));
    feed.close().await;

    // Nothing is left and nothing follows: the loss is told all the same.
    delete(7).await?;
    let mut feed = feed_at(&settings, "holes", 5).await?;
    loop {
        match next(&mut feed).await? {
            Received::Gap { wanted, found, .. } => break assert_eq!((wanted, found), (5, 7)),
            Received::Record(record) => panic!("{record:?} should not exist"),
            _ => {}
        }
    }
    feed.close().await;

    for deleted in admin.delete_topics(&["holes"], &AdminOptions::new()).await? {
        deleted.map_err(|(topic, code)| format!("{topic}: {code}"))?;
    }
    tokio::time::timeout(PATIENCE, async {
        while create_topics(&settings, &[TopicSpec::new("holes", 1)]).await.is_err()
            || bus::end_offsets(&settings, &["holes".to_owned()]).await.ok().and_then(|ends| ends.values().next().copied()) != Some(0)
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await?;
    Publisher::new(&settings)?.send(outgoing("holes", "new")).await?.done().await?;
    let (found, first) = gaps(&mut feed_at(&settings, "holes", 7).await?).await?;
    assert_eq!((found.as_slice(), first.offset, first.skip), ([(7, 0)].as_slice(), 0, None));
    Ok(())
}
