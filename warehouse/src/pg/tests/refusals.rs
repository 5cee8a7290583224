//! Wrong, writing and curious statements, and who is not let in.

use super::stand::{Stand, refused, rows};

/// Wrong questions, their class, and the place that is looked for.
const WRONG: &[(&str, &str, Option<u32>)] = &[
    ("SELEC 1", "42601", Some(1)),
    ("SELECT 1 +", "42601", Some(11)),
    ("SELECT nothing FROM labels", "42703", Some(8)),
    ("SELECT l.nothing FROM labels AS l", "42703", Some(8)),
    ("SELECT * FROM nothing", "42P01", Some(15)),
    ("SELECT * FROM other.nothing", "42P01", Some(15)),
    ("SELECT nothing(1)", "42883", Some(8)),
    ("SELECT * FROM nothing(1)", "42883", Some(15)),
    ("SELECT abs('x', 2)", "42883", Some(8)),
    ("SELECT CAST('12x' AS INT)", "22P02", Some(13)),
    ("SELECT '12x'::int", "22P02", Some(8)),
    ("SELECT 'x'::timestamp", "22007", Some(8)),
    ("SELECT '99999999999'::int", "22003", Some(8)),
    ("SELECT 2147483648::int", "22003", None),
    ("SELECT 9223372036854775807 + 1", "22003", None),
    ("SELECT 1.0 / 0", "22012", None),
    ("SELECT ln(0)", "2201E", None),
    ("SELECT sqrt(-1)", "2201F", None),
    ("SELECT '2024-02-30'::date", "22008", Some(8)),
    ("SELECT '2024-01-31 25:00'::timestamp", "22008", Some(8)),
    ("SELECT 'nonsense'::interval", "22007", Some(8)),
    ("SELECT date_trunc('nonsense', now())", "22023", None),
    ("SELECT to_date('2024-13-01', 'YYYY-MM-DD')", "22008", None),
    ("SELECT to_timestamp('March', 'YYYY')", "22007", None),
    ("SELECT to_date('2024 UTC', 'YYYY TZ')", "0A000", None),
    ("SELECT NOT 1", "42804", None),
    ("SELECT 1 WHERE 1", "42804", Some(16)),
    ("SELECT a FROM (VALUES (1)) AS t(a) ORDER BY 2", "42P10", Some(45)),
    ("SELECT a FROM (VALUES (1)) AS t(a) OFFSET -1", "2201X", None),
    ("SELECT u.a FROM (VALUES (1)) AS t(a)", "42P01", Some(8)),
    ("SELECT count(*) FROM labels WHERE count(*) > 0", "42803", Some(35)),
    ("SELECT task FROM labels WHERE row_number() OVER () = 1", "42P20", Some(31)),
    ("SELECT (SELECT 1, 2)", "42601", Some(8)),
    ("SELECT json_build_object('a', 1)", "42883", Some(8)),
    ("SET timezone = 'Nowhere/Land'", "22023", None),
    ("SELECT 1 / 0", "22012", Some(12)),
    ("SELECT label / 0 FROM (VALUES (1)) AS t (label)", "22012", Some(16)),
    ("SELECT task, count(*) FROM labels", "42803", Some(8)),
    ("SELECT topic FROM messages AS a JOIN messages AS b ON a.topic = b.topic", "42702", Some(8)),
    ("SELECT true + 1", "42883", Some(13)),
    ("SELECT * FROM labels LIMIT -1", "2201W", None),
    ("SELECT (SELECT topic FROM messages)", "21000", None),
    ("SELECT 1 UNION SELECT 1, 2", "42601", Some(23)),
    ("SELECT $1", "42P02", Some(8)),
    ("SELECT regexp_like('a', '(')", "2201B", None),
    ("SELECT 1::nothing", "42704", Some(11)),
    ("SHOW nothing", "42704", None),
    // Conditions that are computed while files are read.
    ("SELECT count(*) FROM messages WHERE topic::int > 3", "22P02", None),
    ("SELECT count(*) FROM messages WHERE topic::timestamp > now()", "22007", None),
    ("SELECT count(*) FROM message_rows WHERE 10 / (\"offset\" - \"offset\") = 1", "22012", None),
    ("SELECT count(*) FROM message_rows WHERE \"offset\" + 9223372036854775807 > 0", "22003", None),
    ("SELECT auroc(label) FROM judged", "42883", Some(8)),
    ("SELECT sum(task) FROM labels", "42883", Some(8)),
    ("SELECT -task FROM labels", "42883", Some(8)),
    ("SELECT task.x FROM labels", "42P01", None),
    ("SELECT * labels", "42601", Some(8)),
    ("SELECT 1 FROM labels AS l, labels AS l", "42712", None),
    ("SELECT labels.* FROM labels AS l", "42P01", Some(8)),
    ("WITH a AS (SELECT 1), a AS (SELECT 2) SELECT * FROM a", "42712", Some(23)),
    ("SELECT topic FROM messages GROUP BY 3", "42P10", Some(37)),
    ("SELECT * FROM labels_at('x')", "22007", None),
    ("SELECT * FROM labels_at('2024-02-30')", "22008", None),
    ("SELECT psi(label, label = 1, 1) FROM labels", "22023", None),
    ("SELECT auroc_ci(label, label, 1, 2) FROM labels", "22023", None),
    ("SELECT auroc('a', .5)", "42883", None),
    ("SELECT brier(label, task) FROM labels", "42883", None),
    ("SELECT sensitivity_at(label, label, task) FROM labels", "42883", None),
    ("SELECT ks(task, true) FROM labels", "42883", None),
    ("SELECT js(label, label) FROM labels", "42883", None),
    ("SELECT string_agg(DISTINCT task, ',' ORDER BY label) FROM labels", "42P10", None),
    ("SELECT array_agg(b) FROM (SELECT ARRAY[1] AS b) AS x", "0A000", None),
    ("SELECT array_agg(DISTINCT b) FROM (SELECT ARRAY[1] AS b) AS x", "0A000", None),
];

