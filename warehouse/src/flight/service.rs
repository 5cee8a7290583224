//! The calls of Flight and the commands of Flight SQL, each asked at the desk under the caller's role.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use prost::Message;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::described;
use super::frames::{self, Frames};
use super::guests::Guest;
use super::marks;
use super::messages::{
    Action, ActionType, Any, CommandStatementQuery, CreatedPreparedStatement, Criteria, Done, Empty, FlightData, FlightDescriptor,
    FlightEndpoint, FlightInfo, Handle, Handshake, PutResult, SchemaResult, Ticket,
};
use super::puts;
use super::sessions::{Prepared, Session, Sessions};
use crate::metrics::{self, Ended};
use crate::pg::variables::instant;
use crate::roles::desk::{self, Desk};
use crate::roles::fault::{self, Asked, Refusal};
use crate::roles::gate::{Wish, wish};
use crate::roles::moments::When;
use crate::roles::turn::{Turn, panicked};
use crate::roles::{instants, parse};

/// The header of a call that says as of when everything is shown.
const AS_KNOWN_AT: &str = "wardstream-as-known-at";
/// The header of a call that says which version of `messages` is shown.
const VERSION: &str = "wardstream-version";
/// The header by which drivers say how long a call may take, in seconds.
const TIMEOUT: &str = "wardstream-statement-timeout";
/// Frames that wait for a client that reads slowly.
const AHEAD: usize = 4;

/// What a call streams back.
pub(super) type Stream<T> = BoxStream<'static, Result<T, Status>>;
type Answer<T> = Result<Response<T>, Status>;

/// Answers the calls of all clients.
#[derive(Clone)]
pub(super) struct Service {
    pub desk: Arc<Desk>,
    pub sessions: Arc<Sessions>,
    pub tasks: TaskTracker,
    /// The connection on which they are made.
    pub guest: Arc<Guest>,
}

/// A refusal as a call's status: the class first.
fn status(refusal: &Refusal) -> Status {
    let place = refusal.position.map(|position| format!(" (at character {position})")).unwrap_or_default();
    let hint = refusal.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    let text = format!("{}: {}{place}{hint}", refusal.code, refusal.message);
    match refusal.code {
        "42501" | "25006" => Status::permission_denied(text),
        "57014" if refusal.message.contains("timeout") => Status::deadline_exceeded(text),
        "57014" => Status::cancelled(text),
        "57P01" => Status::unavailable(text),
        "0A000" => Status::unimplemented(text),
        code => match code.get(..2) {
            Some("53" | "54") => Status::resource_exhausted(text),
            Some("58" | "XX") => Status::internal(text),
            Some("28") => Status::unauthenticated(text),
            _ => Status::invalid_argument(text),
        },
    }
}

fn broken(_: datafusion::arrow::error::ArrowError) -> Status {
    Status::internal("XX000: rows could not be framed")
}

/// A query that can run: its plan, the state in which it runs, and the numbers of its parameters that say as of when a view is asked.
struct Planned {
    state: SessionState,
    plan: LogicalPlan,
    moments: BTreeSet<usize>,
}

/// A call: who asks, as of when, and within which turn.
struct Call {
    session: Arc<Session>,
    when: When,
    turn: Turn,
}

impl Service {
    fn call(&self, metadata: &MetadataMap) -> Result<Call, Status> {
        let session = self.sessions.of(metadata)?;
        self.guest.enter()?;
        let header = |name| metadata.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
        let wrong = |name: &str| status(&Refusal::new("22007", format!("the header {name} holds none")));
        let known_at = header(AS_KNOWN_AT).map(|text| instant(text).ok_or_else(|| wrong(AS_KNOWN_AT))).transpose()?;
        let version = header(VERSION).map(|text| text.parse().map_err(|_| wrong(VERSION))).transpose()?;
        let timeout = header(TIMEOUT).map(|text| text.parse().map_err(|_| wrong(TIMEOUT))).transpose()?;
        let timeout = timeout.and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
        let turn = self.desk.turn(&session.account.role, timeout);
        Ok(Call { session, when: When { known_at, version }, turn })
    }

