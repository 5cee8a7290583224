//! The loss of every next token, and its gradient, while whole-vocabulary logits exist for a chunk of rows alone.

use candle_core::{D, DType, Result, Tensor};

use super::fused::fused;
use super::linear::Weight;

/// Rows whose whole-vocabulary logits exist at once: 262 MB of `bf16` with 32,000 words, and twice as much of `f32`.
const CHUNK: usize = 4096;

/// The sum of the losses of `rows`, `[rows, hidden]`, whose next tokens are `targets`, `[rows]` u32; off a card none counts more than 87 nats,
/// where shares end in `f32`. The gradient is found with the loss.
pub(super) fn next_tokens(rows: &Tensor, head: &Weight, targets: &Tensor) -> Result<Tensor> {
    let (seen, held, learns) = (rows.detach(), head.held(), head.learned().track_op());
    let count = seen.dim(0)?;
    let mut loss = Tensor::zeros((), DType::F32, seen.device())?;
    let mut towards_rows = Vec::with_capacity(count.div_ceil(CHUNK));
    let mut towards_head: Option<Tensor> = None;
    for first in (0..count).step_by(CHUNK) {
        let length = CHUNK.min(count - first);
        let (chunk, right) = (seen.narrow(0, first, length)?, targets.narrow(0, first, length)?);
        let (chunk_loss, slopes) = losses(chunk.matmul(&held.t()?)?, &right)?;
        loss = (loss + chunk_loss)?;
        towards_rows.push(slopes.matmul(held)?);
        if learns {
            let towards = slopes.t()?.matmul(&chunk)?.to_dtype(DType::F32)?;
            towards_head = Some(towards_head.map_or(Ok(towards.clone()), |sum| sum + towards)?);
        }
    }
    let towards_rows = if towards_rows.is_empty() { seen.zeros_like()? } else { Tensor::cat(&towards_rows, 0)? };
    fused([rows, head.learned()], loss, move |slope| {
        let times = |towards: &Tensor| towards.broadcast_mul(&slope.to_dtype(towards.dtype())?);
        Ok([Some(times(&towards_rows)?), towards_head.as_ref().map(times).transpose()?])
    })
}

/// The sum of the losses of `logits`, `[rows, words]`, and their slopes.
#[expect(clippy::disallowed_methods, reason = "its gradient stands beside it")]
fn losses(logits: Tensor, targets: &Tensor) -> Result<(Tensor, Tensor)> {
    #[cfg(feature = "cuda")]
    if super::card::serves(logits.device(), logits.dtype()) {
        return Ok((super::card::next_tokens(&logits, targets)?.sum_all()?, logits));
    }
    let numbers = logits.dtype();
    let shares = candle_nn::ops::softmax_last_dim(&logits.to_dtype(DType::F32)?)?;
    let places = targets.unsqueeze(1)?;
    let right = shares.gather(&places, 1)?;
    let ones = right.ones_like()?.neg()?;
    let loss = right.maximum(f32::MIN_POSITIVE)?.log()?.sum_all()?.neg()?;
    Ok((loss, shares.scatter_add(&places, &ones, 1)?.to_dtype(numbers)?))
}

/// The sum of the losses of `rows`, `[rows, hidden]`, each of which chooses among the first `classes` of `letters`, rows of the head, and should
/// have chosen its label.
pub(super) fn answers(rows: &Tensor, letters: &Weight, answers: &[(usize, usize)]) -> Result<Tensor> {
    let logits = letters.multiply(rows)?.to_dtype(DType::F32)?;
    let (count, width) = logits.dims2()?;
    // Far below what any logit reaches, and still a number.
    let beside = |at: usize| if at % width < answers[at / width].0 { 0.0_f32 } else { -1e9 };
    let mask = Tensor::from_vec((0..count * width).map(beside).collect(), (count, width), logits.device())?;
    let chosen: Vec<u32> = answers.iter().map(|&(_, label)| u32::try_from(label).unwrap_or(u32::MAX)).collect();
    let chosen = Tensor::from_vec(chosen, (count, 1), logits.device())?;
    let logits = (logits + mask)?;
    let highest = logits.max_keepdim(D::Minus1)?.detach();
    let shifted = logits.broadcast_sub(&highest)?;
    let sums = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    (sums.sum_all()? - shifted.gather(&chosen, 1)?.sum_all()?)?.reshape(())
}
