//! Publishing: idempotent, acknowledged by all replicas, patient. The queue is bounded, and a full one makes the sender wait.

use std::time::Duration;

use jiff::Timestamp;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use crate::cloudevents::HeaderList;
use crate::{BusError, Settings};

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

/// A connection for publishing. Cheap to clone; clones share the queue. The last one that is dropped takes along what was not delivered:
/// those deliveries fail.
#[derive(Clone)]
pub struct Publisher {
    producer: FutureProducer,
}

/// A record on its way. Dropping it does not call the record back.
#[must_use = "a record is safe only when its delivery was awaited"]
pub struct Delivery {
    topic: String,
    answer: DeliveryFuture,
}

impl Delivery {
    /// Waits until all replicas have the record, as long as that takes. Gives `(partition, offset)`.
    pub async fn done(self) -> Result<(i32, i64), BusError> {
        match self.answer.await {
            Ok(Ok(delivery)) => Ok((delivery.partition, delivery.offset)),
            Ok(Err((source, _))) => Err(BusError::undelivered(&self.topic, source)),
            Err(_) => Err(BusError::Fatal { action: "publish", source: KafkaError::Canceled }),
        }
    }
}

impl Publisher {
    /// Builds the client; does not wait for a broker.
    pub fn new(settings: &Settings) -> Result<Self, BusError> {
        let producer = settings.producer()?.create().map_err(|source| BusError::building("create a publisher", source))?;
        Ok(Self { producer })
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
        loop {
            match self.producer.send_result(record) {
                Ok(answer) => return Ok(Delivery { topic: outgoing.topic.clone(), answer }),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err((source, _)) => return Err(BusError::undelivered(&outgoing.topic, source)),
            }
        }
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
