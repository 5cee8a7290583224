//! What runs: each service as a task that is kept alive, joined at shutdown, and told everything it needs.

pub mod accounts;
mod audit;
mod champion;
mod removal;
pub mod topics;
mod training;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use scorer::Live;
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use warehouse::{Registry, RegistryError, Relations, Warehouse, Weights};

use crate::config::Config;
use crate::embedded::{Embedded, Wanted};
use crate::telemetry::{self, Ready};
use crate::{heap, output, page, spill};

pub use audit::caught_up;
pub use training::{Training, decided_at, train_once};

/// Pause before a service that ended with an error is started again.
const RESTART: Duration = Duration::from_secs(1);
/// How long a process that starts waits for PostgreSQL.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at whether tables hold too many small files.
const COMPACT: Duration = Duration::from_secs(15);
/// Pause between two removals of files that no kept version needs; the first comes with the start.
const VACUUM: Duration = Duration::from_secs(6 * 3_600);

/// The services of one process and what they share.
pub struct Services {
    pub config: Arc<Config>,
    pub warehouse: Warehouse,
    pub registry: Arc<Registry>,
    pub weights: Arc<Weights>,
    pub training: Training,
    champion: watch::Sender<Option<Live>>,
    ready: Ready,
    pub tracker: TaskTracker,
    pub stop: CancellationToken,
}

impl Services {
    /// Opens what the services share. Nothing runs yet.
    ///
    /// # Errors
    /// Where the warehouse or the registry cannot be opened.
    pub async fn open(config: Config, stop: CancellationToken) -> anyhow::Result<Self> {
        spill::within(&config.state.folder);
        let warehouse =
            Warehouse::open(&config.warehouse).await.with_context(|| format!("could not open the warehouse {}", config.warehouse.url))?;
        let registry = registry(&config, &stop).await.context("could not reach the registry (PostgreSQL); set registry.url")?;
        let weights = Weights::open(&config.weights.url, &config.warehouse.store)
            .with_context(|| format!("could not open the store of weights {}", config.weights.url))?;
        let registry = Arc::new(registry);
        warehouse.tie(registry.relations());
        audit::catch_up(&warehouse, &registry).await;
        Ok(Self {
            config: Arc::new(config),
            warehouse,
            registry,
            weights: Arc::new(weights),
            training: Training::default(),
            champion: watch::Sender::new(None),
            ready: Ready::default(),
            tracker: TaskTracker::new(),
            stop,
        })
    }

