//! Cursors: declared with a statement, read on by FETCH.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::pgwire::api::ClientInfo;
use datafusion_postgres::pgwire::api::results::{QueryResponse, Response, Tag};
use datafusion_postgres::pgwire::error::PgWireResult;
use futures::{StreamExt, stream};

use super::answer::{Answers, Asking, error};
use super::connection::Cursor;
use crate::roles::fault::Refusal;

impl Answers {
    pub(super) async fn declare<C: ClientInfo>(
        &self,
        client: &C,
        (name, hold): (&str, bool),
        statement: &Statement,
        asking: &Asking<'_>,
    ) -> PgWireResult<Response> {
        if !hold && !self.connection.is_in_transaction() {
            return Err(error(Refusal::new("25P01", "DECLARE CURSOR can only be used in transaction blocks")));
        }
        let asking = Asking { sql: asking.sql, portal: None };
        let response = self.rows(client, statement, &asking).await?;
        // Whoever reads in parts asks once more at the end, and a stream that ended must not be asked.
        let rows = Arc::new(tokio::sync::Mutex::new(response.data_rows.fuse().boxed()));
        self.connection.declare(name, Cursor { fields: response.row_schema, rows, hold }).map_err(error)?;
        Ok(Response::Execution(Tag::new("DECLARE CURSOR")))
    }

    pub(super) async fn fetch(&self, name: &str, rows: Option<usize>) -> PgWireResult<QueryResponse> {
        self.connection.admit().await.map_err(error)?;
        let cursor = self.connection.cursor(name).map_err(error)?;
        let left = (Arc::clone(&cursor.rows), rows);
        let read = stream::unfold(left, |(rows, left)| async move {
            if left == Some(0) {
                return None;
            }
            let row = rows.lock().await.next().await?;
            Some((row, (Arc::clone(&rows), left.map(|left| left - 1))))
        });
        let mut response = QueryResponse::new(Arc::clone(&cursor.fields), read);
        response.set_command_tag("FETCH");
        Ok(response)
    }
}
