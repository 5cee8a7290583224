//! Rates of the maps on the HL7 v2 messages of a file: cut into records, and read and mapped, on one thread. A line of NDJSON for each.

use std::hint::black_box;
use std::io::{self, Write as _};
use std::time::Instant;

use maps::{map_record, split};
use schemas::Facility;

/// How often each is measured; the median counts.
const ROUNDS: usize = 9;

fn main() -> io::Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "usage: rate FILE"))?;
    let bytes = std::fs::read(path)?;
    let facility = Facility::new("bench");
    let records = split::records(&bytes);
    measure("split", records.len(), bytes.len(), || drop(black_box(split::records(black_box(&bytes)))))?;
    measure("map", records.len(), records.iter().map(|record| record.len()).sum(), || {
        for record in &records {
            drop(black_box(map_record(black_box(record), &facility)));
        }
    })
}

fn measure(what: &str, messages: usize, bytes: usize, mut work: impl FnMut()) -> io::Result<()> {
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds.get(ROUNDS / 2).copied().unwrap_or(f64::NAN);
    let (messages, megabytes) = (messages as f64 / median, bytes as f64 / median / 1e6);
    writeln!(
        io::stdout(),
        "{{\"what\":\"{what}\",\"threads\":1,\"messages_per_second\":{messages:.0},\"megabytes_per_second\":{megabytes:.1}}}"
    )
}
