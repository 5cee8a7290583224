//! The promises of learning, on notes small enough to learn from in seconds.

use std::sync::OnceLock;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use schemas::Task;

use super::Learned;
use crate::{
    Arithmetic, Asked, Computing, Config, Draft, InstructionSet, Learner, Lesson, LoadError, Model, Precision, Recipe, Settings,
    train_tokenizer,
};

pub(super) type Tested = Result<(), Box<dyn std::error::Error>>;

/// Notes in which one of two findings decides the outcome nine times out of ten, among filler.
pub(super) fn notes(count: usize, seed: u64) -> Vec<(String, i32)> {
    const FILLER: [&str; 8] = [
        "Vital signs stable.",
        "Seen with the team.",
        "Diet as tolerated.",
        "Family at bedside.",
        "No rash.",
        "Walks with help.",
        "Lungs are clear.",
        "Sleeps well.",
    ];
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let note = |_| {
        let sick = random.random_bool(0.5);
        let mut sentences: Vec<&str> = (0..8).filter_map(|_| FILLER.get(random.random_range(0..FILLER.len())).copied()).collect();
        sentences.insert(random.random_range(0..=8), if sick { "Septic shock on arrival." } else { "Ankle sprain on arrival." });
        (sentences.join(" "), i32::from(sick == random.random_bool(0.9)))
    };
    (0..count).map(note).collect()
}

pub(super) fn learner() -> Result<Learner, Box<dyn std::error::Error>> {
    static TOKENIZER: OnceLock<Option<tokenizers::Tokenizer>> = OnceLock::new();
    let trained = TOKENIZER.get_or_init(|| train_tokenizer(notes(200, 1).iter().map(|note| note.0.as_str()), 300).ok());
    let tokenizer = trained.clone().ok_or("no tokenizer")?;
    Ok(Learner::new(Config::demo(tokenizer.get_vocab_size(true)), tokenizer, 7)?)
}

pub(super) fn lessons(learner: &Learner, count: usize, seed: u64) -> Vec<Lesson> {
    notes(count, seed).iter().map(|(text, label)| learner.encode(text, &[(Task::Mortality, *label), (Task::Denial, 1)])).collect()
}

pub(super) fn step(learner: &mut Learner, lessons: &[Lesson], threads: usize) -> Result<crate::StepReport, crate::LearnError> {
    learner.step(&lessons.iter().collect::<Vec<_>>(), &Recipe { learning_rate: 2e-3, ..Recipe::default() }, threads)
}

/// The demo's shape and recipe, from scratch: the finding is found, and unseen notes are ranked by it.
#[test]
fn a_small_model_learns_what_decides() -> Tested {
    let mut learner = learner()?;
    for round in 0..150_u64 {
        let batch = lessons(&learner, 8, 100 + round);
        let rate = 4e-3 * (round as f32 / 20.0).min(1.0);
        let report = learner.step(&batch.iter().collect::<Vec<_>>(), &Recipe { learning_rate: rate, ..Recipe::default() }, 2)?;
        assert!(report.loss.is_finite());
    }
    let unseen = notes(200, 2);
    let asked: Vec<Asked<'_>> = unseen.iter().map(|(text, _)| Asked { text, tasks: &[Task::Mortality] }).collect();
    let answers = learner.score(&asked)?;
    let of =
        |wanted: i32| answers.iter().zip(&unseen).filter(move |(_, note)| note.1 == wanted).map(|(answer, _)| answer[0].probabilities[1]);
    let (mut wins, mut pairs) = (0, 0);
    for dead in of(1) {
        wins += of(0).filter(|&alive| dead > alive).count();
        pairs += of(0).count();
    }
    assert!(f64::from(wins as u32) > 0.8 * f64::from(pairs as u32), "{wins} of {pairs}");
    Ok(())
}

