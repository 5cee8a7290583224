//! The path that answers: packed weights, batches without padding, and only what the answers need.
//!
//! Threads share a batch in strips of rows and meet once a layer, where a row may have to see another strip's keys. Whatever the strips
//! and the company, each number is summed in the same order: a note's answers are the same bit for bit.

mod attention;
mod batch;
mod kept;
mod layer;
mod softmax;
mod strip;
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::convert::Infallible;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rand::{Rng as _, SeedableRng as _};
use rayon::iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;

use crate::config::Config;
use crate::device::Device;
use crate::folder::INT8_SHIFT;
use crate::kernels::{dots, norm};
use crate::layout::Layout;
use crate::packed::{InstructionSet, Kernel, Line, Precision};
use crate::prompt::LETTERS;
use crate::works::{Works, share};
use attention::{Cache, Sight};
pub(crate) use batch::{Batch, Segment};
use kept::Run;
pub(crate) use kept::{Key, Unkept};
use layer::{Layer, Shape};
pub(crate) use softmax::{State, soften};
use strip::{Own, Strip, Work};
use table::Table;

/// Rows of a strip at most, or as many times that as the kernel asks for: enough for each line of weights to be used many times, few enough for a strip to stay near its thread, and for threads of
/// unlike speed to end a layer together.
const STRIP: usize = 64;
/// Rows of a batch, unless one note has more: what they hold of memory is some 20 kB each in a model of 100 M parameters.
const BATCH: usize = 4096;

/// How a model computes its answers. What is not said is chosen for this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How weights are held; [`Settings::precision`] says what `None` becomes.
    pub precision: Option<Precision>,
    /// The widest instructions to use; `None` for the widest there are.
    pub instructions: Option<InstructionSet>,
    /// Threads of the model's own pool; `None` for one a processor.
    pub threads: Option<usize>,
    /// Where it answers. On a card instructions and threads say nothing.
    pub device: Device,
}

impl Settings {
    /// The instructions that are used: those asked for, or the widest below them that this processor has.
    #[must_use]
    pub fn instructions(&self) -> InstructionSet {
        self.instructions.map_or_else(InstructionSet::widest, InstructionSet::or_widest_below)
    }

    /// Threads that are used: as many as asked for, or one a processor.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    /// How weights are held of a model of which nothing is known: as asked; or `bf16` where the processor multiplies it and on a card, `int16` by
    /// other vectors, which multiply it nearly twice as fast as `f32`, and `f32` without them.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision.unwrap_or_else(|| match self.instructions() {
            set if self.device != Device::Cpu || set.multiplies_bf16() => Precision::Bf16,
            InstructionSet::Portable => Precision::F32,
            _ => Precision::Int16,
        })
    }

    /// Weights of 8 bits as they move answers most, whatever processor will hold them: AVX2's have half as many steps.
    #[must_use]
    pub fn coarsest() -> Self {
        Self { precision: Some(Precision::Int8), instructions: Some(InstructionSet::Avx2), ..Self::default() }
    }

    /// The same settings with a precision for a model whose AUROC weights of 8 bits are known to move by so much: they are the quickest on a
    /// processor with vectors, and taken where they do no harm.
    #[must_use]
    pub fn for_shift(self, int8_shift: Option<f64>) -> Self {
        let harmless = int8_shift.is_some_and(|shift| shift <= INT8_SHIFT);
        let quickest = self.device == Device::Cpu && self.instructions() > InstructionSet::Portable;
        let usual = if harmless && quickest { Precision::Int8 } else { self.precision() };
        Self { precision: Some(self.precision.unwrap_or(usual)), ..self }
    }
}

/// A note and its questions in tokens.
#[derive(Clone, Copy)]
pub struct Prompt<'a> {
    /// The note, its opening token included.
    pub note: &'a [u32],
    /// The questions behind it.
    pub questions: &'a [&'a [u32]],
}

impl std::fmt::Debug for Prompt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompt").field("tokens", &self.note.len()).field("questions", &self.questions.len()).finish_non_exhaustive()
    }
}

