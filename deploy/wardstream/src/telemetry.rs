//! Logs, metrics and health: structured, and never a patient's data.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use axum::{Router, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

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

/// Whether the process does its work.
#[derive(Clone, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// From now on `/readyz` answers 200.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Serves `/livez`, `/readyz` and `/metrics` until `stop`.
///
/// # Errors
/// Where the address cannot be listened on.
pub async fn serve(listen: SocketAddr, handle: PrometheusHandle, ready: Ready, stop: CancellationToken) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move {
                if ready.0.load(Ordering::Acquire) { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting\n") }
            }),
        )
        .route("/metrics", get(move || async move { handle.render() }));
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("could not listen on {listen}; set telemetry.listen to a free address"))?;
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await.context("could not serve metrics")
}