/// Weights that mean something, not random ones: what is cut off them must not change what the model says.
#[test]
fn a_trained_model_answers_nearly_the_same_in_every_precision() -> Tested {
    let mut learner = learner()?;
    for round in 0..80_u64 {
        let batch = lessons(&learner, 8, 300 + round);
        learner.step(&batch.iter().collect::<Vec<_>>(), &Recipe { learning_rate: 4e-3, ..Recipe::default() }, 2)?;
    }
    let (dir, unmeasured) = (tempfile::tempdir()?, tempfile::tempdir()?);
    learner.export(dir.path(), Draft { int8_shift: Some(0.0), ..Draft::default() })?;
    let unseen = notes(60, 2);
    let asked: Vec<Asked<'_>> = unseen.iter().map(|(text, _)| Asked { text, tasks: &[Task::Mortality, Task::Denial] }).collect();
    let answers = |precision| -> Result<Vec<f64>, Box<dyn std::error::Error>> {
        let model = Model::load_with(dir.path(), &Settings { precision: Some(precision), ..Settings::default() })?;
        assert_eq!((model.precision(), model.too_coarse()), (precision, None));
        Ok(model.score(&asked)?.iter().flatten().map(|answer| answer.probabilities[1]).collect())
    };
    let exact = answers(Precision::F32)?;
    assert!(exact.iter().any(|share| (0.1..0.4).contains(share)) && exact.iter().any(|share| share > &0.7), "{exact:?}");
    for precision in [Precision::Bf16, Precision::Int16, Precision::Int8] {
        let apart = answers(precision)?.iter().zip(&exact).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-2, "{precision:?}: {apart} apart");
    }
    // A model that bears 8 bits has them, though nobody measured it; AVX2's, which are coarser, may move it too much.
    learner.export(unmeasured.path(), Draft::default())?;
    let settings = Settings { precision: Some(Precision::Int8), instructions: Some(InstructionSet::Portable), ..Settings::default() };
    let model = Model::load_with(unmeasured.path(), &settings)?;
    assert_eq!((model.precision(), model.too_coarse()), (Precision::Int8, None));
    Ok(())
}

#[test]
fn the_same_steps_on_the_same_threads_give_the_same_bits() -> Tested {
    let (mut once, mut again) = (learner()?, learner()?);
    for round in 0..3 {
        let batch = lessons(&once, 5, round);
        assert_eq!(step(&mut once, &batch, 2)?, step(&mut again, &batch, 2)?);
    }
    assert_eq!(once.learned.weights, again.learned.weights);
    Ok(())
}

/// In both precisions, over more rows than one pass reads, whatever layers may keep.
#[test]
fn a_step_gives_the_same_bits_on_any_number_of_threads_and_with_any_room() -> Tested {
    for arithmetic in [Arithmetic::F32, Arithmetic::Bf16] {
        let mut found = Vec::new();
        for (threads, activation_bytes) in [(1, usize::MAX), (2, 0), (3, 3_000_000), (2, usize::MAX)] {
            let computing = Computing { arithmetic: Some(arithmetic), activation_bytes, ..Computing::default() };
            let mut learner = learner()?.computing(computing);
            let batch = lessons(&learner, 60, 9);
            assert!(batch.iter().map(Lesson::tokens).sum::<usize>() > 2048);
            let report = step(&mut learner, &batch, threads)?;
            found.push((report, learner.learned.weights));
        }
        assert!(found.iter().all(|each| *each == found[0]), "{arithmetic:?}");
    }
    Ok(())
}

/// What goes wrong in the middle costs that batch, and nothing else.
#[test]
fn a_spoiled_step_is_undone_and_its_batch_left_behind() -> Tested {
    let dir = tempfile::tempdir()?;
    let mut learner = learner()?;
    let batch = lessons(&learner, 4, 5);
    step(&mut learner, &batch, 2)?;
    learner.save_state(dir.path())?;
    let good = learner.learned.weights.clone();
    let wild = Recipe { learning_rate: 1e4, ..Recipe::default() };
    learner.step(&batch.iter().collect::<Vec<_>>(), &wild, 2)?;
    assert_ne!(learner.learned.weights, good);
    learner.go_back(dir.path())?;
    assert_eq!((learner.steps(), learner.position(), &learner.learned.weights), (1, 2, &good));
    step(&mut learner, &batch, 2)?;
    learner.save_state(dir.path())?;
    assert_eq!((learner.steps(), Learner::resume(dir.path())?.position()), (2, 3));
    Ok(())
}

/// What learns and both of the optimiser's means, to the bit.
pub(super) fn bits(learner: &Learner) -> [Vec<u32>; 3] {
    let Learned { weights, first, second } = &learner.learned;
    [weights, first, second].map(|numbers| numbers.iter().map(|number| number.to_bits()).collect())
}

/// Six steps over batches of their own, and the same by a learner that died behind the third.
#[test]
fn a_resumed_learner_goes_on_as_if_nothing_had_happened() -> Tested {
    let dir = tempfile::tempdir()?;
    let (mut whole, mut left) = (learner()?.read_at_most(30)?, learner()?.read_at_most(30)?);
    let batches: Vec<Vec<Lesson>> = (0..6).map(|round| lessons(&whole, 4, round)).collect();
    for batch in &batches[..3] {
        assert_eq!(step(&mut whole, batch, 2)?, step(&mut left, batch, 2)?);
    }
    left.save_state(dir.path())?;
    drop(left);
    let mut resumed = Learner::resume(dir.path())?;
    assert_eq!((resumed.steps(), resumed.position(), resumed.config()), (3, 3, whole.config()));
    assert_eq!(lessons(&resumed, 4, 5), batches[5]);
    for batch in &batches[3..] {
        assert_eq!(step(&mut whole, batch, 2)?, step(&mut resumed, batch, 1)?);
        assert_eq!(bits(&whole), bits(&resumed));
    }
    assert_eq!((resumed.steps(), resumed.position()), (6, 6));
    Ok(())
}

