//! `generate_series` of instants as PostgreSQL has it: days and instants beside one another, and a step that is written as a text. The engine's own takes bounds of one
//! type, of days whole days alone, and no texts.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::catalog::{TableFunction, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::functions_nested::range::gen_series_udf;
use datafusion::functions_table;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit};

use super::spans::{INTERVAL, is_span};

/// A series as a list.
pub(super) fn list() -> ScalarUDF {
    ScalarUDF::from(List(gen_series_udf(), Signature::user_defined(Volatility::Immutable)))
}

/// A series as the rows of a relation, which are made as they are asked for; its bounds are constants.
pub(super) fn rows() -> Arc<dyn TableFunctionImpl> {
    Arc::new(Rows(functions_table::generate_series()))
}

/// The types in which the engine counts, where bounds and step are of instants.
fn instants(kinds: &[DataType]) -> Option<[DataType; 3]> {
    let [from, until, step] = kinds else { return None };
    let is_instant = |kind: &DataType| matches!(kind, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..));
    let is_unsaid = |kind: &DataType| kind.is_string() || kind.is_null();
    let are_bounds = [from, until].iter().all(|kind| is_instant(kind) || is_unsaid(kind)) && (is_instant(from) || is_instant(until));
    if !are_bounds || !(is_span(step) || is_unsaid(step)) {
        return None;
    }
    let zone = [from, until].into_iter().find_map(|kind| match kind {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    });
    let instant = DataType::Timestamp(TimeUnit::Nanosecond, zone);
    Some([instant.clone(), instant, INTERVAL])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct List(Arc<ScalarUDF>, Signature);

impl ScalarUDFImpl for List {
    fn name(&self) -> &'static str {
        "generate_series"
    }

    fn signature(&self) -> &Signature {
        &self.1
    }

    /// Under a name that is left to the engine's own it would take its others back when a session is made of another.
    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.0.return_type(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        if let Some(kinds) = instants(arguments) {
            return Ok(kinds.to_vec());
        }
        let are_numbers = arguments.iter().all(|kind| kind.is_integer() || kind.is_null());
        if !are_numbers || !(1..=3).contains(&arguments.len()) {
            let kinds = arguments.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return plan_err!("No function matches generate_series({kinds}): it takes whole numbers, or two instants and an interval");
        }
        Ok(vec![DataType::Int64; arguments.len()])
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.0.invoke_with_args(call)
    }
}

#[derive(Debug)]
struct Rows(Arc<TableFunction>);

impl TableFunctionImpl for Rows {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let stated = args.exprs().iter().map(|stated| match stated {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        });
        let values = stated.collect::<Option<Vec<_>>>().unwrap_or_default();
        let Some(kinds) = instants(&values.iter().map(|value| value.data_type()).collect::<Vec<_>>()) else {
            return self.0.create_table_provider_with_args(args);
        };
        let stated = values.iter().zip(&kinds).map(|(value, kind)| Ok(lit(value.cast_to(kind)?))).collect::<Result<Vec<_>>>()?;
        self.0.create_table_provider_with_args(TableFunctionArgs::new(&stated, args.session()))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn told(sql: &str) -> Result<Vec<String>> {
        let ctx = SessionContext::new();
        ctx.register_udf(list());
        ctx.register_udtf("generate_series", rows());
        let table = pretty_format_batches(&ctx.sql(sql).await?.collect().await?)?.to_string();
        Ok(table.lines().filter(|line| line.starts_with('|')).skip(1).map(|line| line.trim_matches(['|', ' ']).to_owned()).collect())
    }

    #[tokio::test]
    async fn days_and_instants_stand_beside_one_another_and_steps_are_texts() {
        let days = ["2024-01-01T00:00:00", "2024-01-02T00:00:00"];
        for bounds in [
            "DATE '2024-01-01', DATE '2024-01-02', '1 day'",
            "TIMESTAMP '2024-01-01', DATE '2024-01-02', INTERVAL '1 day'",
            "DATE '2024-01-01', TIMESTAMP '2024-01-02 12:00:00', INTERVAL '24 hours'",
            "arrow_cast('2024-01-01', 'Timestamp(Microsecond, None)'), DATE '2024-01-02', '1 day'",
        ] {
            assert_eq!(told(&format!("SELECT * FROM generate_series({bounds})")).await.expect(bounds), days, "{bounds}");
            assert_eq!(told(&format!("SELECT unnest(generate_series({bounds}))")).await.expect(bounds), days, "{bounds}");
        }
        let of_rows =
            "SELECT unnest(generate_series(a, b, INTERVAL '1 month')) FROM (VALUES (DATE '2024-01-31', DATE '2024-02-29')) AS t(a, b)";
        assert_eq!(told(of_rows).await.expect("answers"), ["2024-01-31T00:00:00", "2024-02-29T00:00:00"]);
    }

    #[tokio::test]
    async fn numbers_are_counted_as_they_were_and_others_are_refused() {
        assert_eq!(told("SELECT * FROM generate_series(3, 1, -1)").await.expect("answers"), ["3", "2", "1"]);
        assert_eq!(told("SELECT unnest(generate_series(2))").await.expect("answers"), ["0", "1", "2"]);
        let refused = told("SELECT generate_series(DATE '2024-01-01', 3, INTERVAL '1 day')").await.expect_err("is no day").to_string();
        assert!(refused.contains("No function matches generate_series"), "{refused}");
        let refused = told("SELECT * FROM generate_series(DATE '2024-01-01', DATE '2024-01-02', 'a day')").await.expect_err("no step");
        assert!(refused.to_string().contains("interval"), "{refused}");
    }
}