    /// Keeps `service` running: one that ends with an error is started again after a pause.
    fn keep<F, E>(&self, name: &'static str, mut service: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            while !stop.is_cancelled() {
                match service().await {
                    Ok(()) => return,
                    Err(error) => tracing::error!(service = name, error = %chain(&error), "a service ended; starting it again"),
                }
                tokio::select! {
                    () = tokio::time::sleep(RESTART) => {}
                    () = stop.cancelled() => {}
                }
            }
        });
    }

    /// Kafka into the warehouse, and the compaction beside it.
    pub fn start_ingest(&self) {
        let (config, warehouse, stop) = (Arc::clone(&self.config), self.warehouse.clone(), self.stop.clone());
        self.keep("ingest", move || {
            let (config, warehouse, stop) = (Arc::clone(&config), warehouse.clone(), stop.clone());
            async move { ingest::consumer::run(&config.ingest, &grouped(&config, "ingest"), &warehouse, &stop).await }
        });
        let (warehouse, stop) = (self.warehouse.clone(), self.stop.clone());
        self.tracker.spawn(async move { compact(&warehouse, &stop).await });
    }

    /// HL7 v2 over TCP onto raw topics.
    pub fn start_mllp(&self) {
        let (config, stop) = (Arc::clone(&self.config), self.stop.clone());
        self.keep("mllp", move || {
            let (config, stop) = (Arc::clone(&config), stop.clone());
            async move { mllp::serve(&config.mllp, &config.bus, now, &stop).await }
        });
    }

    /// Canonical notes into predictions, the champion that answers, and the watch over drift.
    pub fn start_scorer(&self) {
        let takeovers = self.start_champion();
        let (config, warehouse, stop, champion) =
            (Arc::clone(&self.config), self.warehouse.clone(), self.stop.clone(), self.champion.clone());
        self.keep("scorer", move || {
            let wiring = scorer::consumer::Wiring {
                bus: grouped(&config, "scorer"),
                warehouse: warehouse.clone(),
                champion: champion.subscribe(),
                takeovers: takeovers.clone(),
            };
            let (config, stop) = (Arc::clone(&config), stop.clone());
            async move { scorer::consumer::run(&config.scorer, wiring, &stop).await }
        });
        let (config, warehouse, stop, training) =
            (Arc::clone(&self.config), self.warehouse.clone(), self.stop.clone(), self.training.clone());
        self.keep("monitor", move || {
            let (config, warehouse, stop, training) = (Arc::clone(&config), warehouse.clone(), stop.clone(), training.clone());
            async move { scorer::monitor::run(&config.scorer, &config.bus, &warehouse, (|at| training.judged(at), now), &stop).await }
        });
    }

    fn start_champion(&self) -> mpsc::UnboundedSender<scorer::consumer::Takeover> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let watcher = champion::Watcher {
            registry: Arc::clone(&self.registry),
            weights: Arc::clone(&self.weights),
            folder: self.config.state.folder.join("champion"),
            answering: self.config.scorer.answering(),
            packed_cache: self.config.scorer.packed_cache.clone(),
            champion: self.champion.clone(),
        };
        let (stop, warehouse, registry) = (self.stop.clone(), self.warehouse.clone(), Arc::clone(&self.registry));
        self.tracker.spawn(champion::record_takeovers(receiver, registry, warehouse, stop.clone()));
        self.tracker.spawn(async move { watcher.run(&stop).await });
        sender
    }

    /// Cycles as alarms and the schedule order them, and the removal of weights that nothing keeps.
    pub fn start_trainer(&self) {
        let cycles = training::Cycles {
            warehouse: self.warehouse.clone(),
            registry: Arc::clone(&self.registry),
            weights: Arc::clone(&self.weights),
            config: Arc::clone(&self.config),
            training: self.training.clone(),
        };
        let (stop, removal) = (self.stop.clone(), self.removal());
        self.tracker.spawn(async move { cycles.run(&stop).await });
        let stop = self.stop.clone();
        self.tracker.spawn(async move { removal.run(&stop).await });
    }

    fn removal(&self) -> removal::Removal {
        removal::Removal { registry: Arc::clone(&self.registry), weights: Arc::clone(&self.weights), settings: self.config.weights.clone() }
    }

    /// SQL over both protocols; the process is ready no earlier than it is. `failed` is cancelled where it cannot be served.
    pub fn start_sql(&self, failed: &CancellationToken) {
        let failed = failed.clone();
        let (config, warehouse, stop, ready) = (Arc::clone(&self.config), self.warehouse.clone(), self.stop.clone(), self.ready.clone());
        ready.awaits();
        self.tracker.spawn(async move {
            let served = async {
                let accounts = accounts::of(&config.sql)?;
                let told = |ports: warehouse::Ports| {
                    ready.set();
                    tell_how_to_ask(&config.sql, ports);
                };
                warehouse::serve_sql(warehouse, &config.sql, accounts, Arc::new(heap::Arenas::new()), told, stop)
                    .await
                    .context("could not serve SQL")
            };
            if let Err(error) = served.await {
                tracing::error!(error = format!("{error:#}"), "SQL is not served");
                failed.cancel();
            }
        });
    }

    /// Health, metrics and what else is `shown`, on one address.
    pub fn start_telemetry(&self, handle: PrometheusHandle, shown: Router) {
        let (listen, ready, stop) = (self.config.telemetry.listen, self.ready.clone(), self.stop.clone());
        self.tracker.spawn(telemetry::sum_up(handle.clone(), stop.clone()));
        self.tracker.spawn(async move {
            if let Err(error) = telemetry::serve(listen, handle, ready, shown, stop).await {
                tracing::error!(error = format!("{error:#}"), "metrics and health are not served");
            }
        });
    }

    /// What the process starts is started: it is ready once that answers.
    pub fn ready(&self) {
        self.ready.set();
    }

    /// The version that answers now.
    pub fn champion(&self) -> Option<schemas::ModelVersion> {
        self.champion.borrow().as_ref().map(|live| live.model.version().clone())
    }

    /// Stops everything and waits for it.
    pub async fn close(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Merges small files and sums up logs beside the appends until `stop`, and now and then removes what no kept version needs.
pub async fn compact(warehouse: &Warehouse, stop: &CancellationToken) {
    let mut vacuum = tokio::time::interval(VACUUM);
    while !stop.is_cancelled() {
        if let Err(error) = warehouse.compact().await {
            tracing::debug!(error = %chain(&error), "could not compact; trying again at the next turn");
        }
        tokio::select! {
            () = tokio::time::sleep(COMPACT) => {}
            _ = vacuum.tick() => {
                if let Err(error) = warehouse.vacuum(now()).await {
                    tracing::warn!(error = %chain(&error), "could not vacuum; trying again at the next turn");
                }
            }
            () = stop.cancelled() => {}
        }
    }
}

/// The error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        text = format!("{text}: {one}");
        cause = one.source();
    }
    text
}

