//! What bf16 and whole numbers do to the ranking that a trained model makes of thousands of notes it has not seen.

use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::packed::Precision;
use crate::{Config, Draft, Learner, Lesson, Recipe, train_tokenizer};

type Tested = Result<(), Box<dyn std::error::Error>>;

/// Findings with the chance that each brings; most patients die of none.
const FINDINGS: [(&str, f64); 6] = [
    ("septic shock", 0.85),
    ("acute liver failure", 0.7),
    ("metastatic cancer", 0.5),
    ("atrial fibrillation", 0.3),
    ("a sprained ankle", 0.15),
    ("seasonal allergies", 0.05),
];

/// Notes whose outcome is drawn by the finding, which stands anywhere in them.
fn notes(count: usize, seed: u64) -> Vec<(String, i32)> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let filler = ["seen on rounds", "vital signs noted", "family at the bedside", "slept well", "labs pending", "ate breakfast"];
    let note = |_| {
        let (finding, chance) = FINDINGS[random.random_range(0..FINDINGS.len())];
        let mut parts: Vec<&str> = (0..random.random_range(3..12)).map(|_| filler[random.random_range(0..filler.len())]).collect();
        parts.insert(random.random_range(0..parts.len()), finding);
        (format!("The patient was {}.", parts.join(", ")), i32::from(random.random_bool(chance)))
    };
    (0..count).map(note).collect()
}

/// Ties count half.
fn auroc(scores: &[f64], notes: &[(String, i32)]) -> f64 {
    let mut ranked: Vec<(f64, bool)> = scores.iter().zip(notes).map(|(&score, note)| (score, note.1 == 1)).collect();
    ranked.sort_by(|x, y| x.0.total_cmp(&y.0));
    let (mut wins, mut below) = (0.0, 0.0);
    for tied in ranked.chunk_by(|x, y| x.0 == y.0) {
        let hits = tied.iter().filter(|(_, hit)| *hit).count() as f64;
        let misses = tied.len() as f64 - hits;
        wins += hits * (below + misses / 2.0);
        below += misses;
    }
    wins / (below * (ranked.len() as f64 - below))
}

#[test]
fn no_precision_moves_the_auroc_of_a_trained_model() -> Tested {
    let train = notes(1200, 1);
    let tokenizer = train_tokenizer(train.iter().map(|note| note.0.as_str()), 400)?;
    let mut learner = Learner::new(Config::demo(tokenizer.get_vocab_size(true)), tokenizer, 1)?;
    let lessons: Vec<Lesson> = train.iter().map(|(text, label)| learner.encode(text, &[(Task::Mortality, *label)])).collect();
    for (round, batch) in lessons.chunks(8).enumerate() {
        let learning_rate = 4e-3 * (round as f32 / 20.0).min(1.0);
        learner.step(&batch.iter().collect::<Vec<_>>(), &Recipe { learning_rate, ..Recipe::default() }, 2)?;
    }
    let dir = tempfile::tempdir()?;
    // Measured: 8 bits are taken as they are asked for.
    learner.export(dir.path(), Draft { int8_shift: Some(0.0), ..Draft::default() })?;
    let unseen = notes(4000, 2);
    let asked: Vec<Asked<'_>> = unseen.iter().map(|(text, _)| Asked { text, tasks: &[Task::Mortality] }).collect();
    let ranked = |precision| -> Result<f64, Box<dyn std::error::Error>> {
        let model = Model::load_with(dir.path(), &Settings { precision: Some(precision), ..Settings::default() })?;
        assert_eq!(model.precision(), precision);
        let scores: Vec<f64> = model.score(&asked)?.iter().flatten().map(|answer| answer.probabilities[1]).collect();
        Ok(auroc(&scores, &unseen))
    };
    let exact = ranked(Precision::F32)?;
    eprintln!("AUROC {exact:.5} in f32");
    // What 150 steps come to differs by the arithmetic in which they are taken; by chance alone it is half.
    assert!(exact > 0.7, "{exact}");
    for precision in [Precision::Bf16, Precision::Int16, Precision::Int8] {
        let found = ranked(precision)?;
        eprintln!("{found:.5} in {}", precision.as_str());
        assert!((found - exact).abs() <= 2e-3, "{precision:?}");
    }
    Ok(())
}
