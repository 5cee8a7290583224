//! Who may speak HTTP with us, and for how long: so many clients at once, each for a while. Whoever sends a request byte by byte, or reads no answer, holds one
//! place for that while, and none of the files that the other services of the process need.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Connections at once; further ones wait to be accepted.
const CLIENTS: usize = 64;
/// A connection ends after so long. One that is kept for several scrapes is made anew.
const VISIT: Duration = Duration::from_secs(30);

/// A listener with so many places.
pub struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    visit: Duration,
}

impl Door {
    pub fn of(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(CLIENTS)), visit: VISIT }
    }
}

impl Listener for Door {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        // Nobody closes the semaphore.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = <TcpListener as Listener>::accept(&mut self.listener).await;
        (Visit { stream, end: Box::pin(tokio::time::sleep(self.visit)), _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One client's connection.
pub struct Visit {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    /// Free again when the connection is gone.
    _place: Option<OwnedSemaphorePermit>,
}

impl Visit {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.end.as_mut().poll(cx).is_ready()
    }
}

impl AsyncRead for Visit {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            // As if the client had gone.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, bytes)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// With one place, the second client is served once the first, which says nothing, has had its time.
    #[tokio::test]
    async fn whoever_says_nothing_gives_the_place_back() -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut door = Door { listener, places: Arc::new(Semaphore::new(1)), visit: Duration::from_millis(50) };
        let (_silent, mut second) = (TcpStream::connect(address).await?, TcpStream::connect(address).await?);
        let (mut visit, _) = door.accept().await;
        assert!(tokio::time::timeout(Duration::from_millis(20), door.accept()).await.is_err(), "there is one place");
        assert_eq!(visit.read(&mut [0; 8]).await?, 0);
        assert_eq!(visit.write(b"late").await.err().map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
        drop(visit);
        door.visit = VISIT;
        let (mut visit, _) = door.accept().await;
        second.write_all(b"hello").await?;
        let mut said = [0; 5];
        visit.read_exact(&mut said).await?;
        assert_eq!(&said, b"hello");
        Ok(())
    }
}