/// The bus as one service uses it: with a consumer group of its own.
pub fn grouped(config: &Config, service: &str) -> bus::Settings {
    bus::Settings { group: format!("{}-{service}", config.bus.group), ..config.bus.clone() }
}

/// How clients connect, in lines that can be pasted.
fn tell_how_to_ask(sql: &warehouse::SqlSettings, ports: warehouse::Ports) {
    let (pg, flight) = (ports.pg, ports.flight);
    let user = if sql.user.is_empty() { "USER" } else { &sql.user };
    let (mode, scheme) = if sql.tls.is_some() { ("require", "grpc+tls") } else { ("disable", "grpc") };
    tracing::info!(
        address = %pg,
        connect = format!("psql 'host={} port={} user={user} dbname=wardstream sslmode={mode}'", pg.ip(), pg.port()),
        "SQL over the PostgreSQL protocol"
    );
    tracing::info!(
        address = %flight,
        connect = format!("adbc_driver_flightsql.dbapi.connect('{scheme}://{flight}', db_kwargs={{'username': '{user}', 'password': '...'}})"),
        "SQL over Arrow Flight SQL"
    );
    if !sql.user.is_empty() {
        tracing::info!(user, file = %sql.password_file.display(), "the password of the operator lies in a file");
    }
}

/// Addresses of embedded services that run already, where the configuration names none.
///
/// # Errors
/// Where the state folder holds a file of addresses that cannot be read.
pub fn addresses(mut config: Config) -> anyhow::Result<Config> {
    if let Some(services) =
        crate::embedded::Services::read(&config.state.folder).context("could not read the addresses of the embedded services")?
    {
        fill(&mut config, &services);
    }
    Ok(config)
}

/// Takes addresses of embedded services where the configuration names none.
pub fn fill(config: &mut Config, services: &crate::embedded::Services) {
    if config.bus.brokers.is_empty() {
        config.bus.brokers = services.kafka.clone().unwrap_or_default();
    }
    if config.registry.url.is_empty() {
        config.registry.url = services.postgres.clone().unwrap_or_default().into();
    }
}