/// Wrong questions get PostgreSQL's classes, and a place where there is one.
#[tokio::test]
async fn wrong_questions_get_postgresqls_classes_and_a_place() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let mut wrong = Vec::new();
    for (sql, code, place) in WRONG {
        let found = refused(&client, sql).await;
        if found.0 != *code || (place.is_some() && found.1 != *place) {
            let said = client.simple_query(sql).await.err().map(|error| super::stand::said(&error));
            wrong.push(format!("{sql}: {found:?}, not {code} {place:?}: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(rows(&client, "SELECT 1").await, ["1"], "the connection goes on");
}

/// Mistakes as analysts make them, with the class and the place of PostgreSQL 15.
const MISTAKES: &[(&str, &str, Option<u32>)] = &[
    ("SELECT * FROM otherdb.public.labels", "0A000", Some(15)),
    ("SELECT label AS y FROM labels WHERE y = 1", "42703", Some(37)),
    ("SELECT task FROM labels WHERE task = \"readmission\"", "42703", Some(38)),
    ("WITH r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT * FROM r", "42P01", Some(54)),
    ("SELECT sum() FROM labels", "42883", Some(8)),
    ("SELECT count(DISTINCT task, label) FROM labels", "42883", Some(8)),
    ("SELECT lag(label) FROM labels", "42809", Some(8)),
    ("SELECT sum(row_number() OVER ()) FROM labels", "42803", Some(12)),
    ("SELECT task FROM labels GROUP BY task HAVING row_number() OVER () = 1", "42P20", Some(46)),
    ("SELECT e.class FROM encounters e JOIN labels l ON max(l.label) = 1", "42803", Some(51)),
    ("SELECT task, count(*) FROM labels GROUP BY 2", "42803", Some(14)),
    ("SELECT task, count(*) AS n FROM labels GROUP BY task HAVING n > 3", "42703", Some(61)),
    ("SELECT l.* FROM labels l GROUP BY l.task", "42803", Some(8)),
    ("SELECT DISTINCT task FROM labels ORDER BY label", "42P10", Some(43)),
    ("SELECT row_number() OVER w FROM labels", "42704", Some(26)),
    ("SELECT sum(label) OVER (ORDER BY label ROWS BETWEEN -1 PRECEDING AND CURRENT ROW) FROM labels", "22013", Some(53)),
    ("SELECT task + 1 FROM labels", "42883", Some(13)),
    ("SELECT * FROM encounters WHERE admitted_at > 5", "42883", Some(44)),
    ("SELECT * FROM labels WHERE label = 1 AND label = true", "42883", Some(48)),
    ("SELECT * FROM labels WHERE label AND task = 'x'", "42804", Some(28)),
    ("SELECT * FROM labels WHERE label = task", "42883", Some(34)),
    ("SELECT * FROM labels WHERE encounter_id = 'x' AND task > 1.5", "42883", Some(56)),
    ("SELECT * FROM encounters WHERE admitted_at > facility", "42883", Some(44)),
    ("SELECT * FROM labels_at('2024-01-01') AS l WHERE l.task = 1", "42883", Some(57)),
    ("SELECT label IN (SELECT task FROM labels) FROM labels", "42883", Some(14)),
    ("SELECT label || label FROM labels", "42883", Some(14)),
    ("SELECT length(label) FROM labels", "42883", Some(8)),
    ("SELECT string_agg(label, ',') FROM labels", "42883", Some(8)),
    ("SELECT CASE WHEN label THEN 1 ELSE 0 END FROM labels", "42804", Some(18)),
    ("SELECT CASE WHEN label = 1 THEN task ELSE 0 END FROM labels", "42804", Some(33)),
    ("SELECT CASE WHEN label = 1 THEN 1 ELSE 'none' END FROM labels", "22P02", Some(40)),
    ("SELECT coalesce(label, task) FROM labels", "42804", Some(24)),
    ("SELECT task FROM labels EXCEPT SELECT label FROM labels", "42804", Some(39)),
    ("SELECT 1 UNION SELECT 'x'", "22P02", Some(23)),
    ("SELECT label::date FROM labels", "42846", Some(13)),
    ("SELECT '{bad'::json", "22P02", Some(8)),
    ("SELECT '1e999'::float8", "22003", Some(8)),
    ("SELECT TOP 10 task FROM labels", "42601", Some(12)),
    ("SELECT noschema.lower(task) FROM labels", "3F000", Some(8)),
    ("SELECT sum(label) OVER (ORDER BY task RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM labels", "0A000", Some(53)),
    ("SELECT admitted_at::int FROM encounters", "42846", Some(19)),
    ("SELECT * FROM labels WHERE label LIKE '1%'", "42883", Some(34)),
    ("SELECT admitted_at - 'x' FROM encounters", "22007", Some(22)),
    ("SELECT true::date", "42846", Some(12)),
    ("SELECT label[1] FROM labels", "42804", Some(8)),
    ("SELECT 1 = ANY(label) FROM labels", "42809", Some(10)),
    ("SELECT * FROM labels WHERE (task, label) = (1, 2, 3)", "42601", Some(42)),
    ("SELECT * FROM labels WHERE label IN (SELECT label, task FROM labels)", "42601", Some(34)),
    ("SELECT * FROM (VALUES (1), (2, 3)) AS v", "42601", Some(29)),
    ("SELECT *", "42601", Some(8)),
    ("SELECT task FROM labels LIMIT 'ten'", "22P02", Some(31)),
    ("SELECT task FROM labels LIMIT label", "42P10", Some(31)),
    ("SELECT task FROM labels ORDER BY 0", "42P10", Some(34)),
    ("SELECT label FROM labels UNION ALL SELECT admitted_at FROM encounters", "42804", Some(43)),
    ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT max(n) FROM r) SELECT * FROM r", "42P19", Some(53)),
    ("SELECT task, FROM labels", "42601", Some(14)),
    ("SELECT task FROM labels GROUP task", "42601", Some(31)),
    ("SELECT task FROM (SELECT task FROM labels", "42601", Some(42)),
    ("SELECT task FROM labels JOIN encounters", "42601", Some(40)),
    ("SELECT 12abc", "42601", Some(8)),
    ("SELECT :x", "42601", Some(8)),
    ("COPY (SELECT 1) TO STDOUT (DELIMITER 'ab')", "0A000", None),
    ("SELECT timestamptz '2024-01-01 00:00 Mars/Base'", "22023", Some(20)),
    ("SELECT interval '99999999999 days'", "22015", Some(17)),
    ("SELECT make_date(2024, 13, 1)", "22008", None),
    ("SELECT decode('00', 'nohex')", "22023", None),
    ("SELECT width_bucket(5, 1, 10, 0)", "2201G", None),
    ("SELECT generate_series(1, 10, 0)", "22023", None),
    // Of a zero that is not written out no place is told.
    ("SELECT a / (a - 1) FROM (VALUES (1, 0.0)) AS t (a, b)", "22012", None),
];

/// The class and the place that PostgreSQL 15 gives, of mistakes as analysts make them.
#[tokio::test]
async fn mistakes_have_the_class_and_the_place_of_postgresql() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let mut wrong = Vec::new();
    for (sql, code, place) in MISTAKES {
        let found = refused(&client, sql).await;
        if found.0 != *code || (place.is_some() || code.starts_with("22")) && found.1 != *place {
            wrong.push(format!("{sql}: {found:?}, not {code} {place:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Nobody who mistakes a function is told of a mistake in the engine.
#[tokio::test]
async fn a_function_that_does_not_fit_is_named_with_its_types() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let said = client.simple_query("SELECT auroc(label) FROM judged").await.err().map(|error| super::stand::said(&error));
    assert!(said.as_ref().is_some_and(|said| said.contains("auroc(Int32)") && !said.contains("bug")), "{said:?}");
}

/// Nothing writes, nothing reads a file, whatever the trick.
#[tokio::test]
async fn nothing_writes_and_nothing_reads_a_file() {
    let mut stand = Stand::new().await;
    let client = stand.client("nurse").await;
    let mut wrong = Vec::new();
    for (sql, code) in [
        ("INSERT INTO labels VALUES (1)", "25006"),
        ("CREATE TABLE t (a INT)", "25006"),
        ("SELECT 1 INTO t", "25006"),
        ("EXPLAIN ANALYZE INSERT INTO labels VALUES (1)", "25006"),
        ("CREATE EXTERNAL TABLE t (a INT) STORED AS CSV LOCATION '/etc/passwd'", "42601"),
        ("COPY labels TO '/tmp/x'", "42501"),
        ("COPY labels FROM '/etc/passwd'", "42501"),
        ("SET datafusion.catalog.location = '/'", "42704"),
        ("SET datafusion.runtime.memory_limit = '100G'", "42704"),
        ("SELECT set_config('datafusion.catalog.location', '/', false)", "0A000"),
        ("SELECT * FROM '/etc/passwd'", "42P01"),
        ("SELECT * FROM \"/etc/passwd\"", "42P01"),
        ("SELECT * FROM 'x.parquet'", "42P01"),
        ("SELECT * FROM 'file:///etc/passwd'", "42P01"),
        ("SELECT * FROM read_csv('/etc/passwd')", "42883"),
        ("SELECT * FROM read_parquet('/x')", "42883"),
        ("SELECT * FROM parquet_metadata('/x')", "42883"),
        ("SELECT pg_read_file('/etc/passwd')", "42883"),
        ("SELECT lo_import('/etc/passwd')", "42883"),
        ("PREPARE p AS INSERT INTO labels VALUES (1)", "25006"),
        ("EXECUTE nothing", "26000"),
        ("LOAD '/x'", "25006"),
    ] {
        let found = refused(&client, sql).await.0;
        if found != code && !(sql.starts_with("LOAD") || sql.contains("FROM '")) {
            wrong.push(format!("{sql}: {found}, not {code}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(client.prepare("INSERT INTO labels VALUES (1)").await.is_err());
    assert!(client.prepare("COPY (SELECT 1) TO '/tmp/x'").await.is_err());
}

/// Whoever has not shown who it is asks nothing.
#[tokio::test]
async fn nobody_is_let_in_without_the_password() {
    let mut stand = Stand::new().await;
    for (user, password) in [("reader", "wrong"), ("nobody", "open sesame"), ("reader", "")] {
        let error = stand.connect(user, password).await.expect_err("must be refused");
        let code = error.as_db_error().map(|error| error.code().code().to_owned());
        assert!(code.as_deref() == Some("28P01") || password.is_empty(), "{user}: {error:?}");
    }
}

/// What is chained as far as it may be is answered or refused; the server goes on.
#[test]
fn long_chains_do_not_end_the_server() {
    // The stack of the server's own threads.
    let test = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().thread_stack_size(crate::serve::STACK_BYTES).build().expect("a runtime").block_on(long_chains());
    };
    let thread = std::thread::Builder::new().stack_size(crate::serve::STACK_BYTES).spawn(test);
    thread.expect("a thread").join().expect("holds");
}

async fn long_chains() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    for sql in [
        format!("SELECT {}1", "1+".repeat(3_900)),
        format!("SELECT 1 WHERE {}true", "1=1 AND ".repeat(1_900)),
        format!("SELECT {}1", "- ".repeat(3_900)),
        format!("SELECT {}true", "NOT ".repeat(3_900)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(300)),
        format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT {}1{}", "abs(".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT {}1{}", "(SELECT ".repeat(2_000), ")".repeat(2_000)),
        format!("SELECT {}", vec!["1 AS c"; 5_000].join(",")),
    ] {
        let _answered_or_refused = client.simple_query(&sql).await;
        assert_eq!(rows(&client, "SELECT 1").await, ["1"], "after {}", sql.chars().take(40).collect::<String>());
    }
}
