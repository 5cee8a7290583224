//! How fast FHIR JSON becomes rows, on one thread: `cargo run -p maps --example fhir_rate -- FOLDER...`.
//!
//! For each folder one line of NDJSON: its name, and the best of several rounds over the bytes of all its files, which are read and cut into records before.

use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use schemas::Facility;

const ROUNDS: usize = 15;

fn main() -> std::io::Result<()> {
    for folder in std::env::args().skip(1) {
        let files = files(Path::new(&folder))?;
        let bytes: usize = files.iter().map(Vec::len).sum();
        let facility = Facility::new("north");
        let records: Vec<&[u8]> = files.iter().flat_map(|file| maps::split::records(file)).collect();
        let best = (0..ROUNDS).map(|_| round(&records, &facility)).min().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a rate is printed with one decimal")]
        let rate = bytes as f64 / 1e6 / best.as_secs_f64();
        writeln!(std::io::stdout(), r#"{{"what": "fhir map {folder}", "megabytes_per_second": {rate:.1}}}"#)?;
    }
    Ok(())
}

fn files(folder: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let mut paths = std::fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(std::fs::read).collect()
}

fn round(records: &[&[u8]], facility: &Facility) -> Duration {
    let start = Instant::now();
    for record in records {
        black_box(maps::map_record(record, facility));
    }
    start.elapsed()
}