/// One poisoned weight must not be spread over all others by a step.
#[test]
fn a_loss_that_is_no_number_changes_nothing() -> Tested {
    let mut learner = learner()?;
    let batch = lessons(&learner, 2, 5);
    learner.learned.weights[3] = f32::NAN;
    learner.learned.weights[learner.network.layout.norm.start] = f32::NAN;
    let before: Vec<u32> = learner.learned.weights.iter().map(|weight| weight.to_bits()).collect();
    let report = step(&mut learner, &batch, 2)?;
    assert!(report.skipped && !report.loss.is_finite());
    assert_eq!(learner.learned.weights.iter().map(|weight| weight.to_bits()).collect::<Vec<_>>(), before);
    assert!(matches!(learner.score(&[Asked { text: "Seen.", tasks: &[Task::Denial] }]), Err(crate::ScoreError::NotANumber { .. })));
    Ok(())
}

#[test]
fn an_exported_model_answers_as_the_learner_did_alone_or_in_company() -> Tested {
    let dir = tempfile::tempdir()?;
    let mut learner = learner()?;
    let batch = lessons(&learner, 4, 5);
    step(&mut learner, &batch, 1)?;
    let version = learner.export(dir.path(), Draft::default())?;
    let model = Model::load(dir.path())?;
    assert_eq!((model.version(), version.0.len()), (&version, 16));
    let all = notes(9, 77);
    let asked: Vec<Asked<'_>> = all.iter().map(|(text, _)| Asked { text, tasks: &Task::ALL }).collect();
    let answers = model.score(&asked)?;
    assert_eq!(answers, learner.score(&asked)?);
    for (one, answer) in asked.iter().zip(&answers) {
        assert_eq!(model.score(&[*one])?.first(), Some(answer));
        assert_eq!(answer.iter().map(|each| each.probabilities.len()).collect::<Vec<_>>(), [2, 2, 4, 5, 2]);
        assert!(answer.iter().all(|each| (each.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9));
        assert_eq!(answer.first().map(|each| each.tokens_read as usize), Some(model.count_tokens(one.text)));
    }
    assert_eq!(Learner::from(dir.path())?.learned.weights, learner.learned.weights);
    Ok(())
}

#[test]
fn a_folder_whose_files_are_not_those_of_its_manifest_is_refused() -> Tested {
    let dir = tempfile::tempdir()?;
    let mut learner = learner()?;
    let version = learner.export(dir.path(), Draft::default())?;
    assert_eq!(learner.export(dir.path(), Draft::default())?, version);
    let manifest = std::fs::read_to_string(dir.path().join("wardstream.json"))?;
    let batch = lessons(&learner, 4, 5);
    step(&mut learner, &batch, 1)?;
    let other = learner.export(dir.path(), Draft::default())?;
    assert_ne!(other, version);
    std::fs::write(dir.path().join("wardstream.json"), &manifest)?;
    assert!(matches!(Model::load(dir.path()), Err(LoadError::Version { expected, found }) if expected == version && found == other));
    std::fs::write(dir.path().join("wardstream.json"), manifest.replace(&crate::prompt::digest(), "0123456789abcdef"))?;
    assert!(matches!(Model::load(dir.path()), Err(LoadError::Prompt { .. })));
    std::fs::remove_file(dir.path().join("wardstream.json"))?;
    assert_eq!(Model::load(dir.path())?.version(), &other);
    Ok(())
}

/// Labels that are none (a stay without one, a class that does not exist) teach nothing; the note still does.
#[test]
fn unknown_labels_are_left_out() -> Tested {
    let mut learner = learner()?;
    let lesson = learner.encode("Seen with the team.", &[(Task::Mortality, -1), (Task::Denial, 2), (Task::LengthOfStay, 3)]);
    assert_eq!(lesson.answers(), 1);
    let bare = learner.encode("Seen with the team.", &[]);
    let report = step(&mut learner, &[bare], 1)?;
    assert!(!report.skipped && report.answer_loss == 0.0 && report.loss > 0.0);
    assert!(step(&mut learner, &[], 1)?.skipped);
    assert!(!format!("{lesson:?}").contains("page"));
    Ok(())
}