/// A Llama ready to answer.
#[derive(Debug)]
pub struct Scorer {
    shape: Shape,
    embedding: Table,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// `[letters, hidden]`
    letters: Vec<f32>,
    pool: Arc<rayon::ThreadPool>,
}

/// There are no threads to be had.
#[derive(Debug, thiserror::Error)]
#[error("could not start {threads} threads")]
pub struct PoolError {
    threads: usize,
    source: rayon::ThreadPoolBuildError,
}

/// Random numbers of one tensor of a model, or of some of its rows: norms of one, and matrices whose products are of a trained model's size.
pub(crate) fn random_numbers(config: &Config, seed: u64, range: Range<usize>) -> Vec<f32> {
    if Layout::of(config).places.iter().any(|place| place.range == range && place.shape.len() == 1) {
        return vec![1.0; range.len()];
    }
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed.wrapping_add(range.start as u64));
    range.map(|_| random.random_range(-0.035..0.035)).collect()
}

/// Reads `prompts` in batches of at most [`BATCH`] rows, and gives each its part of what `read` finds.
pub(crate) fn in_batches<E>(
    prompts: &[Prompt<'_>],
    mut read: impl FnMut(&Batch) -> Result<Vec<Vec<f32>>, E>,
) -> Result<Vec<Vec<Vec<f32>>>, E> {
    let mut found = Vec::with_capacity(prompts.len());
    let mut batch = Batch::default();
    let mut first = 0;
    for (index, prompt) in prompts.iter().enumerate() {
        batch.push(prompt.note, prompt.questions.iter().copied());
        let next = prompts.get(index + 1).map(|next| next.note.len() + next.questions.iter().map(|tokens| tokens.len()).sum::<usize>());
        if next.is_none_or(|next| batch.tokens.len() + next > BATCH) {
            let mut logits = read(&batch)?.into_iter();
            found.extend(prompts[first..=index].iter().map(|prompt| logits.by_ref().take(prompt.questions.len()).collect()));
            batch = Batch::default();
            first = index + 1;
        }
    }
    Ok(found)
}

/// So many threads of the model's own, which are named for what they do.
pub(crate) fn pool(threads: usize, what: &'static str) -> Result<rayon::ThreadPool, PoolError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(move |index| format!("{what}-{index}")).build();
    pool.map_err(|source| PoolError { threads, source })
}

impl Scorer {
    /// As [`Scorer::packed`], of weights that stand in memory.
    #[cfg(test)]
    pub(crate) fn new(config: &Config, weights: &[f32], letters: &[u32], settings: &Settings) -> Result<Self, PoolError> {
        Self::packed(config, &|range: Range<usize>| Ok(Cow::Borrowed(&weights[range])), letters, settings)
    }

    /// Packs the weights that `read` gives a few matrices at a time, laid out as the configuration's layout says, so that what is packed need not
    /// stand in memory twice; keeps the head's rows of `letters`.
    pub(crate) fn packed<'a, E: From<PoolError> + Send>(
        config: &Config,
        read: &(impl Fn(Range<usize>) -> Result<Cow<'a, [f32]>, E> + Sync),
        letters: &[u32],
        settings: &Settings,
    ) -> Result<Self, E> {
        let pool = pool(settings.threads(), "score")?;
        let layout = Layout::of(config);
        let shape = Shape::new(config, settings.precision(), settings.instructions());
        let heads = shape.attention.heads;
        let letters = letters.iter().map(|&letter| {
            let at = layout.head.start + letter as usize * shape.hidden;
            Ok(read(at..at + shape.hidden)?.into_owned())
        });
        let letters = letters.collect::<Result<Vec<_>, E>>()?.concat();
        let (layers, embedding) = pool.install(|| {
            let layers = layout.layers.iter().map(|places| Layer::pack(shape.kernel, read, (places, &layout), heads));
            let layers = layers.collect::<Result<_, E>>()?;
            Ok::<_, E>((layers, Table::read(settings.precision(), read, layout.embedding.clone(), shape.hidden)?))
        })?;
        let norm = read(layout.norm.clone())?.into_owned();
        Ok(Self { shape, embedding, layers, norm, letters, pool: Arc::new(pool) })
    }

    /// As [`Scorer::packed`], but of what `file` keeps of an earlier time, under the key that [`Scorer::key`] gives.
    pub(crate) fn kept(config: &Config, settings: &Settings, (file, key): (&Path, &Key)) -> Result<Self, Unkept> {
        let layout = Layout::of(config);
        let shape = Shape::new(config, settings.precision(), settings.instructions());
        let layers = layout.layers.iter().map(|places| Layer::blank(shape.kernel, (places, &layout), shape.attention.heads)).collect();
        let mut scorer = Self {
            embedding: Table::blank(settings.precision(), layout.embedding.len(), shape.hidden),
            layers,
            norm: vec![0.0; shape.hidden],
            letters: vec![0.0; LETTERS.len() * shape.hidden],
            pool: Arc::new(pool(settings.threads(), "score").map_err(|error| Unkept::Io(std::io::Error::other(error)))?),
            shape,
        };
        kept::read(file, key, &mut scorer.runs())?;
        Ok(scorer)
    }

    /// Writes what was packed to `file`, for [`Scorer::kept`].
    pub(crate) fn keep(&mut self, file: &Path, key: &Key) -> Result<(), Unkept> {
        kept::write(file, key, &self.runs())
    }

    /// What a packed model is known by: its weights, how they are packed, and the letters whose rows of the head it holds.
    pub(crate) fn key(config: &Config, weights_digest: &[u8], letters: &[u32], settings: &Settings) -> Key {
        let shape = serde_json::to_vec(config).unwrap_or_default();
        let letters: Vec<u8> = letters.iter().flat_map(|letter| letter.to_le_bytes()).collect();
        let how = [settings.precision().as_str(), settings.instructions().as_str()].map(str::as_bytes);
        let most = Kernel::of(settings.precision(), settings.instructions()).most.to_le_bytes();
        Key::of(&[weights_digest, &shape, how[0], how[1], &most, &letters])
    }

    fn runs(&mut self) -> Vec<Run<'_>> {
        let ends = [Run::F32(&mut self.norm), Run::F32(&mut self.letters)];
        self.layers.iter_mut().flat_map(Layer::runs).chain(self.embedding.runs()).chain(ends).collect()
    }

    /// A model of random weights, to be measured; its letters are the first five tokens.
    ///
    /// # Errors
    /// If there are no threads to be had.
    pub fn random(config: &Config, seed: u64, settings: &Settings) -> Result<Self, PoolError> {
        let read = |range: Range<usize>| Ok::<_, PoolError>(Cow::Owned(random_numbers(config, seed, range)));
        Self::packed(config, &read, &[0, 1, 2, 3, 4], settings)
    }

    /// Bytes of the weights as they are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.embedding.bytes() + self.layers.iter().map(Layer::bytes).sum::<usize>()
    }

    /// The model's own threads.
    pub(crate) fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    /// The letters' logits at the end of each question, prompt by prompt in the order asked. Tokens and positions must be the model's.
    #[must_use]
    pub fn logits(&self, prompts: &[Prompt<'_>]) -> Vec<Vec<Vec<f32>>> {
        let Ok(found) = in_batches(prompts, |batch| Ok::<_, Infallible>(self.pool.install(|| self.read(batch))));
        found
    }

    /// One pass.
    fn read(&self, batch: &Batch) -> Vec<Vec<f32>> {
        let rows = batch.tokens.len();
        let size = self.strip_rows(rows);
        let attention = &self.shape.attention;
        let stride = attention.heads.keys * attention.words();
        let mut cache = Cache { keys: vec![0; rows * stride], values: vec![0; rows * stride] };
        let mut gathered = vec![Line::ZERO; batch.tiles.len() * attention.heads.keys * attention.lines()];
        let mut works = Works::default();
        let works = works.ready();
        let mut strips: Vec<Strip> = (0..rows).step_by(size).map(|start| self.strip(batch, start..rows.min(start + size))).collect();
        for (index, layer) in self.layers.iter().enumerate() {
            let last = index + 1 == self.layers.len();
            let previous = index.checked_sub(1).and_then(|index| self.layers.get(index));
            let own = cache.keys.chunks_mut(size * stride).zip(cache.values.chunks_mut(size * stride));
            let own: Vec<Own<'_>> = own.map(|(keys, values)| Own { keys, values }).collect();
            let pass = |strip: &mut Strip, mut own: Own<'_>| {
                let work = &mut *works.own();
                if let Some(previous) = previous {
                    strip.attend(work, &self.shape, previous, &gathered);
                    strip.feed(work, &self.shape, previous);
                }
                strip.norm(work, &self.shape, &layer.attention_norm);
                strip.offer(work, &self.shape, layer, &mut own);
                if !last {
                    strip.ask(work, &self.shape, layer);
                }
            };
            // One after the other as threads become free, the longest attention first, so that all end together.
            rayon::scope_fifo(|scope| {
                for (strip, own) in strips.iter_mut().zip(own).rev() {
                    scope.spawn_fifo(|_| pass(strip, own));
                }
            });
            gathered.par_chunks_mut(attention.lines()).enumerate().for_each(|(unit, to)| {
                attention.gather(to, &cache, &batch.tiles[unit / attention.heads.keys], unit % attention.heads.keys);
            });
        }
        self.answer(batch, (&strips, size), &gathered, works)
    }

    /// The last layer, where only the rows that answer go on.
    fn answer(&self, batch: &Batch, (strips, size): (&[Strip], usize), gathered: &[Line], works: &Works<Work>) -> Vec<Vec<f32>> {
        let hidden = self.shape.hidden;
        let share = self.strip_rows(batch.answers.len());
        let groups: Vec<&[usize]> = batch.answers.chunks(share.max(1)).collect();
        let answered = groups.into_par_iter().with_max_len(1).map(|rows| {
            let mut strip = Strip::default();
            for (place, &row) in rows.iter().enumerate() {
                let segment = batch.segments.partition_point(|segment| segment.rows.end <= row);
                if let Some(segment) = batch.segments.get(segment) {
                    Sight::extend(&mut strip.sights, segment, row..row + 1, place);
                }
                strip.positions.push(batch.positions[row]);
                strip.stream.extend_from_slice(&strips[row / size].stream[row % size * hidden..][..hidden]);
            }
            if let Some(layer) = self.layers.last() {
                let work = &mut *works.own();
                strip.norm(work, &self.shape, &layer.attention_norm);
                strip.ask(work, &self.shape, layer);
                strip.attend(work, &self.shape, layer, gathered);
                strip.feed(work, &self.shape, layer);
            }
            let mut normed = vec![0.0; strip.stream.len()];
            norm(&mut normed, &mut vec![0.0; rows.len()], &strip.stream, &self.norm, self.shape.epsilon);
            normed.chunks_exact(hidden).map(|row| dots(&self.letters, row)).collect::<Vec<Vec<f32>>>()
        });
        answered.collect::<Vec<_>>().concat()
    }

    /// Rows of each strip of so many.
    fn strip_rows(&self, rows: usize) -> usize {
        share(rows, self.shape.kernel.reuse * STRIP, self.pool.current_num_threads())
    }

    fn strip(&self, batch: &Batch, rows: Range<usize>) -> Strip {
        let mut strip = Strip::default();
        strip.positions.extend_from_slice(&batch.positions[rows.clone()]);
        for segment in &batch.segments {
            let (start, end) = (rows.start.max(segment.rows.start), rows.end.min(segment.rows.end));
            if start < end {
                Sight::extend(&mut strip.sights, segment, start..end, start - rows.start);
            }
        }
        for &token in &batch.tokens[rows] {
            self.embedding.extend(&mut strip.stream, token as usize);
        }
        strip
    }
}
