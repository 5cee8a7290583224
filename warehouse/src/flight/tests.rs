//! Promises of the port, kept by calls as a driver makes them.

use std::sync::Arc;

use futures::TryStreamExt;
use prost::Message;
use tokio::sync::Semaphore;
use tonic::{Code, Request};

use super::frames::read;
use super::guests::Guest;
use super::messages::{
    Action, Any, CommandGetTables, CommandStatementQuery, CreatedPreparedStatement, Empty, FlightDescriptor, Handle, Ticket,
};
use super::service::Service;
use super::sessions::Sessions;
use crate::pg::tests::stand::{PLANTED, Stand, settings};
use crate::roles::desk::Desk;
use crate::roles::strangers::Strangers;

async fn service(stand: &Stand) -> Service {
    let settings = settings();
    let accounts = settings.accounts(None, |_| Some("open sesame".to_owned())).expect("they fit");
    let desk = Desk::open(stand.warehouse.clone(), &settings).await.expect("opens");
    let guest = guest(&Semaphore::new(1).into());
    Service { desk, sessions: Sessions::new(accounts).into(), tasks: tokio_util::task::TaskTracker::new(), guest }
}

/// Another connection.
fn guest(places: &Arc<Semaphore>) -> Arc<Guest> {
    Guest::new(Strangers::default().come(), places)
}

