//! Prepared statements: parsed and planned when they are prepared, planned anew where the tables have moved since.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan};
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::arrow_pg::datatypes::into_pg_type;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{FieldFormat, FieldInfo};
use datafusion_postgres::pgwire::api::stmt::QueryParser;
use datafusion_postgres::pgwire::api::{ClientInfo, Type};
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::response::TransactionStatus;

use schemas::table::instant;

use super::answer::error;
use super::connection::Connection;
use super::rows::fits;
use super::values::described;
use super::{functions, names};
use crate::roles::fault::{self, Asked, Refusal};
use crate::roles::gate::{Savepoint, Wish, wish};
use crate::roles::moments::Shown;
use crate::roles::{instants, parse};

/// A statement that was prepared.
#[derive(Debug)]
pub(super) struct Prepared {
    pub sql: String,
    pub wish: Wish,
    /// Types of the parameters: the engine's where it knows one, and the protocol's.
    pub parameters: Vec<(Option<DataType>, Type)>,
    /// Numbers of those that say as of when a view is asked.
    pub moments: BTreeSet<usize>,
    planned: Option<(Arc<Shown>, LogicalPlan)>,
}

impl Prepared {
    /// The plan, where it was made at this very moment and is not made of the parameters.
    pub(super) fn planned_at(&self, shown: &Arc<Shown>) -> Option<&LogicalPlan> {
        if !self.moments.is_empty() {
            return None;
        }
        self.planned.as_ref().filter(|(at, _)| Arc::ptr_eq(at, shown)).map(|(_, plan)| plan)
    }
}

/// Prepares statements of one connection.
pub(super) struct Parser(pub Arc<Connection>);

impl Parser {
    async fn prepare(&self, sql: &str, wanted: &[Option<Type>]) -> Result<Option<Prepared>, Refusal> {
        let mut statements = parse::statements(sql)?;
        if statements.len() > 1 {
            return Err(Refusal::new("42601", "cannot insert multiple commands into a prepared statement"));
        }
        let Some(statement) = statements.pop() else { return Ok(None) };
        let wish = match wish(statement)? {
            // Its columns are described before it is asked.
            Wish::Execute { name, values } => Wish::Ask(self.0.executed(&name, &values)?),
            other => other,
        };
        let mut prepared = Prepared { sql: sql.to_owned(), parameters: Vec::new(), moments: BTreeSet::new(), planned: None, wish };
        if let Wish::Ask(ask) | Wish::CopyOut(ask, _) | Wish::Declare { ask, .. } = &prepared.wish {
            let (shown, plan) = planned(&self.0, ask, sql).await?;
            prepared.moments = instants::of(ask);
            let asked = Asked { sql, notes: self.0.account()?.role.notes };
            prepared.parameters = parameters(&plan, &prepared.moments, wanted).map_err(|error| fault::refusal(&error, asked))?;
            prepared.planned = Some((shown, plan));
        }
        Ok(Some(prepared))
    }
}

/// The plan of a statement, and the moment that the connection sees, at which it is made; `sql` is what was sent.
///
/// # Errors
/// What refuses the statement, with its place.
pub(super) async fn planned(connection: &Connection, ask: &Statement, sql: &str) -> Result<(Arc<Shown>, LogicalPlan), Refusal> {
    let account = connection.account()?;
    let asked = Asked { sql, notes: account.role.notes };
    let engine = |error| fault::refusal(&error, asked);
    let shown = connection.shown(asked).await?;
    let desk = &connection.server.desk;
    let mut state = desk.state(&account.role, &shown).map_err(engine)?;
    functions::register(&mut state, connection).map_err(engine)?;
    let plan = desk.plan(&state, ask.clone(), asked).await?;
    Ok((shown, plan))
}

/// The types of `$1`, `$2` ... in order; a type that the client names wins.
fn parameters(
    plan: &LogicalPlan,
    moments: &BTreeSet<usize>,
    wanted: &[Option<Type>],
) -> datafusion::error::Result<Vec<(Option<DataType>, Type)>> {
    let inferred = plan.get_parameter_types()?;
    let mut stated = stated(plan)?;
    stated.extend(moments.iter().map(|number| (format!("${number}"), instant())));
    let highest =
        inferred.keys().chain(stated.keys()).filter_map(|name| name.trim_start_matches('$').parse::<usize>().ok()).max().unwrap_or(0);
    let one = |number: usize| {
        let name = format!("${number}");
        let kind = inferred.get(&name).cloned().flatten().or_else(|| stated.get(&name).cloned());
        let named = wanted.get(number - 1).cloned().flatten().filter(|named| *named != Type::UNKNOWN);
        let wire = named.or_else(|| kind.as_ref().and_then(|kind| into_pg_type(kind).ok())).unwrap_or(Type::TEXT);
        (kind, wire)
    };
    Ok((1..=highest.max(wanted.len())).map(one).collect())
}

