//! Tests of the forward pass and its gradient against others: candle's autograd in `f64`, finite differences, candle's own Llama.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config as StockConfig, Llama};
use rand::{Rng as _, SeedableRng as _};
use schemas::Task;

use crate::config::Config;
use crate::loss::Shares;
use crate::network::{Network, Parameters, Trace};
use crate::packed::{InstructionSet, Kernel, Precision};
use crate::page::Page;
use crate::scoring::{Prompt, Scorer, Settings};

const LETTERS: [u32; 5] = [3, 4, 5, 6, 7];
const LABELS: [usize; 3] = [1, 3, 0];
const SHARES: Shares = Shares { answer: 1.0 / 3.0, next_token: 0.3 / 69.0 };

fn config() -> Config {
    let small = Config::demo(50);
    Config { hidden_size: 32, intermediate_size: 40, head_dim: Some(8), num_key_value_heads: Some(2), tie_word_embeddings: false, ..small }
}

/// Longer than a block of attention, with three questions of different lengths behind it.
fn page(random: &mut impl rand::Rng) -> Page {
    let mut tokens = |count: usize| -> Vec<u32> { (0..count).map(|_| random.random_range(8..50)).collect() };
    let (note, long, short) = (tokens(69), tokens(11), tokens(1));
    Page::of(&[0], &note, &[(Task::Mortality, &long), (Task::LengthOfStay, &short), (Task::Denial, &long)])
}

/// Large enough that every part of the network bends.
fn weights(network: &Network, random: &mut impl rand::Rng) -> Vec<f32> {
    let mut weights = Vec::new();
    for place in &network.layout.places {
        let around = if place.shape.len() == 1 { 1.0 } else { 0.0 };
        weights.extend(place.range.clone().map(|_| around + random.random_range(-0.35..0.35_f32)));
    }
    weights
}

/// The same network of elementary operations, in `f64`: slow, plain, differentiable by candle.
struct Elementary<'a> {
    network: &'a Network,
    vars: Vec<Var>,
}

impl<'a> Elementary<'a> {
    fn new(network: &'a Network, weights: &[f32]) -> Result<Self> {
        let vars = network.layout.places.iter().map(|place| {
            let values = weights.get(place.range.clone()).unwrap_or_default();
            Var::from_tensor(&Tensor::from_slice(values, place.shape.as_slice(), &Device::Cpu)?.to_dtype(DType::F64)?)
        });
        Ok(Self { network, vars: vars.collect::<Result<_>>()? })
    }

    fn var(&self, name: &str) -> &Tensor {
        let index = self.network.layout.places.iter().position(|place| place.name == name).expect("a tensor of the layout");
        self.vars[index].as_tensor()
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let mean = (x.sqr()?.mean_keepdim(1)? + self.network.config.rms_norm_eps)?;
        x.broadcast_div(&mean.sqrt()?)?.broadcast_mul(self.var(name))
    }

    fn turned(&self, x: &Tensor, page: &Page) -> Result<Tensor> {
        let (_, _, width) = self.network.config.heads();
        let angles: Vec<f64> = (page.positions.iter())
            .flat_map(|&place| {
                (0..width / 2).map(move |i| f64::from(place) / self.network.config.rope_theta.powf(2.0 * i as f64 / width as f64))
            })
            .collect();
        let angles = Tensor::from_vec(angles, (page.tokens.len(), width / 2), &Device::Cpu)?;
        let (cosine, sine) = (angles.cos()?, angles.sin()?);
        let (a, b) = (x.narrow(1, 0, width / 2)?, x.narrow(1, width / 2, width / 2)?);
        Tensor::cat(&[((&a * &cosine)? - (&b * &sine)?)?, ((&b * &cosine)? + (&a * &sine)?)?], 1)
    }

    fn softmax(x: &Tensor) -> Result<Tensor> {
        let shares = x.broadcast_sub(&x.max_keepdim(1)?.detach())?.exp()?;
        shares.broadcast_div(&shares.sum_keepdim(1)?)
    }

    /// 0 where a row may look, far below where it may not; written from the definition, not from blocks.
    fn mask(page: &Page) -> Result<Tensor> {
        let branch = |row: usize| page.branches.iter().position(|branch| branch.rows.contains(&row));
        let rows = page.tokens.len();
        let sees = |query: usize, key: usize| key <= query && (key < page.note || branch(key) == branch(query));
        let mask: Vec<f64> = (0..rows * rows).map(|at| if sees(at / rows, at % rows) { 0.0 } else { -1e9 }).collect();
        Tensor::from_vec(mask, (rows, rows), &Device::Cpu)
    }

