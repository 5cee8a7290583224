//! Results go to stdout, everything else to stderr. The only place that prints.

use std::io::Write as _;
use std::process::ExitCode;

/// Exit code of a command that could not do what it was asked.
pub const FAILED: u8 = 1;
/// Exit code of wrong usage or configuration.
pub const WRONG_USAGE: u8 = 2;

/// Prints one line of a result. A reader that has gone away is no failure of ours.
pub fn line(text: impl std::fmt::Display) {
    let _gone = writeln!(std::io::stdout(), "{text}");
}

/// Prints rendered rows, which end their own lines.
pub fn block(text: &str) {
    let _gone = write!(std::io::stdout(), "{text}");
}

/// Says what failed and why, cause after cause, on stderr.
pub fn failure(error: &anyhow::Error, code: u8) -> ExitCode {
    let _gone = writeln!(std::io::stderr(), "wardstream: {error:#}");
    ExitCode::from(code)
}

/// Says how far a long command has come, on stderr.
pub fn progress(text: impl std::fmt::Display) {
    let _gone = writeln!(std::io::stderr(), "{text}");
}

/// Stdout for a result that is written piece by piece. A reader that has gone away is no failure of ours.
pub struct Stdout;

impl std::io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = std::io::stdout().write(bytes);
        if written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) { Ok(bytes.len()) } else { written }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = std::io::stdout().flush();
        if flushed.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) { Ok(()) } else { flushed }
    }
}
