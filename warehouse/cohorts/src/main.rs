//! `cohorts`: the rows of a cohort from the files of a MEDS export, by a configuration of ACES. A program of its own, beside the one that holds everything else,
//! whose start alone takes more than twice the memory of all of this.

use std::error::Error;
use std::io::{BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use cohorts::{Config, READMISSION, extract};

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// A cohort from the files of a MEDS export, by a configuration of ACES: one JSON object a line, with subject_id, at (microseconds since 1970) and label.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Folder that holds `data`.
    export: PathBuf,
    /// The configuration; without one that of 30-day readmission.
    #[arg(long, value_name = "FILE")]
    aces: Option<PathBuf>,
    /// Shards are read on so many threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match config(cli.aces.as_deref()) {
        Ok(config) => config,
        Err(error) => return told(error.as_ref(), WRONG_USAGE),
    };
    match written(&config, &cli) {
        Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => told(error.as_ref(), FAILED),
        Ok(()) => ExitCode::SUCCESS,
    }
}

fn config(aces: Option<&Path>) -> Result<Config, Box<dyn Error>> {
    let Some(path) = aces else { return Ok(Config::read(READMISSION)?) };
    let named = |error: &dyn Error| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
    Ok(Config::read(&text).map_err(|error| named(&error))?)
}

fn written(config: &Config, cli: &Cli) -> Result<(), Box<dyn Error>> {
    let mut to = BufWriter::new(std::io::stdout().lock());
    for row in extract(config, &cli.export, cli.threads)? {
        writeln!(to, "{}", serde_json::json!({"subject_id": row.subject_id, "at": row.at, "label": row.label}))?;
    }
    Ok(to.flush()?)
}

/// Says what went wrong, and why.
fn told(error: &dyn Error, code: u8) -> ExitCode {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    // Where nobody listens any more, nothing can be said.
    let _unheard = writeln!(std::io::stderr(), "cohorts: {words}");
    ExitCode::from(code)
}
