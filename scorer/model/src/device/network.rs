//! The forward pass, which autograd can follow. The residual stream is `f32` throughout; what is multiplied is held as the device's products have it.

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};

use super::attention::{self, Seen, heads_first, rows_first};
use super::fused::fused;
use super::linear::Linear;
use crate::config::Config;
use crate::layout::{LayerPlaces, Site};
use crate::packed::Precision;
use crate::scoring::Batch;

/// A shape on a device, with its tables; weights come in with each call.
#[derive(Clone, Debug)]
pub(super) struct DeviceNetwork {
    pub config: Config,
    pub device: Device,
    /// How numbers are held that are multiplied.
    pub numbers: DType,
    /// `[positions, width / 2]` each, `f32`.
    cosines: Tensor,
    sines: Tensor,
}

/// One layer's weights.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// `[hidden]`, `f32`
    pub attention_norm: Tensor,
    pub qkv: Linear,
    pub output: Linear,
    /// `[hidden]`, `f32`
    pub feed_norm: Tensor,
    pub gate_up: Linear,
    pub down: Linear,
}

/// What the layers are told of a batch.
pub(super) struct Sight {
    seen: Seen,
    /// `[rows, width / 2]` each.
    cosines: Tensor,
    sines: Tensor,
}

/// How candle holds what is multiplied.
pub(super) fn held_as(precision: Precision) -> DType {
    if precision == Precision::F32 { DType::F32 } else { DType::BF16 }
}

/// Row numbers on a device, `[rows]` u32.
pub(super) fn row_numbers(rows: impl IntoIterator<Item = usize>, device: &Device) -> Result<Tensor> {
    let rows: Vec<u32> = rows.into_iter().map(|row| u32::try_from(row).unwrap_or(u32::MAX)).collect();
    Tensor::from_slice(&rows, rows.len(), device)
}

impl DeviceNetwork {
    /// The network of a configuration that [`Config::check`] accepted.
    pub fn new(config: &Config, device: &Device, numbers: DType) -> Result<Self> {
        let frequencies: Vec<f32> = config.frequencies().iter().map(|&frequency| frequency as f32).collect();
        let positions = Tensor::arange(0, config.max_position_embeddings as u32, device)?.to_dtype(DType::F32)?.unsqueeze(1)?;
        let angles = positions.matmul(&Tensor::new(frequencies, device)?.unsqueeze(0)?)?;
        Ok(Self { config: config.clone(), device: device.clone(), numbers, cosines: angles.cos()?, sines: angles.sin()? })
    }

    /// What the layers need to know of `batch`.
    pub fn sight(&self, batch: &Batch) -> Result<Sight> {
        let positions = Tensor::from_slice(&batch.positions, batch.positions.len(), &self.device)?;
        Ok(Sight {
            seen: Seen::of(batch, (&self.device, self.numbers), self.config.heads())?,
            cosines: self.cosines.index_select(&positions, 0)?.to_dtype(self.numbers)?,
            sines: self.sines.index_select(&positions, 0)?.to_dtype(self.numbers)?,
        })
    }

    /// The residual stream behind the last layer, `[rows, hidden]`; of the rows `wanted` alone where some are named, all of which are looked for in
    /// the last layer only.
    pub fn forward(&self, embedding: &Tensor, layers: &[Layer], sight: &Sight, wanted: Option<&Tensor>) -> Result<Tensor> {
        let mut stream = embedding.clone();
        for (index, layer) in layers.iter().enumerate() {
            let mut attended = self.attend(layer, &stream, sight)?;
            if let Some(wanted) = wanted.filter(|_| index + 1 == layers.len()) {
                (attended, stream) = (attended.index_select(wanted, 0)?, stream.index_select(wanted, 0)?);
            }
            stream = onto(&stream, &layer.output.multiply(&attended)?)?;
            let both = layer.gate_up.multiply(&self.norm(&stream, &layer.feed_norm)?)?;
            stream = onto(&stream, &layer.down.multiply(&gated(&both)?)?)?;
        }
        Ok(stream)
    }

