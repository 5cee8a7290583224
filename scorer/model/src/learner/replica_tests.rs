//! The promises of learning on several devices, on replicas that share one: what one device alone learns, however unevenly the lessons fall.

use schemas::Task;

use super::device_tests::{computing, joint};
use super::tests::{Tested, learner, lessons, step};
use crate::adapters::{Lora, Target};
use crate::device::{self, Team};
use crate::{Arithmetic, Draft, Learner, Lesson, Recipe};

/// What losses, means of gradients and weights may be apart for being added up in another order, relative to their lengths; a card has an order of
/// its own each time.
fn tolerance(learner: &Learner) -> f64 {
    match (learner.arithmetic(), learner.device.as_ref().is_some_and(|replicas| replicas.device().is_cuda())) {
        (Arithmetic::F32, false) => 1e-5,
        (Arithmetic::F32, true) => 2e-4,
        (Arithmetic::Bf16, _) => 5e-2,
    }
}

/// How far apart two vectors are, relative to the second's length.
fn apart(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let length = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    length(&mut found.iter().zip(expected).map(|(x, y)| x - y)) / length(&mut expected.iter().copied())
}

/// Notes with several questions beside words with one or none: steps of nine lessons, one, two and six.
fn uneven(learner: &Learner) -> Vec<Vec<Lesson>> {
    let short = |label| learner.encode("No rash.", &[(Task::Mortality, label)]);
    let bare = learner.encode("Seen with the team.", &[]);
    let long = |seed| joint(learner, seed).into_iter();
    let all = long(2).take(3).chain([short(1), bare.clone(), short(0), bare]).chain(long(3).take(2));
    vec![all.collect(), long(4).take(1).collect(), vec![short(1), joint(learner, 5).remove(0)], lessons(learner, 7, 6)]
}

/// Takes the same steps on one device and on `count` replicas: losses, gradients and weights are the same, and those of the replicas to the bit.
fn learn_alike(mut alone: Learner, mut together: Learner, batches: &[Vec<Lesson>], name: &str) -> Tested {
    let tolerance = tolerance(&alone);
    for (round, batch) in batches.iter().enumerate() {
        let (expected, found) = (step(&mut alone, batch, 1)?, step(&mut together, batch, 1)?);
        assert_eq!((expected.tokens, expected.skipped), (found.tokens, found.skipped), "{name}, step {round}");
        for (x, y) in
            [(found.loss, expected.loss), (found.answer_loss, expected.answer_loss), (found.gradient_norm, expected.gradient_norm)]
        {
            assert!((x - y).abs() <= tolerance * y, "{name}, step {round}: {found:?}, expected {expected:?}");
        }
    }
    let (alone, together) = (alone.device.ok_or("not on a device")?, together.device.ok_or("not on a device")?);
    let expected = alone.learned()?;
    let all = together.all_learned()?;
    for learned in &all {
        assert!((&learned.weights, &learned.first, &learned.second) == (&all[0].weights, &all[0].first, &all[0].second), "{name}");
        let far = [(&learned.weights, &expected.weights), (&learned.first, &expected.first), (&learned.second, &expected.second)];
        let far = far.map(|(found, expected)| apart(found, expected));
        assert!(far.iter().all(|&far| far < tolerance), "{name}: weights, means of gradients and of squares are {far:?} apart");
    }
    Ok(())
}

#[test]
fn replicas_learn_what_one_device_learns() -> Tested {
    for (device, arithmetic) in device::tested() {
        for count in [2, 3] {
            let begun = || learner().map(|learner| learner.computing(computing(arithmetic)));
            let batches = uneven(&begun()?);
            let (alone, together) = (begun()?.through_candle(&device)?, begun()?.through_candle(Team::sharing(&device, count))?);
            learn_alike(alone, together, &batches, &format!("{count} in {arithmetic:?} on {device:?}"))?;
        }
    }
    Ok(())
}

/// A card by itself, its gradients handed to NCCL and back: what a machine with one card can run of the way in which several add.
#[cfg(feature = "nccl")]
#[test]
fn a_card_joined_with_no_other_learns_what_it_learns_alone() -> Tested {
    for (device, arithmetic) in device::tested().into_iter().filter(|(device, _)| device.is_cuda()) {
        let begun = || learner().map(|learner| learner.computing(computing(arithmetic)));
        let batches = uneven(&begun()?);
        let joined = Team::of_cards(vec![device.clone()])?;
        let (alone, together) = (begun()?.through_candle(&device)?, begun()?.through_candle(joined)?);
        learn_alike(alone, together, &batches, &format!("joined, in {arithmetic:?}"))?;
    }
    Ok(())
}

