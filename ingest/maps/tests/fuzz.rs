//! The maps keep their promises whatever they read. Seeded and bounded; for longer, `cargo run -p maps --example fuzz -- ROUNDS SEED`.

#[path = "fuzz/generator.rs"]
mod generator;

use schemas::Facility;

use generator::{Dice, check, record};

/// How many records are read.
const ROUNDS: usize = 20_000;

fn facility() -> Facility {
    Facility { zone: "America/New_York".to_owned(), ..Facility::new("north") }
}

#[test]
fn any_record_gets_an_answer_the_same_one_twice_and_no_reason_tells_of_a_person() {
    let facility = facility();
    let mut dice = Dice::of(1);
    for _ in 0..ROUNDS {
        check(&record(&mut dice), &facility);
    }
}

#[test]
fn every_beginning_of_a_record_gets_an_answer() {
    let facility = facility();
    let mut dice = Dice::of(2);
    for _ in 0..20 {
        let record = record(&mut dice);
        for end in 0..=record.len() {
            check(&record[..end], &facility);
        }
    }
}

#[test]
fn the_generator_makes_what_the_maps_understand() {
    let facility = facility();
    let mut dice = Dice::of(3);
    let parts: Vec<_> = (0..2_000).flat_map(|_| maps::map_record(&record(&mut dice), &facility)).collect();
    let count = |which: fn(&maps::Mapped) -> bool| parts.iter().filter(|part| which(part)).count();
    assert!(count(|part| !part.facts.is_empty()) > 500);
    assert!(count(|part| !part.notes.is_empty()) > 50);
    assert!(count(|part| !part.flags.is_empty()) > 50);
    assert!(count(|part| !part.rejects.is_empty()) > 500);
}
