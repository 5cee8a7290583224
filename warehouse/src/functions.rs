//! The SQL functions that the views need and analysts use: measures over (label, score) and over two distributions, Charlson's index,
//! derivations of ids, who stands for whom after merges, the first and last of many groups, instants as text
//! and on the clocks of a place, and parts of texts.

mod arguments;
mod charlson;
mod date_trunc;
mod distributions;
#[cfg(test)]
mod goldens;
mod merges;
mod ordered;
mod predictions;
mod scalar;
mod substring;
#[cfg(test)]
mod tests;
mod time_zone;
mod to_char;
pub mod trial;

use datafusion::prelude::SessionContext;

pub use charlson::VERSION as CODE_SET;
pub use measures;

/// Makes every function known to the session.
pub fn register(ctx: &SessionContext) {
    let aggregates = predictions::all().into_iter().chain(distributions::all()).chain(charlson::all()).chain(ordered::all());
    aggregates.for_each(|aggregate| ctx.register_udaf(aggregate));
    ctx.register_udf(scalar::permille());
    ctx.register_udf(scalar::digest_head());
    ctx.register_udf(scalar::text_hash());
    ctx.register_udf(scalar::patient_identity());
    ctx.register_udf(scalar::encounter_identity());
    ctx.register_udf(scalar::note_identity());
    ctx.register_udf(merges::merge_roots());
    ctx.register_udf(date_trunc::date_trunc());
    ctx.register_udf(to_char::to_char());
    ctx.register_udf(time_zone::timezone());
    ctx.register_udf(time_zone::localtimestamp());
    ctx.register_udf(substring::substring_match());
}
