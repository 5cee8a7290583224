//! The rows of the vocabulary, widened one at a time: in `int8` each has a scale of its own, as a weight's outputs have; in `int16` they are `bf16`.

use std::borrow::Cow;
use std::ops::Range;

use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;

use super::kept::Run;
use crate::held::widened;
use crate::packed::{Precision, bf16, signed_bytes};

/// Numbers that a thread reads at a time, so that the table does not stand in memory twice.
const PIECE: usize = 1 << 16;

/// A table `[vocabulary, width]`.
#[derive(Debug)]
pub(crate) struct Table {
    width: usize,
    numbers: Numbers,
}

#[derive(Debug)]
enum Numbers {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    /// And what each row is multiplied by.
    Int8(Vec<i8>, Vec<f32>),
}

impl Table {
    /// The rows of `range`, each `width` numbers that `read` gives, whole rows at a time.
    pub fn read<'a, E: Send>(
        precision: Precision,
        read: &(impl Fn(Range<usize>) -> Result<Cow<'a, [f32]>, E> + Sync),
        range: Range<usize>,
        width: usize,
    ) -> Result<Self, E> {
        let mut table = Self::blank(precision, range.len(), width);
        let rows = (PIECE / width).max(1);
        let some = rows * width;
        let piece = |index: usize, count: usize| read(range.start + index * some..range.start + index * some + count);
        match &mut table.numbers {
            Numbers::F32(numbers) => numbers.par_chunks_mut(some).enumerate().try_for_each(|(index, to)| {
                to.copy_from_slice(&piece(index, to.len())?);
                Ok(())
            }),
            Numbers::Bf16(numbers) => numbers.par_chunks_mut(some).enumerate().try_for_each(|(index, to)| {
                let from = piece(index, to.len())?;
                to.iter_mut().zip(&*from).for_each(|(half, &value)| *half = bf16(value) as u16);
                Ok(())
            }),
            Numbers::Int8(numbers, scales) => {
                numbers.par_chunks_mut(some).zip(scales.par_chunks_mut(rows)).enumerate().try_for_each(|(index, (to, scales))| {
                    let from = piece(index, to.len())?;
                    let rows = to.chunks_exact_mut(width).zip(from.chunks_exact(width));
                    rows.zip(scales).for_each(|((to, from), scale)| *scale = signed_bytes(to, from));
                    Ok(())
                })
            }
        }?;
        Ok(table)
    }

    /// A table of `count` zeros.
    pub fn blank(precision: Precision, count: usize, width: usize) -> Self {
        let numbers = match precision {
            Precision::F32 => Numbers::F32(vec![0.0; count]),
            Precision::Bf16 | Precision::Int16 => Numbers::Bf16(vec![0; count]),
            Precision::Int8 => Numbers::Int8(vec![0; count], vec![0.0; count / width]),
        };
        Self { width, numbers }
    }

    /// All its numbers, in the order in which they are kept.
    pub fn runs(&mut self) -> Vec<Run<'_>> {
        match &mut self.numbers {
            Numbers::F32(numbers) => vec![Run::F32(numbers)],
            Numbers::Bf16(numbers) => vec![Run::Bf16(numbers)],
            Numbers::Int8(numbers, scales) => vec![Run::Int8(numbers), Run::F32(scales)],
        }
    }

    /// Bytes that it occupies.
    pub fn bytes(&self) -> usize {
        match &self.numbers {
            Numbers::F32(numbers) => size_of_val(numbers.as_slice()),
            Numbers::Bf16(numbers) => size_of_val(numbers.as_slice()),
            Numbers::Int8(numbers, scales) => size_of_val(numbers.as_slice()) + size_of_val(scales.as_slice()),
        }
    }

    /// Puts row `token` behind what `stream` holds.
    pub fn extend(&self, stream: &mut Vec<f32>, token: usize) {
        let at = token * self.width..(token + 1) * self.width;
        match &self.numbers {
            Numbers::F32(numbers) => stream.extend_from_slice(&numbers[at]),
            Numbers::Bf16(numbers) => stream.extend(numbers[at].iter().copied().map(widened)),
            Numbers::Int8(numbers, scales) => stream.extend(numbers[at].iter().map(|&byte| f32::from(byte) * scales[token])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(precision: Precision, rows: &[f32], width: usize) -> Table {
        let read = |range: Range<usize>| Ok::<_, std::convert::Infallible>(Cow::Borrowed(&rows[range]));
        let Ok(table) = Table::read(precision, &read, 0..rows.len(), width);
        table
    }

    #[test]
    fn rows_are_those_that_were_read_as_nearly_as_they_are_held() {
        let rows: Vec<f32> = (0..3 * 7).map(|place| (place as f32 - 9.5) / 3.0).collect();
        for (precision, bytes, nearly) in
            [(Precision::F32, 84, 0.0), (Precision::Bf16, 42, 2e-2), (Precision::Int16, 42, 2e-2), (Precision::Int8, 21 + 12, 2e-2)]
        {
            let table = table(precision, &rows, 7);
            assert_eq!(table.bytes(), bytes);
            for (token, expected) in rows.chunks_exact(7).enumerate() {
                let mut stream = vec![1.0];
                table.extend(&mut stream, token);
                assert!(stream[1..].iter().zip(expected).all(|(x, y)| (x - y).abs() <= nearly), "{precision:?}: {stream:?}");
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int16, Precision::Int8] {
            let mut stream = Vec::new();
            table(precision, &[f32::NAN, 1.0], 2).extend(&mut stream, 0);
            assert!(stream[0].is_nan(), "{precision:?}");
        }
    }
}
