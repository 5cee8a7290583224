//! How long the measures take over a million rows in memory, as `bench sql` makes them: one JSON object a figure. Asks no SQL.
//!
//! `cargo run --release -p measures --example rate -- [ROWS [FIGURE-SCORES ...]]`, as in `1000000 auroc-single psi-double`.

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use measures::{Rows, Samples, Shared};

/// Rounds of which the median and the best are told.
const ROUNDS: usize = 21;
/// Rows that come at once, as the engine cuts them.
const BATCH: usize = 8_192;

/// Numbers after a linear congruence: no more than made-up rows need.
struct Numbers(u64);

impl Numbers {
    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About 0, with a deviation of about 1.
    fn spread(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }
}

/// How scores are rounded.
type Rounding = fn(f64) -> f64;

const KINDS: [(&str, Rounding); 4] = [
    ("single", |score| f64::from(score as f32)),
    ("double", |score| score),
    ("probabilities", |score| 1.0 / (1.0 + (-score).exp())),
    ("ties", |score| (score * 100.0).round() / 100.0),
];

fn main() -> std::io::Result<()> {
    let mut asked = std::env::args().skip(1);
    let count = asked.next().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let wanted: Vec<String> = asked.collect();
    for (kind, rounded) in KINDS {
        let mut numbers = Numbers(1);
        let labels: Vec<u8> = (0..count).map(|_| u8::from(numbers.share() < 0.5)).collect();
        let scores: Vec<f64> = labels.iter().map(|label| rounded(numbers.spread() + 0.5 * f64::from(*label))).collect();
        let moved: Vec<f64> = scores.iter().map(|score| rounded(score + 0.05)).collect();
        let samples = Samples { reference: scores.clone().into(), current: moved.into() };
        let shared = |batch: &[f64]| -> Shared { Arc::new(batch.to_vec()) };
        let batches: Vec<_> = labels.chunks(BATCH).map(<[u8]>::to_vec).zip(scores.chunks(BATCH).map(shared)).collect();
        let rows = Rows::new(1, labels, scores).unwrap_or_default();
        let tell = |what: &str, answer: &dyn Fn() -> Option<f64>| {
            let called = format!("{what}-{kind}").replace(' ', "-");
            if wanted.is_empty() || wanted.contains(&called) { told(what, kind, count, answer) } else { Ok(()) }
        };
        tell("auroc", &|| measures::auroc(&rows))?;
        tell("auroc fed", &|| measures::auroc(&fed(&batches)))?;
        tell("auroc_ci", &|| measures::auroc_delong(&rows).map(|of| of.1))?;
        tell("psi", &|| measures::psi(&samples, 10))?;
        tell("js of 1000", &|| measures::js(&samples, 1_000))?;
        tell("ks", &|| measures::ks(&samples))?;
        tell("wasserstein", &|| measures::wasserstein(&samples))?;
    }
    Ok(())
}

/// The rows as an aggregate gets them: batch by batch in two halves, which are then put together.
fn fed(batches: &[(Vec<u8>, Shared)]) -> Rows {
    let mut whole = Rows::default();
    for half in batches.chunks(batches.len().div_ceil(2)) {
        let mut part = Rows::default();
        for (labels, scores) in half {
            part.append(Rows::new(1, labels.clone(), Shared::clone(scores)).unwrap_or_default());
        }
        let (labels, scores, weights) = part.take();
        whole.extend(&labels, scores, &weights);
    }
    whole
}

fn told(what: &str, kind: &str, rows: usize, answer: &dyn Fn() -> Option<f64>) -> std::io::Result<()> {
    let mut taken: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            black_box(answer());
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    let bits = answer().map_or(0, f64::to_bits);
    let (median, best) = (taken[ROUNDS / 2], taken[0]);
    writeln!(
        std::io::stdout(),
        r#"{{"what":"{what}","scores":"{kind}","rows":{rows},"ms_median":{median:.2},"ms_best":{best:.2},"bits":"{bits:016x}"}}"#
    )
}
