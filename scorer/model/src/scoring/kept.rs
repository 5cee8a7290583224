//! A packed model on disk, so that the next start need not pack it again.
//!
//! The file has a key, every number in the order in which the model holds it, and a digest of both. It says no length: all of them follow
//! from the configuration, so that a file of another length is refused before anything is read. The key names the weights, how they
//! are packed and which letters are read. What anybody else may have written is refused: it would answer in the model's name.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::packed::Line;

/// Raised whenever the order, the layout or the meaning of numbers changes.
const FORM: &[u8] = b"wardstream packed 3";
/// Bytes of the key, and of the digest at the end.
const DIGEST: usize = 32;
/// Bytes that are read or written at a time.
const PIECE: usize = 1 << 16;

/// Numbers that follow each other, wherever they are held.
pub(crate) enum Run<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [u16]),
    Int8(&'a mut [i8]),
    Lines(&'a mut [Line]),
}

/// What names a packed model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key([u8; DIGEST]);

/// Why a file is not used. The weights themselves are packed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unkept {
    #[error("could not read or write it")]
    Io(#[from] std::io::Error),
    #[error("it is {found} bytes long and not {expected}")]
    Length { found: u64, expected: u64 },
    #[error("it is no file, others than its owner may write to it, or its owner is another")]
    Foreign,
    #[error("it is of another model, or damaged")]
    Digest,
}

impl Key {
    /// Of `parts`, each of any length.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in [FORM].iter().chain(parts) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        let hex: String = self.0.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("{hex}.packed")
    }
}

/// What can stand in a file: little-endian, of a fixed length.
trait Number: Copy {
    const BYTES: usize;
    fn put(self, to: &mut [u8]);
    fn take(from: &[u8]) -> Self;
}

macro_rules! number {
    ($($type:ty),+) => {$(
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();
            fn put(self, to: &mut [u8]) {
                to.copy_from_slice(&self.to_le_bytes());
            }
            fn take(from: &[u8]) -> Self {
                from.first_chunk().map_or_else(Self::default, |bytes| Self::from_le_bytes(*bytes))
            }
        }
    )+};
}

number!(f32, u16, u32, i8);

impl Number for Line {
    const BYTES: usize = size_of::<Line>();
    fn put(self, to: &mut [u8]) {
        self.0.into_iter().zip(to.chunks_exact_mut(u32::BYTES)).for_each(|(word, to)| word.put(to));
    }
    fn take(from: &[u8]) -> Self {
        let mut line = Self::ZERO;
        line.0.iter_mut().zip(from.chunks_exact(u32::BYTES)).for_each(|(word, from)| *word = u32::take(from));
        line
    }
}

fn put<T: Number>(numbers: &[T], to: &mut Hashed<impl Write>) -> std::io::Result<()> {
    let mut bytes = vec![0; PIECE];
    for some in numbers.chunks(PIECE / T::BYTES) {
        let bytes = &mut bytes[..some.len() * T::BYTES];
        some.iter().zip(bytes.chunks_exact_mut(T::BYTES)).for_each(|(number, to)| number.put(to));
        to.write(bytes)?;
    }
    Ok(())
}

fn take<T: Number>(numbers: &mut [T], from: &mut Hashed<impl Read>) -> std::io::Result<()> {
    let mut bytes = vec![0; PIECE];
    for some in numbers.chunks_mut(PIECE / T::BYTES) {
        let bytes = &mut bytes[..some.len() * T::BYTES];
        from.read(bytes)?;
        some.iter_mut().zip(bytes.chunks_exact(T::BYTES)).for_each(|(number, from)| *number = T::take(from));
    }
    Ok(())
}

/// A file whose bytes are digested as they pass.
struct Hashed<F> {
    file: F,
    hasher: Sha256,
}

impl<F: Write> Hashed<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }
}

impl<F: Read> Hashed<F> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<()> {
        self.file.read_exact(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }
}

impl Run<'_> {
    fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::F32(numbers) => size_of_val(*numbers),
            Self::Bf16(numbers) => size_of_val(*numbers),
            Self::Int8(numbers) => size_of_val(*numbers),
            Self::Lines(lines) => size_of_val(*lines),
        };
        bytes as u64
    }
}

/// Fills `runs`, which have the lengths that the configuration gives, from `file`. What they hold after a refusal is not to be used.
pub(crate) fn read(file: &Path, key: &Key, runs: &mut [Run<'_>]) -> Result<(), Unkept> {
    // Asked before it is opened, for a pipe would wait for its other end.
    if !std::fs::metadata(file)?.is_file() {
        return Err(Unkept::Foreign);
    }
    let opened = File::open(file)?;
    let about = opened.metadata()?;
    let expected = 2 * DIGEST as u64 + runs.iter().map(Run::bytes).sum::<u64>();
    if about.len() != expected {
        return Err(Unkept::Length { found: about.len(), expected });
    }
    is_ours(&about)?;
    let mut from = Hashed { file: opened, hasher: Sha256::new() };
    let (mut found, mut digest) = ([0; DIGEST], [0; DIGEST]);
    from.read(&mut found)?;
    if found != key.0 {
        return Err(Unkept::Digest);
    }
    for run in runs {
        match run {
            Run::F32(numbers) => take(numbers, &mut from)?,
            Run::Bf16(numbers) => take(numbers, &mut from)?,
            Run::Int8(numbers) => take(numbers, &mut from)?,
            Run::Lines(lines) => take(lines, &mut from)?,
        }
    }
    from.file.read_exact(&mut digest)?;
    if digest == <[u8; DIGEST]>::from(from.hasher.finalize()) { Ok(()) } else { Err(Unkept::Digest) }
}

/// Whether nobody but this process's user and root may write to the file. Their hand is in the weights too.
#[cfg(unix)]
fn is_ours(about: &std::fs::Metadata) -> Result<(), Unkept> {
    use std::os::unix::fs::MetadataExt as _;
    const OTHERS_WRITE: u32 = 0o022;
    let own = std::fs::metadata("/proc/self").map(|own| own.uid());
    let is_owner = own.map_or(true, |own| about.uid() == own || about.uid() == 0);
    if about.is_file() && about.mode() & OTHERS_WRITE == 0 && is_owner { Ok(()) } else { Err(Unkept::Foreign) }
}

#[cfg(not(unix))]
fn is_ours(about: &std::fs::Metadata) -> Result<(), Unkept> {
    if about.is_file() { Ok(()) } else { Err(Unkept::Foreign) }
}

/// Writes `runs` beside `file` and puts them in its place at once, so that nobody ever reads half of them.
pub(crate) fn write(file: &Path, key: &Key, runs: &[Run<'_>]) -> Result<(), Unkept> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    // A name of its own, so that two processes that start together do not write into one file; only its owner may read it.
    let partial = tempfile::NamedTempFile::new_in(folder)?;
    let mut to = Hashed { file: partial.as_file(), hasher: Sha256::new() };
    to.write(&key.0)?;
    for run in runs {
        match run {
            Run::F32(numbers) => put(numbers, &mut to)?,
            Run::Bf16(numbers) => put(numbers, &mut to)?,
            Run::Int8(numbers) => put(numbers, &mut to)?,
            Run::Lines(lines) => put(lines, &mut to)?,
        }
    }
    to.file.write_all(&to.hasher.finalize())?;
    partial.as_file().sync_all()?;
    partial.persist(file).map_err(|failed| failed.error)?;
    Ok(())
}