    /// The plan of a query with these parameters, or of one whose parameters are not known yet.
    async fn plan(&self, call: &Call, query: &str, given: Option<&ParamValues>) -> Result<Planned, Refusal> {
        let asked = Asked { sql: query, notes: call.session.account.role.notes };
        let planned = call.turn.run(async {
            let mut statements = parse::statements(query)?;
            let statement = statements.pop().ok_or_else(|| Refusal::new("42601", "there is no statement"))?;
            if !statements.is_empty() {
                return Err(Refusal::new("42601", "cannot insert multiple commands into a prepared statement"));
            }
            let Wish::Ask(statement) = wish(statement)? else {
                return Err(Refusal::new("0A000", "only statements that give rows are answered here")
                    .with_hint(format!("say as of when with the header {AS_KNOWN_AT}")));
            };
            let shown = self.desk.shown(call.when, asked).await?;
            let state = self.desk.state(&call.session.account.role, &shown).map_err(|error| fault::refusal(&error, asked))?;
            let moments = instants::of(&statement);
            let statement = match given {
                Some(values) => instants::stated(*statement, values)?,
                None => *statement,
            };
            let plan = self.desk.plan(&state, statement, asked).await?;
            let plan = match given {
                Some(values) => {
                    let plan = plan.replace_params_with_values(values).map_err(|error| fault::refusal(&error, asked))?;
                    desk::settled(&state, plan)
                }
                None => plan,
            };
            Ok(Planned { state, plan, moments })
        });
        planned.await?
    }

