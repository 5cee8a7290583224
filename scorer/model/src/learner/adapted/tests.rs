//! The promises of adapters: what they begin as, what they change, and that it is the same however it is computed.

use std::path::{Path, PathBuf};

use schemas::Task;

use super::super::tests::{Tested, bits, learner, lessons, notes};
use crate::adapters::{Lora, Target};
use crate::loss::{Losses, Shares};
use crate::network::{Parameters, Trace};
use crate::packed::Kernel;
use crate::{Arithmetic, Asked, Computing, Draft, LearnError, Learner, Lesson, Model, Recipe, StepReport};

const RECIPE: Recipe =
    Recipe { learning_rate: 5e-3, next_token_weight: 0.3, betas: (0.9, 0.98), epsilon: 1e-8, weight_decay: 0.01, clip: 1.0 };

fn lora(dropout: f64) -> Result<Lora, crate::LoraError> {
    Lora::new(4, 8.0, dropout, Target::ALL)
}

/// The folder of a model that has learned nothing yet.
fn base() -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    learner()?.export(dir.path(), Draft::default())?;
    Ok(dir)
}

fn in_f32() -> Computing {
    Computing { arithmetic: Some(Arithmetic::F32), ..Computing::default() }
}

fn step(learner: &mut Learner, lessons: &[Lesson], threads: usize) -> Result<StepReport, LearnError> {
    learner.step(&lessons.iter().collect::<Vec<_>>(), &RECIPE, threads)
}

/// The losses of `lessons` with a learner's parameters, or those given.
fn losses(learner: &Learner, parameters: Parameters<'_>, lessons: &[Lesson]) -> Losses {
    let kernel = Kernel::of(learner.arithmetic().precision(), learner.instructions());
    let pages: Vec<_> = lessons.iter().map(|lesson| (&lesson.page, lesson.labels.as_slice())).collect();
    let shares = Shares { answer: 0.1, next_token: 0.01 };
    let mut gradient = vec![0.0; learner.network.layout.total()];
    learner.network.learn((parameters, &mut gradient), (&pages, &learner.reader.letters), shares, &mut Trace::new(kernel, 0))
}

/// A golden of `bf16`, so that nothing is lost on the way into either arithmetic.
#[test]
fn adapters_that_have_learned_nothing_answer_bit_for_bit_as_their_model() -> Tested {
    let dir: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/sharded");
    let asked = [Asked { text: "Patient 47 admitted with chest pain.", tasks: &Task::ALL }];
    for arithmetic in [Arithmetic::F32, Arithmetic::Bf16] {
        let computing = Computing { arithmetic: Some(arithmetic), ..Computing::default() };
        let mut whole = Learner::from(&dir)?.computing(computing);
        let mut adapted = Learner::adapting(&dir, lora(0.5)?, 1, computing)?;
        let batch = [adapted.encode("Patient 47 admitted with chest pain.", &[(Task::Mortality, 1)])];
        assert_eq!(adapted.score(&asked)?, Model::load(&dir)?.score(&asked)?);
        let (one, other) = (step(&mut whole, &batch, 2)?, step(&mut adapted, &batch, 2)?);
        assert_eq!((one.loss.to_bits(), one.answer_loss.to_bits()), (other.loss.to_bits(), other.answer_loss.to_bits()), "{arithmetic:?}");
        assert_ne!(adapted.score(&asked)?, Model::load(&dir)?.score(&asked)?);
    }
    Ok(())
}

