//! Arrow Flight SQL over gRPC: the same users, roles and limits as the PostgreSQL protocol, rows as Arrow batches.
//!
//! The transport is hyper's HTTP/2 and tonic's codec. The crate arrow-flight is not used: it asks for tonic's own client and
//! server, whose features would have the whole query engine built a second time.

mod described;
mod frames;
mod guests;
mod marks;
mod messages;
mod puts;
mod service;
mod sessions;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::metrics;
use crate::roles::desk::Desk;
use crate::roles::strangers::Strangers;
use crate::roles::tls::{TlsError, acceptor};
use crate::roles::{Accounts, SqlSettings};
use crate::serve::{GRACE, accepted};
use guests::Guest;
use messages::FlightData;
use service::Service;
use sessions::Sessions;

/// Between two looks at whether the other side is still there, and how long an answer is waited for.
const LOOK: Duration = Duration::from_secs(60);
const SILENCE: Duration = Duration::from_secs(20);
/// Calls that one connection may have open.
const CALLS: u32 = 64;
/// The service's path.
const PATH: &str = "/arrow.flight.protocol.FlightService/";

/// Serves until `stop`; statements that run then may end within a few seconds.
pub(crate) async fn serve_on(
    listener: TcpListener,
    desk: Arc<Desk>,
    settings: &SqlSettings,
    accounts: Accounts,
    stop: CancellationToken,
) -> Result<(), TlsError> {
    let tls = settings.tls.as_ref().map(|tls| acceptor(tls, &[b"h2"])).transpose()?;
    let (connections, dropped) = (TaskTracker::new(), CancellationToken::new());
    let places = Arc::new(Semaphore::new(settings.connections));
    let tasks = TaskTracker::new();
    let (sessions, strangers) = (Arc::new(Sessions::new(accounts)), Strangers::default());
    while let Some(socket) = accepted(&listener, &stop).await {
        let stranger = strangers.come();
        let (away, tls, dropped) = (stranger.sent_away(), tls.clone(), dropped.clone());
        let (desk, sessions, tasks) = (Arc::clone(&desk), Arc::clone(&sessions), tasks.clone());
        let service = Service { desk, sessions, tasks, guest: Guest::new(stranger, &places) };
        connections.spawn(async move {
            metrics::connected("flight", 1.0);
            tokio::select! {
                () = converse(socket, tls, service) => {}
                () = away => {}
                () = dropped.cancelled() => {}
            }
            metrics::connected("flight", -1.0);
        });
    }
    drop(listener);
    tasks.close();
    let _quiet = tokio::time::timeout(GRACE, tasks.wait()).await;
    desk.closing.cancel();
    tasks.wait().await;
    dropped.cancel();
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn converse(socket: TcpStream, tls: Option<TlsAcceptor>, service: Service) {
    let _delayed = socket.set_nodelay(true);
    match tls {
        None => http(socket, service).await,
        Some(tls) => {
            if let Ok(socket) = tls.accept(socket).await {
                http(socket, service).await;
            }
        }
    }
}

async fn http(socket: impl AsyncRead + AsyncWrite + Unpin + 'static, service: Service) {
    let answer = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(called(service, request).await) }
    });
    let mut server = http2::Builder::new(TokioExecutor::new());
    server.max_concurrent_streams(CALLS).timer(TokioTimer::new()).keep_alive_interval(LOOK).keep_alive_timeout(SILENCE);
    if let Err(error) = server.serve_connection(TokioIo::new(socket), answer).await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Gives a call to its method.
async fn called(service: Service, request: http::Request<Incoming>) -> http::Response<Body> {
    macro_rules! grpc {
        ($shape:ident, $method:ident) => {
            Grpc::new(ProstCodec::default()).$shape(service_fn(move |request| service.clone().$method(request)), request).await
        };
    }
    let method = request.uri().path().strip_prefix(PATH).unwrap_or_default().to_owned();
    match method.as_str() {
        "Handshake" => grpc!(streaming, handshake),
        "ListFlights" => grpc!(server_streaming, flights),
        "GetFlightInfo" => grpc!(unary, info),
        "GetSchema" => grpc!(unary, schema),
        "DoGet" => grpc!(server_streaming, get),
        "DoPut" => grpc!(streaming, put),
        "DoAction" => grpc!(server_streaming, action),
        "ListActions" => grpc!(server_streaming, actions),
        _ => {
            let refuse = |_: Request<Streaming<FlightData>>| async {
                Err::<tonic::Response<service::Stream<FlightData>>, _>(Status::unimplemented("0A000: this call is not supported"))
            };
            Grpc::new(ProstCodec::default()).streaming(service_fn(refuse), request).await
        }
    }
}
