//! From a message to its answer: one statement after another, each within its turn, its rows sent as they come.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::arrow_pg::datatypes::df;
use datafusion_postgres::pgwire::api::portal::{Format, Portal, PortalExecutionState};
use datafusion_postgres::pgwire::api::query::{
    ExtendedQueryHandler, SimpleQueryHandler, send_describe_response, send_partial_query_response, send_query_response,
    send_ready_for_query,
};
use datafusion_postgres::pgwire::api::results::{
    DataRowEncoder, DescribePortalResponse, FieldFormat, FieldInfo, QueryResponse, Response, Tag,
};
use datafusion_postgres::pgwire::api::stmt::StoredStatement;
use datafusion_postgres::pgwire::api::store::{Entry, PortalStore};
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::extendedquery::{
    Close, CloseComplete, Describe, Execute, Parse, ParseComplete, TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use datafusion_postgres::pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use datafusion_postgres::pgwire::messages::simplequery::Query;
use datafusion_postgres::pgwire::messages::startup::ParameterStatus;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures::{Sink, SinkExt, StreamExt, stream};

use super::connection::{Connection, activity};
use super::prepared::{Parser, Prepared};
use super::rows::{Batches, Held, Watch, encoded, fits, parameter, suffices, watched};
use super::values::described;
use super::{copy, functions, names};
use crate::metrics::{self, Ended};
use crate::roles::desk::{self, Desk};
use crate::roles::fault::{self, Asked, Refusal};
use crate::roles::gate::{Savepoint, Wish, wish};
use crate::roles::{instants, parse};
use crate::spelling::apart;

/// The error as the protocol sends it.
pub(super) fn error(refusal: Refusal) -> PgWireError {
    sent("ERROR", refusal)
}

/// As [`error`], and the connection ends.
pub(super) fn fatal(refusal: Refusal) -> PgWireError {
    sent("FATAL", refusal)
}

fn sent(severity: &str, refusal: Refusal) -> PgWireError {
    let severity = if refusal.code == "57P01" || refusal.code == "28000" { "FATAL" } else { severity };
    let mut info = ErrorInfo::new(severity.to_owned(), refusal.code.to_owned(), refusal.message);
    info.hint = refusal.hint;
    info.position = refusal.position.map(|position| position.to_string());
    PgWireError::UserError(Box::new(info))
}

/// Answers the messages of one connection.
pub(super) struct Answers {
    pub connection: Arc<Connection>,
    pub parser: Arc<Parser>,
}

/// What was asked beside the statement itself.
pub(super) struct Asking<'a> {
    pub sql: &'a str,
    pub portal: Option<&'a Portal<Arc<Prepared>>>,
}

