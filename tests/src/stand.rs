//! A stand: one folder, one embedded Kafka and PostgreSQL, and the commands that are run against them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// No single step of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with embedded services.
pub struct Stand {
    folder: tempfile::TempDir,
    services: Option<Child>,
}

/// The folder of the binaries.
fn binaries() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("a test has a binary")?;
    // target/debug/deps/<test>: the binaries stand one folder up.
    let folder = own.parent().and_then(Path::parent).context("a test's binary lies in target/debug/deps")?;
    ensure!(folder.join("wardstream").exists(), "{} has no wardstream; run tests/run, which builds it first", folder.display());
    Ok(folder.to_owned())
}

/// What lies in a folder, in order.
///
/// # Errors
/// Where it cannot be read.
pub fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    files.sort();
    Ok(files)
}

impl Stand {
    /// A fresh folder with Kafka and PostgreSQL running.
    ///
    /// # Errors
    /// Where they cannot be started.
    pub fn start() -> anyhow::Result<Self> {
        let mut stand = Self::folder_only()?;
        stand.start_services()?;
        Ok(stand)
    }

    /// A fresh folder in which nothing runs.
    ///
    /// # Errors
    /// Where there is no room for it.
    pub fn folder_only() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("wardstream-").tempdir().context("could not make a folder")?;
        std::fs::write(
            folder.path().join("wardstream.toml"),
            "[telemetry]\nlisten = \"127.0.0.1:0\"\n[sql]\nlisten = \"127.0.0.1:0\"\nflight_listen = \"127.0.0.1:0\"\n",
        )?;
        Ok(Self { folder, services: None })
    }

    /// Adds a part to the configuration, for commands that are run from now on.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn configure(&self, toml: &str) -> anyhow::Result<()> {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().append(true).open(self.path().join("wardstream.toml"))?;
        writeln!(file, "{toml}").context("could not write the configuration")
    }

    /// Everything that the services of this stand have written to stderr so far.
    ///
    /// # Errors
    /// Where a log cannot be read.
    pub fn logs(&self) -> anyhow::Result<String> {
        let mut logs = String::new();
        for entry in std::fs::read_dir(self.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                logs.push_str(&std::fs::read_to_string(&path)?);
            }
        }
        Ok(logs)
    }

    /// Starts Kafka and PostgreSQL, for the first time or again, and waits until they answer.
    ///
    /// # Errors
    /// Where they do not.
    pub fn start_services(&mut self) -> anyhow::Result<()> {
        let log = std::fs::File::create(self.path().join("services.log")).context("could not write a log")?;
        let mut child = self.command("wardstream")?.arg("services").stdout(Stdio::piped()).stderr(log).spawn()?;
        let stdout = child.stdout.take().context("stdout was asked for")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.contains("kafka"), "the embedded services did not start:\n{}", self.logs()?);
        self.services = Some(child);
        Ok(())
    }

    /// Stops Kafka and PostgreSQL as an operator would.
    ///
    /// # Errors
    /// Where they do not end.
    pub fn stop_services(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.services.take() else { return Ok(()) };
        ensure!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?.success(), "could not signal the services");
        let began = Instant::now();
        while child.try_wait()?.is_none() {
            ensure!(began.elapsed() < PATIENCE, "the services do not end");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, binary: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(binaries()?.join(binary));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a command to its end, whatever its exit code.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        self.command("wardstream")?.args(arguments).output().with_context(|| format!("could not run wardstream {arguments:?}"))
    }

    /// Runs a command that must succeed; its stdout.
    ///
    /// # Errors
    /// Where it fails, with what it said.
    pub fn must(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.run(arguments)?;
        ensure!(
            output.status.success(),
            "wardstream {arguments:?} failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts a service that runs until it is killed.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn service(&self, name: &str) -> anyhow::Result<Service> {
        self.started(&[name])
    }

    /// Starts a command that may be killed; what it says on stderr goes to `<command>.log`.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn started(&self, arguments: &[&str]) -> anyhow::Result<Service> {
        let name = arguments.first().context("a command has a name")?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path().join(format!("{name}.log")))?;
        Ok(Service(self.command("wardstream")?.args(arguments).stdout(Stdio::null()).stderr(log).spawn()?))
    }

    /// A small simulated hospital's messages, in `feed` of the folder.
    ///
    /// # Errors
    /// Where the hospital fails.
    pub fn hospital(&self, arguments: &[&str]) -> anyhow::Result<PathBuf> {
        let out = self.path().join("feed");
        let status = self.command("hospital")?.args(arguments).arg("--out").arg(&out).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "the hospital failed");
        Ok(out)
    }

    /// Puts the records of a folder's files on a topic, each at its own time; how many there were.
    ///
    /// # Errors
    /// Where they cannot be published.
    pub fn publish(&self, topic: &str, folder: &Path) -> anyhow::Result<u64> {
        let files = files(folder)?;
        let names = files.iter().map(|file| file.to_str().context("a file has a name")).collect::<Result<Vec<_>, _>>()?;
        let told = self.must(&[&["publish", "--clock", "own", "--topic", topic][..], &names].concat())?;
        let told: serde_json::Value = serde_json::from_str(&told)?;
        told.get("published").and_then(serde_json::Value::as_u64).context("publish says how many")
    }

    /// The running services' addresses.
    ///
    /// # Errors
    /// Where none run.
    pub fn address(&self, service: &str) -> anyhow::Result<String> {
        let services: serde_json::Value = serde_json::from_slice(&std::fs::read(self.path().join(".wardstream/services.json"))?)?;
        let address = services.get(service).and_then(serde_json::Value::as_str);
        address.map(str::to_owned).with_context(|| format!("{service} has no address"))
    }

    /// The bus, for a client of this test's own.
    ///
    /// # Errors
    /// Where no Kafka runs.
    pub fn bus(&self, group: &str) -> anyhow::Result<bus::Settings> {
        Ok(bus::Settings::new(self.address("kafka")?, group))
    }

    /// Stops Kafka and PostgreSQL and starts them again after `pause`.
    ///
    /// # Errors
    /// Where they do not end or answer.
    pub fn outage(&mut self, pause: Duration) -> anyhow::Result<()> {
        self.stop_services()?;
        std::thread::sleep(pause);
        self.start_services()
    }

    /// One number of a query.
    ///
    /// # Errors
    /// Where the query fails or gives no number.
    pub fn count(&self, query: &str) -> anyhow::Result<u64> {
        let text = self.must(&["sql", "--format", "csv", query])?;
        text.lines().nth(1).context("no row")?.trim().parse().context("no number")
    }

    /// Waits until a query gives this number.
    ///
    /// # Errors
    /// Where it does not in time.
    pub fn until(&self, query: &str, wanted: u64) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let found = self.count(query)?;
            if found == wanted {
                return Ok(());
            }
            if began.elapsed() >= PATIENCE {
                anyhow::bail!("{query}: {found}, never {wanted}; the services said:\n{}", self.logs()?);
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _gone = self.stop_services();
    }
}

/// A running service; killed with its handle, as by `kill -9`.
pub struct Service(Child);

impl Service {
    /// Sends it a signal, by name.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status()?;
        ensure!(sent.success(), "could not send {name}");
        Ok(())
    }

    /// What it has held of memory at most, in bytes.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn peak_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a process has a peak")?;
        let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().context("a peak is a number")?;
        Ok(kilobytes << 10)
    }

    /// Waits until it ends by itself; its exit code.
    ///
    /// # Errors
    /// Where it does not in time.
    pub fn ended(mut self) -> anyhow::Result<Option<i32>> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status.code());
            }
            ensure!(began.elapsed() < PATIENCE, "the process does not end");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}
