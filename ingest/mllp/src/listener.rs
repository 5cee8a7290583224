//! Ports: taken before anything runs, so that a wrong one is an error with what to do; then one task for each connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bus::Publisher;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::answer::Stamp;
use crate::connection::{self, Peer};
use crate::metrics::{self, Cause, Open};
use crate::{MllpError, Port, Settings, tls};

/// A peer that does not finish its TLS handshake within this time is disconnected.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait after the system could not give us a connection, as when it has no file descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// What one permit of the room for unfinished messages stands for.
pub(crate) const ROOM_BYTES: usize = 64 << 10;

/// What all connections share.
pub(crate) struct Hall {
    pub(crate) settings: Settings,
    pub(crate) publisher: Publisher,
    /// Room for unfinished messages, in pieces of `ROOM_BYTES`.
    pub(crate) room: Arc<Semaphore>,
    /// Ends everything: from outside, or because the client is beyond repair.
    pub(crate) stop: CancellationToken,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    answers: AtomicU64,
}

impl Hall {
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The stamp of the next answer.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { at: self.now(), number: self.answers.fetch_add(1, Ordering::Relaxed) }
    }
}

struct Door {
    port: Arc<Port>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

/// Ports that are taken, and not yet served.
pub struct Listener {
    settings: Settings,
    doors: Vec<Door>,
}

/// Listens until `stop`: [`Listener::bind`] and [`Listener::serve`] in one.
///
/// # Errors
/// See [`MllpError`]. Nothing that was acknowledged is lost by one.
pub async fn serve(
    settings: &Settings,
    bus: &bus::Settings,
    clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    stop: &CancellationToken,
) -> Result<(), MllpError> {
    Listener::bind(settings).await?.serve(bus, clock, stop).await
}

impl Listener {
    /// Checks the settings, reads certificates and takes the ports.
    ///
    /// # Errors
    /// With what to change.
    pub async fn bind(settings: &Settings) -> Result<Self, MllpError> {
        settings.check()?;
        let mut doors = Vec::with_capacity(settings.ports.len());
        for port in &settings.ports {
            let listen = port.listen;
            let tls = port.tls.as_ref().map(|tls| tls::acceptor(tls, listen)).transpose()?;
            let listener = TcpListener::bind(listen).await.map_err(|source| MllpError::Listen { listen, source })?;
            doors.push(Door { port: Arc::new(port.clone()), listener, tls });
        }
        Ok(Self { settings: settings.clone(), doors })
    }

    /// The addresses that are taken, in the order of the settings.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.doors.iter().filter_map(|door| door.listener.local_addr().ok()).collect()
    }

    /// Serves until `stop`; then answers what is on its way to Kafka, within the patience, and closes.
    ///
    /// # Errors
    /// The Kafka client could not be built, or is beyond repair.
    pub async fn serve(
        self,
        bus: &bus::Settings,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        stop: &CancellationToken,
    ) -> Result<(), MllpError> {
        // Most senders wait for each answer before they send on: to linger for a fuller batch would only make them wait.
        let mut bus = bus.clone();
        bus.properties.entry("linger.ms".to_owned()).or_insert_with(|| "0".into());
        let hall = Arc::new(Hall {
            room: Arc::new(Semaphore::new(self.settings.max_buffered_bytes.div_ceil(ROOM_BYTES))),
            settings: self.settings,
            publisher: Publisher::new(&bus)?,
            stop: stop.child_token(),
            clock: Box::new(clock),
            answers: AtomicU64::new(0),
        });
        let seats = Arc::new(Semaphore::new(hall.settings.max_connections));
        let mut doors = JoinSet::new();
        for door in self.doors {
            doors.spawn(door.keep(Arc::clone(&hall), Arc::clone(&seats)));
        }
        let mut broken = None;
        while let Some(ended) = doors.join_next().await {
            if let Ok(Err(error)) = ended {
                broken = Some(error);
            }
        }
        broken.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Door {
    /// Takes connections in until told to stop, and waits for those inside.
    async fn keep(self, hall: Arc<Hall>, seats: Arc<Semaphore>) -> Result<(), bus::BusError> {
        let mut inside = JoinSet::new();
        let mut broken = None;
        loop {
            tokio::select! {
                biased;
                () = hall.stop.cancelled() => break,
                Some(left) = inside.join_next() => broken = broken.or(ended(left)),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, address)) => match Arc::clone(&seats).try_acquire_owned() {
                        Ok(seat) => {
                            let guest = guest(stream, address, self.tls.clone(), Arc::clone(&self.port), Arc::clone(&hall));
                            inside.spawn(async move {
                                let _seat = seat;
                                guest.await
                            });
                        }
                        Err(_) => {
                            tracing::warn!(port = %self.port.listen, %address, "a connection is refused: mllp.max_connections is reached");
                            metrics::closed(Cause::TooMany);
                        }
                    },
                    Err(error) => {
                        tracing::warn!(port = %self.port.listen, %error, "could not accept a connection");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                },
            }
        }
        drop(self.listener);
        while let Some(left) = inside.join_next().await {
            broken = broken.or(ended(left));
        }
        broken.map_or(Ok(()), Err)
    }
}

/// Why a connection ended, where that concerns all.
fn ended(left: Result<Result<(), bus::BusError>, tokio::task::JoinError>) -> Option<bus::BusError> {
    match left {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(error) => {
            tracing::error!(%error, "a connection ended by a fault of ours; its sender repeats what was not answered");
            None
        }
    }
}

/// One connection, from its handshake to its end. An error is one of the Kafka client, and ends all.
async fn guest(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    port: Arc<Port>,
    hall: Arc<Hall>,
) -> Result<(), bus::BusError> {
    let _open = Open::new();
    // Answers are small, and whoever waits for one sends nothing else.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "answers of a connection may be slow");
    }
    let peer = Peer { address, port };
    let served = match tls {
        None => connection::serve(stream, &peer, &hall).await,
        Some(acceptor) => {
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)) => shaken,
                () = hall.stop.cancelled() => return Ok(()),
            };
            match shaken {
                Ok(Ok(stream)) => connection::serve(stream, &peer, &hall).await,
                Ok(Err(error)) => {
                    tracing::warn!(port = %peer.port.listen, %address, %error, "a TLS handshake failed");
                    metrics::closed(Cause::Handshake);
                    Ok(())
                }
                Err(_) => {
                    metrics::closed(Cause::Handshake);
                    Ok(())
                }
            }
        }
    };
    if served.is_err() {
        hall.stop.cancel();
    }
    served
}
