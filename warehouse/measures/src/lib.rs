//! Measures of predictions and of distributions: plain numbers in, plain numbers out, the same bits in whatever order the rows come.
//!
//! Knows no Arrow, no SQL, no clock, no configuration. `None` says "not defined here"; NaN says "some input was not a number".

mod beside;
mod bootstrap;
mod column;
mod exact;
mod judged;
mod order;
mod rank;
mod ranking;
mod rows;
mod scale;
mod shift;
mod sums;

pub use bootstrap::{MOST_DRAWS, MOST_RESAMPLES, auroc_deviation};
pub use column::{Column, Shared};
pub use exact::ExactSum;
pub use judged::{Judged, auroc_ovr, brier, ece, log_loss};
pub use rank::{auprc, auroc, auroc_delong, auroc_error};
pub use rows::{Rows, RowsError, classes};
pub use shift::{Samples, js, ks, psi, wasserstein};
pub use sums::{BINS, Bin, Measure, Sums};

/// Half the width of a 95 % interval in standard deviations (L1 section 3).
pub const HALF_WIDTH: f64 = 1.96;

/// The interval of 95 % about an area: 1.96 standard deviations either way, cut at 0 and 1.
#[must_use]
pub fn interval(area: f64, deviation: f64) -> (f64, f64) {
    if area.is_nan() || deviation.is_nan() {
        return (f64::NAN, f64::NAN);
    }
    ((area - HALF_WIDTH * deviation).max(0.0), (area + HALF_WIDTH * deviation).min(1.0))
}