impl Answers {
    /// Runs a text's statements one after another.
    async fn text<C>(&self, client: &mut C, sql: &str) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = parse::statements(sql).map_err(error)?;
        if statements.is_empty() {
            client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
        }
        for statement in statements {
            let wish = wish(statement).map_err(error)?;
            let response = self.answer(client, &wish, &Asking { sql, portal: None }).await?;
            send(client, response, true).await?;
        }
        Ok(())
    }

    /// Runs a portal, or goes on with it; `rows` of 0 are all.
    async fn portal<C>(&self, client: &mut C, portal: &Portal<Arc<Prepared>>, rows: usize) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let state = portal.state();
        let mut state = state.lock().await;
        if matches!(*state, PortalExecutionState::Initial) {
            let prepared = &portal.statement.statement;
            let asking = Asking { sql: &prepared.sql, portal: Some(portal) };
            *state = PortalExecutionState::Finished;
            match self.answer(client, &prepared.wish, &asking).await? {
                Response::Query(rows) => *state = PortalExecutionState::Suspended(rows),
                other => return send(client, other, false).await,
            }
        }
        match &mut *state {
            PortalExecutionState::Suspended(response) => {
                self.connection.admit().await.map_err(error)?;
                if !send_partial_query_response(client, response, rows).await? {
                    *state = PortalExecutionState::Finished;
                }
            }
            _ => client.feed(PgWireBackendMessage::CommandComplete(Tag::new("SELECT").with_rows(0).into())).await?,
        }
        Ok(())
    }

    async fn answer<C>(&self, client: &mut C, wish: &Wish, asking: &Asking<'_>) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let failed = matches!(client.transaction_status(), TransactionStatus::Error);
        if failed && !matches!(wish, Wish::Commit | Wish::Rollback | Wish::Savepoint(Savepoint::GoBack, _)) {
            return Err(error(Refusal::new("25P02", "current transaction is aborted, commands ignored until end of transaction block")));
        }
        let done = |tag: &str| Ok(Response::Execution(Tag::new(tag)));
        match wish {
            Wish::Ask(statement) => self.rows(client, statement, asking).await.map(Response::Query),
            Wish::CopyOut(statement, options) => {
                let options = copy::Options::of(options).map_err(error)?;
                let (schema, rows, _) = self.batches(statement, asking).await.map_err(error)?;
                copy::send(client, &schema, rows, options).await.map(Response::Execution)
            }
            Wish::Set { name, value, local } => {
                let told = self.connection.set(name, value.as_deref(), *local).map_err(error)?;
                self.tell(client, told).await?;
                done("SET")
            }
            Wish::Reset(Some(name)) => {
                let told = self.connection.set(name, None, false).map_err(error)?;
                self.tell(client, told).await?;
                done("RESET")
            }
            Wish::Reset(None) => {
                self.connection.reset();
                done("RESET")
            }
            Wish::Show(name) => self.show(name.as_deref()).map(Response::Query),
            Wish::Begin => {
                self.connection.open_transaction();
                Ok(Response::TransactionStart(Tag::new("BEGIN")))
            }
            Wish::Commit if failed => {
                self.connection.rollback();
                Ok(Response::TransactionEnd(Tag::new("ROLLBACK")))
            }
            Wish::Commit => {
                self.connection.commit();
                Ok(Response::TransactionEnd(Tag::new("COMMIT")))
            }
            Wish::Rollback => {
                self.connection.rollback();
                Ok(Response::TransactionEnd(Tag::new("ROLLBACK")))
            }
            Wish::Savepoint(what, name) => self.savepoint(client, *what, name).map_err(error).and_then(done),
            Wish::Declare { name, ask, hold } => self.declare(client, (name, *hold), ask, asking).await,
            Wish::Fetch { name, rows } => self.fetch(name, *rows).await.map(Response::Query),
            Wish::Close(name) => {
                self.connection.close(name.as_deref()).map_err(error)?;
                done("CLOSE CURSOR")
            }
            Wish::Prepare { name, ask, types } => {
                self.connection.keep(name, ask, types, asking.sql).await.map_err(error).and_then(|()| done("PREPARE"))
            }
            Wish::Execute { name, values } => {
                let ask = self.connection.executed(name, values).map_err(error)?;
                self.rows(client, &ask, asking).await.map(Response::Query)
            }
            Wish::Deallocate(name) => {
                let gone = self.connection.deallocate(name.as_deref()).map_err(error)?;
                gone.iter().for_each(|name| client.portal_store().rm_statement(name));
                done(if name.is_some() { "DEALLOCATE" } else { "DEALLOCATE ALL" })
            }
            Wish::Discard => {
                self.connection.discard().map_err(error)?.iter().for_each(|name| client.portal_store().rm_statement(name));
                done("DISCARD ALL")
            }
            Wish::Nothing(tag) => done(tag),
        }
    }

    /// The answer's tag.
    fn savepoint<C: ClientInfo>(&self, client: &mut C, what: Savepoint, name: &str) -> Result<&'static str, Refusal> {
        match what {
            Savepoint::Set => self.connection.savepoint(name).map(|()| "SAVEPOINT"),
            Savepoint::Release => self.connection.release(name).map(|()| "RELEASE"),
            Savepoint::GoBack => {
                self.connection.rollback_to(name)?;
                client.set_transaction_status(TransactionStatus::Transaction);
                Ok("ROLLBACK")
            }
        }
    }

    /// Tells the client of a setting that it follows.
    async fn tell<C>(&self, client: &mut C, told: super::variables::Told) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if let Some((name, value)) = told {
            client.feed(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name.to_owned(), value))).await?;
        }
        Ok(())
    }

    /// The rows of a statement, planned within the moment that the session sees.
    async fn batches(&self, statement: &Statement, asking: &Asking<'_>) -> Result<(SchemaRef, Batches, Arc<Held>), Refusal> {
        let account = self.connection.account()?;
        let notes = account.role.notes;
        let asked = Asked { sql: asking.sql, notes };
        let turn = self.connection.turn();
        let engine = |error: datafusion::error::DataFusionError| fault::refusal(&error, asked);
        self.connection.admit().await?;
        let started = turn.run(async {
            let shown = self.connection.shown(asked).await?;
            let desk = &self.connection.server.desk;
            let mut state = desk.state(&account.role, &shown).map_err(engine)?;
            functions::register(&mut state, &self.connection).map_err(engine)?;
            let now = state.execution_props().query_execution_start_time;
            self.connection.asks(activity::Asked::new(asking.sql, now.map(|now| now.timestamp_micros())));
            let planned = asking.portal.and_then(|portal| portal.statement.statement.planned_at(&shown));
            let values = asking.portal.map(values).transpose()?;
            let plan = match (planned, &values) {
                (Some(plan), _) => plan.clone(),
                (None, Some(values)) => desk.plan(&state, instants::stated(statement.clone(), values)?, asked).await?,
                (None, None) => desk.plan(&state, statement.clone(), asked).await?,
            };
            let plan = match &values {
                // What it says of its columns is what it gives: with the parameters their types are settled anew.
                Some(values) => desk::settled(&state, plan.replace_params_with_values(values).map_err(engine)?),
                None => plan,
            };
            let schema = apart::shown(plan.schema().inner());
            let rows = Desk::rows(state, plan).await.map_err(engine)?;
            Ok::<_, Refusal>((schema, rows))
        });
        let (schema, rows) = started.await??;
        let limit = account.role.row_limit;
        let (batches, held) = watched(&self.connection, rows, Watch { sql: asking.sql.to_owned(), notes, limit });
        Ok((schema, batches, held))
    }

    /// The rows of a statement as the protocol sends them.
    pub(super) async fn rows<C: ClientInfo>(&self, client: &C, statement: &Statement, asking: &Asking<'_>) -> PgWireResult<QueryResponse> {
        let (schema, batches, held) = self.batches(statement, asking).await.map_err(error)?;
        let format = asking.portal.map_or(Format::UnifiedText, |portal| portal.result_column_format.clone());
        fits(&format, schema.fields().len()).map_err(error)?;
        let options = Arc::new(self.formats(client));
        let fields = Arc::new(described(&names::shown(statement, &schema), &format, Some(options))?);
        let encoding = Arc::clone(&fields);
        let rows = batches.flat_map(move |batch| stream::iter(encoded(Arc::clone(&encoding), batch))).inspect(move |_| held.touch());
        Ok(QueryResponse::new(fields, rows))
    }

    /// How values are written as texts.
    fn formats<C: ClientInfo>(&self, _: &C) -> FormatOptions {
        let settings = self.connection.variables().all();
        let settings = settings.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        FormatOptions::from_client_metadata(&settings)
    }

    fn show(&self, name: Option<&str>) -> PgWireResult<QueryResponse> {
        let variables = self.connection.variables();
        let (columns, rows) = match name {
            Some(name) => (vec![name.to_owned()], vec![vec![variables.get(name).map_err(error)?]]),
            None => {
                let rows = variables.all().into_iter().map(|(name, value)| vec![name.to_owned(), value, String::new()]).collect();
                (vec!["name".to_owned(), "setting".to_owned(), "description".to_owned()], rows)
            }
        };
        let fields: Vec<FieldInfo> =
            columns.into_iter().map(|name| FieldInfo::new(name, None, None, Type::TEXT, FieldFormat::Text)).collect();
        let fields = Arc::new(fields);
        let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
        let mut encoded = Vec::new();
        for row in rows {
            for value in &row {
                encoder.encode_field(&value.as_str())?;
            }
            encoded.push(Ok(encoder.take_row()));
        }
        let mut response = QueryResponse::new(fields, stream::iter(encoded));
        response.set_command_tag("SHOW");
        Ok(response)
    }
}