    /// The norm of `rows`, `[rows, hidden]` in `f32`, as products have numbers.
    #[expect(clippy::disallowed_methods, reason = "its gradient stands beside it")]
    pub fn norm(&self, rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if super::card::serves(&self.device, self.numbers) {
            return super::card::norm(rows, weight, self.config.rms_norm_eps as f32);
        }
        let (x, scale, epsilon, learns) = (rows.detach(), weight.detach(), self.config.rms_norm_eps, weight.track_op());
        let result = candle_nn::ops::rms_norm(&x, &scale, epsilon as f32)?.to_dtype(self.numbers)?;
        fused([rows, weight], result, move |slopes| {
            let slopes = slopes.to_dtype(DType::F32)?;
            let inverse = (x.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?.recip()?;
            let shape = x.broadcast_mul(&inverse)?;
            let towards_weight = if learns { Some((&slopes * &shape)?.sum(0)?) } else { None };
            let towards = slopes.broadcast_mul(&scale)?;
            let along = (&towards * &shape)?.mean_keepdim(D::Minus1)?;
            let towards = (towards - shape.broadcast_mul(&along)?)?.broadcast_mul(&inverse)?;
            Ok([Some(towards), towards_weight])
        })
    }

    fn attend(&self, layer: &Layer, stream: &Tensor, sight: &Sight) -> Result<Tensor> {
        let qkv = layer.qkv.multiply(&self.norm(stream, &layer.attention_norm)?)?;
        #[cfg(feature = "cuda")]
        if let Some(table) = sight.seen.table() {
            return table.attend(&qkv, (&self.cosines, &self.sines));
        }
        attention::attend(&self.turned(&qkv, sight)?, &sight.seen)
    }

    /// Queries and keys of `[rows, heads * width]` turned to their positions: `[heads, rows, width]`, queries first, then keys, then values.
    #[expect(clippy::disallowed_methods, reason = "its gradient stands beside it")]
    fn turned(&self, qkv: &Tensor, sight: &Sight) -> Result<Tensor> {
        let (queries, keys, width) = self.config.heads();
        let (cosines, sines) = (sight.cosines.clone(), sight.sines.clone());
        let turn = move |heads: &Tensor, sines: &Tensor| {
            let turned = candle_nn::rotary_emb::rope(&heads.narrow(0, 0, queries + keys)?.unsqueeze(0)?, &cosines, sines)?;
            Tensor::cat(&[turned.squeeze(0)?, heads.narrow(0, queries + keys, keys)?], 0)
        };
        let result = turn(&heads_first(&qkv.detach(), width)?, &sines)?;
        let back = sines.neg()?;
        fused([qkv], result, move |slopes| Ok([Some(rows_first(&turn(&slopes.contiguous()?, &back)?)?)]))
    }
}

/// The residual stream, `f32`, with what a product adds to it.
fn onto(stream: &Tensor, more: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if super::card::serves(more.device(), more.dtype()) {
        return super::card::onto_stream(stream, more);
    }
    stream + more.to_dtype(DType::F32)?
}

/// `silu(gate) * up` of `[rows, 2 * width]`, gate before up.
fn gated(both: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if super::card::serves(both.device(), both.dtype()) {
        return super::card::gated(both);
    }
    let seen = both.detach();
    let width = seen.dim(1)? / 2;
    let halves = move |both: &Tensor| Ok::<_, candle_core::Error>((both.narrow(1, 0, width)?, both.narrow(1, width, width)?));
    let (gate, up) = halves(&seen)?;
    let result = (gate.silu()? * up)?;
    fused([both], result, move |slopes| {
        let (gate, up) = halves(&seen)?;
        let open = (gate.neg()?.exp()? + 1.0)?.recip()?;
        let through = (&gate * &open)?;
        // The derivative of x * s(x) is s(x) * (1 + x * (1 - s(x))).
        let steep = (&open + (&through * (1.0 - &open)?)?)?;
        Ok([Some(Tensor::cat(&[((slopes * up)? * steep)?, (slopes * through)?], 1)?)])
    })
}

/// The rows `tokens`, `[rows]` u32, of a table, `f32`.
pub(super) fn embedded(table: &Tensor, tokens: &Tensor) -> Result<Tensor> {
    let chosen = table.detach().index_select(tokens, 0)?.to_dtype(DType::F32)?;
    let (count, tokens) = (table.dim(0)?, tokens.clone());
    fused([table], chosen, move |slopes| Ok([Some(added(&tokens, &slopes.contiguous()?, count)?)]))
}

/// Row after row of `from`, added to those of `rows` rows of zeros that `places` names.
fn added(places: &Tensor, from: &Tensor, rows: usize) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if from.device().is_cuda() {
        return super::card::add_rows(places, from, rows);
    }
    Tensor::zeros((rows, from.dim(1)?), from.dtype(), from.device())?.index_add(places, from, 0)
}

/// The rows `rows` of `from`, with a gradient that goes to each by itself where none is named twice.
pub(super) fn picked(from: &Tensor, rows: &[usize]) -> Result<Tensor> {
    let (count, device) = (from.dim(0)?, from.device());
    let chosen = row_numbers(rows.iter().copied(), device)?;
    // What was not picked gets the row of nothing behind all slopes.
    let mut places = vec![rows.len(); count];
    let mut named_twice = false;
    for (place, &row) in rows.iter().enumerate() {
        named_twice |= std::mem::replace(&mut places[row], place) < rows.len();
    }
    if named_twice {
        return from.index_select(&chosen, 0);
    }
    let places = row_numbers(places, device)?;
    let result = from.detach().index_select(&chosen, 0)?;
    fused([from], result, move |slopes| {
        let nothing = Tensor::zeros((1, slopes.dim(1)?), slopes.dtype(), slopes.device())?;
        Ok([Some(Tensor::cat(&[slopes, &nothing], 0)?.index_select(&places, 0)?)])
    })
}

impl Layer {
    /// The weights of one layer: `norm` finds what lies in the layout there, `linear` what is multiplied.
    pub fn of(
        places: &LayerPlaces,
        norm: impl Fn(&Range<usize>) -> Result<Tensor>,
        linear: impl Fn(Site) -> Result<Linear>,
    ) -> Result<Self> {
        Ok(Self {
            attention_norm: norm(&places.attention_norm)?,
            qkv: linear(Site::Qkv)?,
            output: linear(Site::Output)?,
            feed_norm: norm(&places.feed_norm)?,
            gate_up: linear(Site::GateUp)?,
            down: linear(Site::Down)?,
        })
    }
}
