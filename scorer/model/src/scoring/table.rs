//! The rows of the vocabulary, widened one at a time. In `int8` too they are `bf16`: they are looked up and never multiplied, so that
//! 8 bits would gain no time, and what they lost would go through every layer.

use std::borrow::Cow;
use std::ops::Range;

use super::kept::Run;
use crate::held::Held;
use crate::packed::Precision;

/// Numbers that are read at a time, so that the table does not stand in memory twice.
const PIECE: usize = 1 << 20;

/// A table `[vocabulary, width]`.
#[derive(Debug)]
pub(crate) struct Table {
    width: usize,
    numbers: Held,
}

impl Table {
    /// The rows of `range`, each `width` numbers that `read` gives, whole rows at a time.
    pub fn read<'a, E>(
        precision: Precision,
        read: &impl Fn(Range<usize>) -> Result<Cow<'a, [f32]>, E>,
        range: Range<usize>,
        width: usize,
    ) -> Result<Self, E> {
        let mut numbers = Held::with_room(precision, range.len());
        let step = (PIECE / width).max(1) * width;
        for start in range.clone().step_by(step) {
            numbers.push(&read(start..range.end.min(start + step))?);
        }
        Ok(Self { width, numbers })
    }

    /// A table of zeros.
    pub fn blank(precision: Precision, count: usize, width: usize) -> Self {
        Self { width, numbers: Held::zeros(precision, count) }
    }

    /// All its numbers, in the order in which they are kept.
    pub fn run(&mut self) -> Run<'_> {
        match &mut self.numbers {
            Held::F32(numbers) => Run::F32(numbers),
            Held::Bf16(numbers) => Run::Bf16(numbers),
        }
    }

    /// Bytes that it occupies.
    pub fn bytes(&self) -> usize {
        self.numbers.bytes()
    }

    /// Puts row `token` behind what `stream` holds.
    pub fn extend(&self, stream: &mut Vec<f32>, token: usize) {
        self.numbers.widen(token * self.width..(token + 1) * self.width, stream);
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
        for (precision, bytes, nearly) in [(Precision::F32, 84, 0.0), (Precision::Bf16, 42, 2e-2), (Precision::Int8, 42, 2e-2)] {
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
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let mut stream = Vec::new();
            table(precision, &[f32::NAN, 1.0], 2).extend(&mut stream, 0);
            assert!(stream[0].is_nan(), "{precision:?}");
        }
    }
}
