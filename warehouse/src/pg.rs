//! The PostgreSQL protocol: users, roles and limits of `roles`, read-only by construction.
//!
//! Each statement outside a transaction sees everything that was committed before it; a transaction keeps one moment.

mod answer;
mod connection;
mod copy;
mod cursors;
mod functions;
mod kinds;
mod names;
mod prepared;
mod rows;
mod startup;
#[cfg(test)]
pub(crate) mod tests;
mod values;
pub(crate) mod variables;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion_postgres::pgwire::api::PgWireServerHandlers;
use datafusion_postgres::pgwire::api::auth::StartupHandler;
use datafusion_postgres::pgwire::api::cancel::CancelHandler;
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::messages::cancel::CancelRequest;
use datafusion_postgres::pgwire::tokio::process_socket;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::metrics;
use crate::roles::desk::Desk;
use crate::roles::tls::{TlsError, acceptor};
use crate::roles::{Accounts, SqlSettings};
use crate::serve::{GRACE, accepted};
use answer::Answers;
use connection::{Connection, Server};
use prepared::Parser;
use startup::Door;

/// What is told to those that do not gets this long to be sent.
const FAREWELL: Duration = Duration::from_millis(500);

/// Serves until `stop`; statements that run then may end within a few seconds.
pub(crate) async fn serve_on(
    listener: TcpListener,
    desk: Arc<Desk>,
    settings: &SqlSettings,
    accounts: Accounts,
    stop: CancellationToken,
) -> Result<(), TlsError> {
    let tls = settings.tls.as_ref().map(|tls| acceptor(tls, &[b"postgresql"])).transpose()?;
    let required = settings.tls.as_ref().is_some_and(|tls| tls.required);
    let server = Arc::new(Server::new(Arc::clone(&desk), accounts, settings.connections, required));
    let (connections, dropped) = (TaskTracker::new(), CancellationToken::new());
    let (tended, ending) = (Arc::clone(&server), dropped.clone());
    connections.spawn(async move {
        tokio::select! {
            () = tended.tend() => {}
            () = ending.cancelled() => {}
        }
    });
    while let Some(socket) = accepted(&listener, &stop).await {
        let (server, tls, dropped) = (Arc::clone(&server), tls.clone(), dropped.clone());
        connections.spawn(async move {
            tokio::select! {
                () = converse(socket, tls, server) => {}
                () = dropped.cancelled() => {}
            }
        });
    }
    drop(listener);
    connections.close();
    // Idle clients do not hold the server up: what is waited for is statements.
    let _quiet = tokio::time::timeout(GRACE, server.quiet()).await;
    desk.closing.cancel();
    let _sent = tokio::time::timeout(FAREWELL, server.quiet()).await;
    dropped.cancel();
    connections.wait().await;
    Ok(())
}

async fn converse(socket: TcpStream, tls: Option<TlsAcceptor>, server: Arc<Server>) {
    metrics::queried("pgwire");
    let stranger = server.strangers.come();
    let away = stranger.sent_away();
    let handlers = Handlers(Arc::new(Connection::new(server, stranger)));
    tokio::select! {
        ended = process_socket(socket, tls, handlers) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        }
        () = away => tracing::debug!("a stranger was sent away"),
    }
}

struct Handlers(Arc<Connection>);

impl Handlers {
    fn answers(&self) -> Arc<Answers> {
        Arc::new(Answers { connection: Arc::clone(&self.0), parser: Arc::new(Parser(Arc::clone(&self.0))) })
    }
}

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        self.answers()
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        self.answers()
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::new(Door::new(&self.0, &self.0.server.passwords))
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::new(Cancels(Arc::clone(&self.0.server)))
    }
}

/// Cancels statements of other connections of the server, for whoever knows their keys.
struct Cancels(Arc<Server>);

#[async_trait]
impl CancelHandler for Cancels {
    async fn on_cancel_request(&self, request: CancelRequest) {
        self.0.cancel(request.pid, &request.secret_key);
    }
}
