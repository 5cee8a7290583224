//! What is wrong with a question that no server asks: told in PostgreSQL's class, with the place in its text, as both servers tell it.
//!
//! Whoever asks here may read the tables' files, so what the system says of them is told as well, where a server would keep it back.

use datafusion::common::DataFusionError;
use datafusion::prelude::{DataFrame, SessionContext};

use crate::error::QueryError;
use crate::read::AsOf;
use crate::roles::fault::{self, Asked, Refusal};
use crate::roles::gate::{self, Wish};
use crate::roles::parse;
use crate::serve::STACK_BYTES;
use crate::statement;
use crate::store::Warehouse;

/// What a command answers.
const QUESTIONS: &str = "ask by SELECT, VALUES, TABLE, EXPLAIN or SHOW TABLES";

/// The frame of a question.
///
/// # Errors
/// What is wrong with it, or that the tables cannot be read.
pub(crate) async fn opened(warehouse: &Warehouse, sql: &str, at: &AsOf) -> Result<DataFrame, QueryError> {
    let session = warehouse.accounted_session(at).await.map_err(|error| of_tables(error, sql))?;
    let mut state = session.state();
    state.config_mut().options_mut().sql_parser.collect_spans = true;
    let ctx = SessionContext::new_with_state(state);
    statement::opened(&ctx, sql).await.map_err(|error| unopened(&error, sql).into())
}

/// What is wrong with a question whose rows were begun.
pub(crate) fn of_rows(sql: &str) -> impl Fn(DataFusionError) -> QueryError + Copy {
    move |error: DataFusionError| QueryError::from(told(&error, sql))
}

/// A version that is not kept, or never was, is a mistake of whoever names it; that a table cannot be read is none.
fn of_tables(error: QueryError, sql: &str) -> QueryError {
    match error {
        QueryError::Version { .. } | QueryError::NoVersion { .. } => fault::of_tables(&error, asked(sql)).into(),
        other => other,
    }
}

fn asked(sql: &str) -> Asked<'_> {
    Asked { sql, notes: true }
}

/// What the engine refused to plan. The servers read a text before the engine does, and some of it is not for the engine at all: so it is read as they read it,
/// with as much stack as they have.
fn unopened(error: &DataFusionError, sql: &str) -> Refusal {
    let read = std::thread::scope(|scope| {
        let reading = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || refused(sql));
        reading.ok().and_then(|reading| reading.join().ok()).flatten()
    });
    read.unwrap_or_else(|| told(error, sql))
}

/// The refusal of a text that is no question; `None` where it is one.
fn refused(sql: &str) -> Option<Refusal> {
    let hinted = |refusal: Refusal| if refusal.code == "25006" { refusal.with_hint(QUESTIONS) } else { refusal };
    let mut statements = match parse::statements(sql) {
        Ok(statements) => statements,
        Err(refusal) => return Some(hinted(refusal)),
    };
    if statements.len() != 1 {
        return None;
    }
    match gate::wish(statements.remove(0)) {
        Err(refusal) => Some(hinted(refusal)),
        Ok(Wish::Ask(_)) => None,
        Ok(Wish::Set { .. } | Wish::Reset(_) | Wish::Show(_)) => Some(
            Refusal::new("0A000", "a command has no session whose settings could be set or shown")
                .with_hint("say as of when is asked by --as-known-at INSTANT or --version VERSION"),
        ),
        Ok(_) => Some(Refusal::new("0A000", "a command answers one query").with_hint(QUESTIONS)),
    }
}

/// The engine's error as the servers tell it; where they would keep the system's words back, with them.
fn told(error: &DataFusionError, sql: &str) -> Refusal {
    let refusal = fault::refusal(error, asked(sql));
    match refusal.code {
        "53200" => refusal.with_hint("queries share warehouse.memory_limit_mb: raise it, or ask for fewer rows or groups at a time"),
        "58030" => refusal.with_hint(error.find_root().strip_backtrace()),
        _ => refusal,
    }
}

