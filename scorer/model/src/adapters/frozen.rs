//! The weights of a model that do not learn.
//!
//! They are held once, row by row as files have them: `bf16` where products are of `bf16`, so that packing them for a kernel changes no bit more,
//! and `f32` otherwise. Each product packs them on its way in, along their rows forward and across them for the gradient, as it packs weights that
//! learn: a tenth of a step. Held packed, one copy would do for one of the two directions alone.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::held::Held;
use crate::layout::Layout;
use crate::load_error::LoadError;
use crate::packed::Precision;
use crate::products::Matrix;
use crate::weights::Weights;

/// Numbers that are read at a time, so that no matrix stands in memory twice.
const PIECE: usize = 1 << 22;

/// The numbers of a layout.
#[derive(Debug)]
pub(crate) struct Frozen {
    numbers: Held,
    /// Norms are small and multiplied by no kernel: they are `f32`, by where they start.
    norms: BTreeMap<usize, Vec<f32>>,
}

impl Frozen {
    /// The tensors of `layout`, which `weights` must hold, in `precision`.
    pub fn read(precision: Precision, layout: &Layout, weights: &Weights) -> Result<Self, LoadError> {
        let mut frozen = Self { numbers: Held::with_room(precision, layout.total()), norms: BTreeMap::new() };
        for place in &layout.places {
            let columns = place.shape.last().copied().unwrap_or(1);
            let step = (PIECE / columns).max(1) * columns;
            for start in place.range.clone().step_by(step) {
                let run = weights.run(layout, start..place.range.end.min(start + step))?;
                frozen.numbers.push(&run);
                if place.shape.len() == 1 {
                    frozen.norms.insert(start, run);
                }
            }
        }
        Ok(frozen)
    }

    /// A matrix, or several that follow each other, `columns` wide.
    pub fn matrix(&self, range: Range<usize>, columns: usize) -> Matrix<'_> {
        match &self.numbers {
            Held::F32(numbers) => Matrix::plain(&numbers[range], columns),
            Held::Bf16(numbers) => Matrix::halves(&numbers[range], columns),
        }
    }

    /// A norm's numbers.
    pub fn norm(&self, range: &Range<usize>) -> &[f32] {
        &self.norms[&range.start]
    }

    /// Puts the numbers of `range`, of one norm or of matrices alone, behind what `to` holds.
    pub fn widen(&self, range: Range<usize>, to: &mut Vec<f32>) {
        match self.norms.get(&range.start) {
            Some(norm) => to.extend_from_slice(norm),
            None => self.numbers.widen(range, to),
        }
    }

    /// Bytes that it occupies.
    pub fn bytes(&self) -> usize {
        self.numbers.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::folder;

    type Tested = Result<(), Box<dyn std::error::Error>>;

    /// The golden is of `bf16`, so that nothing is lost in either.
    #[test]
    fn what_is_frozen_is_what_lies_in_the_files() -> Tested {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/sharded");
        let (opened, whole) = (folder::open(&dir)?, folder::load(&dir, 1)?.weights);
        let layout = Layout::of(&opened.config);
        for (precision, bytes) in [(Precision::F32, 4), (Precision::Bf16, 2)] {
            let frozen = Frozen::read(precision, &layout, &opened.weights)?;
            assert_eq!(frozen.bytes(), layout.total() * bytes);
            for place in &layout.places {
                let mut found = Vec::new();
                frozen.widen(place.range.clone(), &mut found);
                assert_eq!(found, whole[place.range.clone()], "{}", place.name);
            }
            let (qkv, hidden) = (layout.layers[1].qkv.clone(), opened.config.hidden_size);
            let (matrix, mut row) = (frozen.matrix(qkv.clone(), hidden), vec![0.0; hidden]);
            matrix.read(70, 0, &mut row);
            assert_eq!(row, whole[qkv.start + 70 * hidden..][..hidden]);
            assert_eq!(frozen.norm(&layout.norm), &whole[layout.norm.clone()]);
        }
        Ok(())
    }
}
