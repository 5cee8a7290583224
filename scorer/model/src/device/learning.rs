//! What learns, on a device: weights in `f32` with their optimiser, or adapters beside weights that do not change.
//!
//! The gradient is autograd's; AdamW moves the same numbers as on a processor. Only the losses and the gradient's norm come back each step.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use candle_core::{D, DType, Device, Error, Result, Tensor, Var};

use super::cross_entropy;
use super::linear::{Linear, Pair, Weight};
use super::network::{DeviceNetwork, Layer, embedded, held_as, picked};
use crate::adapters::{Adapters, Draw, Frozen};
use crate::config::Config;
use crate::layout::{LayerPlaces, Layout, Site};
use crate::learner::{Arithmetic, Learned, Move, Recipe};
use crate::loss::{Labelled, Losses, Shares};
use crate::scoring::Batch;

/// A learner's numbers on a device.
#[derive(Debug)]
pub(super) struct DeviceLearning {
    network: DeviceNetwork,
    layout: Layout,
    /// By where they start among what learns.
    runs: BTreeMap<usize, Run>,
    adapted: Option<AdaptedTensors>,
}

/// One tensor that learns.
#[derive(Debug)]
struct Run {
    range: Range<usize>,
    learned: Var,
    weight: Weight,
    /// The means of the gradient and of its square.
    first: Tensor,
    second: Tensor,
    gradient: Option<Tensor>,
}

/// What does not learn, by where it starts in the layout.
#[derive(Debug)]
struct AdaptedTensors {
    adapters: Adapters,
    frozen: BTreeMap<usize, Tensor>,
}

/// What one pass multiplies with.
struct Parameters {
    /// `[vocab, hidden]`
    embedding: Weight,
    layers: Vec<Layer>,
    /// `[hidden]`, `f32`
    norm: Tensor,
    head: Weight,
}

/// The matrices and norms of a layout that are multiplied as they lie, and the width of their rows.
fn pieces(config: &Config, layout: &Layout) -> Vec<(Range<usize>, Option<usize>)> {
    let hidden = config.hidden_size;
    let of_layer = |places: &LayerPlaces| {
        let inner = |range: &Range<usize>| range.len() / hidden;
        [
            (places.attention_norm.clone(), None),
            (places.qkv.clone(), Some(hidden)),
            (places.output.clone(), Some(inner(&places.output))),
            (places.feed_norm.clone(), None),
            (places.gate_up.clone(), Some(hidden)),
            (places.down.clone(), Some(inner(&places.down))),
        ]
    };
    let mut pieces = vec![(layout.embedding.clone(), Some(hidden))];
    pieces.extend(layout.layers.iter().flat_map(of_layer));
    pieces.push((layout.norm.clone(), None));
    if layout.head != layout.embedding {
        pieces.push((layout.head.clone(), Some(hidden)));
    }
    pieces
}

/// One run of numbers, `[numbers]`, or of rows, `[rows, width]`.
fn shape(range: &Range<usize>, width: Option<usize>) -> Vec<usize> {
    width.map_or_else(|| vec![range.len()], |width| vec![range.len() / width, width])
}

impl Run {
    fn new((range, width): (Range<usize>, Option<usize>), from: &Learned, (device, numbers): (&Device, DType)) -> Result<Self> {
        let shape = shape(&range, width);
        let put = |numbers: &[f32]| Tensor::from_slice(&numbers[range.clone()], shape.as_slice(), device);
        let learned = Var::from_tensor(&put(&from.weights)?)?;
        // A norm is multiplied as it learns.
        let numbers = if width.is_some() { numbers } else { DType::F32 };
        Ok(Self {
            weight: Weight::learning(learned.as_tensor(), numbers)?,
            learned,
            first: put(&from.first)?,
            second: put(&from.second)?,
            gradient: None,
            range: range.clone(),
        })
    }

