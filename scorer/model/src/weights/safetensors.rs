//! The safetensors of a Hugging Face folder: one file, or shards under an index. Only headers are read here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::load_error::{LoadError, shown};
use crate::small_file;
use crate::weights::{Encoding, Mapping, RowOrder, Stored, Weights, is_carried_along};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// What `torch.save` leaves, which may run code when it is read.
const PICKLED: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
/// A header of Llama-2-70B takes 80 kB; one that takes more than this is none.
const MAX_HEADER: u64 = 1 << 24;
const MAX_INDEX: u64 = 1 << 24;
const MAX_SHARDS: usize = 1000;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The tensors of the safetensors in `dir`.
pub(crate) fn folder_weights(dir: &Path) -> Result<Weights, LoadError> {
    let mut weights = Weights::default();
    let exists = |name: &str| dir.join(name).exists();
    if exists(SINGLE) {
        add_shard(&mut weights, &dir.join(SINGLE))?;
    } else if exists(INDEX) {
        add_shards(&mut weights, &dir.join(INDEX))?;
    } else if let Some(pickled) = PICKLED.into_iter().find(|name| exists(name)) {
        return Err(LoadError::Format { file: dir.join(pickled), what: "pickled weights".to_owned() });
    } else {
        return Err(LoadError::Read { file: dir.join(SINGLE), source: ErrorKind::NotFound.into() });
    }
    Ok(weights)
}

fn add_shards(weights: &mut Weights, file: &Path) -> Result<(), LoadError> {
    let damaged = |what: String| LoadError::Damaged { file: file.to_owned(), what };
    let json = small_file::read(file, MAX_INDEX)?;
    let Index { weight_map } =
        serde_json::from_slice(&json).map_err(|source| LoadError::Parse { file: file.to_owned(), source: source.into() })?;
    let shards: BTreeSet<&str> = weight_map.values().map(String::as_str).collect();
    if shards.is_empty() || shards.len() > MAX_SHARDS {
        return Err(damaged(format!("it names {} files", shards.len())));
    }
    let mut numbers = BTreeMap::new();
    for shard in shards {
        let mut parts = Path::new(shard).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(damaged(format!("it names \"{}\", which is no file beside it", shown(shard))));
        }
        let number = add_shard(weights, &file.with_file_name(shard))?;
        numbers.insert(shard, number);
    }
    for (name, shard) in &weight_map {
        if weights.tensors.get(name).map(|tensor| tensor.file) != numbers.get(shard.as_str()).copied() {
            return Err(damaged(format!("it names tensor {} in {}, which does not hold it", shown(name), shown(shard))));
        }
    }
    Ok(())
}

fn encoding(kind: Dtype) -> Option<Encoding> {
    match kind {
        Dtype::F32 => Some(Encoding::F32),
        Dtype::F16 => Some(Encoding::F16),
        Dtype::BF16 => Some(Encoding::Bf16),
        _ => None,
    }
}

/// Returns the file's index.
fn add_shard(weights: &mut Weights, file: &Path) -> Result<usize, LoadError> {
    let mapping = Mapping::open(file).map_err(|source| LoadError::Read { file: file.to_owned(), source })?;
    let damaged = |what: String| LoadError::Damaged { file: PathBuf::from(file), what };
    let length = mapping.bytes().first_chunk().map(|length| u64::from_le_bytes(*length));
    let length = length.ok_or_else(|| damaged("it ends within its first number".to_owned()))?;
    if length > MAX_HEADER {
        return Err(damaged(format!("its header claims {length} bytes")));
    }
    let (header, metadata) = SafeTensors::read_metadata(mapping.bytes()).map_err(|source| damaged(source.to_string()))?;
    let start = header + size_of::<u64>();
    let number = weights.add_file(mapping);
    for (name, info) in metadata.tensors() {
        let Some(encoding) = encoding(info.dtype) else {
            // What old checkpoints carry along and nobody reads may be of any kind; a bias may not.
            if is_carried_along(&name) {
                continue;
            }
            let what = format!("tensor {} in {:?}", shown(&name), info.dtype);
            return Err(LoadError::Format { file: file.to_owned(), what });
        };
        let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
        weights.add(name, Stored { file: number, bytes, shape: info.shape.clone(), encoding, order: RowOrder::Straight })?;
    }
    Ok(number)
}
