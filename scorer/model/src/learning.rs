//! Tests of learning against PyTorch: the gradient of every tensor and of every adapter, and the losses of 300 steps. `goldens/learning.py` and
//! `goldens/lora.py` make what is expected.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::adapters::{Adapters, Draw, Frozen, Lora, Target};
use crate::device::{self, Replicas, Team};
use crate::folder;
use crate::layout::{Layout, Place};
use crate::learner::{Arithmetic, Computing, Learned, Learner, Lesson, Recipe};
use crate::loss::{Losses, Shares};
use crate::network::{Network, Parameters, Trace};
use crate::packed::{InstructionSet, Kernel, Precision};
use crate::page::Page;

type Tested = Result<(), Box<dyn std::error::Error>>;

const VOCABULARY: u64 = 160;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name)
}

/// The generator of `learning.py`.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn tokens(&mut self, count: usize) -> Vec<u32> {
        let mut tokens = vec![self.next(VOCABULARY)];
        while tokens.len() < count {
            let (last, other) = (tokens[tokens.len() - 1], self.next(VOCABULARY));
            tokens.push(if self.next(4) > 0 { (last * 7 + 3) % VOCABULARY } else { other });
        }
        tokens.into_iter().map(|token| token as u32).collect()
    }
}

/// Length of what lies between, and of what is expected.
fn apart(found: &[f32], expected: &[f32]) -> (f64, f64) {
    let length = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    (length(&mut found.iter().zip(expected).map(|(x, y)| x - y)), length(&mut expected.iter().copied()))
}

/// What PyTorch found, by name.
struct Expected(Vec<u8>);

impl Expected {
    fn of(model: &str, file: &str) -> std::io::Result<Self> {
        Ok(Self(std::fs::read(golden(model).join(file))?))
    }

