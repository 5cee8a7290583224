//! As of when a session asks.

use super::stand::{Stand, refused, rows};

const COUNTS: &str = "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM encounters), (SELECT count(*) FROM notes), (SELECT count(*) FROM event_rows)";

#[tokio::test]
async fn every_relation_is_as_it_was_known_then() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    assert_eq!(rows(&client, COUNTS).await, ["2|2|2|2"]);
    for (at, counts) in [("2024-01-01 08:00:00", "1|1|1|1"), ("2024-01-01T07:59:59Z", "0|0|0|0"), ("2024-01-02 09:00:00+01", "2|2|2|2")] {
        rows(&client, &format!("SET wardstream.as_known_at = '{at}'")).await;
        assert_eq!(rows(&client, COUNTS).await, [counts], "{at}");
    }
    rows(&client, "SET wardstream.as_known_at TO '2024-01-01 08:00'").await;
    for (at, count) in [("2024-01-09", "1"), ("2024-01-01", "0")] {
        let then = format!("SELECT count(*) FROM messages_at('{at}')");
        assert_eq!(rows(&client, &then).await, [count], "a function sees no further than its session");
    }
    assert_eq!(rows(&client, "SHOW wardstream.as_known_at").await, ["2024-01-01T08:00:00Z"]);
    assert_eq!(rows(&client, "SELECT current_setting('wardstream.as_known_at')").await, ["2024-01-01T08:00:00Z"]);
    stand.append(2).await;
    assert_eq!(rows(&client, COUNTS).await, ["1|1|1|1"], "what comes later changes nothing of it");
    rows(&client, "RESET wardstream.as_known_at").await;
    assert_eq!(rows(&client, COUNTS).await, ["3|3|3|3"]);
    assert_eq!(refused(&client, "SET wardstream.as_known_at = 'soon'").await.0, "22007");
    rows(&client, "SET wardstream.version = 1").await;
    assert_eq!(rows(&client, "SELECT count(*) FROM messages").await, ["1"]);
    rows(&client, "SET wardstream.version = 99").await;
    assert_eq!(refused(&client, "SELECT count(*) FROM messages").await.0, "22023");
    rows(&client, "RESET ALL").await;
    assert_eq!(rows(&client, COUNTS).await, ["3|3|3|3"]);
}

#[tokio::test]
async fn a_statement_sees_what_is_committed_and_a_transaction_keeps_its_moment() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let prepared = client.prepare("SELECT count(*) FROM messages WHERE known_at > $1").await.expect("prepares");
    let count = async || {
        let since = std::time::SystemTime::UNIX_EPOCH;
        client.query_one(&prepared, &[&since]).await.expect("answers").get::<_, i64>(0)
    };
    assert_eq!(count().await, 2);
    stand.append(2).await;
    assert_eq!((count().await, rows(&client, COUNTS).await), (3, vec!["3|3|3|3".to_owned()]));
    rows(&client, "BEGIN").await;
    assert_eq!(rows(&client, COUNTS).await, ["3|3|3|3"]);
    stand.append(3).await;
    assert_eq!((count().await, rows(&client, COUNTS).await), (3, vec!["3|3|3|3".to_owned()]));
    rows(&client, "COMMIT").await;
    assert_eq!((count().await, rows(&client, COUNTS).await), (4, vec!["4|4|4|4".to_owned()]));
    rows(&client, "BEGIN; SET LOCAL wardstream.as_known_at = '2024-01-01 08:00'").await;
    assert_eq!(rows(&client, COUNTS).await, ["1|1|1|1"]);
    assert_eq!(refused(&client, "SELECT nothing").await.0, "42703");
    assert_eq!(refused(&client, "SELECT 1").await.0, "25P02");
    rows(&client, "ROLLBACK").await;
    assert_eq!(rows(&client, COUNTS).await, ["4|4|4|4"]);
}
