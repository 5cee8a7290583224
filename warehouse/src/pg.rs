//! The PostgreSQL protocol: password-protected, read-only by construction. psql and its `\d` work.
//!
//! A connection sees everything that was known when it was made; a new connection sees more.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::DfSessionService;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::{context::EmptyContextProvider, setup_pg_catalog};
use datafusion_postgres::hooks::{HookClient, QueryHook, set_show::SetShowHook, transactions::TransactionStatementHook};
use datafusion_postgres::pgwire::api::auth::sasl::SASLAuthStartupHandler;
use datafusion_postgres::pgwire::api::auth::sasl::scram::{ScramAuth, gen_salted_password};
use datafusion_postgres::pgwire::api::auth::{AuthSource, DefaultServerParameterProvider, LoginInfo, Password, StartupHandler};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::Response;
use datafusion_postgres::pgwire::api::{ClientInfo, PgWireServerHandlers};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::tokio::process_socket;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::error::QueryError;
use crate::metrics;
use crate::read::{AsOf, read_only};
use crate::store::Warehouse;

/// Rounds of PBKDF2 for SCRAM.
const ROUNDS: usize = 4_096;

/// Who may connect.
#[derive(Clone)]
pub struct Account {
    /// User name.
    pub user: String,
    /// Password; never shown.
    pub password: String,
}

/// The port could not be served: choose another address.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {listen}")]
pub struct ServeError {
    listen: SocketAddr,
    source: std::io::Error,
}

/// Serves until `stop`.
///
/// # Errors
/// Where the address cannot be listened on.
pub async fn serve(warehouse: Warehouse, listen: SocketAddr, account: Account, stop: CancellationToken) -> Result<(), ServeError> {
    let listener = TcpListener::bind(listen).await.map_err(|source| ServeError { listen, source })?;
    let connections = TaskTracker::new();
    loop {
        let socket = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((socket, _)) = socket else { continue };
        let (warehouse, account, stop) = (warehouse.clone(), account.clone(), stop.clone());
        connections.spawn(async move {
            tokio::select! {
                () = connection(socket, &warehouse, account) => {}
                () = stop.cancelled() => {}
            }
        });
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn connection(socket: TcpStream, warehouse: &Warehouse, account: Account) {
    metrics::queried("pgwire");
    match handlers(warehouse, account).await {
        Ok(handlers) => {
            if let Err(error) = process_socket(socket, None, Arc::new(handlers)).await {
                tracing::debug!(%error, "a connection ended");
            }
        }
        Err(error) => tracing::error!(%error, "a connection could not be given a session"),
    }
}

async fn handlers(warehouse: &Warehouse, account: Account) -> Result<Handlers, QueryError> {
    let ctx = warehouse.session(&AsOf::default()).await?;
    setup_pg_catalog(&ctx, "datafusion", EmptyContextProvider).map_err(|error| QueryError::from(*error))?;
    let hooks: Vec<Arc<dyn QueryHook>> = vec![Arc::new(ReadOnly), Arc::new(SetShowHook), Arc::new(TransactionStatementHook)];
    Ok(Handlers { queries: Arc::new(DfSessionService::new_with_hooks(Arc::new(ctx), hooks)), account: Arc::new(account) })
}

struct Handlers {
    queries: Arc<DfSessionService>,
    account: Arc<Account>,
}

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.queries)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.queries)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        let mut scram = ScramAuth::new(Arc::clone(&self.account) as Arc<dyn AuthSource>);
        scram.set_iterations(ROUNDS);
        Arc::new(SASLAuthStartupHandler::new(Arc::new(DefaultServerParameterProvider::default())).with_scram(scram))
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Account({})", self.user)
    }
}

#[async_trait]
impl AuthSource for Account {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        if login.user() != Some(self.user.as_str()) {
            return Err(PgWireError::InvalidPassword(login.user().unwrap_or_default().to_owned()));
        }
        // The salt is derived from the account: it must differ between accounts, not be secret.
        let salt: Vec<u8> = schemas::Digest::of(self.user.as_bytes()).to_string().into_bytes().into_iter().take(16).collect();
        let hashed = gen_salted_password(&self.password, &salt, ROUNDS);
        Ok(Password::new(Some(salt), hashed))
    }
}

/// Lets statements through that read, and no others.
struct ReadOnly;

/// EXPLAIN reads only what it explains: EXPLAIN ANALYZE runs its statement.
fn reads(statement: &Statement) -> bool {
    match statement {
        Statement::Explain { statement, .. } => matches!(**statement, Statement::Query(_)),
        other => matches!(
            other,
            Statement::Query(_)
                | Statement::ShowVariable { .. }
                | Statement::ShowTables { .. }
                | Statement::ShowColumns { .. }
                | Statement::Set(_)
                | Statement::StartTransaction { .. }
                | Statement::Commit { .. }
                | Statement::Rollback { .. }
        ),
    }
}

fn refusal(statement: &Statement) -> Option<PgWireError> {
    let error = || {
        ErrorInfo::new(
            "ERROR".to_owned(),
            "25006".to_owned(),
            "this server is read-only: SELECT, EXPLAIN, SHOW and SET are answered".to_owned(),
        )
    };
    let sets_the_engine = matches!(statement, Statement::Set(_)) && statement.to_string().to_lowercase().contains("datafusion.");
    (!reads(statement) || sets_the_engine).then(|| PgWireError::UserError(Box::new(error())))
}

/// As [`refusal`], and by the plan too: a statement that reads by its first word may write by its last.
async fn refused(statement: &Statement, ctx: &SessionContext) -> Option<PgWireError> {
    if let Some(error) = refusal(statement) {
        return Some(error);
    }
    if !matches!(statement, Statement::Query(_) | Statement::Explain { .. }) {
        return None;
    }
    // What does not plan fails by itself, in its own words.
    let plan = ctx.state().statement_to_plan(datafusion::sql::parser::Statement::Statement(Box::new(statement.clone()))).await.ok()?;
    let reason = read_only().verify_plan(&plan).err()?.strip_backtrace();
    Some(PgWireError::UserError(Box::new(ErrorInfo::new(
        "ERROR".to_owned(),
        "25006".to_owned(),
        format!("this server is read-only: {reason}"),
    ))))
}

#[async_trait]
impl QueryHook for ReadOnly {
    async fn handle_simple_query(
        &self,
        statement: &Statement,
        ctx: &SessionContext,
        _: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        refused(statement, ctx).await.map(Err)
    }

    async fn handle_extended_parse_query(
        &self,
        statement: &Statement,
        ctx: &SessionContext,
        _: &(dyn ClientInfo + Send + Sync),
    ) -> Option<PgWireResult<LogicalPlan>> {
        refused(statement, ctx).await.map(Err)
    }

    async fn handle_extended_query(
        &self,
        statement: &Statement,
        _: &LogicalPlan,
        _: &ParamValues,
        _: &SessionContext,
        _: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        refusal(statement).map(Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::{dialect::PostgreSqlDialect, parser::Parser};

    #[test]
    fn only_what_reads_is_let_through() {
        let refused = |sql: &str| {
            let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("parses");
            statements.iter().any(|statement| refusal(statement).is_some())
        };
        for sql in ["SELECT 1", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1", "SHOW server_version", "SET client_encoding = 'UTF8'"] {
            assert!(!refused(sql), "{sql}");
        }
        for sql in ["INSERT INTO t VALUES (1)", "COPY (SELECT 1) TO '/x'", "EXPLAIN ANALYZE COPY (SELECT 1) TO '/x'", "DROP TABLE t"] {
            assert!(refused(sql), "{sql}");
        }
    }
}
