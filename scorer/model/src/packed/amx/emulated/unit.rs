//! One thread's tile registers, and what each instruction does to them: shapes checked as the manual has it, sums in its order.
//!
//! Palette 1 alone: eight registers of sixteen rows of 64 bytes. No instruction is ever interrupted here, so none starts again in the
//! middle.

use super::instruction::{Instruction, Product, Rows};
use crate::vectorised::vectorised;

/// Registers of palette 1.
const REGISTERS: usize = 8;
/// Rows of a register at most, and words of a row.
const ROWS: usize = 16;
const WORDS: usize = 16;
/// Bytes of a row at most.
const BYTES: usize = 64;

/// Why the processor would not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// #UD
    #[error("it is undefined: {0}")]
    Undefined(&'static str),
    /// #GP(0)
    #[error("it is not allowed: {0}")]
    General(&'static str),
}

/// Rows of bytes; what lies beyond the shape is zero.
type Tile = [[u8; BYTES]; ROWS];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    rows: usize,
    bytes: usize,
}

/// The registers and their shapes, without shapes where nothing is configured.
pub(crate) struct Unit {
    shapes: Option<[Shape; REGISTERS]>,
    tiles: [Tile; REGISTERS],
}

fn demand(holds: bool, what: &'static str) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::Undefined(what)) }
}

impl Unit {
    /// As it is in the beginning, and after `tilerelease`.
    pub const RELEASED: Self = Self { shapes: None, tiles: [[[0; BYTES]; ROWS]; REGISTERS] };

    /// Does what the instruction says, or nothing.
    ///
    /// # Safety
    /// Memory that the instruction reads or writes, within the shape of its tile, can be read or written.
    pub unsafe fn execute(&mut self, instruction: &Instruction) -> Result<(), Fault> {
        match *instruction {
            // SAFETY: the caller promises 64 bytes; any alignment will do.
            Instruction::LoadShapes { at } => self.configure(&unsafe { (at as *const [u8; 64]).read_unaligned() })?,
            // SAFETY: as above.
            Instruction::StoreShapes { at } => unsafe { (at as *mut [u8; 64]).write_unaligned(self.configuration()) },
            Instruction::Release => *self = Self::RELEASED,
            Instruction::Zero { tile } => {
                self.shape(tile)?;
                self.tiles[tile] = [[0; BYTES]; ROWS];
            }
            Instruction::Load { tile, from } => {
                let shape = self.shape(tile)?;
                self.tiles[tile] = [[0; BYTES]; ROWS];
                for (row, to) in self.tiles[tile].iter_mut().enumerate().take(shape.rows) {
                    // SAFETY: the caller promises the rows of the tile.
                    unsafe { (from.row(row) as *const u8).copy_to(to.as_mut_ptr(), shape.bytes) };
                }
            }
            Instruction::Store { tile, to } => {
                let shape = self.shape(tile)?;
                for (row, from) in self.tiles[tile].iter().enumerate().take(shape.rows) {
                    // SAFETY: as above.
                    unsafe { (to.row(row) as *mut u8).copy_from(from.as_ptr(), shape.bytes) };
                }
            }
            Instruction::Multiply { product, sums, left, right } => self.multiply(product, (sums, left, right))?,
        }
        Ok(())
    }