/// The registry, waited for where PostgreSQL starts beside us or starts again.
async fn registry(config: &Config, stop: &CancellationToken) -> Result<Registry, RegistryError> {
    let began = Instant::now();
    loop {
        match Registry::connect(&config.registry).await {
            Err(error) if error.is_passing() && began.elapsed() < PATIENCE && !stop.is_cancelled() => {
                tracing::warn!(error = %chain(&error), "could not reach the registry; trying again");
            }
            ended => return ended,
        }
        tokio::select! {
            () = tokio::time::sleep(RESTART) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// The registry's relations in SQL, where one can be reached; every other relation works without.
pub async fn tie_registry(config: &Config, warehouse: &Warehouse) {
    if config.registry.url.is_empty() {
        return;
    }
    match Registry::connect(&config.registry).await {
        Ok(registry) => warehouse.tie(Arc::new(registry).relations()),
        Err(error) => {
            warehouse.tie(Relations::away());
            output::progress(format_args!(
                "the registry cannot be reached, so models, model_history, exports and erasures cannot be read: {}",
                chain(&error)
            ));
        }
    }
}

/// The clock of the answers' MSH-7.
#[expect(clippy::disallowed_methods, reason = "only the binary reads the clock")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The listener alone: it needs Kafka, and neither the tables nor the registry.
///
/// # Errors
/// Where a port, a certificate or Kafka cannot be used.
pub async fn mllp_alone(config: Config) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let handle = telemetry::start_metrics()?;
    let listener = mllp::Listener::bind(&config.mllp).await.context("could not listen for MLLP")?;
    let (ready, listen) = (Ready::default(), config.telemetry.listen);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(telemetry::serve(listen, handle.clone(), ready.clone(), Router::new(), stop.clone()));
    let summing = telemetry::sum_up(handle, stop.clone());
    tasks.spawn(async move {
        summing.await;
        Ok(())
    });
    let (bus, ended) = (config.bus.clone(), stop.clone());
    tasks.spawn(async move { listener.serve(&bus, now, &ended).await.context("could not go on listening for MLLP") });
    ready.set();
    output::progress(format_args!("wardstream mllp is up; metrics and health on http://{listen}"));
    let ended = tokio::select! {
        told = signal() => told,
        Some(ended) = tasks.join_next() => ended.context("a task died").and_then(|ended| ended),
    };
    stop.cancel();
    while let Some(more) = tasks.join_next().await {
        more.context("a task died")??;
    }
    ended.map(|()| ExitCode::SUCCESS)
}

/// All services in one process.
///
/// # Errors
/// Where one cannot be started.
pub async fn up(mut config: Config) -> anyhow::Result<ExitCode> {
    let embedded =
        Embedded::start(&config.state.folder, Wanted { kafka: config.bus.brokers.is_empty(), postgres: config.registry.url.is_empty() })
            .await
            .context("could not start the embedded services")?;
    fill(&mut config, embedded.addresses());
    topics::create(&config).await?;
    let start = |services: &Services| {
        services.start_ingest();
        services.start_scorer();
        services.start_trainer();
        services.start_sql(&CancellationToken::new());
        if !services.config.mllp.ports.is_empty() {
            services.start_mllp();
        }
        page::router(services)
    };
    let code = run(config, start, std::future::pending()).await;
    embedded.stop().await;
    code
}

/// The embedded Kafka and PostgreSQL, with the topics, until a signal.
///
/// # Errors
/// Where one cannot be started.
pub async fn embedded_alone(config: &Config) -> anyhow::Result<ExitCode> {
    let embedded = Embedded::start(&config.state.folder, Wanted { kafka: true, postgres: true })
        .await
        .context("could not start the embedded services")?;
    let mut config = config.clone();
    fill(&mut config, embedded.addresses());
    topics::create(&config).await?;
    output::line(serde_json::json!({"kafka": config.bus.brokers}));
    signal().await?;
    embedded.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Runs what `start` starts until a signal, with metrics and health beside it.
///
/// # Errors
/// Where something cannot be started.
pub async fn alone(config: Config, start: impl FnOnce(&Services)) -> anyhow::Result<ExitCode> {
    let start = |services: &Services| {
        start(services);
        Router::new()
    };
    run(config, start, std::future::pending()).await
}

/// SQL and the page alone; where it cannot be served, there is nothing to go on for.
///
/// # Errors
/// Where something cannot be started.
pub async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let failed = CancellationToken::new();
    let start = |services: &Services| {
        services.start_sql(&failed);
        page::router(services)
    };
    run(config, start, failed.cancelled()).await
}

async fn run(config: Config, start: impl FnOnce(&Services) -> Router, failed: impl Future<Output = ()>) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let handle = telemetry::start_metrics()?;
    let listen = config.telemetry.listen;
    let services = Services::open(config, stop).await?;
    let shown = start(&services);
    let named = telemetry::named(&shown);
    services.start_telemetry(handle, shown);
    services.ready();
    output::progress(format_args!(
        "wardstream is up; {named} on http://{listen}, SQL on {} and {} as {}",
        services.config.sql.listen, services.config.sql.flight_listen, services.config.sql.user
    ));
    let code = tokio::select! {
        signalled = signal() => signalled.map(|()| ExitCode::SUCCESS)?,
        () = failed => ExitCode::FAILURE,
    };
    output::progress("stopping");
    services.close().await;
    Ok(code)
}

/// Ends at Ctrl-C or SIGTERM.
pub async fn signal() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
