//! Memory that is asked for before it is read.
#![expect(unsafe_code, reason = "the instruction takes a pointer; it reads and writes nothing")]

use std::slice::Chunks;

use super::Line;

/// What is read soon, in so many parts. What is asked for a little at a time is there when it is read; all at once it would be waited for.
pub(crate) fn parts(ahead: &[Line], count: usize) -> Chunks<'_, Line> {
    ahead.chunks(ahead.len().div_ceil(count.max(1)).max(1))
}

/// Asks for lines into the second cache.
#[inline(always)]
pub(crate) fn ask(lines: Option<&[Line]>) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    for line in lines.into_iter().flatten() {
        for half in line.0.chunks(super::COLUMNS / 2) {
            // SAFETY: nothing is read or written, and every x86-64 processor knows the instruction.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(half.as_ptr().cast()) };
        }
    }
}