    async fn counted<T>(&self, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Status> {
        let done = work.await;
        done.map_err(|refusal| {
            metrics::ended("flight", Ended::of(refusal.code));
            status(&refusal)
        })
    }

    pub(super) async fn handshake(self, request: Request<Streaming<Handshake>>) -> Answer<Stream<Handshake>> {
        let token = self.sessions.login(request.metadata())?;
        self.guest.enter()?;
        let answer = Handshake { protocol_version: 0, payload: token.clone().into_bytes() };
        let mut response = Response::new(stream::iter([Ok(answer)]).boxed());
        let bearer = format!("Bearer {token}").parse().map_err(|_| Status::internal("XX000: no token could be given"))?;
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    /// The columns of a command's rows.
    async fn columns(&self, call: &Call, command: &[u8]) -> Result<SchemaRef, Status> {
        let (name, value) = Any::read(command).ok_or_else(|| Status::invalid_argument("42601: a command of Flight SQL is wanted"))?;
        let query = match name.as_str() {
            "CommandStatementQuery" => decoded::<CommandStatementQuery>(&value)?.query,
            "CommandPreparedStatementQuery" => call.session.prepared(&decoded::<Handle>(&value)?.handle)?.query,
            name => return self.describe(call, name, &value).await.map(|batch| batch.schema()),
        };
        let planned = self.counted(self.plan(call, &query, None)).await?;
        Ok(frames::sent(planned.plan.schema().as_arrow()))
    }

    async fn describe(&self, call: &Call, name: &str, value: &[u8]) -> Result<RecordBatch, Status> {
        let notes = call.session.account.role.notes;
        let shown = self.counted(self.desk.shown(call.when, Asked { sql: "", notes })).await?;
        let names = if notes { &shown.all } else { &shown.without_notes };
        match described::rows(name, value, names) {
            Some(rows) => rows.map_err(broken),
            None => Err(status(&Refusal::new("25006", format!("{name} is not answered: this server only reads")))),
        }
    }

    pub(super) async fn info(self, request: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        let call = self.call(request.metadata())?;
        let descriptor = request.into_inner();
        let schema = self.columns(&call, &descriptor.cmd).await?;
        let ticket = match Any::read(&descriptor.cmd) {
            Some((name, value)) if name == "CommandStatementQuery" => {
                let query = decoded::<CommandStatementQuery>(&value)?.query;
                Any::of("TicketStatementQuery", &Handle { handle: query.into_bytes() })
            }
            _ => descriptor.cmd.clone(),
        };
        Ok(Response::new(FlightInfo {
            schema: frames::schema_bytes(&schema).map_err(broken)?,
            flight_descriptor: Some(descriptor),
            endpoint: vec![FlightEndpoint { ticket: Some(Ticket { ticket }) }],
            total_records: -1,
            total_bytes: -1,
            ordered: false,
        }))
    }

    pub(super) async fn schema(self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let call = self.call(request.metadata())?;
        let schema = self.columns(&call, &request.get_ref().cmd).await?;
        Ok(Response::new(SchemaResult { schema: frames::schema_bytes(&schema).map_err(broken)? }))
    }

    pub(super) async fn get(self, request: Request<Ticket>) -> Answer<Stream<FlightData>> {
        let call = self.call(request.metadata())?;
        let ticket = request.into_inner().ticket;
        let (name, value) = Any::read(&ticket).ok_or_else(|| Status::invalid_argument("42601: the ticket is none of this server"))?;
        let prepared = match name.as_str() {
            "TicketStatementQuery" => {
                let query = String::from_utf8(decoded::<Handle>(&value)?.handle)
                    .map_err(|_| Status::invalid_argument("42601: the ticket is none of this server"))?;
                Prepared { query, parameters: None }
            }
            "CommandPreparedStatementQuery" => call.session.prepared(&decoded::<Handle>(&value)?.handle)?,
            name => {
                let batch = self.describe(&call, name, &value).await?;
                let mut frames = Frames::new(batch.schema());
                let mut all = vec![frames.columns()];
                for part in frames::parts(&batch) {
                    all.extend(frames.rows(&part).map_err(broken)?);
                }
                return Ok(Response::new(stream::iter(all.into_iter().map(Ok)).boxed()));
            }
        };
        self.rows(call, prepared).await
    }

    /// The rows of a statement, made ahead of the client by a few frames at most.
    async fn rows(self, call: Call, prepared: Prepared) -> Answer<Stream<FlightData>> {
        metrics::queried("flight");
        let admitted = self.counted(self.desk.admit(&call.turn)).await?;
        let asked = Asked { sql: &prepared.query, notes: call.session.account.role.notes };
        let started = async {
            let given = prepared.parameters.as_ref().map(values).transpose()?;
            let Planned { state, plan, .. } = self.plan(&call, &prepared.query, given.as_ref()).await?;
            let schema = frames::sent(plan.schema().as_arrow());
            let rows = call.turn.run(Desk::rows(state, plan)).await?;
            Ok((schema, rows.map_err(|error| fault::refusal(&error, asked))?))
        };
        let (schema, rows) = self.counted(started).await?;
        let (frames, receiver) = mpsc::channel(AHEAD);
        let sending = Sending { call, query: prepared.query, frames };
        self.tasks.spawn(async move {
            sending.run(schema, rows).await;
            drop(admitted);
        });
        let frames = stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|frame| (frame, receiver)) });
        Ok(Response::new(frames.boxed()))
    }

    pub(super) async fn put(self, request: Request<Streaming<FlightData>>) -> Answer<Stream<PutResult>> {
        let call = self.call(request.metadata())?;
        let frames = call.turn.run(puts::taken(request.into_inner())).await.map_err(|refusal| status(&refusal))??;
        let (columns, rows) = frames.split_first().ok_or_else(|| Status::invalid_argument("42601: nothing was put"))?;
        let command = columns.flight_descriptor.as_ref().map(|descriptor| descriptor.cmd.clone()).unwrap_or_default();
        match Any::read(&command) {
            Some((name, value)) if name == "CommandPreparedStatementQuery" => {
                let handle = decoded::<Handle>(&value)?;
                let parameters = self.counted(async { puts::read(columns, rows) }).await?;
                call.session.bind(&handle.handle, parameters, puts::bytes(&frames))?;
                let answer = PutResult { app_metadata: handle.encode_to_vec() };
                Ok(Response::new(stream::iter([Ok(answer)]).boxed()))
            }
            _ => {
                metrics::ended("flight", Ended::Refused);
                Err(status(&Refusal::new("25006", "cannot write: this server only reads")))
            }
        }
    }

    pub(super) async fn action(self, request: Request<Action>) -> Answer<Stream<Done>> {
        let call = self.call(request.metadata())?;
        let action = request.into_inner();
        let (_, value) = Any::read(&action.body).unwrap_or_default();
        match action.kind.as_str() {
            "CreatePreparedStatement" => {
                let query = marks::numbered(decoded::<CommandStatementQuery>(&value)?.query);
                let Planned { plan, moments, .. } = self.counted(self.plan(&call, &query, None)).await?;
                let created = CreatedPreparedStatement {
                    handle: call.session.prepare(query)?,
                    dataset_schema: frames::schema_bytes(&frames::sent(plan.schema().as_arrow())).map_err(broken)?,
                    parameter_schema: frames::schema_bytes(&parameters(&plan, &moments)).map_err(broken)?,
                };
                let done = Done { body: Any::of("ActionCreatePreparedStatementResult", &created) };
                Ok(Response::new(stream::iter([Ok(done)]).boxed()))
            }
            "ClosePreparedStatement" => {
                call.session.close(&decoded::<Handle>(&value)?.handle);
                Ok(Response::new(stream::iter([]).boxed()))
            }
            // Nothing is kept of a session that must be closed.
            "CloseSession" => Ok(Response::new(stream::iter([]).boxed())),
            other => Err(status(&Refusal::new("0A000", format!("{other} is not supported")))),
        }
    }

    pub(super) async fn actions(self, request: Request<Empty>) -> Answer<Stream<ActionType>> {
        self.call(request.metadata())?;
        let action = |(kind, description): (&str, &str)| ActionType { kind: kind.to_owned(), description: description.to_owned() };
        let actions = [("CreatePreparedStatement", "prepares a statement"), ("ClosePreparedStatement", "forgets a prepared statement")];
        Ok(Response::new(stream::iter(actions.map(|one| Ok(action(one)))).boxed()))
    }

    pub(super) async fn flights(self, request: Request<Criteria>) -> Answer<Stream<FlightInfo>> {
        self.call(request.metadata())?;
        Ok(Response::new(stream::iter([]).boxed()))
    }
}

