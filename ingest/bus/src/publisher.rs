//! Publishing: idempotent, acknowledged by all replicas, patient. The queue is bounded, and a full one makes the sender wait.

use std::time::Duration;

use jiff::Timestamp;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use crate::cloudevents::{HeaderList, TIME};
use crate::{BusError, Settings};

/// How often a record is sent again that was refused for its timestamp, or for that of another one beside it.
const RESENT: usize = 3;
/// How long to wait before a full queue, or an unfinished flush, is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A record to publish. Its content may identify a person, so it has no `Debug`.
#[derive(Clone, Default)]
pub struct Outgoing {
    /// Topic name.
    pub topic: String,
    /// Records of one key keep their order.
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: HeaderList,
    /// The record's timestamp; the client's clock where none is given.
    pub timestamp: Option<Timestamp>,
}

/// A connection for publishing. Cheap to clone; clones share the queue, and a delivery that is awaited holds one.
#[derive(Clone)]
pub struct Publisher {
    producer: FutureProducer,
}

/// A record on its way. Dropping it does not call the record back.
#[must_use = "a record is safe only when its delivery was awaited"]
pub struct Delivery {
    topic: String,
    answer: DeliveryFuture,
    producer: FutureProducer,
}

impl Delivery {
    /// Waits until all replicas have the record, as long as that takes. Gives `(partition, offset)`. A topic may refuse timestamps that lie
    /// far from its own now: a CloudEvent, which carries its time in a header, is then sent again with the time of sending.
    pub async fn done(self) -> Result<(i32, i64), BusError> {
        let Self { topic, mut answer, producer } = self;
        let mut left = RESENT;
        loop {
            let (source, message) = match answer.await {
                Ok(Ok(delivery)) => return Ok((delivery.partition, delivery.offset)),
                Ok(Err(refused)) => refused,
                Err(_) => return Err(BusError::Fatal { action: "publish", source: KafkaError::Canceled }),
            };
            let Some(record) = again(&source, &message).filter(|_| left > 0) else {
                return Err(BusError::undelivered(&topic, source));
            };
            left -= 1;
            tracing::debug!(topic, %source, "a record is sent again");
            answer = queue(&producer, record).await.map_err(|source| BusError::undelivered(&topic, source))?;
        }
    }
}

/// The record as it may yet be taken; `None` where it would be refused again.
fn again<'a>(refused: &KafkaError, message: &'a OwnedMessage) -> Option<FutureRecord<'a, [u8], [u8]>> {
    let timestamp = match refused.rdkafka_error_code()? {
        // It was sent together with one that is at fault.
        RDKafkaErrorCode::InvalidDifferentRecord => message.timestamp().to_millis(),
        RDKafkaErrorCode::InvalidTimestamp | RDKafkaErrorCode::InvalidRecord if tells_its_time(message) => None,
        _ => return None,
    };
    let mut record = FutureRecord::to(message.topic());
    record.key = message.key();
    record.payload = message.payload();
    record.headers = message.headers().cloned();
    record.timestamp = timestamp;
    Some(record)
}

fn tells_its_time(message: &OwnedMessage) -> bool {
    message.headers().is_some_and(|headers| headers.iter().any(|header| header.key == TIME))
}

/// Puts a record on the queue, waiting while it is full.
async fn queue(producer: &FutureProducer, mut record: FutureRecord<'_, [u8], [u8]>) -> Result<DeliveryFuture, KafkaError> {
    loop {
        match producer.send_result(record) {
            Ok(answer) => return Ok(answer),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                record = again;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err((source, _)) => return Err(source),
        }
    }
}

impl Publisher {
    /// Builds the client; does not wait for a broker.
    pub fn new(settings: &Settings) -> Result<Self, BusError> {
        let producer = settings.producer()?.create().map_err(|source| BusError::building("create a publisher", source))?;
        Ok(Self { producer })
    }

    /// The same for what may be given up: a record that is not delivered within this time fails, and has a place on the queue no longer. What
    /// is published here never fills the queue of another connection.
    pub fn giving_up(settings: &Settings, within: Duration) -> Result<Self, BusError> {
        let mut config = settings.producer()?;
        config.set("message.timeout.ms", within.as_millis().to_string());
        Ok(Self { producer: config.create().map_err(|source| BusError::building("create a publisher", source))? })
    }

    /// Puts one record on the queue, waiting while it is full. Records of one sender to one partition keep their order.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Delivery, BusError> {
        let mut headers = OwnedHeaders::new_with_capacity(outgoing.headers.len());
        for (key, value) in &outgoing.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        let mut record = FutureRecord::<[u8], [u8]>::to(&outgoing.topic).headers(headers);
        record.key = outgoing.key.as_deref();
        record.payload = outgoing.payload.as_deref();
        record.timestamp = outgoing.timestamp.map(Timestamp::as_millisecond);
        let answer = queue(&self.producer, record).await.map_err(|source| BusError::undelivered(&outgoing.topic, source))?;
        Ok(Delivery { topic: outgoing.topic.clone(), answer, producer: self.producer.clone() })
    }

    /// Publishes all and waits until all are delivered. Gives `(partition, offset)` in the order given. After an error some may
    /// have been delivered: publish them all again, ids make that harmless.
    pub async fn send_all(&self, all: Vec<Outgoing>) -> Result<Vec<(i32, i64)>, BusError> {
        let mut deliveries = Vec::with_capacity(all.len());
        for outgoing in all {
            deliveries.push(self.send(outgoing).await?);
        }
        let mut places = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            places.push(delivery.done().await?);
        }
        Ok(places)
    }

    /// Waits until nothing is on its way, as long as that takes.
    pub async fn flush(&self) {
        while self.producer.in_flight_count() > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