    fn configure(&mut self, from: &[u8; 64]) -> Result<(), Fault> {
        let general = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(Fault::General(what)) };
        general(from[0] <= 1, "there are palettes 0 and 1")?;
        if from[0] == 0 {
            *self = Self::RELEASED;
            return Ok(());
        }
        // No instruction of ours is ever interrupted: what goes on in the middle is a mistake.
        general(from[1] == 0, "it goes on in the middle of a tile")?;
        general([&from[2..16], &from[32..48], &from[56..64]].concat().iter().all(|&byte| byte == 0), "a reserved byte is not zero")?;
        let shapes: [Shape; REGISTERS] = std::array::from_fn(|tile| Shape {
            rows: usize::from(from[48 + tile]),
            bytes: usize::from(u16::from_le_bytes([from[16 + 2 * tile], from[17 + 2 * tile]])),
        });
        for shape in shapes {
            general(shape.bytes <= BYTES && shape.rows <= ROWS, "a tile is larger than its register")?;
            general((shape.rows == 0) == (shape.bytes == 0), "a tile has rows without bytes or bytes without rows")?;
        }
        *self = Self { shapes: Some(shapes), ..Self::RELEASED };
        Ok(())
    }

    fn configuration(&self) -> [u8; 64] {
        let mut to = [0; 64];
        for (tile, shape) in self.shapes.iter().flatten().enumerate() {
            to[0] = 1;
            to[16 + 2 * tile] = shape.bytes as u8;
            to[48 + tile] = shape.rows as u8;
        }
        to
    }

    /// The shape of a tile that has one.
    fn shape(&self, tile: usize) -> Result<Shape, Fault> {
        let shapes = self.shapes.ok_or(Fault::Undefined("this thread has not configured its tiles"))?;
        demand(shapes[tile].rows > 0, "the tile has no shape")?;
        Ok(shapes[tile])
    }

    fn multiply(&mut self, product: Product, (sums, left, right): (usize, usize, usize)) -> Result<(), Fault> {
        let (to, a, b) = (self.shape(sums)?, self.shape(left)?, self.shape(right)?);
        demand(sums != left && left != right && sums != right, "a tile stands twice in a product")?;
        demand([to, a, b].iter().all(|shape| shape.bytes.is_multiple_of(4)), "a row is no whole number of words")?;
        demand(to.rows == a.rows, "sums and left side have not as many rows")?;
        demand(to.bytes == b.bytes, "sums and right side have not as many columns")?;
        demand(a.bytes / 4 == b.rows, "a row of the left side has not as many words as the right side has rows")?;
        let (before, left, right) = (&self.tiles[sums], &self.tiles[left], &self.tiles[right]);
        let mut result = match product {
            Product::Bf16 => bf16(before, left, right, b.rows),
            Product::Bytes { left_signed, right_signed } => bytes(before, (left, right), (left_signed, right_signed), b.rows),
        };
        result.iter_mut().for_each(|row| row[to.bytes..].fill(0));
        result[to.rows..].fill([0; BYTES]);
        self.tiles[sums] = result;
        Ok(())
    }
}

impl Rows {
    fn row(self, row: usize) -> u64 {
        self.start.wrapping_add(self.stride.wrapping_mul(row as u64))
    }
}

#[inline(always)]
fn words(row: &[u8; BYTES]) -> [u32; WORDS] {
    let (words, _) = row.as_chunks();
    std::array::from_fn(|word| u32::from_le_bytes(words[word]))
}

#[inline(always)]
fn row_of(words: [u32; WORDS]) -> [u8; BYTES] {
    let mut row = [0; BYTES];
    row.as_chunks_mut().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_le_bytes());
    row
}

/// Denormals are zeros, coming and going. (What would only be rounded up to the smallest normal number is kept here.)
#[inline(always)]
fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0_f32.copysign(x) } else { x }
}

/// The first and the second `bf16` of each word.
#[inline(always)]
fn halves(words: [u32; WORDS]) -> [[f32; WORDS]; 2] {
    [words.map(|word| flushed(f32::from_bits(word << 16))), words.map(|word| flushed(f32::from_bits(word & 0xffff_0000)))]
}

vectorised! {
/// Of each sum, the products of first halves are added up from zero by fused steps, and those of second halves beside them; both together are
/// added to what the sum was.
fn bf16(sums: &Tile, left: &Tile, right: &Tile, inner: usize) -> Tile {
    let right = right.map(|row| halves(words(&row)));
    let mut result = [[0; BYTES]; ROWS];
    for (row, to) in result.iter_mut().enumerate() {
        let left = halves(words(&left[row]));
        let mut added = [[0.0_f32; WORDS]; 2];
        for (step, right) in right.iter().enumerate().take(inner) {
            for (half, added) in added.iter_mut().enumerate() {
                for (sum, &number) in added.iter_mut().zip(&right[half]) {
                    *sum = flushed(left[half][step].mul_add(number, *sum));
                }
            }
        }
        let mut after = words(&sums[row]);
        for (column, word) in after.iter_mut().enumerate() {
            let both = flushed(added[0][column] + added[1][column]);
            *word = flushed(flushed(f32::from_bits(*word)) + both).to_bits();
        }
        *to = row_of(after);
    }
    result
}
}

