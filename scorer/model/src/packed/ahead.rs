//! Memory that is asked for before it is read.
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "the instruction takes a pointer; it reads and writes nothing"))]

#[cfg(target_arch = "x86_64")]
use super::Line;

/// Words between which a kernel asks for a part of what is ahead; all of them where nothing is.
#[cfg(target_arch = "x86_64")]
pub(crate) fn between(lines: &[Line], ahead: &[Line]) -> usize {
    const ASKED: usize = 64;
    if ahead.is_empty() { lines.len().max(1) } else { ASKED }
}

/// What is read soon, in so many parts. What is asked for a little at a time is there when it is read; all at once it would be waited for.
#[cfg(target_arch = "x86_64")]
pub(crate) fn parts(ahead: &[Line], count: usize) -> std::slice::Chunks<'_, Line> {
    ahead.chunks(ahead.len().div_ceil(count.max(1)).max(1))
}

/// Asks for what `some` holds into the second cache.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn ask<T>(some: &[T]) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    /// Bytes that come at once.
    const BYTES: usize = 64;
    for at in (0..size_of_val(some)).step_by(BYTES) {
        // SAFETY: nothing is read or written, and every x86-64 processor knows the instruction.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(some.as_ptr().cast::<i8>().wrapping_add(at)) };
    }
}

/// Asks for nothing.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn ask<T>(_: &[T]) {}
