//! Two threads for what is large, one for what is not: an answer has two cores, and a group by many small groups must not ask for more.

/// Numbers from which two halves are worked on beside one another.
const BESIDE: usize = 50_000;

/// Does the same to both halves of `count` numbers; `work` is given the half, 0 or 1.
pub fn halves<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> [T; 2] {
    both(count, [0, 1], work)
}

/// Does the same to both parts of `count` numbers.
pub fn both<P: Send, T: Send>(count: usize, parts: [P; 2], work: impl Fn(P) -> T + Sync) -> [T; 2] {
    if count < BESIDE {
        return parts.map(work);
    }
    let [first, second] = parts;
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| work(second));
        let first = work(first);
        [first, beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
    })
}

/// Numbers read at once: they stay in the nearest memory.
pub const RUN: usize = 1_024;

/// Where the second half of a piece of numbers begins.
pub fn middle(piece: &[f64]) -> usize {
    (piece.len() / 2).next_multiple_of(RUN).min(piece.len())
}

/// The runs of one half of numbers that lie in pieces.
pub fn half<'a>(pieces: &'a [&'a [f64]], half: usize) -> impl Iterator<Item = &'a [f64]> {
    pieces.iter().flat_map(move |piece| {
        let (first, second) = piece.split_at(middle(piece));
        (if half == 0 { first } else { second }).chunks(RUN)
    })
}