/// A call of this user, with this header.
fn call<T>(user: &str, header: Option<(&'static str, &str)>, message: T) -> Request<T> {
    use base64::Engine as _;
    let mut request = Request::new(message);
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{user}:open sesame"));
    request.metadata_mut().insert("authorization", format!("Basic {basic}").parse().expect("a header"));
    if let Some((name, value)) = header {
        request.metadata_mut().insert(name, value.parse().expect("a header"));
    }
    request
}

/// The rows of a command as text, or the code and the words of the refusal.
async fn asked(service: &Service, user: &str, header: Option<(&'static str, &str)>, command: Vec<u8>) -> Result<String, (Code, String)> {
    let refused = |status: tonic::Status| (status.code(), status.message().to_owned());
    let descriptor = FlightDescriptor { kind: 2, cmd: command, path: Vec::new() };
    let info = service.clone().info(call(user, header, descriptor)).await.map_err(refused)?.into_inner();
    let ticket = info.endpoint.into_iter().next().and_then(|endpoint| endpoint.ticket).expect("rows are had here");
    let frames: Vec<_> =
        service.clone().get(call(user, header, ticket)).await.map_err(refused)?.into_inner().try_collect().await.map_err(refused)?;
    let (columns, rows) = frames.split_first().expect("columns come first");
    let batch = read(columns, rows).expect("is read");
    Ok(batch.map_or_else(String::new, |batch| crate::render(&[batch], crate::Format::Csv).expect("csv")))
}

fn statement(query: &str) -> Vec<u8> {
    Any::of("CommandStatementQuery", &CommandStatementQuery { query: query.to_owned() })
}

#[tokio::test]
async fn rows_are_given_under_the_callers_role_as_of_when_it_asks() {
    let stand = Stand::new().await;
    let service = service(&stand).await;
    let count = "SELECT count(*) AS n FROM messages";
    assert_eq!(asked(&service, "reader", None, statement(count)).await, Ok("n\n2\n".to_owned()));
    let then = Some(("wardstream-as-known-at", "2024-01-01 08:00"));
    assert_eq!(asked(&service, "reader", then, statement(count)).await, Ok("n\n1\n".to_owned()));
    let texts = asked(&service, "nurse", None, statement("SELECT min(text) FROM notes")).await.expect("is shown");
    assert!(texts.contains(PLANTED[0]));
    for (user, query, code, class) in [
        ("reader", "SELECT text FROM notes", Code::PermissionDenied, "42501"),
        ("nurse", "CREATE TABLE t (a INT)", Code::PermissionDenied, "25006"),
        ("nurse", "SELECT nothing FROM labels", Code::InvalidArgument, "42703"),
        ("nurse", "SELECT 1 / 0", Code::InvalidArgument, "22012"),
        ("small", "SELECT * FROM generate_series(1, 100)", Code::ResourceExhausted, "54000"),
        ("small", "SELECT count(*) FROM generate_series(1, 3000000000) AS a (n) WHERE n % 7 = 3", Code::DeadlineExceeded, "57014"),
        ("nobody", "SELECT 1", Code::Unauthenticated, "28P01"),
    ] {
        let (found, said) = asked(&service, user, None, statement(query)).await.expect_err("must be refused");
        assert_eq!((found, said.starts_with(class)), (code, true), "{query}: {said}");
    }
    assert!(service.clone().actions(Request::new(Empty {})).await.is_err(), "who shows no name asks nothing");
    let mut bare = call("nurse", None, Empty {});
    let padded = bare.metadata().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned).expect("a header");
    let without = padded.trim_end_matches('=');
    assert_ne!(padded, without, "this name and password need padding");
    bare.metadata_mut().insert("authorization", without.parse().expect("a header"));
    assert!(service.clone().actions(bare).await.is_ok(), "drivers leave the padding out");
}

#[tokio::test]
async fn statements_are_prepared_and_relations_are_listed() {
    let stand = Stand::new().await;
    let service = service(&stand).await;
    let body = Any::of("ActionCreatePreparedStatementRequest", &CommandStatementQuery { query: "SELECT 7 AS n".to_owned() });
    let action = Action { kind: "CreatePreparedStatement".to_owned(), body };
    let done: Vec<_> =
        service.clone().action(call("reader", None, action)).await.expect("is prepared").into_inner().try_collect().await.expect("is said");
    let (_, created) = Any::read(&done.first().expect("one answer").body).expect("has a name");
    let handle = Handle { handle: CreatedPreparedStatement::decode(created.as_slice()).expect("is read").handle };
    let command = Any::of("CommandPreparedStatementQuery", &handle);
    assert_eq!(asked(&service, "reader", None, command.clone()).await, Ok("n\n7\n".to_owned()));
    assert!(asked(&service, "nurse", None, command.clone()).await.is_err(), "it is the reader's alone");
    let close = Action { kind: "ClosePreparedStatement".to_owned(), body: Any::of("ActionClosePreparedStatementRequest", &handle) };
    assert!(service.clone().action(call("reader", None, close)).await.is_ok());
    assert!(service.clone().get(call("reader", None, Ticket { ticket: command })).await.is_err());
    let tables =
        CommandGetTables { table_name_filter_pattern: Some("label_".to_owned()), include_schema: true, ..CommandGetTables::default() };
    let listed = asked(&service, "reader", None, Any::of("CommandGetTables", &tables)).await.expect("is listed");
    assert!(listed.contains("wardstream,public,labels,VIEW"), "{listed}");
    assert!(asked(&service, "reader", None, Any::of("CommandStatementUpdate", &CommandStatementQuery::default())).await.is_err());
}

/// A place is taken by whoever shows a name and its password, and by nobody before.
#[tokio::test]
async fn connections_take_a_place_once_they_are_known() {
    let stand = Stand::new().await;
    let (first, places) = (service(&stand).await, Arc::new(Semaphore::new(1)));
    let [first, second] = [(); 2].map(|()| Service { guest: guest(&places), ..first.clone() });
    assert_eq!(first.clone().actions(Request::new(Empty {})).await.err().map(|status| status.code()), Some(Code::Unauthenticated));
    assert_eq!(places.available_permits(), 1, "a stranger takes none");
    assert!(first.clone().actions(call("reader", None, Empty {})).await.is_ok());
    assert!(first.clone().actions(call("reader", None, Empty {})).await.is_ok(), "it has its place");
    let refused = second.clone().actions(call("nurse", None, Empty {})).await.err().expect("there is no place");
    assert_eq!((refused.code(), refused.message().starts_with("53300")), (Code::ResourceExhausted, true));
    drop(first);
    assert!(second.actions(call("nurse", None, Empty {})).await.is_ok());
}
