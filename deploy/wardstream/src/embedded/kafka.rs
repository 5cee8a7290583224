//! One Apache Kafka node (KRaft, broker and controller in one) on Java, small enough to stand beside everything else.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::process::{Process, end_leftover, log};
use super::{ANSWER_WITHIN, EmbeddedError, steady_port};

/// Any 16 bytes in URL-safe base64 name a cluster; a private node needs no other.
const CLUSTER_ID: &str = "d2FyZHN0cmVhbS1rYWZrYQ";
/// Kafka writes and reads records as large as ours may be.
const RECORD_LIMIT_BYTES: usize = 64 << 20;

/// A running node.
pub struct Kafka {
    process: Process,
    brokers: String,
}

impl Kafka {
    /// Starts the node whose state is in `state/kafka`, with the jars in `jars`, and waits until it answers.
    pub async fn start(state: &Path, jars: &Path) -> Result<Self, EmbeddedError> {
        check(jars)?;
        let home = absolute(&state.join("kafka"))?;
        std::fs::create_dir_all(&home).map_err(EmbeddedError::state("create", &home))?;
        // Whole records lie here: nobody else on this machine may read them.
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).map_err(EmbeddedError::state("protect", &home))?;
        let (note, output) = (home.join("kafka.pid"), home.join("kafka.log"));
        end_leftover(&note, &home);

        let port = steady_port(&home.join("port"))?;
        let controller = super::free_port()?;
        let config = home.join("server.properties");
        std::fs::write(&config, properties(&home, port, controller)).map_err(EmbeddedError::state("write", &config))?;
        if !home.join("data/meta.properties").exists() {
            format(jars, &config, &output).await?;
        }
        let mut command = java(jars, "-Xmx512m");
        command.arg("kafka.Kafka").arg(&config);
        let mut kafka = Self { process: Process::start(command, note, &output)?, brokers: format!("127.0.0.1:{port}") };
        kafka.wait(port, &output).await?;
        Ok(kafka)
    }

    /// `host:port`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Ends the node: its logs are flushed and closed. Blocks for up to 20 seconds.
    pub fn stop(mut self) {
        self.process.stop("TERM");
    }

    /// A node opens its listener once it is registered with its controller; clients wait out the moment that may remain.
    async fn wait(&mut self, port: u16, output: &Path) -> Result<(), EmbeddedError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let deadline = Instant::now() + ANSWER_WITHIN;
        while Instant::now() < deadline && !self.process.has_ended() {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(EmbeddedError::Silent {
            service: "Apache Kafka",
            address: address.to_string(),
            seconds: ANSWER_WITHIN.as_secs(),
            log: output.to_owned(),
        })
    }
}

fn check(jars: &Path) -> Result<(), EmbeddedError> {
    let instead = "configure the address of a Kafka that runs";
    let has_jars = std::fs::read_dir(jars)
        .is_ok_and(|files| files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("kafka_2.13-")));
    if !has_jars {
        return Err(EmbeddedError::Missing { what: "Apache Kafka", place: jars.to_owned(), instead });
    }
    match Command::new("java").arg("-version").output() {
        Ok(_) => Ok(()),
        Err(_) => Err(EmbeddedError::Missing { what: "Java 17", place: PathBuf::from("java"), instead }),
    }
}

fn absolute(place: &Path) -> Result<PathBuf, EmbeddedError> {
    std::path::absolute(place).map_err(EmbeddedError::state("find", place))
}

fn java(jars: &Path, heap: &str) -> Command {
    let mut command = Command::new("java");
    command.args([heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]);
    command.arg(jars.join("*"));
    command
}

async fn format(jars: &Path, config: &Path, output: &Path) -> Result<(), EmbeddedError> {
    let mut command = java(jars, "-Xmx256m");
    command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(config);
    let (out, err) = (log(output)?, log(output)?);
    command.stdout(out).stderr(err);
    let status = tokio::process::Command::from(command).status().await.map_err(EmbeddedError::state("run", Path::new("java")))?;
    if status.success() {
        Ok(())
    } else {
        Err(EmbeddedError::Failed { program: "kafka.tools.StorageTool".to_owned(), log: output.to_owned() })
    }
}

/// Records keep their own time, years back, so nothing may be deleted by age or refused for it.
fn properties(home: &Path, port: u16, controller: u16) -> String {
    let data = home.join("data");
    format!(
        "# Written at every start.\n\
         process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={data}\n\
         num.network.threads=2\n\
         num.io.threads=2\n\
         background.threads=2\n\
         num.replica.fetchers=1\n\
         num.recovery.threads.per.data.dir=1\n\
         log.cleaner.threads=1\n\
         log.cleaner.dedupe.buffer.size=4194304\n\
         num.partitions=1\n\
         auto.create.topics.enable=true\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.num.partitions=4\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         message.max.bytes={RECORD_LIMIT_BYTES}\n\
         replica.fetch.max.bytes={RECORD_LIMIT_BYTES}\n\
         socket.request.max.bytes={request}\n\
         log.cleanup.policy=delete\n\
         log.retention.ms=-1\n\
         log.retention.bytes=-1\n\
         log.roll.ms={never}\n\
         log.segment.bytes=268435456\n\
         log.message.timestamp.type=CreateTime\n\
         log.message.timestamp.before.max.ms={never}\n\
         log.message.timestamp.after.max.ms={never}\n\
         offsets.retention.minutes=5256000\n",
        data = data.display(),
        request = 2 * RECORD_LIMIT_BYTES,
        never = i64::MAX,
    )
}
