//! The kernels of `card.cu` on an NVIDIA card, in `bf16`: compiled for a width of heads when they are first needed, and what they are told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use candle_core::backend::BackendStorage as _;
use candle_core::cuda_backend::cudarc::driver::{DevicePtr as _, LaunchConfig, PushKernelArg as _};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaStorage, WrapErr as _};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, DType, Device, Error, Layout, Result, Shape, Storage, Tensor};
use half::bf16;

use super::fused::fused;
use super::linear::Weight;
use crate::learner::Move;
use crate::products::Dropout;
use crate::scoring::Batch;

const SOURCE: &str = include_str!("card.cu");
/// Rows of a block of attention, and threads that share them.
const ROWS: usize = 64;
const THREADS: u32 = 128;
/// Threads of a block that takes a row, or numbers one by one.
const PLAIN: u32 = 256;
/// Blocks that go over many rows or numbers: some for each of a large card's processors.
const MANY: u32 = 1 << 11;
/// The widest heads whose sums a thread has registers for.
const WIDEST: usize = 128;
/// What kernels are compiled for that do not depend on it.
const ANY_WIDTH: usize = 16;

/// The card of a number, with one stream for whichever thread asks for something.
pub(super) fn open(number: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(number)?;
    if let Device::Cuda(card) = &device {
        // SAFETY: nothing of this device goes over another stream than its own, so that nothing has to wait for what another did.
        #[expect(unsafe_code, reason = "the driver's events are left out")]
        unsafe {
            card.disable_event_tracking();
        }
    }
    Ok(device)
}

/// Whether the kernels serve there.
pub(super) fn serves(device: &Device, numbers: DType) -> bool {
    device.is_cuda() && numbers == DType::BF16
}

/// What a kernel is told.
enum Told<'a> {
    /// Where the tensor's numbers begin.
    Numbers(&'a Tensor),
    Nothing,
    Word(usize),
    Long(u64),
    Float(f32),
}