#[test]
fn adapters_learn_and_what_they_adapt_does_not_change() -> Tested {
    let dir = base()?;
    let whole = Learner::from(dir.path())?.learned.weights;
    let mut learner = Learner::adapting(dir.path(), lora(0.1)?, 1, in_f32())?;
    let mut reports = Vec::new();
    for round in 0..40_u64 {
        let batch = lessons(&learner, 8, 100 + round);
        reports.push(step(&mut learner, &batch, 2)?.loss);
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!(mean(&reports[35..]) < mean(&reports[..5]) - 0.5, "{reports:?}");
    let nothing = vec![0.0; learner.learned.weights.len()];
    let adapted = learner.adapted.as_ref().ok_or("no adapters")?;
    for place in &learner.network.layout.places {
        assert_eq!(adapted.merged(&nothing, place.range.clone()), whole[place.range.clone()], "{}", place.name);
        let is_adapted = place.name.ends_with("_proj.weight");
        assert_eq!(
            adapted.merged(&learner.learned.weights, place.range.clone()) != whole[place.range.clone()],
            is_adapted,
            "{}",
            place.name
        );
    }
    Ok(())
}

#[test]
fn a_merged_model_answers_as_the_adapted_one() -> Tested {
    let (dir, merged) = (base()?, tempfile::tempdir()?);
    let mut learner = Learner::adapting(dir.path(), lora(0.0)?, 1, in_f32())?;
    for round in 0..5 {
        let batch = lessons(&learner, 8, round);
        step(&mut learner, &batch, 2)?;
    }
    let version = learner.export(merged.path(), Draft::default())?;
    let whole = Learner::from(merged.path())?.computing(in_f32());
    let batch = lessons(&learner, 10, 50);
    let (adapted, plain) = (losses(&learner, learner.parameters(0), &batch), losses(&whole, whole.parameters(0), &batch));
    let before = Learner::from(dir.path())?;
    let before = losses(&before, before.parameters(0), &batch);
    let apart = |one: &Losses, other: &Losses| {
        ((one.answers - other.answers).abs() / one.answers).max((one.next_tokens - other.next_tokens).abs() / one.next_tokens)
    };
    assert!(apart(&adapted, &plain) < 1e-5 && apart(&adapted, &before) > 1e-2, "{adapted:?}, {plain:?}, {before:?}");
    let all = notes(9, 77);
    let asked: Vec<Asked<'_>> = all.iter().map(|(text, _)| Asked { text, tasks: &Task::ALL }).collect();
    let model = Model::load(merged.path())?;
    assert_eq!((model.version(), model.score(&asked)?), (&version, learner.score(&asked)?));
    Ok(())
}

/// Over more rows than one pass reads, with inputs dropped, whatever layers may keep.
#[test]
fn adapters_get_the_same_bits_on_any_number_of_threads_and_with_any_room() -> Tested {
    let dir = base()?;
    for arithmetic in [Arithmetic::F32, Arithmetic::Bf16] {
        let mut found = Vec::new();
        for (threads, activation_bytes) in [(1, usize::MAX), (2, 0), (3, 3_000_000), (2, usize::MAX)] {
            let computing = Computing { arithmetic: Some(arithmetic), activation_bytes, ..Computing::default() };
            let mut learner = Learner::adapting(dir.path(), lora(0.3)?, 1, computing)?;
            let batch = lessons(&learner, 60, 9);
            assert!(batch.iter().map(Lesson::tokens).sum::<usize>() > 2048);
            let reports = [step(&mut learner, &batch, threads)?, step(&mut learner, &batch, threads)?];
            found.push((reports, learner.learned.weights));
        }
        assert!(found.iter().all(|each| *each == found[0]), "{arithmetic:?}");
    }
    Ok(())
}

/// Six steps over batches of their own, and the same by adapters that were left behind the third, with inputs dropped and without.
#[test]
fn adapters_that_were_left_go_on_as_if_nothing_had_happened() -> Tested {
    for dropout in [0.0, 0.3] {
        let (dir, state) = (base()?, tempfile::tempdir()?);
        let begun = |seed, lora| Learner::adapting(dir.path(), lora, seed, Computing::default());
        let (mut whole, mut left) = (begun(1, lora(dropout)?)?.read_at_most(30)?, begun(1, lora(dropout)?)?.read_at_most(30)?);
        let batches: Vec<Vec<Lesson>> = (0..6).map(|round| lessons(&whole, 4, round)).collect();
        for batch in &batches[..3] {
            assert_eq!(step(&mut whole, batch, 2)?, step(&mut left, batch, 2)?);
        }
        left.save_state_with(state.path(), "what a run knew")?;
        drop(left);
        let mut resumed = begun(2, lora(dropout)?)?;
        assert_eq!(resumed.go_on(state.path())?, "what a run knew");
        assert_eq!((resumed.steps(), resumed.position(), &lessons(&resumed, 4, 5)), (3, 3, &batches[5]));
        for batch in &batches[3..] {
            assert_eq!(step(&mut whole, batch, 2)?, step(&mut resumed, batch, 1)?);
            assert_eq!(bits(&whole), bits(&resumed), "{dropout} dropped");
        }
        // A spoiled step is undone, and its batch left behind.
        let wild = Recipe { learning_rate: 1e4, ..RECIPE };
        resumed.step(&batches[0].iter().collect::<Vec<_>>(), &wild, 2)?;
        resumed.go_back(state.path())?;
        assert_eq!((resumed.steps(), resumed.position()), (3, 7));
    }
    Ok(())
}

#[test]
fn a_state_of_others_is_refused_by_name() -> Tested {
    let (dir, state) = (base()?, tempfile::tempdir()?);
    let mut whole = Learner::from(dir.path())?;
    let mut learner = Learner::adapting(dir.path(), lora(0.3)?, 1, Computing::default())?;
    learner.save_state(state.path())?;
    let said = |result: Result<(), LearnError>| result.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said(Learner::resume(state.path()).map(drop)).ends_with("the state of adapters without the model that they adapt"));
    assert!(said(whole.go_on(state.path()).map(drop)).ends_with("the state of adapters, and this learner has none"));
    let mut other = Learner::adapting(dir.path(), lora(0.2)?, 1, Computing::default())?;
    assert!(said(other.go_back(state.path())).ends_with("the state of adapters of other settings"));
    let batch = lessons(&whole, 4, 5);
    step(&mut whole, &batch, 2)?;
    let changed = tempfile::tempdir()?;
    whole.export(changed.path(), Draft::default())?;
    let mut other = Learner::adapting(changed.path(), lora(0.3)?, 1, Computing::default())?;
    assert!(said(other.go_on(state.path()).map(drop)).ends_with("the state of adapters of another model"));
    whole.save_state(state.path())?;
    assert!(said(learner.go_on(state.path()).map(drop)).ends_with("the state of a whole model, and this learner has adapters"));
    let wide = Lora::new(65, 1.0, 0.0, Target::ALL)?;
    let refused = Learner::adapting(dir.path(), wide, 1, Computing::default());
    assert!(matches!(refused, Err(LearnError::Lora(crate::LoraError::WiderThanWeight { rank: 65, width: 64 }))));
    Ok(())
}

#[test]
fn adapters_are_written_as_peft_names_them() -> Tested {
    let (dir, kept) = (base()?, tempfile::tempdir()?);
    let learner = Learner::adapting(dir.path(), lora(0.25)?, 1, Computing::default())?;
    learner.export_adapters(kept.path())?;
    let bytes = std::fs::read(kept.path().join("adapter_model.safetensors"))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
    let of = |letter: &str| tensors.tensor(&format!("base_model.model.model.layers.1.mlp.down_proj.lora_{letter}.weight"));
    assert_eq!((tensors.len(), of("A")?.shape(), of("B")?.shape()), (2 * 7 * 2, [4, 176].as_slice(), [64, 4].as_slice()));
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(kept.path().join("adapter_config.json"))?)?;
    assert_eq!((&config["r"], &config["lora_alpha"], &config["lora_dropout"]), (&4.into(), &8.0.into(), &0.25.into()));
    assert_eq!((config["peft_type"].as_str(), config["target_modules"].as_array().map(Vec::len)), (Some("LORA"), Some(7)));
    Ok(())
}