impl From<Refusal> for QueryError {
    fn from(refusal: Refusal) -> Self {
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let place = refusal.position.map(|place| format!(" at character {place}")).unwrap_or_default();
        let hint = refusal.hint.map(|hint| format!("\nHINT: {}", line(&hint))).unwrap_or_default();
        Self::Refused { code: refusal.code, told: format!("{}{place}: {}{hint}", refusal.code, line(&refusal.message)) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::store::tests::Ward;
    use crate::{Format, Heap};

    /// What whoever asks is told, from texts and from Parquet alike.
    async fn mistake(ward: &Ward, sql: &str, at: &AsOf) -> String {
        let text = ward.warehouse.query_text(sql, at, Format::Csv, Vec::new()).await.expect_err(sql).to_string();
        let parquet = ward.warehouse.query_parquet(sql, at, Vec::new()).await.expect_err(sql).to_string();
        assert_eq!(text, parquet, "{sql}");
        text
    }

    #[tokio::test]
    async fn mistakes_are_told_with_class_and_place() {
        let (ward, at) = (Ward::empty().await, AsOf::default());
        for (sql, wanted) in [
            ("SELECT x FROM labels", "ERROR 42703 at character 8: column \"x\" does not exist"),
            ("SELECT * FROM nowhere", "ERROR 42P01 at character 15: relation \"nowhere\" does not exist"),
            ("SELECT 1 / 0", "ERROR 22012 at character 12: division by zero"),
            ("SELECT v / (v - v) FROM (VALUES (1)) AS t(v)", "ERROR 22012: division by zero"),
            ("SELEC 1", "ERROR 42601 at character 1: syntax error"),
            ("DELETE FROM messages", "ERROR 25006: cannot execute DELETE in a read-only transaction\nHINT: "),
            ("REFRESH MATERIALIZED VIEW v", "ERROR 25006: cannot execute REFRESH in a read-only transaction\nHINT: ask by SELECT"),
            ("SHOW wardstream.as_known_at", "ERROR 0A000: a command has no session whose settings could be set or shown\nHINT: "),
            ("SET wardstream.as_known_at = '2024-01-31'", "ERROR 0A000: a command has no session"),
            ("BEGIN", "ERROR 0A000: a command answers one query"),
        ] {
            let told = mistake(&ward, sql, &at).await;
            let (sentence, _) = told.split_once("\nHINT: ").unwrap_or((&told, ""));
            assert!(told.starts_with(wanted) && !sentence.contains('\n'), "{sql}: {told}");
            for raw in ["datafusion", "during planning", "Error(\"", "Arrow error"] {
                assert!(!told.contains(raw), "{sql}: {told}");
            }
        }
        assert!(mistake(&ward, "SHOW wardstream.version", &at).await.contains("--as-known-at INSTANT or --version VERSION"));
    }

    #[tokio::test]
    async fn a_version_that_is_not_there_is_a_mistake() {
        let ward = Ward::empty().await;
        let told = mistake(&ward, "SELECT 1", &AsOf { version: Some(999), ..AsOf::default() }).await;
        assert!(told.starts_with("ERROR 22023: table messages has no version 999"), "{told}");
    }

    #[tokio::test]
    async fn what_may_be_shown_is_shown() {
        let ward = Ward::empty().await;
        let shown = ward.warehouse.query_text("SHOW TABLES", &AsOf::default(), Format::Csv, Vec::new()).await.expect("answers");
        assert!(String::from_utf8(shown).expect("is text").contains("wardstream,public,labels,"));
    }

    /// What the threads of questions are said to hold, in bytes.
    #[derive(Debug, Default)]
    struct Told(AtomicUsize);

    impl Heap for Told {
        fn count_this_thread(&self) {}

        fn held_bytes(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// A command's question would otherwise go on until the system has no memory left.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_question_that_holds_far_more_than_it_may_is_ended() {
        let (ward, at) = (Ward::empty().await, AsOf::default());
        let heap = Arc::new(Told::default());
        let _guard = ward.warehouse.guarded(Arc::clone(&heap) as Arc<dyn Heap>);
        let sql = "SELECT count(*) FROM range(1000000) AS a CROSS JOIN range(1000000) AS b WHERE a.value * b.value % 7 = 8";
        let growing = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            heap.0.store(1 << 40, Ordering::Relaxed);
        };
        let asked = ward.warehouse.query_text(sql, &at, Format::Csv, Vec::new());
        let (answered, ()) = tokio::join!(asked, growing);
        let told = answered.expect_err("is ended").to_string();
        assert!(told.starts_with("ERROR 53200: ") && told.contains("warehouse.memory_limit_mb"), "{told}");
    }
}