/// So many blocks, across so many, of so many threads.
fn grid((blocks, across): (usize, usize), threads: u32) -> Result<LaunchConfig> {
    Ok(LaunchConfig { grid_dim: (word(blocks)?, word(across)?, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 })
}

/// A grid that goes over `numbers` numbers, several a thread where there are many.
fn over(numbers: usize) -> Result<LaunchConfig> {
    grid((numbers.div_ceil(PLAIN as usize).clamp(1, MANY as usize), 1), PLAIN)
}

fn word(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(Error::wrap)
}

fn card(tensor: &Tensor) -> Result<&CudaDevice> {
    match tensor.device() {
        Device::Cuda(card) => Ok(card),
        _ => candle_core::bail!("a tensor is not on the card"),
    }
}

/// The kernels for heads `width` numbers wide.
fn compiled(width: usize) -> Result<Arc<str>> {
    static COMPILED: LazyLock<Mutex<HashMap<usize, Arc<str>>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    match compiled.entry(width) {
        Entry::Occupied(found) => Ok(found.get().clone()),
        Entry::Vacant(place) => {
            let options = vec![format!("-DWIDTH={width}"), "-std=c++17".to_owned()];
            let options = CompileOptions { arch: Some("compute_80"), options, ..CompileOptions::default() };
            let ptx = compile_ptx_with_opts(SOURCE, options).map_err(|error| Error::Msg(format!("the card's kernels: {error:?}")))?;
            Ok(place.insert(ptx.to_src().into()).clone())
        }
    }
}

/// Starts the kernel `name`, compiled for heads of `width`, on the card's one stream. Tensors must be of the kinds and at least of the sizes that the
/// kernel names, and what it writes into nobody else's.
fn launch(card: &CudaDevice, (name, width): (&str, usize), config: LaunchConfig, told: &[Told<'_>]) -> Result<()> {
    let function = card.get_or_load_custom_func(name, &format!("wardstream-{width}"), &compiled(width)?)?.into_cuda_function();
    let stream = card.cuda_stream();
    let (mut words, mut longs, mut floats) = (Vec::new(), Vec::new(), Vec::new());
    for told in told {
        match told {
            Told::Numbers(tensor) => longs.push(start(tensor)?),
            Told::Nothing => longs.push(0),
            Told::Long(number) => longs.push(*number),
            Told::Word(number) => words.push(word(*number)?),
            Told::Float(number) => floats.push(*number),
        }
    }
    let (mut words, mut longs, mut floats) = (words.iter(), longs.iter(), floats.iter());
    let mut launch = stream.launch_builder(&function);
    for told in told {
        match told {
            Told::Numbers(_) | Told::Nothing | Told::Long(_) => longs.next().map(|number| launch.arg(number)),
            Told::Word(_) => words.next().map(|number| launch.arg(number)),
            Told::Float(_) => floats.next().map(|number| launch.arg(number)),
        };
    }
    // SAFETY: the callers below hold what is asked for above; everything of a device goes over one stream, so that nothing is freed or read before.
    #[expect(unsafe_code, reason = "a kernel is launched")]
    unsafe { launch.launch(config) }.w()?;
    Ok(())
}

/// The address of a tensor's first number on the card.
fn start(tensor: &Tensor) -> Result<u64> {
    let (guard, layout) = tensor.storage_and_layout();
    let (Storage::Cuda(storage), Some((first, end))) = (&*guard, layout.contiguous_offsets()) else {
        candle_core::bail!("a tensor is not on the card, or not in one piece")
    };
    let stream = storage.device().cuda_stream();
    Ok(match storage.dtype() {
        DType::BF16 => storage.as_cuda_slice::<bf16>()?.slice(first..end).device_ptr(&stream).0,
        DType::U32 => storage.as_cuda_slice::<u32>()?.slice(first..end).device_ptr(&stream).0,
        _ => storage.as_cuda_slice::<f32>()?.slice(first..end).device_ptr(&stream).0,
    })
}

/// A new tensor of `bf16`, which a kernel is about to fill.
fn halves(card: &CudaDevice, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    // SAFETY: the kernels write every number of what they are given, before anybody reads it on the same stream.
    #[expect(unsafe_code, reason = "the card's memory is not cleared")]
    let numbers = unsafe { card.alloc::<bf16>(shape.elem_count())? };
    Ok(tensor(CudaStorage::wrap_cuda_slice(numbers, card.clone()), shape))
}

/// The same of `f32`.
fn floats(card: &CudaDevice, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "the card's memory is not cleared")]
    let numbers = unsafe { card.alloc::<f32>(shape.elem_count())? };
    Ok(tensor(CudaStorage::wrap_cuda_slice(numbers, card.clone()), shape))
}

fn tensor(storage: CudaStorage, shape: Shape) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// Who sees whom, as the kernels read it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Rows of every path, one path after the other, u32.
    paths: Tensor,
    /// `Queries` of the kernels, `[blocks, 4]` u32.
    queries: Tensor,
    /// `Keys` of the kernels, `[blocks, 6]` u32.
    keys: Tensor,
    /// `[rows]` u32
    positions: Tensor,
    /// Queries, keys, width.
    heads: (usize, usize, usize),
}

