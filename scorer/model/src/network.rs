//! The Llama that learns: its forward pass, which keeps what its gradient needs, and its gradient, over the rows of a [`Pass`].
//!
//! What every layer saw is kept as long as there is room for it; of a layer that has none, its input alone, and the rest is made again.
//! Answering has a path of its own, [`scoring`](crate::scoring), which tests hold against this one.

mod backward;
mod forward;
mod parameters;

use crate::attention::{self, Attended, Attention, Heads};
use crate::config::Config;
use crate::kernels::{Normed, Rotary};
use crate::layout::{Layout, Site};
use crate::packed::Kernel;
use crate::pass::Pass;
use crate::products::Products;
pub(crate) use backward::HeadSlopes;
use parameters::Layer;
pub(crate) use parameters::Parameters;

/// Rows that one thread takes of what is done row by row. The sums of norms' gradients run over so many rows, and then over those.
const ROWS: usize = 64;

/// A shape with its tables; weights come in with each call.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub config: Config,
    pub layout: Layout,
    rotary: Rotary,
    heads: Heads,
}

/// What a layer saw; all `[rows, ..]`, but for `log_sums`.
#[derive(Default, Debug)]
struct LayerTrace {
    input: Vec<f32>,
    attention_inverse: Vec<f32>,
    qkv: Vec<f32>,
    log_sums: Vec<f32>,
    attended: Vec<f32>,
    middle: Vec<f32>,
    feed_inverse: Vec<f32>,
    gate_up: Vec<f32>,
}

/// What a pass leaves behind, and the buffers of the next one.
#[derive(Debug)]
pub(crate) struct Trace {
    products: Products,
    /// Bytes that the layers may keep.
    room: usize,
    layers: Vec<LayerTrace>,
    /// What a layer saw that could not keep it.
    again: LayerTrace,
    /// The residual stream behind the last layer, `[rows, hidden]`.
    pub stream: Vec<f32>,
    attention: attention::Buffers,
    /// Logits of a chunk of rows.
    logits: Vec<f32>,
    back: Back,
}

/// Gradients in flight.
#[derive(Default, Debug)]
struct Back {
    /// At the residual stream.
    stream: Vec<f32>,
    normed: Vec<f32>,
    /// Towards gated numbers, or towards queries, keys and values.
    wide: Vec<f32>,
    attended: Vec<f32>,
}

impl Trace {
    /// A trace whose products are those of `kernel` and whose layers keep at most `room` bytes, beside their inputs.
    pub fn new(kernel: Kernel, room: usize) -> Self {
        let (layers, again, stream, attention, logits, back) = Default::default();
        Self { products: Products::new(kernel), room, layers, again, stream, attention, logits, back }
    }

    /// What multiplies, and the buffer of the head's logits.
    pub fn head(&mut self) -> (&mut Products, &mut Vec<f32>) {
        (&mut self.products, &mut self.logits)
    }
}

impl LayerTrace {
    /// Gives back all but the input.
    fn forget(&mut self) {
        *self = Self { input: std::mem::take(&mut self.input), ..Self::default() };
    }

    fn kept(&self) -> Attended<'_> {
        Attended { qkv: &self.qkv, out: &self.attended, log_sums: &self.log_sums }
    }
}

impl Network {
    /// The network of a configuration that [`Config::check`] accepted.
    pub fn new(config: Config) -> Self {
        let (queries, keys, width) = config.heads();
        let rotary = Rotary::new(config.max_position_embeddings, &config.frequencies());
        Self { layout: Layout::of(&config), rotary, heads: Heads { queries, keys, width }, config }
    }

    /// Added to the mean square of a norm before its root.
    pub fn epsilon(&self) -> f32 {
        self.config.rms_norm_eps as f32
    }

    /// The layers, the first one first.
    fn layers<'a>(&'a self, parameters: Parameters<'a>) -> impl DoubleEndedIterator<Item = Layer<'a>> + ExactSizeIterator {
        self.layout.layers.iter().enumerate().map(move |(index, places)| Layer { parameters, places, index })
    }

    fn attention(&self, kernel: Kernel) -> Attention {
        Attention { heads: self.heads, kernel }
    }

    /// Bytes that a layer keeps of `rows` rows, beside its input.
    fn bytes(&self, rows: usize) -> usize {
        let (hidden, feed, heads) = (self.config.hidden_size, self.config.intermediate_size, self.heads);
        rows * size_of::<f32>() * (hidden + 2 + heads.stride() + heads.queries * (heads.width + 1) + 2 * feed)
    }

    /// Whether layer `index` keeps what it saw of `rows` rows: the last layers do, whose gradient is taken first.
    fn keeps(&self, index: usize, rows: usize, room: usize) -> bool {
        let kept = room / self.bytes(rows).max(1);
        index + kept >= self.layout.layers.len()
    }
}

#[cfg(test)]
impl Network {
    /// What the head reads of every row of `page`, `[rows, hidden]`, in `f32`.
    pub fn read(&self, weights: &[f32], page: &crate::page::Page) -> Vec<f32> {
        let kernel = Kernel::of(crate::packed::Precision::F32, crate::packed::InstructionSet::widest());
        let mut trace = Trace::new(kernel, 0);
        let parameters = Parameters::Whole(weights);
        self.forward(parameters, &Pass::of([page]), &mut trace);
        self.head_rows(parameters, &trace.stream, &(0..page.tokens.len()).collect::<Vec<_>>()).0
    }
}

fn normed<'a>(input: &'a [f32], inverse: &'a [f32], weight: &'a [f32]) -> Normed<'a> {
    Normed { input, inverse, weight }
}
