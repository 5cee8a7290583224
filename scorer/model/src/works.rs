//! What the threads of a pool share among them, and what each works with by itself, again at the next work.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many of `count` one of `threads` takes at a time: at most `most`, and one thread as many times as another.
pub(crate) fn share(count: usize, most: usize, threads: usize) -> usize {
    let shares = count.div_ceil(most).next_multiple_of(threads.max(1));
    count.div_ceil(shares.max(1)).max(1)
}

/// Of each thread of a pool, its buffers.
#[derive(Debug)]
pub(crate) struct Works<T>(Vec<Mutex<T>>);

impl<T> Default for Works<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Default> Works<T> {
    /// With buffers for every thread of the pool at hand.
    pub fn ready(&mut self) -> &Self {
        let threads = self.0.len().max(rayon::current_num_threads());
        self.0.resize_with(threads, Mutex::default);
        self
    }

    /// The calling thread's, which nobody else asks for: a thread does one work at a time, and waits for none within it.
    pub fn own(&self) -> MutexGuard<'_, T> {
        let own = &self.0[rayon::current_thread_index().unwrap_or(0)];
        // What a panic left is written anew before it is read.
        own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