impl Table {
    /// The table of a batch; nothing where the kernels do not serve, such as for heads of another width.
    pub fn of(batch: &Batch, (device, numbers): (&Device, DType), heads: (usize, usize, usize)) -> Result<Option<Self>> {
        if !serves(device, numbers) || !heads.2.is_multiple_of(16) || heads.2 > WIDEST {
            return Ok(None);
        }
        let (mut paths, mut queries, mut keys): (Vec<u32>, Vec<[u32; 4]>, Vec<[u32; 6]>) = Default::default();
        for segment in &batch.segments {
            let (start, rows, first) = (paths.len(), &segment.rows, segment.first());
            let count = |from: usize, all: usize| word(ROWS.min(all - from));
            for from in (0..rows.len()).step_by(ROWS) {
                queries.push([word(rows.start + from)?, count(from, rows.len())?, word(start)?, word(first + from)?]);
            }
            for from in (0..segment.path.len()).step_by(ROWS) {
                let own = [word(rows.start)?, word(rows.len())?, word(first)?];
                keys.push([word(start + from)?, count(from, segment.path.len())?, word(from)?, own[0], own[1], own[2]]);
            }
            paths.extend_from_slice(&segment.path);
        }
        // The longest work first: blocks are handed out in order.
        queries.sort_by_key(|block| std::cmp::Reverse(block[3]));
        keys.sort_by_key(|block| std::cmp::Reverse((block[4] + block[5]).saturating_sub(block[2])));
        Ok(Some(Self {
            paths: Tensor::from_slice(&paths, paths.len(), device)?,
            queries: Tensor::from_slice(queries.as_flattened(), (queries.len(), 4), device)?,
            keys: Tensor::from_slice(keys.as_flattened(), (keys.len(), 6), device)?,
            positions: Tensor::from_slice(&batch.positions, batch.positions.len(), device)?,
            heads,
        }))
    }

    /// Turns queries and keys of `qkv`, `[rows, (queries + 2 * keys) * width]`, to their positions, for which the tables are `[positions, width / 2]`
    /// in `f32`, and gathers what each row sees: `[rows, queries * width]`.
    pub fn attend(&self, qkv: &Tensor, (cosines, sines): (&Tensor, &Tensor)) -> Result<Tensor> {
        let (queries, keys, width) = self.heads;
        let (card, rows, own) = (card(qkv)?, qkv.dim(0)?, qkv.detach().contiguous()?);
        let heads = halves(card, own.shape())?;
        let told = [
            Told::Numbers(&own),
            Told::Numbers(&self.positions),
            Told::Numbers(cosines),
            Told::Numbers(sines),
            Told::Numbers(&heads),
            Told::Word(queries + keys),
            Told::Word(keys),
        ];
        launch(card, ("turn", width), grid((rows, 1), PLAIN)?, &told)?;
        let (out, sums) = (halves(card, (rows, queries * width))?, floats(card, (queries, rows))?);
        let told =
            [Told::Numbers(&heads), Told::Numbers(&self.paths), Told::Numbers(&self.queries), Told::Numbers(&out), Told::Numbers(&sums)];
        let told = told.into_iter().chain(self.sizes(rows)).collect::<Vec<_>>();
        launch(card, ("attend", width), grid((self.queries.dim(0)?, queries), THREADS)?, &told)?;
        let (table, seen, tables) = (self.clone(), out.clone(), (cosines.clone(), sines.clone()));
        fused([qkv], out, move |slopes| Ok([Some(table.back(&heads, (&seen, &sums), &slopes.contiguous()?, (&tables.0, &tables.1))?)]))
    }

    fn sizes(&self, rows: usize) -> [Told<'static>; 4] {
        let (queries, keys, width) = self.heads;
        [Told::Word(rows), Told::Word(queries), Told::Word(keys), Told::Float(1.0 / (width as f32).sqrt())]
    }

