//! A child process that never outlives us: its own process group, a note of its id, a gentle end and a certain one.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{END_WITHIN, EmbeddedError};

/// A running service. Dropping it kills it; `stop` ends it gently.
pub(super) struct Process {
    child: Child,
    note: PathBuf,
}

/// Opens a service's log for appending.
pub(super) fn log(place: &Path) -> Result<File, EmbeddedError> {
    OpenOptions::new().create(true).append(true).open(place).map_err(EmbeddedError::state("open", place))
}

impl Process {
    /// Starts a command in a process group of its own, and notes its id beside its state.
    pub(super) fn start(mut command: Command, note: PathBuf, output: &Path) -> Result<Self, EmbeddedError> {
        let program = PathBuf::from(command.get_program());
        let out = log(output)?;
        let err = out.try_clone().map_err(EmbeddedError::state("open", output))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command.spawn().map_err(EmbeddedError::state("start", &program))?;
        std::fs::write(&note, child.id().to_string()).map_err(EmbeddedError::state("write", &note))?;
        Ok(Self { child, note })
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end with this signal, waits, and kills what is left. Blocks for at most `END_WITHIN`.
    pub(super) fn stop(&mut self, name: &str) {
        if !self.has_ended() {
            signal(name, i64::from(self.child.id()));
            let deadline = Instant::now() + END_WITHIN;
            while !self.has_ended() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        self.kill();
    }

    fn kill(&mut self) {
        if !self.has_ended() {
            signal("KILL", -i64::from(self.child.id()));
            // The child is ours and was killed: waiting only collects it.
            let _ = self.child.wait();
        }
        let _ = std::fs::remove_file(&self.note);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ends what an earlier run left behind: the noted process, if it is still the one whose command line names our state folder.
pub(super) fn end_leftover(note: &Path, mark: &Path) {
    let Some(pid) = std::fs::read_to_string(note).ok().and_then(|text| text.trim().parse::<i64>().ok()) else { return };
    let is_ours = || {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&*mark.to_string_lossy())
    };
    if is_ours() {
        tracing::warn!(pid, "an earlier run left a service behind; it is ended");
        signal("TERM", pid);
        let deadline = Instant::now() + END_WITHIN;
        while is_ours() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        if is_ours() {
            signal("KILL", pid);
        }
    }
    let _ = std::fs::remove_file(note);
}

/// Sends a signal by the shell's own `kill`, which takes no unsafe code of ours. A negative id names a process group.
fn signal(name: &str, id: i64) {
    let sent = Command::new("sh").args(["-c", r#"kill -s "$0" -- "$1""#, name, &id.to_string()]).stderr(Stdio::null()).status();
    if let Err(error) = sent {
        tracing::warn!(%error, "could not signal a service");
    }
}
