//! One Apache Kafka node that speaks TLS and SASL, in a folder of its own; it ends with the value that stands for it.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

type Failure = Box<dyn std::error::Error>;

/// Any 16 bytes in URL-safe base64.
const CLUSTER_ID: &str = "d2FyZHN0cmVhbS1saXZlLQ";
const ATTEMPTS: usize = 300;

/// A node that runs.
pub struct Broker {
    folder: tempfile::TempDir,
    node: Child,
    plain: u16,
    secure: u16,
    mutual: u16,
}

impl Broker {
    /// Makes certificates, formats the log and starts the node; the user `ward` has the password `hunter2`.
    pub async fn start() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("wardstream-bus-").tempdir()?;
        certificates(folder.path())?;
        let [plain, secure, mutual, controller] = ports()?;
        let config = folder.path().join("server.properties");
        std::fs::write(&config, properties(folder.path(), [plain, secure, mutual, controller]))?;
        let output = File::create(folder.path().join("kafka.log"))?;
        let mut format = java()?;
        format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "--add-scram", "SCRAM-SHA-256=[name=ward,password=hunter2]"]);
        let formatted = format.arg("-c").arg(&config).stdout(output.try_clone()?).stderr(output.try_clone()?).status()?;
        if !formatted.success() {
            return Err(std::fs::read_to_string(folder.path().join("kafka.log"))?.into());
        }
        let mut node = java()?;
        node.arg("kafka.Kafka").arg(&config).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let broker = Self { folder, node: node.spawn()?, plain, secure, mutual };
        for _ in 0..ATTEMPTS {
            let listens = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            if [plain, secure, mutual].into_iter().all(listens) {
                return Ok(broker);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(std::fs::read_to_string(broker.file("kafka.log"))?.into())
    }

    /// A file in the node's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The port without TLS.
    pub fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.plain)
    }

    /// The port with TLS and SASL.
    pub fn secure(&self) -> String {
        format!("localhost:{}", self.secure)
    }

    /// The port with TLS that asks for a certificate.
    pub fn mutual(&self) -> String {
        format!("localhost:{}", self.mutual)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The node is ours, and its folder goes with it: nothing is to be saved.
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

fn java() -> Result<Command, Failure> {
    #[expect(clippy::disallowed_methods, reason = "a live test is told by tests/run where Kafka's jars are")]
    let jars =
        std::env::var("WARDSTREAM_KAFKA_LIB").map_err(|_| "set WARDSTREAM_KAFKA_LIB to the folder of Kafka's jars, as tests/run does")?;
    let mut command = Command::new("java");
    command.args(["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k"]);
    command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]).arg(Path::new(&jars).join("*"));
    Ok(command)
}

/// Ports that were free a moment ago, all at once.
fn ports() -> Result<[u16; 4], Failure> {
    let taken = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(taken) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

/// `ca.pem`, and of the server and the client the certificate, the key, and both in one.
fn certificates(folder: &Path) -> Result<(), Failure> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    std::fs::write(folder.join("ca.pem"), authority.pem())?;
    for name in ["server", "client"] {
        let key = KeyPair::generate()?;
        let mut certificate = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        // A certificate named as its issuer would be taken for one that signed itself.
        certificate.distinguished_name.push(DnType::CommonName, name);
        let certificate = certificate.signed_by(&key, &authority)?.pem();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
        std::fs::write(folder.join(format!("{name}.both")), key.serialize_pem() + &certificate)?;
        std::fs::write(folder.join(format!("{name}.pem")), certificate)?;
    }
    Ok(())
}

fn properties(folder: &Path, [plain, secure, mutual, controller]: [u16; 4]) -> String {
    let modules = "org.apache.kafka.common.security";
    let folder = folder.display();
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAIN://127.0.0.1:{plain},SECURE://127.0.0.1:{secure},MUTUAL://127.0.0.1:{mutual},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAIN://127.0.0.1:{plain},SECURE://localhost:{secure},MUTUAL://localhost:{mutual}\n\
         listener.security.protocol.map=PLAIN:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAIN\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={folder}/data\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,OAUTHBEARER\n\
         listener.name.secure.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_ward=\"hunter2\";\n\
         listener.name.secure.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;\n\
         listener.name.secure.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.location={folder}/server.both\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={folder}/ca.pem\n\
         listener.name.mutual.ssl.client.auth=required\n\
         num.network.threads=2\n\
         num.io.threads=2\n\
         background.threads=2\n\
         log.cleaner.threads=1\n\
         log.cleaner.dedupe.buffer.size=4194304\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.num.partitions=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n"
    )
}
