//! Matrices as they are read into a product: numbers that stand somewhere, or that are made as they are read.

use std::ops::Range;

use super::dropout::Dropout;
use crate::held::widened;
use crate::kernels::{Normed, silu};
use crate::packed::{COLUMNS, ask};

/// What becomes of the numbers already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Into {
    /// They are replaced.
    Replace,
    /// The product is added to them.
    Add,
}

/// Where a product goes: some columns of rows `stride` numbers wide, from column `first` on.
pub(crate) struct Sheet<'a> {
    pub numbers: &'a mut [f32],
    pub stride: usize,
    pub first: usize,
}

impl<'a> Sheet<'a> {
    /// Whole rows.
    pub fn new(numbers: &'a mut [f32], columns: usize) -> Self {
        Self { numbers, stride: columns, first: 0 }
    }
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    Plain { numbers: &'a [f32], stride: usize },
    Halves { numbers: &'a [u16], stride: usize },
    Normed(Normed<'a>),
    Gated { gate_up: &'a [f32], feed: usize },
}

/// A part of a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    kind: Kind<'a>,
    row: usize,
    column: usize,
    pub rows: usize,
    pub columns: usize,
    /// What is dropped from it as it is read.
    pub dropout: Option<Dropout>,
}

impl<'a> Matrix<'a> {
    fn whole(kind: Kind<'a>, rows: usize, columns: usize) -> Self {
        Self { kind, row: 0, column: 0, rows, columns, dropout: None }
    }

    /// Numbers as they stand, row after row.
    pub fn plain(numbers: &'a [f32], columns: usize) -> Self {
        Self::whole(Kind::Plain { numbers, stride: columns }, numbers.len() / columns, columns)
    }

    /// Numbers of which the upper halves stand, row after row.
    pub fn halves(numbers: &'a [u16], columns: usize) -> Self {
        Self::whole(Kind::Halves { numbers, stride: columns }, numbers.len() / columns, columns)
    }

    /// What [`norm`](crate::kernels::norm) would give.
    pub fn normed(seen: Normed<'a>) -> Self {
        let columns = seen.weight.len();
        Self::whole(Kind::Normed(seen), seen.inverse.len(), columns)
    }

    /// `silu(gate) * up` of rows of `[gate, up]`, `feed` wide each.
    pub fn gated(gate_up: &'a [f32], feed: usize) -> Self {
        Self::whole(Kind::Gated { gate_up, feed }, gate_up.len() / (2 * feed), feed)
    }

    /// The same with some of its numbers dropped.
    pub fn dropped(self, dropout: Option<Dropout>) -> Self {
        Self { dropout, ..self }
    }

    /// Some of its rows.
    pub fn of_rows(self, rows: Range<usize>) -> Self {
        Self { row: self.row + rows.start, rows: rows.len(), ..self }
    }

    /// Some of its columns.
    pub fn of_columns(self, columns: Range<usize>) -> Self {
        Self { column: self.column + columns.start, columns: columns.len(), ..self }
    }

    /// The numbers of `row` from `column` on.
    #[inline(always)]
    pub fn read(&self, row: usize, column: usize, to: &mut [f32]) {
        let (row, column) = (self.row + row, self.column + column);
        match self.kind {
            Kind::Plain { numbers, stride } => to.copy_from_slice(&numbers[row * stride + column..][..to.len()]),
            Kind::Halves { numbers, stride } => {
                let from = &numbers[row * stride + column..][..to.len()];
                for index in 0..to.len() {
                    to[index] = widened(from[index]);
                }
            }
            Kind::Normed(Normed { input, inverse, weight }) => {
                let from = &input[row * weight.len() + column..][..to.len()];
                let weight = &weight[column..][..to.len()];
                for index in 0..to.len() {
                    to[index] = from[index] * inverse[row] * weight[index];
                }
            }
            Kind::Gated { gate_up, feed } => {
                let gates = &gate_up[row * 2 * feed + column..][..to.len()];
                let ups = &gate_up[(row * 2 + 1) * feed + column..][..to.len()];
                for index in 0..to.len() {
                    to[index] = silu(gates[index]) * ups[index];
                }
            }
        }
        if let Some(dropout) = self.dropout {
            dropout.drop(row, column, to);
        }
    }

    /// A whole row, where it stands somewhere.
    #[inline(always)]
    pub fn standing(&self, row: usize) -> Option<&'a [f32]> {
        match self.kind {
            Kind::Plain { numbers, stride } if self.dropout.is_none() => {
                numbers.get((self.row + row) * stride + self.column..)?.get(..self.columns)
            }
            _ => None,
        }
    }

    /// Asks for `width` numbers of `row` from `column` on, or what is read for them, which are read soon. Rows that lie one behind the other come
    /// unasked.
    #[inline(always)]
    pub fn ask(&self, row: usize, column: usize, width: usize) {
        if row >= self.rows || column >= self.columns {
            return;
        }
        let width = width.min(self.columns - column);
        let (row, column) = (self.row + row, self.column + column);
        match self.kind {
            Kind::Plain { stride, .. } | Kind::Halves { stride, .. } if stride == width => {}
            Kind::Plain { numbers, stride } => ask(&numbers[row * stride + column..][..width]),
            Kind::Halves { numbers, stride } => ask(&numbers[row * stride + column..][..width]),
            Kind::Normed(Normed { input, weight, .. }) => ask(&input[row * weight.len() + column..][..width]),
            Kind::Gated { gate_up, feed } => {
                ask(&gate_up[row * 2 * feed + column..][..width]);
                ask(&gate_up[(row * 2 + 1) * feed + column..][..width]);
            }
        }
    }

    /// As [`Matrix::read`], for a run whose length the compiler knows; zeros beyond the matrix.
    #[inline(always)]
    pub fn run(&self, row: usize, column: usize) -> [f32; COLUMNS] {
        let mut to = [0.0; COLUMNS];
        if row < self.rows {
            if column + COLUMNS <= self.columns {
                self.read(row, column, &mut to);
            } else if column < self.columns {
                self.read(row, column, &mut to[..self.columns - column]);
            }
        }
        to
    }
}
