//! Where each tensor of a Llama lies in the one flat vector of its weights.
//!
//! Query, key and value lie together, and so do gate and up: each is then one matrix product. The optimiser, the sum of gradients and
//! the state on disk see one vector of numbers; only files see names.

use std::ops::Range;

use crate::config::Config;

/// One named tensor inside the flat vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The Hugging Face name.
    pub name: String,
    /// `[rows, columns]`, or `[columns]` for a norm.
    pub shape: Vec<usize>,
    /// Its numbers, row by row.
    pub range: Range<usize>,
}

/// The tensors of one layer. Every matrix is `[out, in]`.
#[derive(Clone, Debug)]
pub(crate) struct LayerPlaces {
    /// `[hidden]`
    pub attention_norm: Range<usize>,
    /// `[query + key + value, hidden]`
    pub qkv: Range<usize>,
    /// `[hidden, query]`
    pub output: Range<usize>,
    /// `[hidden]`
    pub feed_norm: Range<usize>,
    /// `[2 * intermediate, hidden]`, gate above up
    pub gate_up: Range<usize>,
    /// `[hidden, intermediate]`
    pub down: Range<usize>,
}

/// One of the four products of a layer with its matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    Qkv,
    Output,
    GateUp,
    Down,
}

impl LayerPlaces {
    /// The matrices that are multiplied together there.
    pub fn at(&self, site: Site) -> Range<usize> {
        match site {
            Site::Qkv => self.qkv.clone(),
            Site::Output => self.output.clone(),
            Site::GateUp => self.gate_up.clone(),
            Site::Down => self.down.clone(),
        }
    }
}

/// The whole map.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// `[vocab, hidden]`
    pub embedding: Range<usize>,
    /// Layer by layer.
    pub layers: Vec<LayerPlaces>,
    /// `[hidden]`
    pub norm: Range<usize>,
    /// `[vocab, hidden]`; the embedding itself where they are tied.
    pub head: Range<usize>,
    /// Every tensor of the file, in order.
    pub places: Vec<Place>,
}

struct Writer {
    places: Vec<Place>,
    end: usize,
}

impl Writer {
    fn put(&mut self, name: String, shape: &[usize]) -> Range<usize> {
        let range = self.end..self.end + shape.iter().product::<usize>();
        self.end = range.end;
        self.places.push(Place { name, shape: shape.to_vec(), range: range.clone() });
        range
    }

    fn layer(&mut self, index: usize, config: &Config) -> LayerPlaces {
        let (heads, key_value_heads, width) = config.heads();
        let (hidden, feed) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("model.layers.{index}.{part}.weight");
        let attention_norm = self.put(name("input_layernorm"), &[hidden]);
        let query = self.put(name("self_attn.q_proj"), &[heads * width, hidden]);
        self.put(name("self_attn.k_proj"), &[key_value_heads * width, hidden]);
        let value = self.put(name("self_attn.v_proj"), &[key_value_heads * width, hidden]);
        let output = self.put(name("self_attn.o_proj"), &[hidden, heads * width]);
        let feed_norm = self.put(name("post_attention_layernorm"), &[hidden]);
        let gate = self.put(name("mlp.gate_proj"), &[feed, hidden]);
        let up = self.put(name("mlp.up_proj"), &[feed, hidden]);
        let down = self.put(name("mlp.down_proj"), &[hidden, feed]);
        LayerPlaces { attention_norm, qkv: query.start..value.end, output, feed_norm, gate_up: gate.start..up.end, down }
    }
}

impl Layout {
    /// The layout of this configuration.
    pub fn of(config: &Config) -> Self {
        let mut writer = Writer { places: Vec::new(), end: 0 };
        let table = [config.vocab_size, config.hidden_size];
        let embedding = writer.put("model.embed_tokens.weight".to_owned(), &table);
        let layers = (0..config.num_hidden_layers).map(|index| writer.layer(index, config)).collect();
        let norm = writer.put("model.norm.weight".to_owned(), &[config.hidden_size]);
        let head = if config.tie_word_embeddings { embedding.clone() } else { writer.put("lm_head.weight".to_owned(), &table) };
        Self { embedding, layers, norm, head, places: writer.places }
    }

    /// How many numbers there are.
    pub fn total(&self) -> usize {
        self.places.last().map_or(0, |place| place.range.end)
    }
}
