//! What the threads of SQL hold of memory: they allocate in arenas of their own, of which jemalloc tells how much stands in them.
#![expect(unsafe_code, reason = "jemalloc is asked by names of what it keeps, and whoever asks says of what type that is")]

use std::sync::atomic::{AtomicUsize, Ordering};

use tikv_jemalloc_ctl::{Result, epoch, raw};

/// Names of numbers that jemalloc keeps of an arena; the third part is the arena's.
const KEPT: [&[u8]; 2] = [b"stats.arenas.0.small.allocated\0", b"stats.arenas.0.large.allocated\0"];

/// Arenas for some threads. Where jemalloc gives none, these allocate as all others do, and hold nothing that is known.
#[derive(Debug)]
pub struct Arenas {
    ids: Vec<u32>,
    next: AtomicUsize,
}

impl Arenas {
    /// As many as there are cores: two threads seldom wait for one another then.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self { ids: (0..cores).map_while(|_| made().ok()).collect(), next: AtomicUsize::new(0) }
    }

    fn held(&self) -> Result<usize> {
        epoch::advance()?;
        let mut held = 0;
        for name in KEPT {
            let mut place = [0; 5];
            raw::name_to_mib(name, &mut place)?;
            for &id in &self.ids {
                place[2] = id as usize;
                // SAFETY: jemalloc keeps a `size_t` under both names.
                held += unsafe { raw::read_mib::<usize>(&place)? };
            }
        }
        Ok(held)
    }
}

/// After how many milliseconds what was freed is back with the system. Elsewhere it is kept for longer, as what is allocated next finds its pages there; but
/// the gigabytes that one question has freed are nobody's then.
const DECAY_MS: isize = 1_000;

fn made() -> Result<u32> {
    // SAFETY: reading `arenas.create` makes an arena and gives its number, an `unsigned`.
    let id: u32 = unsafe { raw::read(b"arenas.create\0")? };
    // SAFETY: jemalloc keeps an `ssize_t` under this name.
    unsafe { raw::write(format!("arena.{id}.dirty_decay_ms\0").as_bytes(), DECAY_MS)? };
    Ok(id)
}

impl warehouse::Heap for Arenas {
    fn count_this_thread(&self) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(&id) = self.ids.get(turn % self.ids.len().max(1)) else { return };
        // SAFETY: `thread.arena` takes the number of an arena, an `unsigned`, and this one was made above.
        if let Err(error) = unsafe { raw::write(b"thread.arena\0", id) } {
            tracing::debug!(%error, "a thread of SQL allocates with all others");
        }
    }

    fn held_bytes(&self) -> usize {
        self.held().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use warehouse::Heap as _;

    use super::*;

    /// Held on a thread of its own, given back by another.
    #[test]
    fn what_a_counted_thread_allocates_is_told_until_it_is_freed() {
        let arenas = Arenas::new();
        let before = arenas.held_bytes();
        let texts = std::thread::scope(|threads| {
            let counted = threads.spawn(|| {
                arenas.count_this_thread();
                (0..1000).map(|_| vec![1_u8; 20_000]).collect::<Vec<_>>()
            });
            counted.join().expect("allocates")
        });
        let others: Vec<Vec<u8>> = (0..1000).map(|_| vec![1_u8; 20_000]).collect();
        let held = arenas.held_bytes() - before;
        assert!((20_000_000..30_000_000).contains(&held), "{held} bytes");
        drop((texts, others));
        assert!(arenas.held_bytes() < before + 2_000_000, "{} bytes", arenas.held_bytes());
    }
}
