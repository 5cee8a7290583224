//! One connection: one half reads frames and hands them to Kafka, the other waits for Kafka and answers, in the same order.
//!
//! Between them lies a queue as long as the connection may have messages in flight; while it is full, nothing more is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bus::{BusError, Delivery, Outgoing};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use crate::Port;
use crate::answer::{Verdict, answer};
use crate::frame::{Frame, Framer, Kind, Next};
use crate::header::Header;
use crate::listener::{Hall, ROOM_BYTES};
use crate::metrics::{self, Cause};
use crate::settings::Order;

/// A message of so many bytes is sent to the broker by itself: no batch of the client is larger.
const ALONE_BYTES: usize = 1_000_000;

/// Who speaks, and where it came in.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) port: Arc<Port>,
}

/// A message that was read and waits for its answer.
struct Waiting {
    header: Option<Header>,
    /// Nobody waits for an answer to a fragment.
    kind: Kind,
    bytes: usize,
    since: Instant,
    fate: Fate,
}

/// How it stands with a message.
enum Fate {
    /// On its way to Kafka.
    Sent(Delivery),
    /// Decided without Kafka.
    Decided(Verdict),
}

/// Serves a connection to its end. An error is one of the Kafka client that ends all.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Send>(stream: S, peer: &Peer, hall: &Hall) -> Result<(), BusError> {
    let (input, output) = tokio::io::split(stream);
    let (queue, waiting) = mpsc::channel(hall.settings.in_flight);
    let reading = Reading { framer: Framer::new(hall.settings.content_bytes()), room: None, peer, hall };
    let mut answering = std::pin::pin!(answer_all(output, waiting, peer, hall));
    let mut reading = std::pin::pin!(reading.run(input, queue));
    tokio::select! {
        // Once nothing more is read, what is in flight is answered.
        read = &mut reading => {
            let answered = answering.await;
            read.and(answered)
        }
        // Without answers there is no use in reading.
        answered = &mut answering => answered,
    }
}

struct Reading<'a> {
    framer: Framer,
    /// The room that the unfinished message occupies.
    room: Option<OwnedSemaphorePermit>,
    peer: &'a Peer,
    hall: &'a Hall,
}

/// What one read gave.
enum Read {
    Bytes(usize),
    Silence,
    Over,
}

impl Reading<'_> {
    async fn run(mut self, mut input: impl AsyncRead + Unpin, queue: mpsc::Sender<Waiting>) -> Result<(), BusError> {
        let mut piece = vec![0; ROOM_BYTES];
        loop {
            let frame = match self.framer.next() {
                Next::Frame(frame) => frame,
                Next::TooLarge(start) => return self.refuse(&start, queue).await,
                next @ (Next::More | Next::MoreOrSilence) => {
                    self.settle_room();
                    let within = if matches!(next, Next::More) { self.hall.settings.idle() } else { self.hall.settings.frame_end() };
                    match self.read(&mut input, &mut piece, within).await {
                        Read::Bytes(count) => {
                            if !self.find_room(count).await {
                                return Ok(());
                            }
                            self.framer.push(piece.get(..count).unwrap_or_default());
                            continue;
                        }
                        Read::Silence if matches!(next, Next::MoreOrSilence) => match self.framer.silence() {
                            Some(frame) => frame,
                            // The frame was empty.
                            None => continue,
                        },
                        Read::Silence => {
                            metrics::closed(Cause::Idle);
                            return self.leave(queue).await;
                        }
                        Read::Over if self.hall.stop.is_cancelled() => return Ok(()),
                        Read::Over => return self.leave(queue).await,
                    }
                }
            };
            if !self.pass_on(frame, &queue).await? {
                return Ok(());
            }
        }
    }

    async fn read(&self, input: &mut (impl AsyncRead + Unpin), piece: &mut [u8], within: Duration) -> Read {
        tokio::select! {
            biased;
            () = self.hall.stop.cancelled() => Read::Over,
            read = timeout(within, input.read(piece)) => match read {
                Ok(Ok(0)) => Read::Over,
                Ok(Ok(count)) => Read::Bytes(count),
                Ok(Err(error)) => {
                    tracing::debug!(peer = %self.peer.address, %error, "a connection broke");
                    Read::Over
                }
                Err(_) => Read::Silence,
            },
        }
    }

    /// Kept is what the peer left unfinished: it may be all that there will ever be of it.
    async fn leave(mut self, queue: mpsc::Sender<Waiting>) -> Result<(), BusError> {
        while let Some(frame) = self.framer.rest() {
            if !self.pass_on(frame, &queue).await? {
                break;
            }
        }
        Ok(())
    }

    /// Hands a frame to Kafka and to the other half, waiting while that has enough. `false` once the other half has gone.
    async fn pass_on(&mut self, frame: Frame, queue: &mpsc::Sender<Waiting>) -> Result<bool, BusError> {
        // Before anything is sent: whoever may not wait for an answer must not be in flight.
        let Ok(place) = queue.reserve().await else { return Ok(false) };
        let header = Header::read(&frame.content);
        let (since, bytes, kind) = (Instant::now(), frame.content.len(), frame.kind);
        let outgoing = self.record(frame, header.as_ref());
        let fate = match timeout(self.hall.settings.patience(), self.hall.publisher.send(outgoing)).await {
            Ok(Ok(delivery)) => Fate::Sent(delivery),
            Ok(Err(error)) => Fate::Decided(undelivered(error, self.peer, ALONE_BYTES)?),
            // The queue to Kafka was full all the while; nothing was put on it.
            Err(_) => Fate::Decided(Verdict::Unconfirmed),
        };
        place.send(Waiting { header, kind, bytes, since, fate });
        Ok(true)
    }

    /// The record: the content exactly, and how it came in.
    fn record(&self, frame: Frame, header: Option<&Header>) -> Outgoing {
        let Peer { address, port } = self.peer;
        let now = self.hall.now();
        let text = |name: &str, value: String| (name.to_owned(), Some(value.into_bytes()));
        let key = match (port.order, header) {
            (Order::Sender, Some(header)) => [b"mllp/".as_slice(), header.field(3), b"/", header.field(4)].concat(),
            _ => format!("mllp/{}/{}", port.listen.port(), address.ip()).into_bytes(),
        };
        Outgoing {
            topic: port.topic.clone(),
            key: Some(key),
            payload: Some(frame.content),
            headers: vec![
                text("mllp_frame", frame.kind.as_str().to_owned()),
                text("mllp_listen", port.listen.to_string()),
                text("mllp_peer", address.to_string()),
                text("mllp_received_at", now.to_string()),
            ],
            timestamp: Some(now),
        }
    }

    /// Nothing after a message that is too large can be told apart: its sender hears so, and the connection ends.
    async fn refuse(self, start: &[u8], queue: mpsc::Sender<Waiting>) -> Result<(), BusError> {
        tracing::warn!(port = %self.peer.port.listen, peer = %self.peer.address, "a message is longer than mllp.max_message_bytes; its connection is closed");
        metrics::closed(Cause::TooLarge);
        let refused = Waiting {
            header: Header::read(start),
            kind: Kind::Whole,
            bytes: 0,
            since: Instant::now(),
            fate: Fate::Decided(Verdict::TooLarge),
        };
        // Where the other half has gone, nobody is left to hear it.
        let _ = queue.send(refused).await;
        Ok(())
    }

    /// Finds room for so many bytes more; `false` where there was none in time.
    async fn find_room(&mut self, more: usize) -> bool {
        let needed = (self.framer.len() + more).div_ceil(ROOM_BYTES);
        let held = self.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Some(missing) = u32::try_from(needed.saturating_sub(held)).ok().filter(|missing| *missing > 0) else { return true };
        let asking = Arc::clone(&self.hall.room).acquire_many_owned(missing);
        let Ok(Ok(found)) = timeout(self.hall.settings.patience(), asking).await else {
            tracing::warn!(peer = %self.peer.address, "a connection is closed: mllp.max_buffered_bytes is reached");
            metrics::closed(Cause::NoRoom);
            return false;
        };
        match &mut self.room {
            Some(room) => room.merge(found),
            none => *none = Some(found),
        }
        true
    }

    /// Gives back the room of what was passed on.
    fn settle_room(&mut self) {
        let needed = self.framer.len().div_ceil(ROOM_BYTES);
        if let Some(room) = &mut self.room {
            drop(room.split(room.num_permits().saturating_sub(needed)));
        }
    }
}

