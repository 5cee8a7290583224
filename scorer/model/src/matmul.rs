//! Matrix products on slices: the one place that calls `gemm`, and the one place with `unsafe`, behind checked bounds.

/// A view of a matrix inside a slice: element `(r, c)` is `data[offset + r * row + c * column]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// First element.
    pub offset: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub column: usize,
}

impl View {
    /// `rows x columns` numbers, row by row, `stride` apart.
    pub fn rows(offset: usize, (rows, columns): (usize, usize), stride: usize) -> Self {
        Self { offset, rows, columns, row: stride, column: 1 }
    }

    /// A dense matrix.
    pub fn dense(rows: usize, columns: usize) -> Self {
        Self::rows(0, (rows, columns), columns)
    }

    /// The same numbers, mirrored.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row: self.column, column: self.row, ..self }
    }

    fn fits(&self, length: usize) -> bool {
        self.rows == 0 || self.columns == 0 || self.offset + (self.rows - 1) * self.row + (self.columns - 1) * self.column < length
    }

    /// Whether no two elements share a place, so that it can be written.
    fn is_injective(&self) -> bool {
        (self.column == 1 && self.row >= self.columns) || (self.row == 1 && self.column >= self.rows)
    }
}

/// What becomes of the numbers already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Into {
    /// They are replaced.
    Replace,
    /// The product is added to them.
    Add,
}

/// `out (+)= scale * left . right`, on the calling thread. The order of additions does not depend on what else runs.
///
/// Panics if a view leaves its slice or the shapes do not meet: that is a mistake in this crate.
pub(crate) fn product((out, to): (&mut [f32], View), into: Into, (left, a): (&[f32], View), (right, b): (&[f32], View), scale: f32) {
    assert!(to.fits(out.len()) && a.fits(left.len()) && b.fits(right.len()), "a matrix leaves its slice");
    assert!(a.rows == to.rows && b.columns == to.columns && a.columns == b.rows, "matrices do not meet");
    assert!(to.is_injective(), "the result would overwrite itself");
    if to.rows == 0 || to.columns == 0 {
        return;
    }
    let step = |distance: usize| distance.cast_signed();
    #[expect(unsafe_code, reason = "gemm takes pointers; the assertions above hold every access inside its slice")]
    // SAFETY: each view lies inside its slice, the result is exclusively borrowed and maps no two elements to one place.
    unsafe {
        gemm::gemm(
            to.rows,
            to.columns,
            a.columns,
            out.as_mut_ptr().add(to.offset),
            step(to.column),
            step(to.row),
            into == Into::Add,
            left.as_ptr().add(a.offset),
            step(a.column),
            step(a.row),
            right.as_ptr().add(b.offset),
            step(b.column),
            step(b.row),
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// `out (+)= input . weight^T` for `input: [tokens, in]` and `weight: [out, in]`: a linear layer without bias.
pub(crate) fn linear(out: &mut [f32], into: Into, input: &[f32], weight: &[f32], (rows, width): (usize, usize)) {
    let outputs = weight.len() / width;
    let matrix = View::dense(outputs, width).transposed();
    product((out, View::dense(rows, outputs)), into, (input, View::dense(rows, width)), (weight, matrix), 1.0);
}

/// The gradient of [`linear`] towards its input: `out (+)= gradient . weight`.
pub(crate) fn linear_input(out: &mut [f32], into: Into, gradient: &[f32], weight: &[f32], (rows, width): (usize, usize)) {
    let outputs = weight.len() / width;
    let views = (View::dense(rows, outputs), View::dense(outputs, width));
    product((out, View::dense(rows, width)), into, (gradient, views.0), (weight, views.1), 1.0);
}

/// The gradient of [`linear`] towards its weight, added: `out += gradient^T . input`.
pub(crate) fn linear_weight(out: &mut [f32], gradient: &[f32], input: &[f32], (rows, width): (usize, usize)) {
    let outputs = out.len() / width;
    let left = View::dense(rows, outputs).transposed();
    product((out, View::dense(outputs, width)), Into::Add, (gradient, left), (input, View::dense(rows, width)), 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_layer_and_its_gradients_multiply_the_right_way_round() {
        let input = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let weight = [1.0, 0.0, 2.0, 0.0, 1.0, 1.0];
        let mut out = [1.0; 4];
        linear(&mut out, Into::Add, &input, &weight, (2, 3));
        assert_eq!(out, [8.0, 6.0, 17.0, 12.0]);
        let gradient = [1.0, 2.0, 0.0, 1.0];
        let mut back = [9.0; 6];
        linear_input(&mut back, Into::Replace, &gradient, &weight, (2, 3));
        assert_eq!(back, [1.0, 2.0, 4.0, 0.0, 1.0, 1.0]);
        let mut towards = [0.0; 6];
        linear_weight(&mut towards, &gradient, &input, (2, 3));
        assert_eq!(towards, [1.0, 2.0, 3.0, 6.0, 9.0, 12.0]);
    }

    #[test]
    #[should_panic(expected = "leaves its slice")]
    fn a_matrix_that_is_too_large_is_refused() {
        linear(&mut [0.0; 3], Into::Replace, &[0.0; 6], &[0.0; 6], (2, 3));
    }
}