    /// As the processor's AdamW, number by number.
    fn step(&mut self, recipe: &Recipe, scale: f32, steps: u64) -> Result<()> {
        let Some(gradient) = self.gradient.take() else { return Ok(()) };
        let decay = if self.learned.rank() > 1 { recipe.weight_decay } else { 0.0 };
        let by = Move::of(recipe, (scale, decay), steps);
        #[cfg(feature = "cuda")]
        if gradient.device().is_cuda() {
            return super::card::adamw(&self.weight, (&self.first, &self.second), &gradient, &by);
        }
        let (beta, gamma) = (f64::from(by.betas.0), f64::from(by.betas.1));
        let slope = (gradient * f64::from(by.scale))?;
        self.first = ((&self.first * beta)? + (&slope * (1.0 - beta))?)?;
        self.second = ((&self.second * gamma)? + (slope.sqr()? * (1.0 - gamma))?)?;
        let below = ((&self.second * f64::from(by.unbias))?.sqrt()? + f64::from(by.epsilon))?;
        let moved = (self.first.div(&below)? * f64::from(by.rate))?;
        self.learned.set(&((self.learned.as_detached_tensor() * f64::from(by.keep))? - moved)?)?;
        self.weight = self.weight.again()?;
        Ok(())
    }
}

impl DeviceLearning {
    /// Puts what learns onto `device`, and what does not learn beside it where adapters do.
    pub fn new(
        (config, layout): (&Config, &Layout),
        learned: &Learned,
        adapted: Option<(&Frozen, &Adapters)>,
        (device, arithmetic): (&Device, Arithmetic),
    ) -> Result<Self> {
        let numbers = held_as(arithmetic.precision());
        let network = DeviceNetwork::new(config, device, numbers)?;
        let pieces = pieces(config, layout);
        let (learning, adapted) = match adapted {
            None => (pieces, None),
            Some((frozen, adapters)) => {
                let put = |(range, width): (Range<usize>, Option<usize>)| {
                    let mut read = Vec::with_capacity(range.len());
                    frozen.widen(range.clone(), &mut read);
                    let tensor = Tensor::from_vec(read, shape(&range, width), device)?;
                    Ok((range.start, if width.is_some() { tensor.to_dtype(numbers)? } else { tensor }))
                };
                let frozen = pieces.into_iter().map(put).collect::<Result<_>>()?;
                let places = adapters.places.iter().map(|place| (place.range.clone(), place.shape.last().copied())).collect();
                (places, Some(AdaptedTensors { adapters: adapters.clone(), frozen }))
            }
        };
        let run = |piece: (Range<usize>, Option<usize>)| Ok((piece.0.start, Run::new(piece, learned, (device, numbers))?));
        let runs = learning.into_iter().map(run).collect::<Result<_>>()?;
        Ok(Self { network, layout: layout.clone(), runs, adapted })
    }

    /// Where it learns.
    pub fn device(&self) -> &Device {
        &self.network.device
    }

    /// What its products are made of.
    pub fn arithmetic(&self) -> Arithmetic {
        if self.network.numbers == DType::BF16 { Arithmetic::Bf16 } else { Arithmetic::F32 }
    }

