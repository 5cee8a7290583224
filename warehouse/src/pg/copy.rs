//! COPY (query) TO STDOUT: text, csv and binary.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::ast::CopyOption;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{CopyCsvOptions, CopyEncoder, CopyResponse, CopyTextOptions, FieldInfo, Tag};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};
use futures::{Sink, SinkExt, StreamExt, stream};

use super::answer::error;
use super::rows::{Batches, one_by_one};
use super::values;
use crate::roles::fault::Refusal;
use crate::roles::turn::panicked;

/// How the rows are written.
#[derive(Clone)]
pub(super) enum Options {
    Text(CopyTextOptions, bool),
    /// The columns that are quoted in any case, by name.
    Csv(CopyCsvOptions, bool, Vec<String>),
    Binary,
}

impl Options {
    /// # Errors
    /// 22023 and 0A000 where an option is none, or does not fit the format.
    pub(super) fn of(options: &[CopyOption]) -> Result<Self, Refusal> {
        let named = options.iter().find_map(|option| match option {
            CopyOption::Format(name) => Some(name.value.to_lowercase()),
            _ => None,
        });
        let header = options.iter().any(|option| matches!(option, CopyOption::Header(true)));
        let (mut text, mut csv, mut quoted, mut escape) = (CopyTextOptions::default(), CopyCsvOptions::default(), Vec::new(), None);
        for option in options {
            match option {
                CopyOption::Format(_) | CopyOption::Header(_) | CopyOption::Freeze(false) => {}
                CopyOption::Delimiter(character) => {
                    text.delimiter = character.to_string().as_str().into();
                    csv.delimiter = character.to_string().as_str().into();
                }
                CopyOption::Null(word) => {
                    text.null_string = word.as_str().into();
                    csv.null_string = word.as_str().into();
                }
                CopyOption::ForceQuote(columns) => quoted.extend(columns.iter().map(|column| column.value.clone())),
                CopyOption::Quote(character) => csv.quote = character.to_string().as_str().into(),
                CopyOption::Escape(character) => escape = Some(character.to_string()),
                CopyOption::Encoding(name) if name.to_lowercase().replace('-', "") == "utf8" => {}
                other => return Err(Refusal::new("0A000", format!("COPY option {other} is not supported"))),
            }
        }
        // A quote within a value is written twice, whatever the escape.
        if let Some(other) = escape.filter(|escape| escape.as_str() != csv.quote.as_str()) {
            return Err(Refusal::new("0A000", format!("COPY option ESCAPE '{other}' is not supported")));
        }
        match named.as_deref() {
            None | Some("text" | "binary") if !quoted.is_empty() => Err(Refusal::new("0A000", "COPY FORCE_QUOTE requires CSV mode")),
            None | Some("text") => Ok(Self::Text(text, header)),
            Some("csv") => Ok(Self::Csv(csv, header, quoted)),
            Some("binary") if header => Err(Refusal::new("0A000", "cannot specify HEADER in BINARY mode")),
            Some("binary") => Ok(Self::Binary),
            Some(other) => Err(Refusal::new("22023", format!("COPY format \"{other}\" not recognized"))),
        }
    }

    fn has_heading(&self) -> bool {
        matches!(self, Self::Text(_, true) | Self::Csv(_, true, _))
    }

    fn encoder(self, fields: Arc<Vec<FieldInfo>>) -> CopyEncoder {
        match self {
            Self::Text(options, _) => CopyEncoder::new_text(fields, options),
            Self::Csv(options, ..) => CopyEncoder::new_csv(fields, options),
            Self::Binary => CopyEncoder::new_binary(fields),
        }
    }
}

/// The response whose bytes are the names, where they are wanted, and the rows.
fn response(schema: &SchemaRef, rows: Batches, mut options: Options) -> Result<CopyResponse, Refusal> {
    let internal = |_| Refusal::new("0A000", "a column of the query has a type that COPY cannot write");
    let (binary, header) = (matches!(options, Options::Binary), options.has_heading());
    let format = if binary { Format::UnifiedBinary } else { Format::UnifiedText };
    let fields = Arc::new(values::described(schema, &format, None).map_err(internal)?);
    let columns = fields.len();
    let heading = if header { vec![heading(&fields, options.clone()).map_err(internal)?] } else { Vec::new() };
    // The names above the columns are quoted where they must be.
    if let Options::Csv(csv, _, quoted) = &mut options {
        let place = |name: &String| {
            let unknown = |_| Refusal::new("42703", format!("column \"{name}\" does not exist"));
            schema.index_of(name).map_err(unknown)
        };
        csv.force_quote = quoted.iter().map(place).collect::<Result<_, _>>()?;
    }
    let schema = Arc::clone(schema);
    let mut encoder = options.encoder(Arc::clone(&fields));
    let rows = rows.flat_map(|batch| stream::iter(one_by_one(batch))).map(move |place| {
        let (batch, row) = place.map_err(error)?;
        let write = std::panic::AssertUnwindSafe(|| written(&mut encoder, (batch.as_ref(), row), &schema, &fields));
        std::panic::catch_unwind(write).unwrap_or_else(|panic| Err(error(panicked(panic))))
    });
    let bytes = stream::iter(heading.into_iter().map(Ok)).chain(rows);
    Ok(CopyResponse::new(i8::from(binary), columns, bytes))
}

/// The line of the columns' names.
fn heading(fields: &[FieldInfo], options: Options) -> PgWireResult<CopyData> {
    use datafusion_postgres::pgwire::api::Type;
    use datafusion_postgres::pgwire::api::results::FieldFormat;
    let names: Vec<FieldInfo> =
        fields.iter().map(|field| FieldInfo::new(field.name().to_owned(), None, None, Type::TEXT, FieldFormat::Text)).collect();
    let mut encoder = options.encoder(Arc::new(names));
    for field in fields {
        encoder.encode_field(&field.name())?;
    }
    Ok(encoder.take_copy())
}

fn written(
    encoder: &mut CopyEncoder,
    (batch, row): (&RecordBatch, usize),
    schema: &SchemaRef,
    fields: &[FieldInfo],
) -> PgWireResult<CopyData> {
    for ((array, field), wire) in batch.columns().iter().zip(schema.fields()).zip(fields) {
        values::write(encoder, array, row, (field, wire))?;
    }
    Ok(encoder.take_copy())
}

/// Sends the rows as a file's bytes, and gives the tag that says how many they were. What stops them is sent as an error alone: a server has no other way to end a copy.
pub(super) async fn send<C>(client: &mut C, schema: &SchemaRef, rows: Batches, options: Options) -> PgWireResult<Tag>
where
    C: Sink<PgWireBackendMessage> + Unpin,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let mut heading = usize::from(options.has_heading());
    let response = response(schema, rows, options).map_err(error)?;
    let formats = vec![i16::from(response.format); response.columns];
    let columns = i16::try_from(response.columns).unwrap_or(i16::MAX);
    client.feed(PgWireBackendMessage::CopyOutResponse(CopyOutResponse::new(response.format, columns, formats))).await?;
    let mut bytes = response.data_stream;
    let mut rows = 0;
    while let Some(data) = bytes.next().await {
        let data = data?;
        let is_row = heading == 0 && !data.data.is_empty() && data.data.as_ref() != [0xFF, 0xFF];
        rows += usize::from(is_row);
        heading = heading.saturating_sub(1);
        client.feed(PgWireBackendMessage::CopyData(data)).await?;
    }
    client.feed(PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
    Ok(Tag::new("COPY").with_rows(rows))
}
