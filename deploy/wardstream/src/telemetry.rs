//! Logs, metrics and health: structured, and never a patient's data. On the address of the last two the page stands, where the process shows it.

mod door;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::{Router, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Pause between two times at which what was measured is summed up. It lies there one by one until then, or until somebody asks for `/metrics`.
const SUMMED_UP: Duration = Duration::from_secs(5);
/// Clients that are being answered when the process stops have this long.
const GRACE: Duration = Duration::from_secs(2);

/// Starts structured logs on stderr.
pub fn start_logs(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// Installs the recorder and describes every room's metrics.
///
/// # Errors
/// Where a recorder is installed already.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new().install_recorder().context("could not install the metrics recorder")?;
    ingest::metrics::describe();
    mllp::metrics::describe();
    scorer::metrics::describe();
    warehouse::metrics::describe();
    Ok(handle)
}

/// Sums up what is measured until `stop`, whether anybody asks for it or not.
pub async fn sum_up(handle: PrometheusHandle, stop: CancellationToken) {
    while !stop.is_cancelled() {
        handle.run_upkeep();
        tokio::select! {
            () = tokio::time::sleep(SUMMED_UP) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Whether the process does its work: how much is still awaited before it can.
#[derive(Clone)]
pub struct Ready(Arc<AtomicUsize>);

impl Default for Ready {
    /// The start itself is awaited.
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(1)))
    }
}

impl Ready {
    /// One thing more is awaited.
    pub fn awaits(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// One thing is there. With the last one `/readyz` answers 200 from now on.
    pub fn set(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What stands on the address.
pub fn named(shown: &Router) -> &'static str {
    if shown.has_routes() { "page, metrics and health" } else { "metrics and health" }
}

/// Serves `/livez`, `/readyz`, `/metrics` and what else the process shows until `stop`.
///
/// # Errors
/// Where the address cannot be listened on.
pub async fn serve(
    listen: SocketAddr,
    handle: PrometheusHandle,
    ready: Ready,
    shown: Router,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("could not listen on {listen}; set telemetry.listen to a free address"))?;
    let bound = listener.local_addr().context("could not find out on which address metrics are served")?;
    tracing::info!(url = %format_args!("http://{bound}/"), "{} are served", named(&shown));
    answer(listener, handle, ready, shown, stop).await
}

/// Answers until `stop`, and whoever is being answered then for a moment longer: a client that never ends its request does not hold the process.
pub async fn answer(
    listener: TcpListener,
    handle: PrometheusHandle,
    ready: Ready,
    shown: Router,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move {
                if ready.0.load(Ordering::Acquire) == 0 {
                    (StatusCode::OK, "ready\n")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
                }
            }),
        )
        .route("/metrics", get(move || async move { handle.render() }))
        .merge(shown);
    let serving = axum::serve(door::Door::of(listener), router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving.into_future() => served.context("could not serve metrics"),
        () = overdue => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// The status that a request for the path gets.
    async fn status(address: SocketAddr, path: &str) -> anyhow::Result<u16> {
        let mut client = TcpStream::connect(address).await?;
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut said = String::new();
        client.read_to_string(&mut said).await?;
        said.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")
    }

    /// Kept until the process was killed, the request that never ended held up everything that is to be brought to its end.
    #[tokio::test]
    async fn a_request_that_never_ends_holds_neither_the_others_nor_the_end() -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, stop, ready) = (listener.local_addr()?, CancellationToken::new(), Ready::default());
        let handle = PrometheusBuilder::new().build_recorder().handle();
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(answer(listener, handle, ready.clone(), Router::new(), stop.clone()));
        let mut endless = TcpStream::connect(address).await?;
        endless.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").await?;
        assert_eq!((status(address, "/livez").await?, status(address, "/metrics").await?), (200, 200));
        // SQL is awaited beside the start.
        ready.awaits();
        for expected in [503, 503, 200] {
            assert_eq!(status(address, "/readyz").await?, expected);
            if expected == 503 {
                ready.set();
            }
        }
        stop.cancel();
        let ended = tokio::time::timeout(GRACE * 4, serving.join_next()).await.context("it does not end")?;
        ended.context("it was spawned")??
    }
}