    /// Bytes of the weights as they are held between steps.
    pub fn bytes(&self) -> usize {
        let frozen = self.adapted.iter().flat_map(|adapted| adapted.frozen.values());
        let frozen: usize = frozen.map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes()).sum();
        frozen + self.runs.values().map(|run| run.range.len() * size_of::<f32>()).sum::<usize>()
    }

    /// What learns, as it is now.
    pub fn weights(&self) -> Result<Vec<f32>> {
        self.read(|run| Some(run.learned.as_tensor()))
    }

    /// What learns and its optimiser, as they are now.
    pub fn learned(&self) -> Result<Learned> {
        Ok(Learned { weights: self.weights()?, first: self.read(|run| Some(&run.first))?, second: self.read(|run| Some(&run.second))? })
    }

    /// A number of each that learns as one flat vector; zeros where there is none.
    fn read(&self, of: impl Fn(&Run) -> Option<&Tensor>) -> Result<Vec<f32>> {
        let mut numbers = vec![0.0; self.runs.values().map(|run| run.range.end).max().unwrap_or(0)];
        for run in self.runs.values() {
            if let Some(tensor) = of(run) {
                numbers[run.range.clone()].copy_from_slice(&tensor.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        Ok(numbers)
    }

    /// Takes over what another learner of the same left.
    pub fn take(&mut self, learned: &Learned) -> Result<()> {
        for run in self.runs.values_mut() {
            let width = (run.learned.rank() > 1).then(|| run.learned.dims()[1]);
            *run = Run::new((run.range.clone(), width), learned, (&self.network.device, self.network.numbers))?;
        }
        Ok(())
    }

    /// The losses of `readings`, one pass each, and their gradient, which is kept for [`Self::apply`].
    pub fn gradient(&mut self, readings: &[(Reading, Draw)], (letters, shares): (&[u32], Shares)) -> Result<Losses> {
        let mut losses = Losses::default();
        self.runs.values_mut().for_each(|run| run.gradient = None);
        for (reading, draw) in readings {
            losses.add(self.learn(reading, (letters, shares), *draw)?);
        }
        Ok(losses)
    }

    /// The norm of the gradient.
    pub fn norm(&self) -> Result<f64> {
        // Row by row and then all: a sum of everything at once would be the work of one block of threads.
        let squares = |gradient: &Tensor| gradient.sqr()?.sum(D::Minus1)?.sum_all();
        let squares = self.runs.values().filter_map(|run| run.gradient.as_ref()).map(squares).collect::<Result<Vec<_>>>()?;
        if squares.is_empty() {
            return Ok(0.0);
        }
        Ok(Tensor::stack(&squares, 0)?.to_vec1::<f32>()?.into_iter().map(f64::from).sum::<f64>().sqrt())
    }

    /// Where that starts of which a gradient was found.
    pub fn found(&self) -> impl Iterator<Item = usize> {
        self.runs.iter().filter(|(_, run)| run.gradient.is_some()).map(|(&start, _)| start)
    }

    /// Hands out the gradients of what starts at `starts`, in that order and each in one piece: zeros where none was found.
    pub fn give(&mut self, starts: &BTreeSet<usize>) -> Result<Vec<Tensor>> {
        let runs = self.runs.iter_mut().filter(|(start, _)| starts.contains(start));
        let gradient = |(_, run): (&usize, &mut Run)| match run.gradient.take() {
            Some(gradient) => gradient.contiguous(),
            None => run.learned.as_detached_tensor().zeros_like(),
        };
        runs.map(gradient).collect()
    }

    /// Takes back what [`Self::give`] handed out, or others of the same.
    pub fn receive(&mut self, starts: &BTreeSet<usize>, gradients: Vec<Tensor>) {
        let runs = self.runs.iter_mut().filter(|(start, _)| starts.contains(start));
        runs.zip(gradients).for_each(|((_, run), gradient)| run.gradient = Some(gradient));
    }

    /// Moves what learns by the gradient, `scale` times, as its `steps`th step.
    pub fn apply(&mut self, recipe: &Recipe, scale: f32, steps: u64) -> Result<()> {
        self.runs.values_mut().try_for_each(|run| run.step(recipe, scale, steps))
    }

    fn learn(&mut self, reading: &Reading, (letters, shares): (&[u32], Shares), draw: Draw) -> Result<Losses> {
        let parameters = self.parameters(draw)?;
        let tokens = Tensor::from_slice(&reading.batch.tokens, reading.batch.tokens.len(), &self.network.device)?;
        let embedded = embedded(parameters.embedding.learned(), &tokens)?;
        let sight = self.network.sight(&reading.batch)?;
        let stream = self.network.forward(&embedded, &parameters.layers, &sight, None)?;
        let read = |rows: &[usize]| self.network.norm(&picked(&stream, rows)?, &parameters.norm);
        let nothing = Tensor::zeros((), DType::F32, &self.network.device)?;
        let next_tokens = if reading.targets.is_empty() {
            nothing.clone()
        } else {
            let targets = Tensor::from_slice(&reading.targets, reading.targets.len(), &self.network.device)?;
            cross_entropy::next_tokens(&read(&reading.next_rows)?, &parameters.head, &targets)?
        };
        let answers = if reading.answers.is_empty() {
            nothing
        } else {
            let letters = Tensor::from_slice(letters, letters.len(), &self.network.device)?;
            let letters = parameters.head.rows(&letters)?;
            cross_entropy::answers(&read(&reading.batch.answers)?, &letters, &reading.answers)?
        };
        let loss = ((&answers * f64::from(shares.answer))? + (&next_tokens * f64::from(shares.next_token))?)?;
        self.collect(&loss)?;
        let number = |loss: &Tensor| loss.to_scalar::<f32>().map(f64::from);
        Ok(Losses { answers: number(&answers)?, next_tokens: number(&next_tokens)? })
    }

    /// Adds the gradient of `loss` to what was found before.
    fn collect(&mut self, loss: &Tensor) -> Result<()> {
        let slopes = loss.backward()?;
        for run in self.runs.values_mut() {
            let Some(found) = slopes.get(&run.learned) else { continue };
            run.gradient = Some(match run.gradient.take() {
                Some(sum) => (sum + found)?,
                None => found.clone(),
            });
        }
        Ok(())
    }

    fn parameters(&self, draw: Draw) -> Result<Parameters> {
        let embedding = self.weight(&self.layout.embedding)?;
        let layer = |(index, places): (usize, &LayerPlaces)| {
            let linear = |site: Site| Ok(Linear { weight: self.weight(&places.at(site))?, pairs: self.pairs((index, site), draw)? });
            Layer::of(places, |range| self.norm_at(range), linear)
        };
        Ok(Parameters {
            layers: self.layout.layers.iter().enumerate().map(layer).collect::<Result<_>>()?,
            norm: self.norm_at(&self.layout.norm)?,
            head: if self.layout.head == self.layout.embedding { embedding.clone() } else { self.weight(&self.layout.head)? },
            embedding,
        })
    }

    /// What learns there, or what is frozen.
    fn weight(&self, range: &Range<usize>) -> Result<Weight> {
        let found = match &self.adapted {
            None => self.runs.get(&range.start).map(|run| run.weight.clone()),
            Some(adapted) => adapted.frozen.get(&range.start).cloned().map(Weight::frozen),
        };
        found.ok_or_else(|| Error::Msg(format!("nothing stands at {}", range.start)))
    }

    fn norm_at(&self, range: &Range<usize>) -> Result<Tensor> {
        Ok(self.weight(range)?.learned().clone())
    }

    fn pairs(&self, (layer, site): (usize, Site), draw: Draw) -> Result<Vec<Pair>> {
        let Some(AdaptedTensors { adapters, .. }) = &self.adapted else { return Ok(Vec::new()) };
        let matrix = |range: &Range<usize>| {
            let run = self.runs.get(&range.start).map(|run| run.weight.clone());
            run.ok_or_else(|| Error::Msg(format!("no adapter stands at {}", range.start)))
        };
        let pair = |adapter: &crate::adapters::Adapter| {
            Ok(Pair {
                outputs: adapter.outputs.clone(),
                down: matrix(adapter.down())?,
                up: matrix(adapter.up())?,
                scale: f64::from(adapters.lora.scale()),
                dropout: adapters.dropout(adapter, draw),
            })
        };
        adapters.at(layer, site).map(pair).collect()
    }
}

#[cfg(test)]
impl DeviceLearning {
    /// The gradient that was found last, as one flat vector.
    pub fn gradients(&self) -> Result<Vec<f32>> {
        self.read(|run| run.gradient.as_ref())
    }
}

/// What a pass reads, and where its head looks.
pub(super) struct Reading {
    batch: Batch,
    next_rows: Vec<usize>,
    targets: Vec<u32>,
    /// Classes and labels of the answers, whose rows the batch knows.
    answers: Vec<(usize, usize)>,
}

impl Reading {
    /// What is read of `pages`.
    pub fn of(pages: &[Labelled<'_>], shares: Shares) -> Self {
        let mut reading = Self { batch: Batch::default(), next_rows: Vec::new(), targets: Vec::new(), answers: Vec::new() };
        for (page, labels) in pages {
            let (first, note) = (reading.batch.tokens.len(), &page.tokens[..page.note]);
            reading.batch.push(note, page.branches.iter().map(|branch| &page.tokens[branch.rows.clone()]));
            if shares.next_token > 0.0 {
                reading.next_rows.extend(first..first + note.len().saturating_sub(1));
                reading.targets.extend(note.iter().skip(1));
            }
            let answers = page.branches.iter().zip(*labels).map(|(branch, &label)| (branch.task.classes(), label));
            reading.answers.extend(answers);
        }
        reading
    }
    /// Rows of it.
    pub fn rows(&self) -> usize {
        self.batch.tokens.len()
    }
}