/// Sends a response; `describe` says the columns first.
async fn send<C>(client: &mut C, response: Response, describe: bool) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    match response {
        Response::Query(rows) => send_query_response(client, rows, describe).await,
        Response::Execution(tag) => Ok(client.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?),
        Response::TransactionStart(tag) => {
            client.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?;
            client.set_transaction_status(client.transaction_status().to_in_transaction_state());
            Ok(())
        }
        Response::TransactionEnd(tag) => {
            client.feed(PgWireBackendMessage::CommandComplete(tag.into())).await?;
            client.set_transaction_status(client.transaction_status().to_idle_state());
            Ok(())
        }
        _ => Err(error(Refusal::new("XX000", "internal error: an answer of no kind"))),
    }
}

/// The values of a portal's parameters.
fn values(portal: &Portal<Arc<Prepared>>) -> Result<ParamValues, Refusal> {
    let prepared = &portal.statement.statement;
    suffices(portal.parameters.len(), prepared.parameters.len())?;
    let wire: Vec<Option<&Type>> = prepared.parameters.iter().map(|(_, wire)| Some(wire)).collect();
    let types: Vec<Option<&DataType>> = prepared.parameters.iter().map(|(kind, _)| kind.as_ref()).collect();
    df::deserialize_parameters_with_server_types(portal, &types, &wire).map_err(|error| parameter(&error))
}

