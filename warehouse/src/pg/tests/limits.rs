//! Where statements, rows, connections and the server itself end; copies and cursors.

use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::NoTls;

use super::stand::{Stand, class, refused, rows, settings};
use crate::SqlSettings;

#[tokio::test]
async fn a_role_is_stopped_at_its_limits_and_the_connection_goes_on() {
    let mut stand = Stand::new().await;
    let (small, reader) = (stand.client("small").await, stand.client("reader").await);
    assert_eq!(refused(&small, "SELECT pg_sleep(20)").await.0, "57014");
    assert_eq!(refused(&small, "SELECT count(*) FROM generate_series(1, 3000000000) AS a (n) WHERE n % 7 = 3").await.0, "57014");
    assert_eq!(refused(&small, "SELECT * FROM generate_series(1, 6)").await.0, "54000");
    assert_eq!(rows(&small, "SELECT * FROM generate_series(1, 5)").await.len(), 5);
    let wide = "SELECT count(*) FROM (SELECT n, array_agg(n) FROM generate_series(1, 400000) AS a (n) GROUP BY n) AS b";
    let code = refused(&small, wide).await.0;
    assert!(code == "53200" || code == "57014", "{code}");
    for sql in [
        "SELECT repeat('x', 2000000000)",
        "SELECT length(repeat(repeat('x', 10000), 100000))",
        "SELECT lpad('x', 2000000000)",
        "SELECT range(0, 10000000000)",
        "SELECT array_repeat(1, 1000000000)",
        "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000))",
    ] {
        assert_eq!(refused(&reader, sql).await.0, "54000", "{sql}");
    }
    rows(&reader, "SET statement_timeout = '100ms'").await;
    assert_eq!(refused(&reader, "SELECT pg_sleep(20)").await.0, "57014");
    assert_eq!((rows(&small, "SELECT 1").await, rows(&reader, "SELECT 1").await), (vec!["1".to_owned()], vec!["1".to_owned()]));
}

#[tokio::test]
async fn whoever_holds_the_key_cancels_a_statement_while_it_gives_rows_too() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    for sql in ["SELECT pg_sleep(20)", "SELECT * FROM generate_series(1, 100000000)"] {
        let token = client.cancel_token();
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            token.cancel_query(NoTls).await.expect("is sent");
        };
        let asked = async {
            let rows = client.query_raw(sql, std::iter::empty::<&str>()).await;
            let mut rows = match rows {
                Ok(rows) => Box::pin(rows),
                Err(error) => return class(&error).0,
            };
            loop {
                match rows.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return class(&error).0,
                    None => return "ended".to_owned(),
                }
            }
        };
        let (code, ()) = tokio::join!(asked, cancel);
        assert_eq!(code, "57014", "{sql}");
    }
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let mut stand = Stand::new().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(stand.client("reader").await);
    }
    let error = stand.connect("reader", "open sesame").await.expect_err("there is no place");
    assert_eq!(class(&error).0, "53300");
    drop(clients);
    tokio::time::sleep(Duration::from_millis(200)).await;
    stand.client("reader").await;
}

/// Whoever opens connections and does not show who it is takes nobody's place.
#[tokio::test]
async fn strangers_keep_nobody_out() {
    let mut stand = Stand::new().await;
    let greeting = [b"\0\x03\0\0".as_slice(), b"user\0reader\0database\0wardstream\0\0"].concat();
    let length = u32::try_from(greeting.len() + 4).expect("is short").to_be_bytes();
    let mut strangers = Vec::new();
    for _ in 0..8 {
        let mut socket = tokio::net::TcpStream::connect(stand.address).await.expect("connects");
        socket.write_all(&[length.as_slice(), &greeting].concat()).await.expect("is sent");
        let mut first = [0; 1];
        socket.read_exact(&mut first).await.expect("is asked for its password");
        strangers.push(socket);
    }
    let client = stand.client("reader").await;
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

/// Few words that make a plan of millions of parts are refused before they are planned, also where they are only prepared.
#[tokio::test]
async fn what_grows_without_end_while_it_is_planned_is_refused() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let with: String =
        (1..=18).map(|number| format!(", c{number} AS (SELECT x FROM c{0} UNION ALL SELECT x FROM c{0})", number - 1)).collect();
    let grown = format!("WITH c0 AS (SELECT 1 AS x){with} SELECT count(*) FROM c18");
    let wide =
        |count: usize| format!("SELECT {}", (0..count).map(|number| format!("{number} AS a{number}")).collect::<Vec<_>>().join(", "));
    assert_eq!(refused(&client, &grown).await.0, "54001");
    assert_eq!(class(&client.prepare(&grown).await.expect_err("is not prepared")).0, "54001");
    assert_eq!(refused(&client, &wide(1_665)).await.0, "54011");
    assert_eq!(rows(&client, &wide(1_664)).await.len(), 1);
}