    fn forward(&self, page: &Page) -> Result<Tensor> {
        let (heads, keys, width) = self.network.config.heads();
        let tokens = Tensor::from_slice(&page.tokens, page.tokens.len(), &Device::Cpu)?;
        let mut x = self.var("model.embed_tokens.weight").index_select(&tokens, 0)?;
        let mask = Self::mask(page)?;
        for layer in 0..self.network.config.num_hidden_layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            let linear = |x: &Tensor, part: &str| x.matmul(&self.var(&name(part)).t()?);
            let normed = self.norm(&x, &name("input_layernorm"))?;
            let (q, k, v) =
                (linear(&normed, "self_attn.q_proj")?, linear(&normed, "self_attn.k_proj")?, linear(&normed, "self_attn.v_proj")?);
            let mut out = Vec::new();
            for head in 0..heads {
                let shared = head / (heads / keys);
                let query = self.turned(&q.narrow(1, head * width, width)?, page)?;
                let key = self.turned(&k.narrow(1, shared * width, width)?, page)?;
                let scores = ((query.matmul(&key.t()?)? / (width as f64).sqrt())? + &mask)?;
                out.push(Self::softmax(&scores)?.matmul(&v.narrow(1, shared * width, width)?.contiguous()?)?);
            }
            x = (x + linear(&Tensor::cat(&out, 1)?, "self_attn.o_proj")?)?;
            let normed = self.norm(&x, &name("post_attention_layernorm"))?;
            let gate = linear(&normed, "mlp.gate_proj")?;
            let silu = (&gate / (gate.neg()?.exp()? + 1.0)?)?;
            x = (x + linear(&(silu * linear(&normed, "mlp.up_proj")?)?, "mlp.down_proj")?)?;
        }
        self.norm(&x, "model.norm.weight")
    }

    fn loss(&self, page: &Page) -> Result<Tensor> {
        let tied = self.network.config.tie_word_embeddings;
        let head = self.var(if tied { "model.embed_tokens.weight" } else { "lm_head.weight" });
        let logits = self.forward(page)?.matmul(&head.t()?)?;
        let mut loss = Tensor::zeros((), DType::F64, &Device::Cpu)?;
        for (branch, label) in page.branches.iter().zip(LABELS) {
            let options = Tensor::new(LETTERS.get(..branch.task.classes()).unwrap_or_default(), &Device::Cpu)?;
            let shares = Self::softmax(&logits.narrow(0, branch.answer_row(), 1)?.index_select(&options, 1)?)?;
            loss = (loss - (shares.narrow(1, label, 1)?.log()?.sum_all()? * f64::from(SHARES.answer))?)?;
        }
        for row in 0..page.note - 1 {
            let shares = Self::softmax(&logits.narrow(0, row, 1)?)?;
            loss = (loss - (shares.narrow(1, page.tokens[row + 1] as usize, 1)?.log()?.sum_all()? * f64::from(SHARES.next_token))?)?;
        }
        Ok(loss)
    }
}

/// Our loss and gradient, in `f32` on the widest kernel.
fn ours(network: &Network, weights: &[f32], page: &Page) -> (f64, Vec<f32>) {
    ours_with(Kernel::of(Precision::F32, InstructionSet::widest()), usize::MAX, (network, weights), page)
}

fn ours_with(kernel: Kernel, room: usize, (network, weights): (&Network, &[f32]), page: &Page) -> (f64, Vec<f32>) {
    let (mut trace, mut gradient) = (Trace::new(kernel, room), vec![0.0; weights.len()]);
    let losses = network.learn((Parameters::Whole(weights), &mut gradient), (&[(page, &LABELS)], &LETTERS), SHARES, &mut trace);
    (losses.answers * f64::from(SHARES.answer) + losses.next_tokens * f64::from(SHARES.next_token), gradient)
}

/// Tied and untied; all of the tensors, none forgotten.
#[test]
fn every_tensor_receives_the_gradient_that_autograd_gives() -> Result<()> {
    for tied in [false, true] {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let network = Network::new(Config { tie_word_embeddings: tied, ..config() });
        let (weights, page) = (weights(&network, &mut random), page(&mut random));
        let reference = Elementary::new(&network, &weights)?;
        let expected_loss = reference.loss(&page)?;
        let slopes = expected_loss.backward()?;
        let (loss, gradient) = ours(&network, &weights, &page);
        assert!((loss - expected_loss.to_scalar::<f64>()?).abs() < 1e-5, "loss {loss}, expected {expected_loss}");
        assert_eq!(network.layout.places.len(), if tied { 20 } else { 21 });
        for (place, var) in network.layout.places.iter().zip(&reference.vars) {
            let expected = slopes.get(var).expect("a gradient for every tensor").flatten_all()?.to_vec1::<f64>()?;
            let size = expected.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
            let found = gradient.get(place.range.clone()).unwrap_or_default();
            let apart = found.iter().zip(&expected).map(|(x, y)| (f64::from(*x) - y).powi(2)).sum::<f64>().sqrt();
            assert!(size > 1e-3 && apart < 2e-5 * size, "{}: {apart} apart of {size}", place.name);
        }
    }
    Ok(())
}