fn count(result: &PgWireResult<()>) {
    let how = match result {
        Ok(()) => Ended::Answered,
        Err(PgWireError::UserError(info)) => Ended::of(&info.code),
        Err(_) => Ended::Failed,
    };
    metrics::ended("pgwire", how);
}

#[async_trait]
impl SimpleQueryHandler for Answers {
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        client.set_state(PgWireConnectionState::QueryInProgress);
        self.connection.begin().map_err(fatal)?;
        // The whole answer is within the turn: a client that does not read holds no place longer than its time.
        let done = self.connection.turn().run(self.text(client, &query.query)).await.map_err(error).and_then(|done| done);
        self.connection.end();
        count(&done);
        done?;
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, _: &mut C, _: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Err(error(Refusal::new("XX000", "internal error: texts are answered in on_query")))
    }
}

#[async_trait]
impl ExtendedQueryHandler for Answers {
    type Statement = Arc<Prepared>;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        Arc::clone(&self.parser)
    }

    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        self.connection.begin().map_err(fatal)?;
        let name = message.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let parsed = match self.connection.prepare(&name, message.query.len()) {
            Ok(()) => StoredStatement::parse(client, &message, self.query_parser()).await,
            Err(refusal) => {
                self.connection.end();
                return Err(error(refusal));
            }
        };
        self.connection.end();
        if parsed.is_err() {
            self.connection.unprepare(&name);
        }
        match parsed.inspect_err(|_| metrics::ended("pgwire", Ended::Refused))? {
            Some(statement) => client.portal_store().put_statement(Arc::new(statement)),
            None => client.portal_store().put_empty_statement(&name),
        }
        client.feed(PgWireBackendMessage::ParseComplete(ParseComplete::new())).await?;
        Ok(())
    }

    async fn on_close<C>(&self, client: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        if message.target_type == TARGET_TYPE_BYTE_STATEMENT {
            self.connection.unprepare(name);
            client.portal_store().rm_statement(name);
        } else {
            client.portal_store().rm_portal(name);
        }
        client.feed(PgWireBackendMessage::CloseComplete(CloseComplete::new())).await?;
        Ok(())
    }

    /// A cursor of DECLARE is a portal too: psycopg asks for its columns so.
    async fn on_describe<C>(&self, client: &mut C, message: Describe) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if message.target_type == TARGET_TYPE_BYTE_PORTAL
            && let Some(name) = message.name.as_deref()
            && client.portal_store().get_portal(name).is_none()
            && let Ok(cursor) = self.connection.cursor(name)
        {
            return send_describe_response(client, &DescribePortalResponse::new(cursor.fields.as_ref().clone())).await;
        }
        self._on_describe(client, message).await
    }

    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        client.set_state(PgWireConnectionState::QueryInProgress);
        self.connection.begin().map_err(fatal)?;
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let done = match client.portal_store().get_portal(name) {
            Some(Entry::Value(portal)) => {
                let rows = usize::try_from(message.max_rows).unwrap_or(0);
                self.connection.turn().run(self.portal(client, &portal, rows)).await.map_err(error).and_then(|done| done)
            }
            Some(Entry::Empty) => {
                client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await.map_err(PgWireError::from)
            }
            None => Err(error(Refusal::new("34000", "the portal does not exist"))),
        };
        self.connection.end();
        count(&done);
        done?;
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn do_query<C>(&self, _: &mut C, _: &Portal<Self::Statement>, _: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Err(error(Refusal::new("XX000", "internal error: portals are answered in on_execute")))
    }
}
