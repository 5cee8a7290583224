//! The tensors of a model under their Hugging Face names, where they lie in mapped files: nothing is copied until somebody packs it.
//!
//! One view for every format. A view says its shape and encoding, gives its bytes where they lie as Hugging Face has them, and widens
//! whole rows to `f32` in Hugging Face's order. Whoever packs takes a few of them at a time with [`Weights::run`], which gives their
//! pages back, so that a model does not stand in memory twice.

mod encoding;
mod mapping;
mod safetensors;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use rayon::iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;
use sha2::Digest as _;

use crate::config::ConfigError;
use crate::layout::{Layout, Place};
use crate::load_error::{LoadError, shown};

pub(crate) use encoding::Encoding;
pub(crate) use mapping::Mapping;
pub(crate) use safetensors::folder_weights;

/// Numbers that one thread widens at a time.
const PIECE: usize = 1 << 18;
/// Bytes that are digested before their pages are given back.
const DIGESTED: usize = 1 << 22;

/// Where a row of Hugging Face's stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// In its own place.
    Straight,
    /// Within each head of `width` rows, row `i` of the first half and row `i` of the second stand together: llama.cpp's rotary order.
    Interleaved {
        /// Rows of a head; even.
        width: usize,
    },
}

impl RowOrder {
    /// Rows among which the order differs from the file's.
    fn block(self) -> usize {
        match self {
            Self::Straight => 1,
            Self::Interleaved { width } => width,
        }
    }

    fn place(self, row: usize) -> usize {
        match self {
            Self::Straight => row,
            Self::Interleaved { width } => {
                let (head, within) = (row / width * width, row % width);
                head + within % (width / 2) * 2 + within / (width / 2)
            }
        }
    }
}

/// A tensor in a file.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Index of the file.
    pub file: usize,
    /// Its bytes in that file.
    pub bytes: Range<usize>,
    /// `[rows, columns]`, or `[columns]`.
    pub shape: Vec<usize>,
    /// How a row lies there.
    pub encoding: Encoding,
    /// In which order rows lie there.
    pub order: RowOrder,
}

/// A tensor as it can be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    stored: &'a Stored,
    bytes: &'a [u8],
    row_bytes: usize,
}

impl<'a> View<'a> {
    /// `[rows, columns]`, or `[columns]`.
    pub fn shape(&self) -> &'a [usize] {
        &self.stored.shape
    }

    /// How its numbers lie in the file.
    pub fn encoding(&self) -> Encoding {
        self.stored.encoding
    }

    fn columns(&self) -> usize {
        self.stored.shape.last().copied().unwrap_or(1)
    }

    /// All its bytes, row by row, at any alignment; none where the file has the rows in another order.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        (self.stored.order == RowOrder::Straight).then_some(self.bytes)
    }

    /// The bytes of one row, at any alignment.
    pub fn row(&self, row: usize) -> &'a [u8] {
        let at = self.stored.order.place(row) * self.row_bytes;
        &self.bytes[at..at + self.row_bytes]
    }

    /// Widens `rows` to `f32`: `out` is `[rows, columns]`.
    pub fn widen(&self, rows: Range<usize>, out: &mut [f32]) {
        match self.bytes() {
            Some(bytes) => self.encoding().widen(&bytes[rows.start * self.row_bytes..rows.end * self.row_bytes], out),
            None => {
                for (row, out) in rows.zip(out.chunks_exact_mut(self.columns())) {
                    self.encoding().widen(self.row(row), out);
                }
            }
        }
    }
}

/// Whether old checkpoints carry a tensor of this name along, which follows from their configuration.
fn is_carried_along(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq")
}

/// What a tensor of a layer behind so many is called in the first one; the name itself of any other.
fn named_in_the_first(name: &str, layers: usize) -> String {
    let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let part = layer.filter(|(index, _)| index.parse::<usize>().is_ok_and(|index| index >= layers));
    part.map_or_else(|| name.to_owned(), |(_, part)| format!("model.layers.0.{part}"))
}

/// All tensors of a model.
#[derive(Debug, Default)]
pub(crate) struct Weights {
    files: Vec<Mapping>,
    tensors: BTreeMap<String, Stored>,
}

impl Weights {
    /// Takes a file in and returns its index.
    pub fn add_file(&mut self, file: Mapping) -> usize {
        self.files.push(file);
        self.files.len() - 1
    }

    /// Takes a tensor in, whose bytes lie within its file and are as many as its shape and encoding say; refuses a second one of that name.
    pub fn add(&mut self, name: String, tensor: Stored) -> Result<(), LoadError> {
        let file = self.files.get(tensor.file).map(|file| file.file().to_owned()).unwrap_or_default();
        let columns = tensor.shape.last().copied().unwrap_or(1);
        let fits = tensor.encoding.row_bytes(columns).is_some_and(|row| {
            let rows = tensor.shape.iter().rev().skip(1).try_fold(1_usize, |rows, size| rows.checked_mul(*size));
            rows.and_then(|rows| rows.checked_mul(row)) == Some(tensor.bytes.len())
        });
        let inside = self.files.get(tensor.file).is_some_and(|file| file.bytes().get(tensor.bytes.clone()).is_some());
        if !(fits && inside) {
            return Err(LoadError::Damaged { file, what: format!("tensor {} has not as many bytes as its shape asks for", shown(&name)) });
        }
        match self.tensors.entry(name) {
            Entry::Occupied(entry) => Err(LoadError::Damaged { file, what: format!("there are two tensors {}", shown(entry.key())) }),
            Entry::Vacant(entry) => {
                entry.insert(tensor);
                Ok(())
            }
        }
    }