/// What is dropped follows a row's place in the batch, whichever replica reads it.
#[test]
fn adapters_of_replicas_learn_what_one_device_learns_and_drop_the_same() -> Tested {
    let dir = tempfile::tempdir()?;
    learner()?.export(dir.path(), Draft::default())?;
    for (device, arithmetic) in device::tested() {
        for (count, dropout) in [(2, 0.0), (2, 0.4), (3, 0.4)] {
            let begun = || Learner::adapting(dir.path(), Lora::new(4, 8.0, dropout, Target::ALL)?, 1, computing(arithmetic));
            let batches = uneven(&begun()?);
            let (alone, together) = (begun()?.through_candle(&device)?, begun()?.through_candle(Team::sharing(&device, count))?);
            learn_alike(alone, together, &batches, &format!("{count} dropping {dropout} in {arithmetic:?} on {device:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_state_of_replicas_is_gone_on_from_by_one_device_and_the_other_way_round() -> Tested {
    for (device, arithmetic) in device::tested() {
        let begun = |count| -> Result<Learner, Box<dyn std::error::Error>> {
            Ok(learner()?.computing(computing(arithmetic)).through_candle(Team::sharing(&device, count))?)
        };
        for (before, after) in [(3, 1), (1, 2)] {
            let dir = tempfile::tempdir()?;
            let (mut left, mut goes_on) = (begun(before)?, begun(after)?);
            let batch = lessons(&left, 7, 5);
            // What it learned until then is forgotten by every replica.
            step(&mut goes_on, &lessons(&left, 4, 9), 1)?;
            step(&mut left, &batch, 1)?;
            left.save_state(dir.path())?;
            goes_on.go_on(dir.path())?;
            assert_eq!((goes_on.steps(), goes_on.position()), (1, 1));
            let (left_as, taken) = (left.settled()?.into_owned(), goes_on.device.as_ref().ok_or("not on a device")?.all_learned()?);
            assert_eq!(taken.len(), after);
            assert!(taken.iter().all(|taken| taken.weights == left_as.weights && taken.second == left_as.second));
            learn_alike(left, goes_on, &[batch], &format!("{before}, then {after} in {arithmetic:?} on {device:?}"))?;
        }
    }
    Ok(())
}

/// What spoils one replica's portion spoils the step of all, and none moves.
#[test]
fn a_loss_that_is_no_number_on_one_replica_moves_none() -> Tested {
    let mut spoiled = learner()?;
    let texts = ["No rash. Lungs are clear.", "Lungs are clear. No rash.", "Septic shock on arrival.", "Sleeps well. No rash."];
    let batch: Vec<Lesson> = texts.iter().map(|text| spoiled.encode(text, &[(Task::Mortality, 1)])).collect();
    let others: Vec<&Lesson> = [0, 1, 3].iter().map(|&lesson: &usize| &batch[lesson]).collect();
    let elsewhere = |token: &u32| others.iter().any(|other| other.page.tokens.contains(token));
    let own = batch[2].page.tokens.iter().find(|token| !elsewhere(token)).ok_or("no word of its own")?;
    let at = spoiled.network.layout.embedding.start + *own as usize * spoiled.network.config.hidden_size;
    spoiled.learned.weights[at] = f32::NAN;
    let mut spoiled = spoiled.through_candle(Team::sharing(&candle_core::Device::Cpu, 2))?;
    let before = spoiled.settled()?.into_owned();
    // The answers alone: the head looks at no word but theirs.
    let recipe = Recipe { next_token_weight: 0.0, ..Recipe::default() };
    let report = spoiled.step(&batch.iter().collect::<Vec<_>>(), &recipe, 1)?;
    assert!(report.skipped && !report.loss.is_finite(), "{report:?}");
    let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
    for learned in spoiled.device.as_ref().ok_or("not on a device")?.all_learned()? {
        assert!(bits(&learned.weights) == bits(&before.weights) && bits(&learned.first) == bits(&before.first));
    }
    assert!(!spoiled.step(&others, &recipe, 1)?.skipped && step(&mut spoiled, &[], 1)?.skipped);
    Ok(())
}