    /// The gradient of what was turned: `slopes` and `out` are `[rows, queries * width]`.
    fn back(
        &self,
        heads: &Tensor,
        (out, sums): (&Tensor, &Tensor),
        slopes: &Tensor,
        (cosines, sines): (&Tensor, &Tensor),
    ) -> Result<Tensor> {
        let ((queries, keys, width), rows, card) = (self.heads, heads.dim(0)?, card(heads)?);
        let deltas = floats(card, (queries, rows))?;
        let told = [Told::Numbers(out), Told::Numbers(slopes), Told::Numbers(&deltas), Told::Word(rows), Told::Word(queries)];
        launch(card, ("deltas", width), grid(((rows * queries).div_ceil(THREADS as usize / 32), 1), THREADS)?, &told)?;
        let of_queries = halves(card, (rows, queries * width))?;
        let of_keys = Tensor::zeros((rows, 2 * keys * width), DType::F32, heads.device())?;
        let gradient = |name: &str, blocks: &Tensor, across: usize, to: &Tensor| {
            let told = [heads, &self.paths, blocks, slopes, sums, &deltas, to].map(Told::Numbers);
            let told = told.into_iter().chain(self.sizes(rows)).collect::<Vec<_>>();
            launch(card, (name, width), grid((blocks.dim(0)?, across), THREADS)?, &told)
        };
        gradient("towards_queries", &self.queries, queries, &of_queries)?;
        gradient("towards_keys", &self.keys, keys, &of_keys)?;
        let to = halves(card, heads.shape())?;
        let told = [&of_queries, &of_keys, &self.positions, cosines, sines, &to].map(Told::Numbers);
        let told = told.into_iter().chain([Told::Word(queries), Told::Word(keys)]).collect::<Vec<_>>();
        launch(card, ("turn_back", width), grid((rows, 1), PLAIN)?, &told)?;
        Ok(to)
    }
}

/// The norm of `rows`, `[rows, columns]` in `f32`, in `bf16`.
pub(super) fn norm(rows: &Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    let (x, scale, learns) = (rows.detach().contiguous()?, weight.detach(), weight.track_op());
    let (count, columns) = x.dims2()?;
    let to = halves(card(&x)?, x.shape())?;
    let told = [Told::Numbers(&x), Told::Numbers(&scale), Told::Numbers(&to), Told::Word(columns), Told::Float(epsilon)];
    launch(card(&x)?, ("rms_norm", ANY_WIDTH), grid((count, 1), PLAIN)?, &told)?;
    fused([rows, weight], to, move |slopes| {
        let (slopes, towards) = (slopes.contiguous()?, floats(card(&x)?, x.shape())?);
        let towards_weight = Tensor::zeros(columns, DType::F32, x.device())?;
        let told = [&x, &scale, &slopes, &towards, &towards_weight].map(Told::Numbers);
        let told = told.into_iter().chain([Told::Word(count), Told::Word(columns), Told::Float(epsilon)]).collect::<Vec<_>>();
        let config = grid((count.min(MANY as usize / 4), 1), PLAIN)?;
        let config = LaunchConfig { shared_mem_bytes: word(columns * size_of::<f32>())?, ..config };
        launch(card(&x)?, ("rms_norm_back", ANY_WIDTH), config, &told)?;
        Ok([Some(towards), learns.then_some(towards_weight)])
    })
}

/// `more`, in `bf16`, onto the residual stream.
pub(super) fn onto_stream(stream: &Tensor, more: &Tensor) -> Result<Tensor> {
    let (seen, own) = (stream.detach().contiguous()?, more.detach().contiguous()?);
    let to = floats(card(&seen)?, seen.shape())?;
    let told = [Told::Numbers(&seen), Told::Numbers(&own), Told::Numbers(&to), Told::Long(seen.elem_count() as u64)];
    launch(card(&seen)?, ("onto_stream", ANY_WIDTH), over(seen.elem_count())?, &told)?;
    fused([stream, more], to, |slopes| Ok([Some(slopes.clone()), Some(slopes.to_dtype(DType::BF16)?)]))
}

/// `silu(gate) * up` of `[rows, 2 * width]`, gate before up.
pub(super) fn gated(both: &Tensor) -> Result<Tensor> {
    let seen = both.detach().contiguous()?;
    let (rows, width) = (seen.dim(0)?, seen.dim(1)? / 2);
    let to = halves(card(&seen)?, (rows, width))?;
    let told = [Told::Numbers(&seen), Told::Numbers(&to), Told::Word(rows), Told::Word(width)];
    launch(card(&seen)?, ("gate", ANY_WIDTH), over(rows * width)?, &told)?;
    fused([both], to, move |slopes| {
        let (slopes, towards) = (slopes.contiguous()?, halves(card(&seen)?, seen.shape())?);
        let told = [Told::Numbers(&seen), Told::Numbers(&slopes), Told::Numbers(&towards), Told::Word(rows), Told::Word(width)];
        launch(card(&seen)?, ("gate_back", ANY_WIDTH), over(rows * width)?, &told)?;
        Ok([Some(towards)])
    })
}

