//! SQL for others: both protocols over one desk, each on its own address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Handle, Runtime};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::error::QueryError;
use crate::heap::Heap;
use crate::roles::desk::Desk;
use crate::roles::tls::TlsError;
use crate::roles::{Accounts, SqlSettings};
use crate::store::Warehouse;
use crate::{flight, pg};

/// Stack of a thread: statements are walked by recursion, and `roles::parse` lets through what fits here with room to spare.
pub(crate) const STACK_BYTES: usize = 16 << 20;

/// Statements that run when the server stops have this long to end by themselves.
pub(crate) const GRACE: Duration = Duration::from_secs(3);
/// The server is left after this, whatever runs: by then everybody has been told who can be.
const END: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted: the system has no more of something.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// SQL could not be served: mend the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("could not listen on {listen} ({key})")]
    Listen {
        /// As configured.
        listen: SocketAddr,
        /// Where it is configured.
        key: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate or key.
    #[error("could not set up TLS")]
    Tls(#[from] TlsError),
    /// The system has no more of them.
    #[error("could not start threads for SQL")]
    Threads(#[source] std::io::Error),
    /// A bug.
    #[error("the service of SQL died")]
    Died,
    /// The tables cannot be read.
    #[error("could not open the tables for questions")]
    Tables(#[from] QueryError),
}

/// Where SQL is served.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The PostgreSQL protocol.
    pub pg: SocketAddr,
    /// Arrow Flight SQL.
    pub flight: SocketAddr,
}

/// Serves both protocols until `stop`; statements that run then may end within a few seconds. `listening` is told the addresses, and `heap` is asked what
/// the threads of SQL hold.
///
/// # Errors
/// Where an address, the certificate or the tables cannot be used.
pub async fn serve_sql(
    warehouse: Warehouse,
    settings: &SqlSettings,
    accounts: Accounts,
    heap: Arc<dyn Heap>,
    listening: impl FnOnce(Ports),
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let threads = Threads::new(Arc::clone(&heap))?;
    // On threads that statements do not hold up.
    let _guard = warehouse.guarded(heap);
    let (own, stopped) = (settings.clone(), stop.clone());
    let (pg_listener, pg) = listen(settings.listen, "sql.listen").await?;
    let (flight_listener, flight) = listen(settings.flight_listen, "sql.flight_listen").await?;
    let desk = Desk::open(warehouse, settings).await?;
    listening(Ports { pg, flight });
    let serving = threads.handle().spawn(async move {
        tokio::try_join!(
            pg::serve_on(pg_listener, Arc::clone(&desk), &own, accounts.clone(), stop.clone()),
            flight::serve_on(flight_listener, desk, &own, accounts, stop),
        )
    });
    if let Some(served) = joined(serving, &stopped, END).await {
        served.map_err(|_| ServeError::Died)??;
    } else {
        tracing::warn!("statements did not end in time; the server stops without them");
    }
    Ok(())
}

/// What a task gives; `None` where it has not ended so long after `stop`. One whose threads are all computing does not even see that it should.
async fn joined<T>(mut task: JoinHandle<T>, stop: &CancellationToken, grace: Duration) -> Option<Result<T, JoinError>> {
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        done = &mut task => Some(done),
        () = overdue => None,
    }
}

/// Threads for questions alone: one that plans for long holds up no other service, and a deep one has room.
struct Threads(Option<Runtime>);

impl Threads {
    fn new(heap: Arc<dyn Heap>) -> Result<Self, ServeError> {
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let threads = threads.enable_all().thread_name("sql").thread_stack_size(STACK_BYTES);
        let threads = threads.on_thread_start(move || heap.count_this_thread()).build();
        threads.map(|threads| Self(Some(threads))).map_err(ServeError::Threads)
    }

    fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |threads| threads.handle().clone())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

async fn listen(listen: SocketAddr, key: &'static str) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { listen, key, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The next connection; `None` where the server stops.
pub(crate) async fn accepted(listener: &TcpListener, stop: &CancellationToken) -> Option<TcpStream> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return None,
        };
        match accepted {
            Ok((socket, _)) => return Some(socket),
            Err(_) => tokio::time::sleep(EXHAUSTED).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::tests::Told;

    /// A computation that never looks up holds neither the end of the server nor that of the process.
    #[tokio::test]
    async fn the_end_does_not_wait_for_threads_that_compute() {
        let (threads, stop) = (Threads::new(Arc::<Told>::default()).expect("threads"), CancellationToken::new());
        let began = std::time::Instant::now();
        let computing = threads.handle().spawn(async { std::thread::sleep(Duration::from_secs(20)) });
        stop.cancel();
        assert!(joined(computing, &stop, Duration::from_millis(50)).await.is_none());
        drop(threads);
        assert!(began.elapsed() < Duration::from_secs(10), "nobody has waited");
        let threads = Threads::new(Arc::<Told>::default()).expect("threads");
        assert_eq!(joined(threads.handle().spawn(async { 7 }), &CancellationToken::new(), END).await.and_then(Result::ok), Some(7));
    }
}