fn decoded<M: Message + Default>(bytes: &[u8]) -> Result<M, Status> {
    M::decode(bytes).map_err(|_| Status::invalid_argument("08P01: the command cannot be read"))
}

/// The parameters of a plan, in order.
fn parameters(plan: &LogicalPlan, moments: &BTreeSet<usize>) -> Schema {
    let mut inferred = plan.get_parameter_types().unwrap_or_default();
    for number in moments {
        inferred.entry(format!("${number}")).or_insert_with(|| Some(schemas::table::instant()));
    }
    let mut named: Vec<_> = inferred.into_iter().collect();
    named.sort_by_key(|(name, _)| name.trim_start_matches('$').parse::<u32>().unwrap_or(u32::MAX));
    let field = |(name, kind): (String, Option<_>)| Field::new(name, kind.unwrap_or(datafusion::arrow::datatypes::DataType::Utf8), true);
    frames::sent(&Schema::new(named.into_iter().map(field).collect::<Vec<_>>())).as_ref().clone()
}

/// The first row of what was put, as the values of the parameters.
fn values(batch: &RecordBatch) -> Result<ParamValues, Refusal> {
    if batch.num_rows() != 1 {
        return Err(Refusal::new("0A000", "one row of parameters is wanted"));
    }
    let value = |array: &Arc<dyn Array>| ScalarValue::try_from_array(array, 0);
    let values = batch.columns().iter().map(value).collect::<Result<Vec<_>, _>>();
    values.map(ParamValues::from).map_err(|_| Refusal::new("22023", "a parameter has a type that is not known here"))
}

/// The rows of one statement on their way to a client.
struct Sending {
    call: Call,
    query: String,
    frames: mpsc::Sender<Result<FlightData, Status>>,
}

impl Sending {
    /// Sends until the rows end, something stops them or nobody reads any more.
    async fn run(self, schema: SchemaRef, rows: SendableRecordBatchStream) {
        let ended = match self.all(schema, rows).await {
            Ok(()) => Ended::Answered,
            Err(refusal) => {
                let how = Ended::of(refusal.code);
                // Whoever reads no more is not waited for.
                let _sent = self.frames.try_send(Err(status(&refusal)));
                how
            }
        };
        metrics::ended("flight", ended);
    }

    async fn all(&self, schema: SchemaRef, mut rows: SendableRecordBatchStream) -> Result<(), Refusal> {
        let role = &self.call.session.account.role;
        let asked = Asked { sql: &self.query, notes: role.notes };
        let mut frames = Frames::new(schema);
        self.send(frames.columns()).await?;
        let mut seen = 0_u64;
        while let Some(batch) = self.call.turn.run(rows.next()).await? {
            let batch = batch.map_err(|error| fault::refusal(&error, asked))?;
            seen = seen.saturating_add(u64::try_from(batch.num_rows()).unwrap_or(u64::MAX));
            if role.row_limit > 0 && seen > role.row_limit {
                return Err(Refusal::new(
                    "54000",
                    format!("the statement gives more than the {} rows that its role may have", role.row_limit),
                )
                .with_hint("add LIMIT, or group the rows"));
            }
            for part in frames::parts(&batch) {
                let framed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| frames.rows(&part))).map_err(panicked)?;
                for frame in framed.map_err(|_| Refusal::new("XX000", "rows could not be framed"))? {
                    self.send(frame).await?;
                }
            }
        }
        Ok(())
    }

    async fn send(&self, frame: FlightData) -> Result<(), Refusal> {
        let sent = self.call.turn.run(self.frames.send(Ok(frame))).await?;
        sent.map_err(|_| Refusal::new("57014", "canceling statement due to user request"))
    }
}
