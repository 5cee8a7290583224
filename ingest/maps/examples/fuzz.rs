//! Reads ROUNDS generated records, from SEED on, and says at which round a promise was broken.

#[path = "../tests/fuzz/generator.rs"]
mod generator;

use std::io::{self, Write as _};

use schemas::Facility;

fn main() -> io::Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (rounds, seed) = (numbers.next().unwrap_or(1_000_000), numbers.next().unwrap_or(1));
    let facility = Facility { zone: "Europe/Berlin".to_owned(), ..Facility::new("north") };
    let mut dice = generator::Dice::of(seed);
    for round in 0..rounds {
        let record = generator::record(&mut dice);
        let read = std::panic::catch_unwind(|| generator::check(&record, &facility));
        if read.is_err() {
            writeln!(io::stderr(), "round {round} of seed {seed}: {:?}", String::from_utf8_lossy(&record))?;
            return Err(io::Error::other("a promise was broken"));
        }
    }
    writeln!(io::stdout(), "{{\"what\":\"fuzz\",\"seed\":{seed},\"rounds\":{rounds}}}")
}