/// Answers each message when Kafka has it, or when patience is over. Ends when the reader has, or the peer takes no answer.
async fn answer_all(
    mut output: impl AsyncWrite + Unpin,
    mut waiting: mpsc::Receiver<Waiting>,
    peer: &Peer,
    hall: &Hall,
) -> Result<(), BusError> {
    while let Some(Waiting { header, kind, bytes, since, fate }) = waiting.recv().await {
        let verdict = match fate {
            Fate::Decided(verdict) => verdict,
            Fate::Sent(delivery) => match timeout_at(since + hall.settings.patience(), delivery.done()).await {
                Ok(Ok(_)) if header.is_some() => Verdict::Accepted,
                Ok(Ok(_)) => Verdict::NoHeader,
                Ok(Err(error)) => undelivered(error, peer, bytes)?,
                Err(_) => Verdict::Unconfirmed,
            },
        };
        if matches!(verdict, Verdict::Accepted | Verdict::NoHeader) {
            metrics::kept(bytes);
        }
        if kind != Kind::Whole {
            metrics::fragment();
            tracing::warn!(peer = %peer.address, port = %peer.port.listen, kind = kind.as_str(), bytes, "a fragment came in; it was kept as a record of its own");
            continue;
        }
        metrics::decided(verdict.as_str(), since.elapsed());
        let Some(answer) = answer(header.as_ref(), verdict, peer.port.answers, &hall.stamp()) else { continue };
        let writing = async {
            output.write_all(&answer).await?;
            output.flush().await
        };
        match timeout(hall.settings.write(), writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(peer = %peer.address, %error, "a peer went before its answer");
                return Ok(());
            }
            Err(_) => {
                tracing::warn!(peer = %peer.address, "a peer takes no answers and is disconnected");
                metrics::closed(Cause::NotReading);
                return Ok(());
            }
        }
    }
    // Whatever could fail here is the peer's loss alone, and it repeats what was not answered.
    let _ = timeout(hall.settings.write(), output.shutdown()).await;
    Ok(())
}

/// What a record's failure means for its sender; an error where it means the end of the client.
fn undelivered(error: BusError, peer: &Peer, bytes: usize) -> Result<Verdict, BusError> {
    if error.is_too_large() {
        tracing::warn!(topic = peer.port.topic, bytes, "the broker takes no message of this size; raise max.message.bytes of the topic");
        // The broker measures what it is sent together: a small message may have fared with a large one, and is worth repeating.
        return Ok(if bytes >= ALONE_BYTES { Verdict::TooLarge } else { Verdict::Unconfirmed });
    }
    match error {
        BusError::Fatal { .. } => Err(error),
        other => {
            tracing::warn!(error = %other, topic = peer.port.topic, "a message was not delivered; its sender is told to repeat it");
            Ok(Verdict::Unconfirmed)
        }
    }
}
