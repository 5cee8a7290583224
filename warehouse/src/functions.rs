//! The SQL functions that the views need and analysts use: measures over (label, score) and over two distributions, Charlson's index,
//! derivations of ids, who stands for whom after merges and who is one person, the first and last of many groups, aggregates that say
//! what their answers take, sums that do not wrap, instants as text, of texts and on the clocks of a place, spans of time, their parts and series in steps of them, parts of texts, values as statements write them, and arithmetic that refuses what has no
//! result.

mod arguments;
mod arithmetic;
mod charlson;
mod date_part;
mod date_trunc;
mod different;
mod distributions;
mod domains;
pub(crate) mod gathered;
#[cfg(test)]
mod goldens;
mod intervals;
mod merges;
mod mode;
mod operators;
mod ordered;
mod overlaps;
mod persons;
mod plain;
mod predictions;
mod scalar;
mod series;
pub(crate) mod spans;
mod structs;
mod substring;
mod sums;
mod templates;
#[cfg(test)]
mod tests;
mod time_zone;
mod to_char;
mod to_date;
pub mod trial;
pub(crate) mod watched;
mod work;

use datafusion::execution::FunctionRegistry as _;
use datafusion::logical_expr::AggregateUDF;
use datafusion::prelude::SessionContext;

use crate::roles::bounded;

pub use charlson::VERSION as CODE_SET;
pub(crate) use intervals::PARTS as INTERVAL_PARTS;
pub use measures;
pub(crate) use operators::planner;

/// Has the session refuse what arithmetic and functions of numbers have no value for.
///
/// # Errors
/// Never: a session takes every rewriting.
pub(crate) fn refuse_the_undefined(ctx: &SessionContext) -> datafusion::error::Result<()> {
    let state = ctx.state();
    domains::kept(|name| state.scalar_functions().get(name).cloned()).into_iter().for_each(|function| ctx.register_udf(function));
    ctx.state_ref().write().register_function_rewrite(arithmetic::exact())
}

/// The aggregates: those that the engine lacks, and those that stand in the place of its own.
pub(crate) fn aggregates() -> impl Iterator<Item = AggregateUDF> {
    predictions::all().into_iter().chain(distributions::all()).chain(charlson::all()).chain(ordered::all()).chain(gathered::all())
}

/// Makes every function known to the session, and operators of spans mean what they mean in PostgreSQL.
pub fn register(ctx: &SessionContext) {
    aggregates().for_each(|aggregate| ctx.register_udaf(aggregate));
    // PostgreSQL's own that the engine lacks: age, width_bucket, justify_days ...
    let mut registry = ctx.clone();
    datafusion_pg_functions::numeric::register(&mut registry);
    datafusion_pg_functions::datetime::register(&mut registry);
    ctx.register_udf(scalar::permille());
    ctx.register_udf(scalar::digest_head());
    ctx.register_udf(scalar::text_hash());
    ctx.register_udf(scalar::patient_identity());
    ctx.register_udf(scalar::encounter_identity());
    ctx.register_udf(scalar::note_identity());
    ctx.register_udf(merges::merge_roots());
    ctx.register_udf(persons::person_roots());
    ctx.register_udf(date_trunc::date_trunc());
    ctx.register_udf(date_part::date_part());
    ctx.register_udf(intervals::Of::Parts.function());
    ctx.register_udf(overlaps::overlaps());
    plain::all().into_iter().for_each(|function| ctx.register_udf(function));
    ctx.register_udf(series::list());
    ctx.register_udtf("generate_series", series::rows());
    // A session takes every planner and every rewriting.
    let state = ctx.state_ref();
    let _planned = state.write().register_expr_planner(operators::planner());
    let _compared = state.write().register_function_rewrite(operators::compared());
    ctx.register_udf(to_char::to_char());
    to_date::all(ctx.copied_config().options()).into_iter().for_each(|function| ctx.register_udf(function));
    ctx.register_udf(time_zone::timezone());
    ctx.register_udf(time_zone::localtimestamp());
    ctx.register_udf(substring::substring_match());
    let known = ctx.state();
    for function in bounded::makers(|name| known.scalar_functions().get(name).cloned()) {
        ctx.register_udf(function);
    }
}
