//! Numbers that come in batches and leave in the order in which they came. Large batches are kept as they are, beside others that read
//! them; small ones are copied together. Computes nothing.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Numbers that others may hold as well.
pub type Shared = Arc<dyn AsRef<[f64]> + Send + Sync>;

/// From this many numbers on a batch is kept and not copied. Not less: a part of a batch keeps all of it in memory.
const SHARED: usize = 2_048;
/// Small batches are copied together up to so many numbers.
const COPIED: usize = 65_536;

/// Numbers in the order in which they came.
#[derive(Clone, Default)]
pub struct Column {
    pieces: VecDeque<Shared>,
    /// What has been copied since the last piece.
    last: Vec<f64>,
    /// Numbers of the first piece, or of `last` where there is none, that have left.
    left: usize,
    /// Numbers in all pieces and in `last`.
    held: usize,
}

impl fmt::Debug for Column {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Column of {}", self.len())
    }
}

impl From<Vec<f64>> for Column {
    fn from(numbers: Vec<f64>) -> Self {
        Self { held: numbers.len(), last: numbers, ..Self::default() }
    }
}

impl From<Shared> for Column {
    fn from(numbers: Shared) -> Self {
        Self { held: (*numbers).as_ref().len(), pieces: VecDeque::from([numbers]), ..Self::default() }
    }
}

impl Column {
    /// Numbers that have come and not left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held - self.left
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in a batch behind those before.
    pub fn share(&mut self, numbers: Shared) {
        let count = (*numbers).as_ref().len();
        if count < SHARED {
            return self.copy((*numbers).as_ref());
        }
        self.seal();
        self.held += count;
        self.pieces.push_back(numbers);
    }

    /// Takes in a copy of numbers.
    pub fn copy(&mut self, numbers: &[f64]) {
        self.last.extend_from_slice(numbers);
        self.held += numbers.len();
        if self.last.len() >= COPIED {
            self.seal();
        }
    }

    /// Takes in the numbers of another.
    pub fn append(&mut self, other: Self) {
        if other.left > 0 {
            return other.pieces().into_iter().for_each(|piece| self.copy(piece));
        }
        other.pieces.into_iter().for_each(|piece| self.share(piece));
        if other.last.len() < SHARED { self.copy(&other.last) } else { self.share(Arc::new(other.last)) }
    }

    fn seal(&mut self) {
        if !self.last.is_empty() {
            self.pieces.push_back(Arc::new(std::mem::take(&mut self.last)));
        }
    }

    /// Lets the first `count` numbers go.
    pub fn forget_first(&mut self, count: usize) {
        self.left += count.min(self.len());
        while let Some(first) = self.pieces.front().map(|piece| (**piece).as_ref().len()).filter(|first| *first <= self.left) {
            self.pieces.pop_front();
            (self.left, self.held) = (self.left - first, self.held - first);
        }
        // Moving what is left pays once it is less than what has gone.
        if self.pieces.is_empty() && self.left * 2 > self.last.len() {
            self.last.drain(..self.left);
            (self.left, self.held) = (0, self.last.len());
        }
    }

    /// The numbers, in runs.
    #[must_use]
    pub fn pieces(&self) -> Vec<&[f64]> {
        let all = self.pieces.iter().map(|piece| (**piece).as_ref()).chain(std::iter::once(&self.last[..]));
        all.enumerate().map(|(nth, piece)| if nth == 0 { &piece[self.left..] } else { piece }).collect()
    }

    /// The numbers in one run; copied together where there are several.
    #[must_use]
    pub fn whole(&self) -> Cow<'_, [f64]> {
        match self.pieces().as_slice() {
            [piece] | [piece, []] => Cow::Borrowed(piece),
            pieces => Cow::Owned(pieces.concat()),
        }
    }

    /// The numbers as they are kept: those in large batches, and those that come behind them.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Shared>, Vec<f64>) {
        if self.left == 0 { (self.pieces.into(), self.last) } else { (Vec::new(), self.pieces().concat()) }
    }

    /// What `into_parts` gave.
    #[must_use]
    pub fn of_parts(pieces: Vec<Shared>, last: &[f64]) -> Self {
        let mut column = Self::default();
        pieces.into_iter().for_each(|piece| column.share(piece));
        column.copy(last);
        column
    }

    /// Bytes of all that is held.
    #[must_use]
    pub fn size(&self) -> usize {
        (self.held - self.last.len() + self.last.capacity()) * size_of::<f64>() + self.pieces.capacity() * size_of::<Shared>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Random;

    #[test]
    fn numbers_leave_in_the_order_in_which_they_came_whatever_their_batches() {
        let mut random = Random::new(1, 7);
        let (mut column, mut expected, mut next) = (Column::default(), VecDeque::new(), 0.0);
        for _ in 0..400 {
            let batch: Vec<f64> = (0..random.below(3 * SHARED)).map(|nth| next + nth as f64).collect();
            next += batch.len() as f64;
            expected.extend(&batch);
            if random.below(2) == 0 {
                column.share(Arc::new(batch))
            } else {
                column.copy(&batch)
            }
            let gone = random.below(3 * SHARED + 100).min(expected.len());
            column.forget_first(gone);
            expected.drain(..gone);
            assert_eq!((column.len(), column.pieces().concat()), (expected.len(), Vec::from(expected.clone())));
        }
        let (pieces, last) = column.into_parts();
        assert_eq!(Column::of_parts(pieces, &last).pieces().concat(), Vec::from(expected));
    }

    #[test]
    fn a_large_batch_is_not_copied() {
        let batch: Shared = Arc::new(vec![1.0; SHARED]);
        let mut column = Column::default();
        column.copy(&[0.5]);
        column.share(Arc::clone(&batch));
        assert!(std::ptr::eq(column.pieces()[1], (*batch).as_ref()));
        assert_eq!(column.pieces()[0], [0.5]);
    }
}
