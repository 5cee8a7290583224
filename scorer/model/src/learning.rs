//! Tests of learning against PyTorch: the gradient of every tensor, and the losses of 300 steps. `goldens/learning.py` makes what is expected.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::folder;
use crate::learner::{Arithmetic, Computing, Learner, Lesson, Recipe};
use crate::loss::Shares;
use crate::network::{Network, Trace};
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

/// Holds every tensor's gradient over four lists of 2 to 150 tokens, read in one pass, against PyTorch's: `[precision, set] -> tolerance`.
fn gradients_are_pytorchs(model: &str, room: usize) -> Tested {
    let folder = folder::load(&golden(model), 1)?;
    let network = Network::new(folder.config.clone());
    let bytes = std::fs::read(golden(model).join("gradients.safetensors"))?;
    let expected = SafeTensors::deserialize(&bytes)?;
    let numbers = |name: &str| -> Result<Vec<f32>, safetensors::SafeTensorError> {
        Ok(expected.tensor(name)?.data().as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect())
    };
    let mut random = Numbers(1);
    let pages: Vec<Page> = [14, 2, 150, 70].map(|count| Page::of(&[], &random.tokens(count), &[])).to_vec();
    let labelled: Vec<(&Page, &[usize])> = pages.iter().map(|page| (page, [].as_slice())).collect();
    let shares = Shares { answer: 1.0, next_token: 1.0 / 232.0 };
    for set in InstructionSet::tested() {
        for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Bf16, 3e-2)] {
            let (mut trace, mut gradient) = (Trace::new(Kernel::of(precision, set), room), vec![0.0; folder.weights.len()]);
            let losses = network.learn((&folder.weights, &mut gradient), (&labelled, &[]), shares, &mut trace);
            let (loss, right) = (losses.next_tokens / 232.0, f64::from(numbers("loss")?[0]));
            assert!((loss - right).abs() < tolerance, "{precision:?} on {set:?}: the loss is {loss}, expected {right}");
            for place in &network.layout.places {
                let (apart, length) = apart(&gradient[place.range.clone()], &numbers(&format!("grad.{}", place.name))?);
                assert!(apart < tolerance * length, "{precision:?} on {set:?}, {}: {apart} apart of {length}", place.name);
            }
        }
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

#[test]
fn three_hundred_steps_give_the_losses_of_pytorch() -> Tested {
    let curves: serde_json::Value = serde_json::from_slice(&std::fs::read(golden("curve.json"))?)?;
    let curve = |name: &str| -> Vec<f64> { curves[name].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect() };
    // What PyTorch's own bf16 is away from its f32 is the noise that is meant.
    for (arithmetic, mean_apart) in [(Arithmetic::F32, 2e-3), (Arithmetic::Bf16, 2e-2)] {
        let computing = Computing { arithmetic: Some(arithmetic), ..Computing::default() };
        let mut learner = Learner::from(&golden("sharded"))?.computing(computing);
        let recipe = Recipe { learning_rate: 2e-3, next_token_weight: 1.0, betas: (0.9, 0.98), weight_decay: 0.01, ..Recipe::default() };
        let mut random = Numbers(2);
        let mut losses = Vec::new();
        for _ in 0..300 {
            let lessons: Vec<Lesson> = (0..4).map(|_| Lesson::of(&random.tokens(48), &[])).collect();
            losses.push(learner.step(&lessons.iter().collect::<Vec<_>>(), &recipe, 2)?.loss);
        }
        let expected = curve(arithmetic.as_str());
        assert_eq!(expected.len(), losses.len());
        let apart = losses.iter().zip(&expected).map(|(x, y)| (x - y).abs()).sum::<f64>() / 300.0;
        assert!(apart < mean_apart, "{arithmetic:?}: {apart} apart on the mean");
        assert!(losses[299] < losses[0] - 2.0, "from {} to {}", losses[0], losses[299]);
    }
    Ok(())
}
