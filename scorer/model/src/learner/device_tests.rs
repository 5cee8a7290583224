//! The promises of learning on a device: what the processor's own path learns, from joint questions and with inputs dropped, and a state that
//! either goes on from.

use schemas::Task;

use super::tests::{Tested, learner, lessons, notes, step};
use crate::adapters::{Lora, Target};
use crate::{Arithmetic, Asked, Computing, Draft, Learner, Lesson, device};

pub(super) fn computing(arithmetic: Arithmetic) -> Computing {
    Computing { arithmetic: Some(arithmetic), ..Computing::default() }
}

/// What two learners may be apart, in losses and in the lengths of gradients, after some steps.
fn tolerance(arithmetic: Arithmetic) -> f64 {
    if arithmetic == Arithmetic::F32 { 2e-4 } else { 2e-2 }
}

/// Several questions behind each note, which begin alike and are read once.
pub(super) fn joint(learner: &Learner, seed: u64) -> Vec<Lesson> {
    let answers =
        |label: i32| [(Task::Mortality, label), (Task::LengthOfStay, 2 * label), (Task::Comorbidity, 3), (Task::Denial, 1 - label)];
    notes(9, seed).iter().map(|(text, label)| learner.encode(text, &answers(*label))).collect()
}

/// Takes the same steps with both and holds their reports against each other.
fn learn_alike(
    mut here: Learner,
    mut there: Learner,
    tolerance: f64,
    name: &str,
) -> Result<(Learner, Learner), Box<dyn std::error::Error>> {
    for round in 0..4 {
        let batch = joint(&here, 40 + round);
        let (expected, found) = (step(&mut here, &batch, 2)?, step(&mut there, &batch, 2)?);
        assert_eq!((expected.tokens, found.skipped), (found.tokens, false));
        let apart = |x: f64, y: f64| (x - y).abs() / y;
        assert!(apart(found.loss, expected.loss) < tolerance, "{name}, round {round}: {found:?}, expected {expected:?}");
        assert!(apart(found.answer_loss, expected.answer_loss) < tolerance, "{name}, round {round}: {found:?}, expected {expected:?}");
        let norms = apart(found.gradient_norm, expected.gradient_norm);
        assert!(norms < 10.0 * tolerance, "{name}, round {round}: {found:?}, expected {expected:?}");
    }
    Ok((here, there))
}

#[test]
fn a_device_learns_what_a_processor_learns() -> Tested {
    for (device, arithmetic) in device::tested() {
        let name = format!("{arithmetic:?} on {device:?}");
        let begun = || learner().map(|learner| learner.computing(computing(arithmetic)));
        let (here, there) = learn_alike(begun()?, begun()?.through_candle(&device)?, tolerance(arithmetic), &name)?;
        let all = notes(20, 3);
        let asked: Vec<Asked<'_>> = all.iter().map(|(text, _)| Asked { text, tasks: &Task::ALL }).collect();
        let pairs = here.score(&asked)?.into_iter().flatten().zip(there.score(&asked)?.into_iter().flatten());
        let apart =
            pairs.flat_map(|(x, y)| x.probabilities.into_iter().zip(y.probabilities).map(|(x, y)| (x - y).abs())).fold(0.0, f64::max);
        assert!(apart < 1e-2, "{name}: answers are {apart} apart");
    }
    Ok(())
}

/// Nothing is dropped where a device orders its rows otherwise; what is dropped is a draw of its own, and moves the loss.
#[test]
fn adapters_on_a_device_learn_what_they_learn_on_a_processor() -> Tested {
    let dir = tempfile::tempdir()?;
    learner()?.export(dir.path(), Draft::default())?;
    for (device, arithmetic) in device::tested() {
        let name = format!("adapters in {arithmetic:?} on {device:?}");
        let begun = |dropout| -> Result<Learner, crate::LearnError> {
            Learner::adapting(dir.path(), Lora::new(4, 8.0, dropout, Target::ALL)?, 1, computing(arithmetic))
        };
        let (_, mut there) = learn_alike(begun(0.0)?, begun(0.0)?.through_candle(&device)?, tolerance(arithmetic), &name)?;
        let (kept, version) = (tempfile::tempdir()?, there.export(dir.path(), Draft::default()));
        there.export_adapters(kept.path())?;
        assert!(version.is_ok() && kept.path().join("adapter_model.safetensors").exists());
        let (mut dropping, batch) = (begun(0.4)?.through_candle(&device)?, lessons(&there, 8, 1));
        step(&mut dropping, &batch, 2)?;
        let (all, some) = (step(&mut there, &batch, 2)?, step(&mut dropping, &batch, 2)?);
        assert!(!some.skipped && (all.loss - some.loss).abs() > 1e-6, "{name}: {all:?} and {some:?}");
        learner()?.export(dir.path(), Draft::default())?;
    }
    Ok(())
}

#[test]
fn a_state_left_on_a_device_is_gone_on_from_anywhere() -> Tested {
    for (device, arithmetic) in device::tested() {
        let dir = tempfile::tempdir()?;
        let mut there = learner()?.computing(computing(arithmetic)).through_candle(&device)?;
        let batch = lessons(&there, 6, 5);
        step(&mut there, &batch, 2)?;
        there.save_state(dir.path())?;
        let mut again = learner()?.computing(computing(arithmetic)).through_candle(&device)?;
        again.go_on(dir.path())?;
        assert_eq!((again.steps(), again.position()), (1, 1));
        let mut here = Learner::resume(dir.path())?.computing(computing(arithmetic));
        let (expected, found, other) = (step(&mut there, &batch, 2)?, step(&mut again, &batch, 2)?, step(&mut here, &batch, 2)?);
        // A card may add up in another order each time.
        let most = if device.is_cuda() { tolerance(arithmetic) } else { 0.0 };
        assert!((expected.loss - found.loss).abs() <= most, "{arithmetic:?} on {device:?}: {found:?}, expected {expected:?}");
        assert!((expected.loss - other.loss).abs() <= tolerance(arithmetic) * expected.loss, "{other:?}, expected {expected:?}");
    }
    Ok(())
}