    fn numbers(&self, name: &str) -> Result<Vec<f32>, safetensors::SafeTensorError> {
        let tensors = SafeTensors::deserialize(&self.0)?;
        Ok(tensors.tensor(name)?.data().as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }

    /// Holds a mean loss and the gradient of every place against it.
    fn is_met(&self, (losses, gradient): (Losses, &[f32]), places: &[Place], tolerance: f64, name: &str) -> Tested {
        let (loss, right) = (losses.next_tokens / 232.0, f64::from(self.numbers("loss")?[0]));
        assert!((loss - right).abs() < tolerance, "{name}: the loss is {loss}, expected {right}");
        for place in places {
            let (apart, length) = apart(&gradient[place.range.clone()], &self.numbers(&format!("grad.{}", place.name))?);
            assert!(length > 0.0 && apart < tolerance * length, "{name}, {}: {apart} apart of {length}", place.name);
        }
        Ok(())
    }
}

const SHARES: Shares = Shares { answer: 1.0, next_token: 1.0 / 232.0 };

/// Four lists of 2 to 150 tokens, which are read in one pass.
fn lists() -> Vec<Page> {
    let mut random = Numbers(1);
    [14, 2, 150, 70].map(|count| Page::of(&[], &random.tokens(count), &[])).to_vec()
}

/// Every kernel at hand, with what its gradients may be away.
fn kernels() -> impl Iterator<Item = (Precision, InstructionSet, f64)> {
    InstructionSet::tested().flat_map(|set| [(Precision::F32, set, 1e-4), (Precision::Bf16, set, 3e-2)])
}

/// Holds every tensor's gradient over the four lists against PyTorch's.
fn gradients_are_pytorchs(model: &str, room: usize) -> Tested {
    let folder = folder::load(&golden(model), 1)?;
    let network = Network::new(folder.config.clone());
    let expected = Expected::of(model, "gradients.safetensors")?;
    let pages = lists();
    let labelled: Vec<(&Page, &[usize])> = pages.iter().map(|page| (page, [].as_slice())).collect();
    for (precision, set, tolerance) in kernels() {
        let (mut trace, mut gradient) = (Trace::new(Kernel::of(precision, set), room), vec![0.0; folder.weights.len()]);
        let losses = network.learn((Parameters::Whole(&folder.weights), &mut gradient), (&labelled, &[]), SHARES, &mut trace);
        expected.is_met((losses, &gradient), &network.layout.places, tolerance, &format!("{precision:?} on {set:?}"))?;
    }
    Ok(())
}

/// What a gradient of such products may be away: on a card what lies between products is `bf16` too, as in PyTorch, whose own is up to 4.6e-2 away.
fn tolerance(arithmetic: Arithmetic) -> f64 {
    if arithmetic == Arithmetic::F32 { 1e-4 } else { 5e-2 }
}

fn draw(first_row: usize) -> Draw {
    Draw { seed: 3, batch: 5, first_row }
}

/// A device alone, and replicas that share the lists among them, one of which may have none.
fn teams() -> Vec<(usize, candle_core::Device, Arithmetic)> {
    let counted = |count: usize| device::tested().into_iter().map(move |(device, arithmetic)| (count, device, arithmetic));
    [1, 2, 6].into_iter().flat_map(counted).collect()
}

/// Fewer keys than queries and Llama 3's rotary positions untied, and a tied model, through autograd.
#[test]
fn every_gradient_on_devices_is_pytorchs() -> Tested {
    for model in ["sharded", "linear"] {
        let folder = folder::load(&golden(model), 1)?;
        let layout = Layout::of(&folder.config);
        let (expected, learned) = (Expected::of(model, "gradients.safetensors")?, Learned::fresh(folder.weights));
        let pages = lists();
        let labelled: Vec<(&Page, &[usize])> = pages.iter().map(|page| (page, [].as_slice())).collect();
        for (count, device, arithmetic) in teams() {
            let team = (Team::sharing(&device, count), arithmetic);
            let mut learning = Replicas::new((&folder.config, &layout), &learned, None, team)?;
            let (losses, norm) = learning.gradient(&labelled, (&[], SHARES), draw)?;
            let name = format!("{model} in {arithmetic:?} {count} times on {device:?}");
            for gradient in learning.gradients()? {
                expected.is_met((losses, &gradient), &layout.places, tolerance(arithmetic), &name)?;
                let length = apart(&[], &gradient).1;
                assert!((norm - length).abs() < 1e-4 * length, "{name}: the norm is {norm}, expected {length}");
            }
        }
    }
    Ok(())
}

#[test]
fn every_gradient_of_adapters_on_devices_is_pefts() -> Tested {
    for model in ["sharded", "linear"] {
        let expected = Expected::of(model, "lora.safetensors")?;
        for (count, device, arithmetic) in teams() {
            let adapted = AdaptedGolden::of(model, arithmetic.precision(), 0.0)?;
            let labelled: Vec<(&Page, &[usize])> = adapted.pages.iter().map(|page| (page, [].as_slice())).collect();
            let (learned, network) = (Learned::fresh(adapted.weights(&expected)?), &adapted.network);
            let parts = Some((&adapted.frozen, &adapted.adapters));
            let team = (Team::sharing(&device, count), arithmetic);
            let mut learning = Replicas::new((&network.config, &network.layout), &learned, parts, team)?;
            let (losses, _) = learning.gradient(&labelled, (&[], SHARES), draw)?;
            let name = format!("{model} in {arithmetic:?} {count} times on {device:?}");
            for gradient in learning.gradients()? {
                expected.is_met((losses, &gradient), &adapted.adapters.places, tolerance(arithmetic), &name)?;
            }
        }
    }
    Ok(())
}

/// A frozen golden, and adapters beside all of its weights.
struct AdaptedGolden {
    network: Network,
    frozen: Frozen,
    adapters: Adapters,
    pages: Vec<Page>,
}

impl AdaptedGolden {
    fn of(model: &str, precision: Precision, dropout: f64) -> Result<Self, Box<dyn std::error::Error>> {
        let opened = folder::open(&golden(model))?;
        let layout = Layout::of(&opened.config);
        let adapters = Adapters::of(Lora::new(16, 24.0, dropout, Target::ALL)?, &layout)?;
        let frozen = Frozen::read(precision, &layout, &opened.weights)?;
        Ok(Self { network: Network::new(opened.config), frozen, adapters, pages: lists() })
    }

    /// The adapters of the golden, whose both matrices are other than zero.
    fn weights(&self, expected: &Expected) -> Result<Vec<f32>, safetensors::SafeTensorError> {
        let mut weights = vec![0.0; self.adapters.total()];
        for place in &self.adapters.places {
            weights[place.range.clone()].copy_from_slice(&expected.numbers(&place.name)?);
        }
        Ok(weights)
    }