/// To each sum the products of four bytes at a time are added, each of them exact.
fn bytes(sums: &Tile, (left, right): (&Tile, &Tile), (left_signed, right_signed): (bool, bool), inner: usize) -> Tile {
    let number = |byte: u8, is_signed: bool| if is_signed { i32::from(byte.cast_signed()) } else { i32::from(byte) };
    std::array::from_fn(|row| {
        let mut added = words(&sums[row]);
        for (step, right) in right.iter().enumerate().take(inner) {
            for (sum, four) in added.iter_mut().zip(right.as_chunks::<4>().0) {
                let left = left[row].as_chunks::<4>().0[step];
                for (&a, &b) in left.iter().zip(four) {
                    *sum = sum.wrapping_add((number(a, left_signed) * number(b, right_signed)).cast_unsigned());
                }
            }
        }
        row_of(added)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSIGNED: Product = Product::Bytes { left_signed: false, right_signed: false };

    /// A unit whose tiles 0, 1 and 2 have these rows and bytes.
    fn configured(shapes: [(u8, u8); 3]) -> Unit {
        let mut unit = Unit::RELEASED;
        assert_eq!(unit.configure(&configuration(&shapes)), Ok(()));
        unit
    }

    fn configuration(shapes: &[(u8, u8)]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        for (tile, &(rows, columns)) in shapes.iter().enumerate() {
            bytes[16 + 2 * tile] = columns;
            bytes[48 + tile] = rows;
        }
        bytes
    }

    fn put(unit: &mut Unit, tile: usize, rows: &[&[u32]]) {
        for (to, row) in unit.tiles[tile].iter_mut().zip(rows) {
            to.as_chunks_mut().0.iter_mut().zip(*row).for_each(|(to, word)| *to = word.to_le_bytes());
        }
    }

    /// Two `bf16` in a word.
    fn pair(first: f32, second: f32) -> u32 {
        first.to_bits() >> 16 | second.to_bits() & 0xffff_0000
    }

    /// Row 0 of tile 0 after a product of tiles 1 and 2, of one row and one column.
    fn alone(product: Product, before: u32, left: &[u32], right: &[u32]) -> u32 {
        let inner = left.len() as u8;
        let mut unit = configured([(1, 4), (1, 4 * inner), (inner, 4)]);
        put(&mut unit, 0, &[&[before]]);
        put(&mut unit, 1, &[left]);
        let rows: Vec<[u32; 1]> = right.iter().map(|&word| [word]).collect();
        put(&mut unit, 2, &rows.iter().map(<[u32; 1]>::as_slice).collect::<Vec<_>>());
        assert_eq!(unit.multiply(product, (0, 1, 2)), Ok(()));
        words(&unit.tiles[0][0])[0]
    }

    #[test]
    fn pairs_of_a_row_meet_pairs_of_a_column() {
        let mut unit = configured([(2, 12), (2, 8), (2, 12)]);
        put(&mut unit, 0, &[&[10.0_f32.to_bits(); 3], &[20.0_f32.to_bits(); 3]]);
        put(&mut unit, 1, &[&[pair(1.0, 2.0), pair(3.0, 4.0)], &[pair(-1.0, 0.5), pair(0.0, 2.0)]]);
        let right = [[pair(1.0, 10.0), pair(2.0, 20.0), pair(3.0, 30.0)], [pair(4.0, 40.0), pair(5.0, 50.0), pair(6.0, 60.0)]];
        put(&mut unit, 2, &[&right[0], &right[1]]);
        assert_eq!(unit.multiply(Product::Bf16, (0, 1, 2)), Ok(()));
        // 1 + 20 + 12 + 160 of the first row and column, and so on.
        let found: Vec<f32> = unit.tiles[0].iter().flat_map(words).map(f32::from_bits).filter(|&x| x != 0.0).collect();
        assert_eq!(found, [203.0, 267.0, 331.0, 104.0, 128.0, 152.0]);
    }

    /// By turns, or from the sum's old number on, each of these would be something else.
    #[test]
    fn first_halves_are_added_up_before_second_ones_and_the_old_sum_last() {
        let large = 16_777_216.0_f32;
        let (left, right) = ([pair(large, -large), pair(1.0, 0.0)], [pair(1.0, 1.0), pair(1.0, 1.0)]);
        assert_eq!(f32::from_bits(alone(Product::Bf16, 0, &left, &right)), 0.0);
        assert_eq!(f32::from_bits(alone(Product::Bf16, 1.0_f32.to_bits(), &left[..1], &right[..1])), 1.0);
        // A tie goes to the even one: 2^24 + 1 down, 2^24 + 3 up.
        let odd = |more: f32| f32::from_bits(alone(Product::Bf16, large.to_bits(), &[pair(more, 0.0)], &[pair(1.0, 0.0)]));
        assert_eq!((odd(1.0), odd(3.0)), (large, large + 4.0));
    }

    #[test]
    fn denormals_are_zeros_coming_and_going_and_what_is_no_number_stays_none() {
        let product =
            |before: f32, a: f32, b: f32| f32::from_bits(alone(Product::Bf16, before.to_bits(), &[pair(a, 0.0)], &[pair(b, 0.0)]));
        let power = |exponent: i32| 2.0_f32.powi(exponent);
        assert_eq!(product(0.0, power(-130), power(100)), 0.0);
        assert_eq!(product(0.0, power(-70), power(-70)), 0.0);
        assert_eq!(product(power(-130), 0.0, 0.0), 0.0);
        assert_eq!(product(0.0, power(-63), power(-63)), power(-126));
        assert!(product(0.0, f32::INFINITY, 0.0).is_nan() && product(f32::NAN, 1.0, 1.0).is_nan());
    }

    #[test]
    fn bytes_have_the_signs_that_the_instruction_gives_them() {
        let (left, right) = (u32::from_le_bytes([255, 2, 0, 0]), u32::from_le_bytes([3, 254, 9, 0]));
        let found = |left_signed, right_signed| alone(Product::Bytes { left_signed, right_signed }, 100, &[left], &[right]).cast_signed();
        assert_eq!(found(false, false), 100 + 255 * 3 + 2 * 254);
        assert_eq!(found(false, true), 100 + 255 * 3 - 2 * 2);
        assert_eq!(found(true, false), 100 - 3 + 2 * 254);
        assert_eq!(found(true, true), 100 - 3 - 2 * 2);
        // Sums do not saturate.
        assert_eq!(alone(UNSIGNED, u32::MAX, &[1], &[1]), 0);
    }

    #[test]
    fn what_lies_beyond_a_shape_is_neither_read_nor_written_and_is_zero() {
        let mut unit = configured([(2, 4), (1, 4), (1, 4)]);
        let (from, mut to) = ([1_u32, 2, 3, 4, 5, 6], [9_u32; 6]);
        let rows = |start: *const u32| Rows { start: start as u64, stride: 12 };
        // SAFETY: two rows of one word, three words apart.
        unsafe {
            assert_eq!(unit.execute(&Instruction::Load { tile: 0, from: rows(from.as_ptr()) }), Ok(()));
            assert_eq!(unit.execute(&Instruction::Store { tile: 0, to: rows(to.as_mut_ptr()) }), Ok(()));
        }
        assert_eq!(to, [1, 9, 9, 4, 9, 9]);
        assert_eq!((words(&unit.tiles[0][0])[..2].to_vec(), words(&unit.tiles[0][2])), (vec![1, 0], [0; WORDS]));
    }

    #[test]
    fn shapes_that_no_register_has_are_refused() {
        let wrong = [
            (0, 2, "palette"),
            (1, 1, "middle"),
            (9, 1, "reserved"),
            (40, 1, "reserved"),
            (60, 1, "reserved"),
            (16, 65, "larger"),
            (17, 1, "larger"),
            (48, 17, "larger"),
            (48, 0, "without"),
            (18, 4, "without"),
        ];
        for (place, value, said) in wrong {
            let mut bytes = configuration(&[(2, 4)]);
            bytes[place] = value;
            let refused = { Unit::RELEASED }.configure(&bytes);
            assert!(matches!(refused, Err(Fault::General(what)) if what.contains(said)), "{place}: {refused:?}");
        }
    }

    #[test]
    fn products_of_tiles_that_do_not_fit_are_undefined() {
        let fits = [(2, 12), (2, 8), (2, 12)];
        let refused = |shapes: [(u8, u8); 3], tiles| configured(shapes).multiply(Product::Bf16, tiles);
        assert_eq!(refused(fits, (0, 1, 2)), Ok(()));
        assert_eq!({ Unit::RELEASED }.multiply(UNSIGNED, (0, 1, 2)), Err(Fault::Undefined("this thread has not configured its tiles")));
        let wrong = [
            ([(2, 12), (2, 8), (2, 12)], (0, 1, 3), "no shape"),
            ([(2, 8), (2, 8), (2, 8)], (0, 1, 1), "twice"),
            ([(2, 8), (2, 8), (2, 8)], (0, 0, 1), "twice"),
            ([(2, 8), (2, 8), (2, 8)], (0, 1, 0), "twice"),
            ([(2, 12), (2, 7), (2, 12)], (0, 1, 2), "whole number"),
            ([(1, 12), (2, 8), (2, 12)], (0, 1, 2), "as many rows"),
            ([(2, 8), (2, 8), (2, 12)], (0, 1, 2), "as many columns"),
            ([(2, 12), (2, 12), (2, 12)], (0, 1, 2), "as many words"),
        ];
        for (shapes, tiles, said) in wrong {
            let found = refused(shapes, tiles);
            assert!(matches!(found, Err(Fault::Undefined(what)) if what.contains(said)), "{said}: {found:?}");
        }
    }

    /// Shapes come and go with everything in the registers.
    #[test]
    fn configuring_and_releasing_empty_all_registers() {
        let mut unit = configured([(1, 4), (1, 4), (1, 4)]);
        put(&mut unit, 0, &[&[5]]);
        assert_eq!(unit.configure(&configuration(&[(1, 4)])), Ok(()));
        assert_eq!((unit.tiles[0], unit.configuration()), ([[0; BYTES]; ROWS], configuration(&[(1, 4)])));
        put(&mut unit, 0, &[&[5]]);
        assert_eq!(unit.configure(&[0; 64]), Ok(()));
        assert_eq!((unit.tiles[0], unit.configuration()), ([[0; BYTES]; ROWS], [0; 64]));
    }
}
