//! The SQL functions that the views need and analysts use: AUROC and kin over (label, probabilities), Charlson's index,
//! derivations of ids, and who stands for whom after merges.

mod aggregate;
mod charlson;
pub mod measures;
mod merges;
mod scalar;

use datafusion::prelude::SessionContext;

pub use charlson::VERSION as CODE_SET;

/// Makes every function known to the session.
pub fn register(ctx: &SessionContext) {
    ctx.register_udaf(aggregate::over_predictions("auroc_ovr", measures::auroc_ovr));
    ctx.register_udaf(aggregate::over_predictions("auroc_error", measures::auroc_error));
    ctx.register_udaf(aggregate::over_predictions("auprc", measures::auprc));
    ctx.register_udaf(aggregate::over_predictions("brier", measures::brier));
    ctx.register_udaf(aggregate::over_predictions("ece", measures::ece));
    ctx.register_udaf(charlson::aggregate());
    ctx.register_udf(scalar::permille());
    ctx.register_udf(scalar::patient_identity());
    ctx.register_udf(scalar::encounter_identity());
    ctx.register_udf(scalar::note_identity());
    ctx.register_udf(merges::merge_roots());
}
