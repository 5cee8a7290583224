//! What the threads of a pool work with, each with its own, and again at the next work.

use std::sync::{Mutex, MutexGuard, PoisonError};

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