    fn learn(&self, weights: &[f32], trace: &mut Trace) -> (Losses, Vec<f32>) {
        let parameters = Parameters::Adapted { frozen: &self.frozen, adapters: &self.adapters, weights, draw: draw(0) };
        let mut gradient = vec![0.0; weights.len()];
        let labelled: Vec<(&Page, &[usize])> = self.pages.iter().map(|page| (page, [].as_slice())).collect();
        (self.network.learn((parameters, &mut gradient), (&labelled, &[]), SHARES, trace), gradient)
    }
}

/// Holds the gradient of both matrices beside every target against peft's, whose own `bf16` is up to 4.6e-2 away from its `f32` here.
fn adapters_gradients_are_pefts(model: &str, room: usize) -> Tested {
    let expected = Expected::of(model, "lora.safetensors")?;
    for (precision, set, tolerance) in kernels() {
        let adapted = AdaptedGolden::of(model, precision, 0.0)?;
        let (losses, gradient) = adapted.learn(&adapted.weights(&expected)?, &mut Trace::new(Kernel::of(precision, set), room));
        expected.is_met((losses, &gradient), &adapted.adapters.places, tolerance, &format!("{precision:?} on {set:?}"))?;
    }
    Ok(())
}

#[test]
fn every_gradient_of_adapters_of_a_grouped_untied_model_is_pefts() -> Tested {
    adapters_gradients_are_pefts("sharded", usize::MAX)
}

/// Nothing kept.
#[test]
fn every_gradient_of_adapters_of_a_tied_model_is_pefts() -> Tested {
    adapters_gradients_are_pefts("linear", 0)
}

/// Along its own gradient a tensor's loss rises as fast as the gradient is long, a third of all inputs being dropped.
#[test]
fn gradients_of_adapters_agree_with_finite_differences_while_inputs_are_dropped() -> Tested {
    let adapted = AdaptedGolden::of("sharded", Precision::F32, 0.33)?;
    let start = adapted.weights(&Expected::of("sharded", "lora.safetensors")?)?;
    let mut trace = Trace::new(Kernel::of(Precision::F32, InstructionSet::widest()), 0);
    let (losses, gradient) = adapted.learn(&start, &mut trace);
    let all_heard = AdaptedGolden::of("sharded", Precision::F32, 0.0)?.learn(&start, &mut trace).0;
    assert!((losses.next_tokens - all_heard.next_tokens).abs() > 1.0, "nothing was dropped");
    for place in &adapted.adapters.places {
        let along = &gradient[place.range.clone()];
        let length = apart(&[], along).1;
        let mut moved = |by: f64| {
            let mut weights = start.clone();
            let numbers = weights[place.range.clone()].iter_mut().zip(along);
            numbers.for_each(|(number, slope)| *number += (by / length) as f32 * slope);
            adapted.learn(&weights, &mut trace).0.next_tokens / 232.0
        };
        let slope = (moved(4e-3) - moved(-4e-3)) / 8e-3;
        assert!((slope - length).abs() < 1e-4 + 1e-2 * length, "{}: {length}, expected {slope}", place.name);
    }
    Ok(())
}

/// Fewer keys than queries, untied, Llama 3's rotary positions; everything kept.
#[test]
fn every_gradient_of_a_grouped_untied_model_is_pytorchs() -> Tested {
    gradients_are_pytorchs("sharded", usize::MAX)
}

/// Tied; nothing kept.
#[test]
fn every_gradient_of_a_tied_model_is_pytorchs() -> Tested {
    gradients_are_pytorchs("linear", 0)
}

/// Holds the losses of 300 steps against PyTorch's in the same arithmetic. What its own `bf16` is away from its `f32` is the noise that is meant.
fn losses_are_pytorchs(mut learner: Learner, name: &str) -> Tested {
    let curves: serde_json::Value = serde_json::from_slice(&std::fs::read(golden("curve.json"))?)?;
    let arithmetic = learner.arithmetic();
    let mean_apart = if arithmetic == Arithmetic::F32 { 2e-3 } else { 2e-2 };
    let recipe = Recipe { learning_rate: 2e-3, next_token_weight: 1.0, betas: (0.9, 0.98), weight_decay: 0.01, ..Recipe::default() };
    let mut random = Numbers(2);
    let mut losses = Vec::new();
    for _ in 0..300 {
        let lessons: Vec<Lesson> = (0..4).map(|_| Lesson::of(&random.tokens(48), &[])).collect();
        losses.push(learner.step(&lessons.iter().collect::<Vec<_>>(), &recipe, 2)?.loss);
    }
    let expected: Vec<f64> = curves[arithmetic.as_str()].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect();
    assert_eq!(expected.len(), losses.len());
    let apart = losses.iter().zip(&expected).map(|(x, y)| (x - y).abs()).sum::<f64>() / 300.0;
    assert!(apart < mean_apart, "{arithmetic:?} {name}: {apart} apart on the mean");
    assert!(losses[299] < losses[0] - 2.0, "from {} to {}", losses[0], losses[299]);
    Ok(())
}

fn computing(arithmetic: Arithmetic) -> Computing {
    Computing { arithmetic: Some(arithmetic), ..Computing::default() }
}

#[test]
fn three_hundred_steps_give_the_losses_of_pytorch() -> Tested {
    for arithmetic in [Arithmetic::F32, Arithmetic::Bf16] {
        losses_are_pytorchs(Learner::from(&golden("sharded"))?.computing(computing(arithmetic)), "")?;
    }
    Ok(())
}

#[test]
fn three_hundred_steps_on_a_device_give_the_losses_of_pytorch() -> Tested {
    for (device, arithmetic) in device::tested() {
        let learner = Learner::from(&golden("sharded"))?.computing(computing(arithmetic)).through_candle(&device)?;
        losses_are_pytorchs(learner, &format!("on {device:?}"))?;
    }
    Ok(())
}