/// In `f64`, so that the difference says something; three numbers of each tensor.
#[test]
fn the_reference_itself_agrees_with_finite_differences() -> Result<()> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let network = Network::new(config());
    let (weights, page) = (weights(&network, &mut random), page(&mut random));
    let reference = Elementary::new(&network, &weights)?;
    let (_, gradient) = ours(&network, &weights, &page);
    for (place, var) in network.layout.places.iter().zip(&reference.vars) {
        let start = var.as_tensor().copy()?;
        let values = start.flatten_all()?.to_vec1::<f64>()?;
        let moved = |index: usize, by: f64| -> Result<f64> {
            let mut values = values.clone();
            values[index] += by;
            var.set(&Tensor::from_vec(values, place.shape.as_slice(), &Device::Cpu)?)?;
            reference.loss(&page)?.to_scalar::<f64>()
        };
        for _ in 0..3 {
            let index = random.random_range(0..place.range.len());
            let slope = (moved(index, 1e-5)? - moved(index, -1e-5)?) / 2e-5;
            let found = f64::from(gradient[place.range.start + index]);
            assert!((slope - found).abs() < 1e-5 + 1e-3 * slope.abs(), "{}[{index}]: {found}, expected {slope}", place.name);
        }
        var.set(&start)?;
    }
    Ok(())
}

/// Probabilities of the stock Llama, each question read with the whole note.
fn stock(network: &Network, weights: &[f32], page: &Page) -> Result<Vec<Vec<f64>>> {
    let tensors = network.layout.places.iter().map(|place| {
        let values = weights.get(place.range.clone()).unwrap_or_default();
        Ok((place.name.clone(), Tensor::from_slice(values, place.shape.as_slice(), &Device::Cpu)?))
    });
    let tensors = tensors.collect::<Result<_>>()?;
    let stock = StockConfig {
        hidden_size: 32,
        intermediate_size: 40,
        vocab_size: 50,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        rms_norm_eps: 1e-5,
        max_position_embeddings: 1024,
        rope_theta: network.config.rope_theta as f32,
        ..StockConfig::config_7b_v2(false)
    };
    let llama = Llama::load(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu), &stock)?;
    let answers = page.branches.iter().map(|branch| {
        let rows = (0..page.note).chain(branch.rows.clone());
        let prompt: Vec<u32> = rows.map(|row| page.tokens[row]).collect();
        let mut cache = Cache::new(false, DType::F32, &stock, &Device::Cpu)?;
        let logits = llama.forward(&Tensor::new(prompt.as_slice(), &Device::Cpu)?.unsqueeze(0)?, 0, &mut cache)?;
        let logits = logits.squeeze(0)?.to_vec1::<f32>()?;
        Ok(softmax(&LETTERS.map(|letter| logits[letter as usize])))
    });
    answers.collect()
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let shares: Vec<f64> = logits.iter().map(|&logit| f64::from(logit).exp()).collect();
    let sum: f64 = shares.iter().sum();
    shares.iter().map(|share| share / sum).collect()
}

/// Reading the note once for all questions must not change an answer, nor must packing or another kernel.
#[test]
fn every_kernel_answers_what_the_stock_llama_answers_to_the_whole_prompt() -> Result<()> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    let network = Network::new(config());
    let (weights, page) = (weights(&network, &mut random), page(&mut random));
    let expected = stock(&network, &weights, &page)?;
    let questions: Vec<&[u32]> = page.branches.iter().map(|branch| &page.tokens[branch.rows.clone()]).collect();
    let prompt = Prompt { note: &page.tokens[..page.note], questions: &questions };
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 1e-2), (Precision::Int16, 1e-2), (Precision::Int8, 1e-1)] {
        for set in InstructionSet::tested() {
            let settings = Settings { precision: Some(precision), instructions: Some(set), threads: Some(2), ..Settings::default() };
            let scorer = Scorer::new(&network.config, &weights, &LETTERS, &settings).map_err(candle_core::Error::wrap)?;
            let found: Vec<f64> = scorer.logits(&[prompt]).iter().flatten().flat_map(|logits| softmax(logits)).collect();
            assert_eq!(found.len(), 15);
            let apart = found.iter().zip(expected.iter().flatten()).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            assert!(apart < tolerance, "{precision:?} on {set:?}: {apart} apart");
        }
    }
    Ok(())
}
