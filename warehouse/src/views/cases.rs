//! The hard cases of the views, one file a view in `views/cases`: the statements fill the base relations, the queries say
//! what the view must then give. `golden.rs` asks every view of one common log; here each case has a log of its own.
//!
//! The format is sqllogictest's (`statement ok`, `query TYPES [rowsort]`, `----`). A row's values are joined by one blank;
//! NULL is `NULL`, an empty text `(empty)`, numbers with a fraction are rounded to three digits, instants end in `Z`.
//! Columns that a statement does not name have a default: facility `north`, record 0 of `hl7.raw` as first read, known on 1 January 2024.

use std::path::Path;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::functions;
use crate::settings::{Departments, TaskSettings};
use crate::tasks::Tasks;

type Checked = std::result::Result<(), Box<dyn std::error::Error>>;

/// Empty base relations, every function and every view.
async fn empty_warehouse() -> std::result::Result<SessionContext, Box<dyn std::error::Error>> {
    let ctx = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    functions::register(&ctx);
    super::bare::register(&ctx)?;
    super::register(&ctx, &Tasks::open(&TaskSettings::default(), &Departments::default()).await?, None).await?;
    Ok(ctx)
}

/// One record of a file.
struct Record {
    line: usize,
    sql: String,
    /// The rows asked for, and whether their order is free; `None` for a statement.
    expected: Option<(Vec<String>, Order)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    AsGiven,
    Free,
}

fn records(text: &str) -> std::result::Result<Vec<Record>, String> {
    let mut records = Vec::new();
    let mut block: Vec<(usize, &str)> = Vec::new();
    for (index, line) in text.lines().chain(std::iter::once("")).enumerate() {
        if !line.trim().is_empty() {
            if !line.starts_with('#') {
                block.push((index + 1, line));
            }
        } else if let Some((&(line, head), body)) = block.split_first() {
            let words: Vec<&str> = head.split_whitespace().collect();
            let split = body.iter().position(|(_, text)| *text == "----");
            let joined = |lines: &[(usize, &str)]| lines.iter().map(|(_, text)| *text).collect::<Vec<_>>().join("\n");
            records.push(match (words.as_slice(), split) {
                (["statement", "ok"], None) => Record { line, sql: joined(body), expected: None },
                (["query", _types, rest @ ..], Some(split)) => {
                    let (sql, rows) = body.split_at(split);
                    let order = if rest == ["rowsort"] { Order::Free } else { Order::AsGiven };
                    let rows = rows.iter().skip(1).map(|(_, text)| (*text).to_owned()).collect();
                    Record { line, sql: joined(sql), expected: Some((rows, order)) }
                }
                _ => return Err(format!("line {line}: neither a statement nor a query with its rows")),
            });
            block.clear();
        }
    }
    Ok(records)
}

fn shown(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let options = FormatOptions::new().with_null("NULL").with_timestamp_tz_format(Some("%Y-%m-%dT%H:%MZ"));
    let mut rows = Vec::new();
    for batch in batches {
        let columns =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<std::result::Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().zip(batch.columns()).map(|(formatter, column)| {
                let text = formatter.value(row).to_string();
                match (column.data_type(), text.parse::<f64>()) {
                    (DataType::Float64, Ok(number)) => format!("{number:.3}"),
                    _ if text.is_empty() => "(empty)".to_owned(),
                    _ => text,
                }
            });
            rows.push(cells.collect::<Vec<_>>().join(" "));
        }
    }
    Ok(rows)
}

/// What the file asks and does not get.
async fn offences(path: &Path) -> std::result::Result<Vec<String>, Box<dyn std::error::Error>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path)?;
    let ctx = empty_warehouse().await?;
    let mut offences = Vec::new();
    let mut asked = 0;
    for record in records(&text).map_err(|error| format!("{name}, {error}"))? {
        let here = format!("{name}:{}", record.line);
        let rows = match ctx.sql(&record.sql).await {
            Ok(frame) => frame.collect().await.and_then(|batches| shown(&batches)),
            Err(error) => Err(error),
        };
        match (rows, record.expected) {
            (Err(error), _) => offences.push(format!("{here}: {error}")),
            (Ok(_), None) => {}
            (Ok(mut rows), Some((mut expected, order))) => {
                asked += 1;
                if order == Order::Free {
                    rows.sort();
                    expected.sort();
                }
                if rows != expected {
                    offences.push(format!("{here}: gives\n{}\ninstead of\n{}", rows.join("\n"), expected.join("\n")));
                }
            }
        }
    }
    if asked == 0 {
        offences.push(format!("{name} asks nothing"));
    }
    Ok(offences)
}

#[tokio::test]
async fn the_hard_cases_of_every_view_come_out_as_written() -> Checked {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("views/cases");
    let mut found = Vec::new();
    let mut files = 0;
    for entry in std::fs::read_dir(folder)? {
        found.extend(offences(&entry?.path()).await?);
        files += 1;
    }
    assert!(files > 0 && found.is_empty(), "{}", found.join("\n\n"));
    Ok(())
}