/// The type that a client is told of a parameter. Numbers of types are whole numbers to the engine, and their lists lists of these; what asyncpg asks for types with,
/// before it writes any list, it must be able to write without asking.
fn told(sql: &str, number: usize, wire: &Type) -> Type {
    if *wire == Type::INT4_ARRAY && sql.contains(&format!("${number}::oid[]")) { Type::OID_ARRAY } else { wire.clone() }
}

/// Types of parameters that follow from where they stand, and that the engine does not infer: a cast, a limit, a list that is looked into.
fn stated(plan: &LogicalPlan) -> datafusion::error::Result<HashMap<String, DataType>> {
    let mut found = HashMap::new();
    plan.apply_with_subqueries(|node| {
        let schema = inputs(node)?;
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Placeholder(parameter) if matches!(node, LogicalPlan::Limit(_)) => {
                        found.insert(parameter.id.clone(), DataType::Int64);
                    }
                    Expr::Cast(cast) if !cast.field.data_type().is_string() => {
                        if let Expr::Placeholder(parameter) = cast.expr.as_ref() {
                            found.insert(parameter.id.clone(), cast.field.data_type().clone());
                        }
                    }
                    Expr::ScalarFunction(call) if call.name() == "array_has" => {
                        if let [Expr::Placeholder(parameter), element] = call.args.as_slice()
                            && let Ok(kind) = element.get_type(&schema)
                        {
                            let kind = if kind.is_string() { DataType::Utf8 } else { kind };
                            found.insert(parameter.id.clone(), DataType::new_list(kind, true));
                        }
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// The columns that a node's expressions name.
fn inputs(node: &LogicalPlan) -> datafusion::error::Result<DFSchema> {
    let mut schema = DFSchema::empty();
    for input in node.inputs() {
        schema.merge(input.schema());
    }
    if let LogicalPlan::TableScan(scan) = node {
        schema.merge(&scan.projected_schema);
    }
    Ok(schema)
}

#[async_trait]
impl QueryParser for Parser {
    type Statement = Arc<Prepared>;

    async fn parse_sql<C>(&self, client: &C, sql: &str, types: &[Option<Type>]) -> PgWireResult<Option<Arc<Prepared>>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let turn = self.0.turn();
        let prepared = turn.run(self.prepare(sql, types)).await.and_then(|done| done).map_err(error)?;
        let ends = prepared
            .as_ref()
            .is_none_or(|prepared| matches!(prepared.wish, Wish::Commit | Wish::Rollback | Wish::Savepoint(Savepoint::GoBack, _)));
        if matches!(client.transaction_status(), TransactionStatus::Error) && !ends {
            let aborted = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(error(Refusal::new("25P02", aborted)));
        }
        Ok(prepared.map(Arc::new))
    }

    fn get_parameter_types(&self, statement: &Arc<Prepared>) -> PgWireResult<Vec<Type>> {
        Ok((1..).zip(&statement.parameters).map(|(number, (_, wire))| told(&statement.sql, number, wire)).collect())
    }

    fn get_result_schema(&self, statement: &Arc<Prepared>, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let text = |name: &str| FieldInfo::new(name.to_owned(), None, None, Type::TEXT, FieldFormat::Text);
        match (&statement.wish, &statement.planned) {
            (Wish::Ask(asked), Some((_, plan))) => {
                let format = format.unwrap_or(&Format::UnifiedText);
                fits(format, plan.schema().fields().len()).map_err(error)?;
                described(&names::shown(asked, plan.schema().inner()), format, None)
            }
            (Wish::Show(Some(name)), _) => Ok(vec![text(name)]),
            (Wish::Show(None), _) => Ok(["name", "setting", "description"].into_iter().map(text).collect()),
            (Wish::Fetch { name, .. }, _) => Ok(self.0.cursor(name).map_err(error)?.fields.as_ref().clone()),
            _ => Ok(Vec::new()),
        }
    }
}