    /// The tensor of a Hugging Face name.
    pub fn tensor(&self, name: &str) -> Option<View<'_>> {
        let stored = self.tensors.get(name)?;
        let bytes = self.files.get(stored.file)?.bytes().get(stored.bytes.clone())?;
        let row_bytes = stored.encoding.row_bytes(stored.shape.last().copied().unwrap_or(1))?;
        Some(View { stored, bytes, row_bytes })
    }

    /// The tensor at a place of a layout that [`Weights::check`] accepted.
    pub fn at(&self, place: &Place) -> Result<View<'_>, LoadError> {
        let view = self.tensor(&place.name);
        let view = view.ok_or_else(|| LoadError::Tensor { name: place.name.clone(), shape: place.shape.clone() })?;
        if view.shape() == place.shape {
            return Ok(view);
        }
        Err(LoadError::Shape { name: place.name.clone(), expected: place.shape.clone(), found: view.shape().to_vec() })
    }

    /// Gives the pages of some of a tensor's rows back to the system.
    fn release(&self, view: &View<'_>, rows: &Range<usize>) {
        if let Some(file) = self.files.get(view.stored.file) {
            let (start, block) = (view.stored.bytes.start, view.stored.order.block());
            let (first, last) = (rows.start / block * block, rows.end.next_multiple_of(block));
            file.release(start + first * view.row_bytes..start + last * view.row_bytes);
        }
    }

    /// Whether these are the tensors of `layout`, each of its shape and none beside them: what would be left out changes the answers.
    pub fn check(&self, layout: &Layout) -> Result<(), LoadError> {
        let known: std::collections::BTreeSet<&str> = layout.places.iter().map(|place| place.name.as_str()).collect();
        let is_silent = |name: &str| name == "lm_head.weight" || is_carried_along(name);
        let layers = layout.layers.len();
        let mut others = self.tensors.keys().filter(|name| !known.contains(name.as_str()) && !is_silent(name));
        if let Some(other) = others.clone().find(|name| !known.contains(named_in_the_first(name, layers).as_str())) {
            let what = if other.ends_with(".bias") { "biases" } else { "a tensor of another architecture" };
            return Err(ConfigError::Unsupported(format!("{what} ({})", shown(other))).into());
        }
        if let Some(other) = others.next() {
            return Err(LoadError::Layer { name: shown(other), layers });
        }
        layout.places.iter().try_for_each(|place| self.at(place).map(|_| ()))?;
        self.head_is_tied(layout)
    }

    /// A head that a file has beside the embedding that it is said to be must be that embedding.
    fn head_is_tied(&self, layout: &Layout) -> Result<(), LoadError> {
        let embedding = layout.places.iter().find(|place| layout.head == place.range && layout.embedding == place.range);
        let (Some(embedding), Some(own)) = (embedding, self.tensor("lm_head.weight")) else { return Ok(()) };
        let tied = self.at(embedding)?;
        if tied.shape() == own.shape() && tied.encoding() == own.encoding() && tied.bytes == own.bytes {
            return Ok(());
        }
        Err(ConfigError::Unsupported("a head (lm_head.weight) that is not the embedding, though its configuration ties them".to_owned())
            .into())
    }

    /// Widens `rows` of the tensor at a place into `out`, on rayon's threads, and gives their pages back.
    fn fill(&self, place: &Place, rows: Range<usize>, out: &mut [f32]) -> Result<(), LoadError> {
        let view = self.at(place)?;
        let columns = view.columns();
        let some = (PIECE / columns).max(1);
        out.par_chunks_mut(some * columns).enumerate().for_each(|(piece, out)| {
            let first = rows.start + piece * some;
            view.widen(first..first + out.len() / columns, out);
        });
        self.release(&view, &rows);
        Ok(())
    }

    /// The numbers of `range` of `layout`, which holds whole rows, widened to `f32`: for whoever packs a few of them at a time.
    pub fn run(&self, layout: &Layout, range: Range<usize>) -> Result<Vec<f32>, LoadError> {
        let mut run = vec![0.0; range.len()];
        for place in &layout.places {
            let (start, end) = (place.range.start.max(range.start), place.range.end.min(range.end));
            if start < end {
                let columns = place.shape.last().copied().unwrap_or(1);
                let rows = (start - place.range.start) / columns..(end - place.range.start) / columns;
                self.fill(place, rows, run.get_mut(start - range.start..end - range.start).unwrap_or_default())?;
            }
        }
        Ok(run)
    }

    /// SHA-256 of the one file, or of the digests of all files in their order.
    pub fn digest(&self) -> [u8; 32] {
        let digests: Vec<[u8; 32]> = (&self.files).into_par_iter().map(digest_of).collect();
        match digests.as_slice() {
            [one] => *one,
            several => sha2::Sha256::digest(several.concat()).into(),
        }
    }
}

fn digest_of(file: &Mapping) -> [u8; 32] {
    let mut hasher = sha2::Sha256::new();
    for (index, piece) in file.bytes().chunks(DIGESTED).enumerate() {
        hasher.update(piece);
        let start = index * DIGESTED;
        file.release(start..start + piece.len());
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests;