/// The losses of the rows of `logits`, `[rows, words]` in `bf16`, which become their slopes.
pub(super) fn next_tokens(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (rows, words) = logits.dims2()?;
    let losses = floats(card(logits)?, rows)?;
    let told = [Told::Numbers(logits), Told::Numbers(targets), Told::Numbers(&losses), Told::Word(words)];
    launch(card(logits)?, ("next_tokens", ANY_WIDTH), grid((rows, 1), 4 * PLAIN)?, &told)?;
    Ok(losses)
}

/// Moves `weight`, and what products have of it where that is `bf16`, and the running means of gradient and square.
pub(super) fn adamw(weight: &Weight, (first, second): (&Tensor, &Tensor), gradient: &Tensor, by: &Move) -> Result<()> {
    let (learned, gradient) = (weight.learned(), gradient.contiguous()?);
    let held = if weight.held().dtype() == DType::BF16 { Told::Numbers(weight.held()) } else { Told::Nothing };
    let told = [
        Told::Numbers(learned),
        Told::Numbers(first),
        Told::Numbers(second),
        Told::Numbers(&gradient),
        held,
        Told::Long(learned.elem_count() as u64),
        Told::Float(by.scale),
        Told::Float(by.betas.0),
        Told::Float(by.betas.1),
        Told::Float(by.rate),
        Told::Float(by.unbias),
        Told::Float(by.keep),
        Told::Float(by.epsilon),
    ];
    launch(card(learned)?, ("adamw", ANY_WIDTH), over(learned.elem_count())?, &told)
}

/// Adds row after row of `from`, `[count, columns]` in `f32`, to the rows of `rows` rows of zeros that `places` names, `[count]` u32.
pub(super) fn add_rows(places: &Tensor, from: &Tensor, rows: usize) -> Result<Tensor> {
    let (count, columns) = from.dims2()?;
    let to = Tensor::zeros((rows, columns), DType::F32, from.device())?;
    let told = [Told::Numbers(places), Told::Numbers(from), Told::Numbers(&to), Told::Word(count), Told::Word(columns)];
    launch(card(from)?, ("add_rows", ANY_WIDTH), over(count * columns)?, &told)?;
    Ok(to)
}

/// What a draw leaves of `[rows, columns]`, in `bf16` or `f32`.
pub(super) fn dropped(dropout: &Dropout, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
    let (rows, columns) = layout.shape().dims2()?;
    let Some((first, end)) = layout.contiguous_offsets() else { candle_core::bail!("what is dropped from must lie in one piece") };
    let (card, shape) = (storage.device(), layout.shape());
    let stream = card.cuda_stream();
    let (name, from, to) = match storage.dtype() {
        DType::BF16 => ("drop_halves", storage.as_cuda_slice::<bf16>()?.slice(first..end).device_ptr(&stream).0, halves(card, shape)?),
        _ => ("drop_floats", storage.as_cuda_slice::<f32>()?.slice(first..end).device_ptr(&stream).0, floats(card, shape)?),
    };
    let told = [
        Told::Long(from),
        Told::Numbers(&to),
        Told::Long(dropout.key),
        Told::Long(dropout.first_row as u64),
        Told::Word(dropout.limit as usize),
        Told::Float(dropout.scale),
        Told::Word(rows),
        Told::Word(columns),
    ];
    launch(card, (name, ANY_WIDTH), over(rows * columns)?, &told)?;
    let (guard, layout) = to.storage_and_layout();
    match &*guard {
        Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
        _ => candle_core::bail!("a tensor is not on the card"),
    }
}
