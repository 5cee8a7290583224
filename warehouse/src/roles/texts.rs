//! What a role without `notes` does not see: texts of notes, and bytes, keys and headers of messages.
//!
//! The columns are not there for it: `SELECT *` leaves them out, and naming one is refused. They are hidden by name in every
//! relation; a test plants words in them and looks for the words in everything such a role can select.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{TableFunction, TableFunctionArgs, TableFunctionImpl};
use datafusion::datasource::{TableProvider, ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlanBuilder;

use datafusion::common::Column;
use datafusion::prelude::Expr;

/// Names of the columns that hold what people wrote.
const HIDDEN: [&str; 4] = ["text", "payload", "key", "headers"];

/// Whether a role without `notes` is refused a column of this name.
pub(crate) fn hides(column: &str) -> bool {
    HIDDEN.contains(&column)
}

/// The relation without what is hidden; itself where nothing is.
pub(super) fn without(name: &str, provider: &Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
    let schema: SchemaRef = provider.schema();
    if !schema.fields().iter().any(|field| hides(field.name())) {
        return Ok(Arc::clone(provider));
    }
    let shown: Vec<Expr> = schema
        .fields()
        .iter()
        .filter(|field| !hides(field.name()))
        .map(|field| Expr::Column(Column::new(Some(name), field.name())))
        .collect();
    let plan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::clone(provider)), None)?.project(shown)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// A function that gives rows, without what is hidden.
#[derive(Debug)]
struct Without(Arc<TableFunction>);

impl TableFunctionImpl for Without {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        without(self.0.name(), &self.0.create_table_provider_with_args(args)?)
    }
}

/// The function as a role without `notes` has it.
pub(super) fn function_without(function: &Arc<TableFunction>) -> Arc<dyn TableFunctionImpl> {
    Arc::new(Without(Arc::clone(function)))
}