/// A cursor that stays open when its client goes holds neither the place nor the memory.
#[tokio::test]
async fn a_connection_that_ends_with_an_open_cursor_gives_its_place_back() {
    let mut stand = Stand::new().await;
    for _ in 0..6 {
        let client = stand.client("reader").await;
        rows(&client, "BEGIN; DECLARE c CURSOR FOR SELECT * FROM generate_series(1, 100000)").await;
        assert_eq!(rows(&client, "FETCH 1 FROM c").await, ["1"]);
        drop(client);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn the_server_stops_with_statements_that_run() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let stop = stand.stop.clone();
    let later = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.cancel();
    };
    let (asked, ()) = tokio::join!(client.simple_query("SELECT pg_sleep(600)"), later);
    assert_eq!(class(&asked.expect_err("is ended")).0, "57P01");
    drop(client);
    while stand.tasks.join_next().await.is_some() {}
}

#[tokio::test]
async fn rows_are_copied_and_cursors_go_on() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let copied = async |sql: &str| {
        let chunks = client.copy_out(sql).await.unwrap_or_else(|error| panic!("{sql}: {}", super::stand::said(&error)));
        let chunks: Vec<_> = Box::pin(chunks).collect().await;
        let bytes: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.expect("comes").to_vec()).collect();
        String::from_utf8(bytes).expect("a text")
    };
    let values = "(SELECT * FROM (VALUES (1, 'a,\"b'), (2, NULL)) AS t (n, word))";
    assert_eq!(copied(&format!("COPY {values} TO STDOUT")).await, "1\ta,\"b\n2\t\\N\n");
    assert_eq!(copied(&format!("COPY {values} TO STDOUT WITH (FORMAT csv, HEADER)")).await, "n,word\n1,\"a,\"\"b\"\n2,\n");
    assert_eq!(copied(&format!("COPY {values} TO STDOUT CSV HEADER FORCE QUOTE n")).await, "n,word\n\"1\",\"a,\"\"b\"\n\"2\",\n");
    assert_eq!(copied(&format!("COPY {values} TO STDOUT (FORMAT csv, FORCE_QUOTE (n))")).await.lines().next(), Some("\"1\",\"a,\"\"b\""));
    assert_eq!(refused(&client, &format!("COPY {values} TO STDOUT (FORMAT csv, FORCE_QUOTE (m))")).await.0, "42703");
    assert_eq!(copied(&format!("COPY {values} TO STDOUT (FORMAT csv, ESCAPE '\"')")).await.lines().next(), Some("1,\"a,\"\"b\""));
    assert_eq!(refused(&client, &format!("COPY {values} TO STDOUT (FORMAT csv, ESCAPE '\\')")).await.0, "0A000");
    assert_eq!(copied("COPY messages (topic, \"offset\") TO STDOUT").await.lines().count(), 2);
    assert_eq!(refused(&client, "COPY nothing TO STDOUT").await.0, "42P01");
    assert_eq!(refused(&client, "DECLARE c CURSOR FOR SELECT 1").await.0, "25P01");
    rows(&client, "BEGIN; DECLARE c CURSOR FOR SELECT * FROM generate_series(1, 10)").await;
    assert_eq!(rows(&client, "FETCH 3 FROM c").await, ["1", "2", "3"]);
    assert_eq!(rows(&client, "FETCH FORWARD 2 FROM c").await, ["4", "5"]);
    assert_eq!(rows(&client, "FETCH ALL FROM c").await.len(), 5);
    // Drivers read in parts until a part is empty.
    for beyond in ["FETCH 3 FROM c", "FETCH FORWARD 2 FROM c", "FETCH ALL FROM c"] {
        assert!(rows(&client, beyond).await.is_empty(), "{beyond}");
    }
    rows(&client, "COMMIT").await;
    assert_eq!(refused(&client, "FETCH 1 FROM c").await.0, "34000");
}

/// Fifty clients at once: nobody is refused, and nobody waits while others are answered again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_at_once_are_all_answered_and_in_turn() {
    const CLIENTS: usize = 50;
    let mut stand = Stand::of(SqlSettings { connections: CLIENTS, statements: 4, ..settings() }).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(stand.client("reader").await);
    }
    rows(clients.first().expect("one of fifty"), "SELECT count(*) FROM labels").await;
    let until = tokio::time::Instant::now() + Duration::from_secs(3);
    let mut asking = tokio::task::JoinSet::new();
    for client in clients {
        asking.spawn(async move {
            let mut answered = 0_usize;
            while tokio::time::Instant::now() < until {
                assert_eq!(rows(&client, "SELECT count(*) FROM notes AS a JOIN messages AS b ON a.known_at >= b.known_at").await, ["3"]);
                answered += 1;
            }
            answered
        });
    }
    let answered = asking.join_all().await;
    let (least, most) = (answered.iter().min().copied().unwrap_or(0), answered.iter().max().copied().unwrap_or(0));
    assert!(least > 0 && most <= 2 * least + 2, "between {least} and {most} answers a client");
}
