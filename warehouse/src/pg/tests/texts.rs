//! What people wrote, and who sees it.

use super::stand::{PLANTED, Stand, refused, rows};

/// What people wrote is nowhere in what a role without notes can select, and everywhere else in what others can.
#[tokio::test]
async fn planted_words_are_in_nothing_that_a_role_without_notes_can_select() {
    let mut stand = Stand::new().await;
    let (reader, nurse) = (stand.client("reader").await, stand.client("nurse").await);
    // The registry holds nothing of any note, and none is here.
    let named = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' \
                 AND table_name NOT IN ('models', 'model_history', 'exports', 'erasures') ORDER BY 1";
    let relations = rows(&nurse, named).await;
    assert!(relations.len() > 35, "{relations:?}");
    assert_eq!(relations, rows(&reader, named).await);
    let mut seen = [false; PLANTED.len()];
    for relation in &relations {
        let sql = format!("SELECT * FROM \"{relation}\"");
        let shown = rows(&reader, &sql).await.join("\n");
        let all = rows(&nurse, &sql).await.join("\n");
        for (word, seen) in PLANTED.iter().zip(&mut seen) {
            let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(!shown.contains(word) && !shown.contains(&hex), "{word} is in {relation}");
            *seen |= all.contains(word) || all.contains(&hex);
        }
    }
    assert_eq!(seen, [true; PLANTED.len()], "a role with notes sees them");
}

#[tokio::test]
async fn naming_what_is_hidden_is_refused() {
    let mut stand = Stand::new().await;
    let reader = stand.client("reader").await;
    for sql in [
        "SELECT text FROM notes",
        "SELECT n.text FROM notes AS n",
        "SELECT 1 FROM note_rows WHERE text LIKE '%a%'",
        "SELECT length(text) FROM standing_notes",
        "SELECT payload FROM messages",
        "SELECT count(*) FROM message_rows GROUP BY key",
        "SELECT * FROM messages ORDER BY headers",
        "WITH n AS (SELECT text FROM notes) SELECT * FROM n",
        "SELECT (SELECT max(text) FROM notes)",
        "EXPLAIN SELECT text FROM notes",
    ] {
        assert_eq!(refused(&reader, sql).await.0, "42501", "{sql}");
    }
    let columns =
        "SELECT count(*) FROM information_schema.columns WHERE column_name IN ('text', 'payload', 'headers') AND table_schema = 'public'";
    assert_eq!(rows(&reader, columns).await, ["0"]);
    let attributes = "SELECT count(*) FROM pg_catalog.pg_attribute WHERE attname IN ('text', 'payload', 'headers')";
    assert_eq!(rows(&reader, attributes).await, ["0"]);
}
