//! A private PostgreSQL: a cluster of its own in the state folder, reachable by its owner alone.
//!
//! It listens on loopback alone, with a password that only its owner may read. As root, everything runs as the user `postgres`, since
//! the server refuses root; where that user cannot enter the state folder (a checkout in root's home), the cluster lies in
//! `/var/lib/wardstream` under a name derived from the folder's.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::{Process, end_leftover, log};
use super::{ANSWER_WITHIN, EmbeddedError, steady_port};

const USER: &str = "wardstream";
const DATABASE: &str = "postgres";
/// Within the state folder.
const FOLDER: &str = "postgres";
/// Where Debian and others put the server's programs.
const PLACES: [&str; 3] = ["/usr/lib/postgresql", "/usr/pgsql", "/opt/postgresql"];

/// A running server.
pub struct Postgres {
    process: Process,
    port: u16,
    password: String,
}

impl Postgres {
    /// Whether a server of ours was ever started with this state, running or not.
    pub fn was_made(state: &Path) -> bool {
        state.join(FOLDER).is_dir()
    }

    /// Starts the server whose state is in `state/postgres`, making its cluster the first time, and waits until it answers.
    pub async fn start(state: &Path) -> Result<Self, EmbeddedError> {
        let programs = programs()?;
        let home = home(state)?;
        let (data, note, output) = (home.join("data"), home.join("postgres.pid"), home.join("postgres.log"));
        end_leftover(&note, &data);
        let password = password(&home.join("password"))?;
        own(&home)?;
        if !data.join("PG_VERSION").exists() {
            let mut initdb = as_owner(&programs.join("initdb"));
            initdb.arg("-D").arg(&data).args(["-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--pwfile"]);
            run(initdb.arg(home.join("password")), &output).await?;
        }
        let port = steady_port(&home.join("port"))?;
        let mut server = as_owner(&programs.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg("").args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        server.args([
            "-c",
            "shared_buffers=32MB",
            "-c",
            "max_connections=40",
            "-c",
            "log_min_messages=warning",
            "-c",
            "log_statement=none",
        ]);
        server.args(["-c", "log_min_error_statement=panic", "-c", "log_parameter_max_length=0"]);
        let mut postgres = Self { process: Process::start(server, note, &output)?, port, password };
        postgres.wait(&programs, &output).await?;
        Ok(postgres)
    }

    /// A connection string, password included: never for a log.
    pub fn url(&self) -> String {
        format!("postgresql://{USER}:{}@127.0.0.1:{}/{DATABASE}", self.password, self.port)
    }

    /// Ends the server; open connections are cut (a fast shutdown). Blocks for up to 20 seconds.
    pub fn stop(mut self) {
        self.process.stop("INT");
    }

    async fn wait(&mut self, programs: &Path, output: &Path) -> Result<(), EmbeddedError> {
        let port = self.port.to_string();
        let deadline = Instant::now() + ANSWER_WITHIN;
        while Instant::now() < deadline && !self.process.has_ended() {
            let mut ready = tokio::process::Command::new(programs.join("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &port, "-U", USER, "-d", DATABASE]);
            if ready.status().await.is_ok_and(|status| status.success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(EmbeddedError::Silent {
            service: "PostgreSQL",
            address: format!("127.0.0.1:{port}"),
            seconds: ANSWER_WITHIN.as_secs(),
            log: output.to_owned(),
        })
    }
}

/// The newest installed server's folder of programs.
fn programs() -> Result<PathBuf, EmbeddedError> {
    let versions = PLACES.iter().flat_map(|place| std::fs::read_dir(place).into_iter().flatten().flatten());
    let numbered = versions.filter_map(|found| Some((found.file_name().to_string_lossy().parse::<u32>().ok()?, found.path().join("bin"))));
    let newest = numbered.filter(|(_, bin)| bin.join("initdb").exists() && bin.join("postgres").exists()).max();
    newest.map(|(_, bin)| bin).ok_or_else(|| EmbeddedError::Missing {
        what: "PostgreSQL",
        place: PathBuf::from("/usr/lib/postgresql"),
        instead: "configure the address of a PostgreSQL that runs",
    })
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A command that runs as the cluster's owner: `postgres` where we are root, else ourselves.
fn as_owner(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    // A folder that everybody may enter: the server's owner may be kept out of the one we stand in.
    command.current_dir("/");
    command
}

/// Reads the cluster's password, or makes one that nobody can guess.
fn password(place: &Path) -> Result<String, EmbeddedError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if let Ok(password) = std::fs::read_to_string(place) {
        return Ok(password.trim().to_owned());
    }
    let mut seed = [0_u8; 16];
    let random = Path::new("/dev/urandom");
    std::fs::File::open(random).and_then(|mut file| file.read_exact(&mut seed)).map_err(EmbeddedError::state("read", random))?;
    let password: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(place)
        .and_then(|mut file| file.write_all(password.as_bytes()));
    written.map_err(EmbeddedError::state("write", place))?;
    Ok(password)
}

/// Where the cluster lies: in the state folder if its owner can enter that.
fn home(state: &Path) -> Result<PathBuf, EmbeddedError> {
    let beside = state.join(FOLDER);
    let near = std::path::absolute(&beside).map_err(EmbeddedError::state("find", &beside))?;
    std::fs::create_dir_all(&near).map_err(EmbeddedError::state("create", &near))?;
    own(&near)?;
    let enters = as_owner(Path::new("test")).arg("-x").arg(&near).status().is_ok_and(|status| status.success());
    if !is_root() || enters {
        return Ok(near);
    }
    let named = near
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let far = PathBuf::from(format!("/var/lib/wardstream/{named:016x}"));
    std::fs::create_dir_all(&far).map_err(EmbeddedError::state("create", &far))?;
    Ok(far)
}

/// Gives the cluster's folder to its owner, and the way into it to nobody else.
fn own(home: &Path) -> Result<(), EmbeddedError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700)).map_err(EmbeddedError::state("protect", home))?;
    if is_root() {
        let given =
            Command::new("chown").arg("-R").arg("postgres:postgres").arg(home).status().map_err(EmbeddedError::state("give away", home))?;
        if !given.success() {
            return Err(EmbeddedError::Failed { program: "chown to user postgres".to_owned(), log: home.to_owned() });
        }
    }
    Ok(())
}

async fn run(command: &mut Command, output: &Path) -> Result<(), EmbeddedError> {
    let program = command.get_args().chain([command.get_program()]).find(|word| word.to_string_lossy().ends_with("initdb"));
    let program = program.unwrap_or(command.get_program()).to_string_lossy().into_owned();
    let (out, err) = (log(output)?, log(output)?);
    command.stdout(out).stderr(err);
    let mut command = tokio::process::Command::from(std::mem::replace(command, Command::new("true")));
    let status = command.status().await.map_err(EmbeddedError::state("run", output))?;
    if status.success() { Ok(()) } else { Err(EmbeddedError::Failed { program, log: output.to_owned() }) }
}
