//! The promises of answering: what the training pass says, the same bits in any company.

use rand::{Rng as _, SeedableRng as _};

use super::{Prompt, Scorer, Settings};
use crate::config::Config;
use crate::kernels::dot;
use crate::network::Network;
use crate::packed::{InstructionSet, Precision};
use crate::page::Page;

const LETTERS: [u32; 5] = [3, 4, 5, 6, 7];
const PRECISIONS: [Precision; 4] = [Precision::F32, Precision::Bf16, Precision::Int16, Precision::Int8];

/// Widths of heads, one that fills no row of a tile register and one that does, and how far random weights spread.
const WIDTHS: [(usize, f32); 2] = [(20, 0.25), (32, 0.2)];

fn config(width: usize) -> Config {
    let small = Config::demo(50);
    Config {
        hidden_size: 80,
        intermediate_size: 104,
        head_dim: Some(width),
        num_attention_heads: 4,
        num_key_value_heads: Some(2),
        num_hidden_layers: 3,
        tie_word_embeddings: false,
        ..small
    }
}

fn weights(config: &Config, spread: f32) -> Vec<f32> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(17);
    let mut weights = Vec::new();
    for place in &crate::layout::Layout::of(config).places {
        let around = if place.shape.len() == 1 { 1.0 } else { 0.0 };
        weights.extend(place.range.clone().map(|_| around + random.random_range(-spread..spread)));
    }
    weights
}

/// Notes of many lengths, each with three questions of which two begin alike.
fn prompts() -> Vec<(Vec<u32>, Vec<Vec<u32>>)> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(19);
    let mut tokens = |count: usize| -> Vec<u32> { (0..count).map(|_| random.random_range(8..50)).collect() };
    let question = tokens(9);
    let other = tokens(14);
    let longer = [&question[..5], &tokens(6)[..]].concat();
    [1, 2, 127, 131, 300, 13, 64, 95]
        .into_iter()
        .map(|length| (tokens(length), vec![question.clone(), other.clone(), longer.clone()]))
        .collect()
}

fn logits(scorer: &Scorer, prompts: &[(Vec<u32>, Vec<Vec<u32>>)]) -> Vec<Vec<Vec<f32>>> {
    let questions: Vec<Vec<&[u32]>> = prompts.iter().map(|(_, questions)| questions.iter().map(Vec::as_slice).collect()).collect();
    let asked: Vec<Prompt<'_>> = prompts.iter().zip(&questions).map(|((note, _), questions)| Prompt { note, questions }).collect();
    scorer.logits(&asked)
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let shares: Vec<f64> = logits.iter().map(|&logit| f64::from(logit).exp()).collect();
    let sum: f64 = shares.iter().sum();
    shares.iter().map(|share| share / sum).collect()
}

fn bits(logits: &[Vec<Vec<f32>>]) -> Vec<u32> {
    logits.iter().flatten().flatten().map(|logit| logit.to_bits()).collect()
}

/// What the learning pass says of every question of the prompts.
fn learned(network: &Network, weights: &[f32], prompts: &[(Vec<u32>, Vec<Vec<u32>>)]) -> Vec<Vec<f64>> {
    let answers = prompts.iter().flat_map(|(note, questions)| {
        let asked: Vec<_> = questions.iter().map(|question| (schemas::Task::Comorbidity, question.as_slice())).collect();
        let page = Page::of(&[], note, &asked);
        let normed = network.read(weights, &page);
        let row = |at: usize, of: &[f32]| of[at * 80..][..80].to_vec();
        let head = |letter: u32| row(letter as usize, &weights[network.layout.head.clone()]);
        let answer = |row: &[f32]| softmax(&LETTERS.map(|letter| dot(row, &head(letter))));
        page.branches.iter().map(|branch| answer(&row(branch.answer_row(), &normed))).collect::<Vec<_>>()
    });
    answers.collect()
}

/// The pass that learns is itself tested against candle's Llama and autograd.
#[test]
fn every_kernel_answers_as_the_learning_pass_does() -> Result<(), super::PoolError> {
    let prompts = prompts();
    for (width, spread) in WIDTHS {
        let network = Network::new(config(width));
        let weights = weights(&network.config, spread);
        let expected = learned(&network, &weights, &prompts);
        for (precision, set) in PRECISIONS.into_iter().flat_map(|precision| InstructionSet::tested().map(move |set| (precision, set))) {
            let settings = Settings { precision: Some(precision), instructions: Some(set), threads: Some(2), ..Settings::default() };
            let scorer = Scorer::new(&network.config, &weights, &LETTERS, &settings)?;
            let found: Vec<Vec<f64>> = logits(&scorer, &prompts).iter().flatten().map(|logits| softmax(logits)).collect();
            assert_eq!(found.len(), expected.len());
            let apart = found.iter().flatten().zip(expected.iter().flatten()).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            let tolerance = match precision {
                Precision::F32 => 1e-5,
                // Most of it is attention's and the vocabulary's, which are the same in both.
                Precision::Bf16 | Precision::Int16 => 1e-2,
                // Random weights with large logits; what it does to a trained model is `model/ranking_tests.rs`'s.
                Precision::Int8 => 6e-2,
            };
            assert!(apart < tolerance, "{precision:?} on {set:?}, heads {width} wide: {apart} apart");
        }
    }
    Ok(())
}

/// On the widest instructions here, and on what is emulated beyond them, which is so slow that it reads few notes.
#[test]
fn a_note_gives_the_same_bits_in_any_company_on_any_number_of_threads() -> Result<(), super::PoolError> {
    let config = config(32);
    let weights = weights(&config, 0.25);
    for (precision, set) in PRECISIONS.into_iter().flat_map(|precision| InstructionSet::tested().map(move |set| (precision, set))) {
        if set < InstructionSet::widest() {
            continue;
        }
        let (all, numbers) = (prompts(), [3, 1, 2, 7]);
        let (prompts, numbers) = if set.is_here() { (&all[..], &numbers[..]) } else { (&all[1..3], &numbers[..1]) };
        let settings =
            |threads| Settings { precision: Some(precision), instructions: Some(set), threads: Some(threads), ..Settings::default() };
        let together = logits(&Scorer::new(&config, &weights, &LETTERS, &settings(1))?, prompts);
        for &threads in numbers {
            let scorer = Scorer::new(&config, &weights, &LETTERS, &settings(threads))?;
            assert_eq!(bits(&logits(&scorer, prompts)), bits(&together));
            for (prompt, expected) in prompts.iter().zip(&together) {
                let name = format!("{precision:?} on {set:?}");
                assert_eq!(bits(&logits(&scorer, std::slice::from_ref(prompt))), bits(std::slice::from_ref(expected)), "{name}");
                for (question, expected) in prompt.1.iter().zip(expected) {
                    let alone = (prompt.0.clone(), vec![question.clone()]);
                    assert_eq!(bits(&logits(&scorer, &[alone])), bits(&[vec![expected.clone()]]), "one question alone in {name}");
                }
            }
        }
    }
    Ok(())
}
