//! The messages of Arrow Flight and Flight SQL, as their published protocol numbers them; only those that are spoken here.

use prost::Message;

macro_rules! messages {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[$field:meta])+ $part:ident: $kind:ty,)* })+) => {
        $($(#[doc = $doc])+
        #[derive(Clone, PartialEq, Message)]
        pub(super) struct $name { $($(#[$field])+ pub $part: $kind,)* })+
    };
}

messages! {
    /// Nothing.
    Empty {}
    /// The first message of a client that shows who it is; also its answer.
    Handshake {
        #[prost(uint64, tag = "1")]
        protocol_version: u64,
        #[prost(bytes = "vec", tag = "2")]
        payload: Vec<u8>,
    }
    /// Which flights are listed.
    Criteria {
        #[prost(bytes = "vec", tag = "1")]
        expression: Vec<u8>,
    }
    /// What is to be done.
    Action {
        #[prost(string, tag = "1")]
        kind: String,
        #[prost(bytes = "vec", tag = "2")]
        body: Vec<u8>,
    }
    /// What can be done.
    ActionType {
        #[prost(string, tag = "1")]
        kind: String,
        #[prost(string, tag = "2")]
        description: String,
    }
    /// What was done.
    Done {
        #[prost(bytes = "vec", tag = "1")]
        body: Vec<u8>,
    }
    /// Columns alone.
    SchemaResult {
        #[prost(bytes = "vec", tag = "1")]
        schema: Vec<u8>,
    }
    /// What is asked for; kind 2 is a command.
    FlightDescriptor {
        #[prost(int32, tag = "1")]
        kind: i32,
        #[prost(bytes = "vec", tag = "2")]
        cmd: Vec<u8>,
        #[prost(string, repeated, tag = "3")]
        path: Vec<String>,
    }
    /// Columns, and where the rows are had.
    FlightInfo {
        #[prost(bytes = "vec", tag = "1")]
        schema: Vec<u8>,
        #[prost(message, optional, tag = "2")]
        flight_descriptor: Option<FlightDescriptor>,
        #[prost(message, repeated, tag = "3")]
        endpoint: Vec<FlightEndpoint>,
        #[prost(int64, tag = "4")]
        total_records: i64,
        #[prost(int64, tag = "5")]
        total_bytes: i64,
        #[prost(bool, tag = "6")]
        ordered: bool,
    }
    /// Where rows are had: here, where no location is named.
    FlightEndpoint {
        #[prost(message, optional, tag = "1")]
        ticket: Option<Ticket>,
    }
    /// For which rows are given.
    Ticket {
        #[prost(bytes = "vec", tag = "1")]
        ticket: Vec<u8>,
    }
    /// Columns or rows.
    FlightData {
        #[prost(message, optional, tag = "1")]
        flight_descriptor: Option<FlightDescriptor>,
        #[prost(bytes = "vec", tag = "2")]
        data_header: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        app_metadata: Vec<u8>,
        #[prost(bytes = "vec", tag = "1000")]
        data_body: Vec<u8>,
    }
    /// What became of rows that were put.
    PutResult {
        #[prost(bytes = "vec", tag = "1")]
        app_metadata: Vec<u8>,
    }
    /// A message with its name.
    Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    /// A statement; also the request to prepare one.
    CommandStatementQuery {
        #[prost(string, tag = "1")]
        query: String,
    }
    /// The ticket of a statement; also the handle of a prepared one wherever only a handle is sent.
    Handle {
        #[prost(bytes = "vec", tag = "1")]
        handle: Vec<u8>,
    }
    /// A statement that was prepared.
    CreatedPreparedStatement {
        #[prost(bytes = "vec", tag = "1")]
        handle: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        dataset_schema: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        parameter_schema: Vec<u8>,
    }
    /// What is known of the server.
    CommandGetSqlInfo {
        #[prost(uint32, repeated, tag = "1")]
        info: Vec<u32>,
    }
    /// The schemas.
    CommandGetDbSchemas {
        #[prost(string, optional, tag = "1")]
        catalog: Option<String>,
        #[prost(string, optional, tag = "2")]
        db_schema_filter_pattern: Option<String>,
    }
    /// The relations.
    CommandGetTables {
        #[prost(string, optional, tag = "1")]
        catalog: Option<String>,
        #[prost(string, optional, tag = "2")]
        db_schema_filter_pattern: Option<String>,
        #[prost(string, optional, tag = "3")]
        table_name_filter_pattern: Option<String>,
        #[prost(string, repeated, tag = "4")]
        table_types: Vec<String>,
        #[prost(bool, tag = "5")]
        include_schema: bool,
    }
}

/// The name before every command's own.
const PREFIX: &str = "type.googleapis.com/arrow.flight.protocol.sql.";

impl Any {
    /// The command's own name and its bytes.
    pub(super) fn read(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
        let any = Self::decode(bytes).ok()?;
        Some((any.type_url.strip_prefix(PREFIX)?.to_owned(), any.value))
    }

    /// A message under its name.
    pub(super) fn of(name: &str, message: &impl Message) -> Vec<u8> {
        Self { type_url: format!("{PREFIX}{name}"), value: message.encode_to_vec() }.encode_to_vec()
    }
}
