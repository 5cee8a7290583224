//! What drivers and tools ask for beside the catalogue's own questions.

use super::stand::{Stand, refused, rows};

/// Drivers send a list as one parameter, and name its type or not.
#[tokio::test]
async fn a_list_as_a_parameter_is_looked_into() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let list = vec!["north", "ward"];
    for sql in ["SELECT count(*) FROM messages WHERE facility = ANY($1)", "SELECT count(*) FROM messages WHERE facility = ANY($1::text[])"]
    {
        let prepared = client.prepare(sql).await.expect("prepares");
        assert_eq!(prepared.params(), [tokio_postgres::types::Type::TEXT_ARRAY], "{sql}");
        let row = client.query_one(&prepared, &[&list]).await.expect("answers");
        assert_eq!(row.get::<_, i64>(0), 2, "{sql}");
        let none = client.query_one(&prepared, &[&vec!["south"]]).await.expect("answers");
        assert_eq!(none.get::<_, i64>(0), 0, "{sql}");
    }
}

#[tokio::test]
async fn limits_and_casts_say_the_types_of_their_parameters() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let limited =
        client.query("SELECT topic FROM messages ORDER BY \"offset\" LIMIT $1 OFFSET $2", &[&1_i64, &1_i64]).await.expect("answers");
    assert_eq!(limited.len(), 1);
    let cast = client.query_one("SELECT $1::int + 1 AS next, $2::bool AS yes", &[&41_i32, &true]).await.expect("answers");
    assert!(cast.get::<_, bool>("yes"));
}

#[tokio::test]
async fn columns_without_a_name_are_called_as_postgresql_calls_them() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let named = |rows: &[tokio_postgres::Row]| rows[0].columns().iter().map(|column| column.name().to_owned()).collect::<Vec<_>>();
    let asked = client.query("SELECT count(*), max(\"offset\"), 1 FROM messages", &[]).await.expect("answers");
    assert_eq!(named(&asked), ["count", "max", "?column?"]);
    let asked = client.query("SELECT (SELECT max(\"offset\") FROM messages), (SELECT 1), 1 AS max", &[]).await.expect("answers");
    assert_eq!(named(&asked), ["max", "?column?", "max"]);
    rows(&client, "BEGIN; DECLARE c CURSOR FOR SELECT count(*) FROM messages").await;
    assert_eq!(named(&client.query("FETCH ALL FROM c", &[]).await.expect("answers")), ["count"]);
}

#[tokio::test]
async fn now_is_when_the_statement_came() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let now = "SELECT extract(epoch FROM now()) AS at";
    let read = |told: Vec<String>| told.join("").parse::<f64>().expect("a number");
    let first = read(rows(&client, now).await);
    rows(&client, "SELECT pg_sleep(0.2)").await;
    let second = read(rows(&client, now).await);
    assert!(second - first > 0.15, "{first} {second}");
    assert!(rows(&client, "SELECT now()").await.join("").ends_with("+00"), "an instant is written with its offset");
}

#[tokio::test]
async fn columns_are_described_in_postgresql_s_names() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let asked = "SELECT column_name, ordinal_position, data_type, udt_name FROM information_schema.columns WHERE table_name = 'labels' AND ordinal_position <= 1";
    assert_eq!(rows(&client, asked).await, ["task|1|text|text"]);
    let odd = "SELECT DISTINCT data_type FROM information_schema.columns WHERE data_type LIKE '%(%' OR data_type LIKE '%View' OR data_type LIKE 'Int%'";
    assert_eq!(rows(&client, odd).await, Vec::<String>::new());
    let keys = "SELECT k.column_name FROM information_schema.table_constraints AS t JOIN information_schema.key_column_usage AS k ON k.constraint_name = t.constraint_name";
    assert_eq!(rows(&client, keys).await, Vec::<String>::new());
    assert_eq!(rows(&client, "SELECT format('%I.%I %L %s%%', 'a', 'B c', 'it''s', 5)").await, ["a.\"B c\" 'it''s' 5%"]);
}

/// asyncpg turns the compiler off before it asks for types: that it is off already is no change.
#[tokio::test]
async fn a_setting_that_is_so_already_may_be_set_in_a_query() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let asked = "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new";
    assert_eq!(rows(&client, asked).await, ["off|off"]);
    assert_eq!(refused(&client, "SELECT set_config('jit', 'on', false)").await.0, "0A000");
}

#[tokio::test]
async fn ages_are_counted_in_years_and_transactions_have_none() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    assert_eq!(rows(&client, "SELECT max(age(datfrozenxid)) FROM pg_database").await, ["0"]);
    assert_eq!(rows(&client, "SELECT extract(year FROM age('2024-03-01', '1980-04-01'))").await, ["43"]);
}

/// As PostgreSQL 15 answers them, over constants and over what is stored.
#[tokio::test]
async fn spans_are_multiplied_compared_and_written_as_there() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    for (asked, answer) in [
        (
            "SELECT timestamp '2024-01-31 08:00' - 7 * interval '1 day' AS a, interval '1 month' * 1.5 AS b",
            "2024-01-24 08:00:00.000000|1 mon 15 days",
        ),
        ("SELECT n * interval '1 hour' FROM (VALUES (36)) AS t(n)", "36:00:00"),
        ("SELECT date '2024-03-01' - make_interval(days => 1, hours => 6)", "2024-02-28 18:00:00.000000"),
        (
            "SELECT d, d > interval '30 days', d / 2, d::text FROM (SELECT timestamp '2024-03-01 12:00' - timestamp '2024-01-31' AS d) AS x",
            "30 days 12:00:00|t|15 days 06:00:00|30 days 12:00:00",
        ),
        (
            "SELECT extract(hour FROM b - a), extract(epoch FROM b - a) / 3600, extract(second FROM b) FROM (VALUES (timestamp '2024-01-01', timestamp '2024-01-02 03:00:07.5')) AS t(a, b)",
            "3|27.002083333333335|7.5",
        ),
        ("SELECT count(*) FROM messages WHERE known_at - interval '1 day' * 2 < known_at AND now() - known_at > interval '1 day'", "2"),
    ] {
        assert_eq!(rows(&client, asked).await, [answer], "{asked}");
    }
    assert_eq!(refused(&client, "SELECT interval '1 day' / 0").await.0, "22012");
    assert_eq!(refused(&client, "SELECT interval '1 day' * 1e12").await.0, "22008");
    assert_eq!(refused(&client, "SELECT make_interval(fortnights => 1)").await.0, "42883");
}

#[tokio::test]
async fn the_user_has_several_names_in_one_row() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    assert_eq!(rows(&client, "SELECT current_user, session_user, current_user").await, ["reader|reader|reader"]);
}

/// A day of a place is a day of its clock; what the engine has under this name is an instant again.
#[tokio::test]
async fn a_clock_s_reading_and_its_instant() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let asked = "SELECT known_at AT TIME ZONE 'America/New_York', date_trunc('day', known_at AT TIME ZONE 'Asia/Tokyo'),
                     (known_at AT TIME ZONE 'Asia/Tokyo') AT TIME ZONE 'Asia/Tokyo' = known_at FROM messages ORDER BY known_at LIMIT 1";
    assert_eq!(rows(&client, asked).await, ["2024-01-01 03:00:00.000000|2024-01-01 00:00:00.000000|t"]);
    assert_eq!(rows(&client, "SELECT timezone('europe/berlin', timestamp '2024-07-01 12:00:00')").await, ["2024-07-01 10:00:00.000000+00"]);
    assert_eq!(rows(&client, "SELECT abs(extract(epoch FROM now()) - extract(epoch FROM localtimestamp)) < 0.01").await, ["t"]);
    assert_eq!(refused(&client, "SELECT now() AT TIME ZONE 'Mars/Olympus'").await.0, "22023");
}

#[tokio::test]
async fn parts_of_texts_by_a_pattern_and_functions_as_relations() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let asked = "SELECT substring('stay 1234, ward 7' FROM '[0-9]+'), substring('ward 7' FROM 'ward (.)'), substring('none' FROM '[0-9]'), substring('abcd' FROM 2 FOR 2)";
    assert_eq!(rows(&client, asked).await, ["1234|7|NULL|bc"]);
    assert_eq!(refused(&client, "SELECT substring('a' FROM '(')").await.0, "2201B");
    assert_eq!(rows(&client, "SELECT * FROM current_schema()").await, ["public"]);
    assert_eq!(
        rows(&client, "SELECT s.current_schema, v FROM current_schema() AS s, current_setting('jit') AS j(v)").await,
        ["public|off"]
    );
    let sizes =
        "SELECT pg_size_pretty(10239), pg_size_pretty(10240), pg_size_pretty(-1500000000000), pg_size_pretty(CAST(10485247 AS BIGINT))";
    assert_eq!(rows(&client, sizes).await, ["10239 bytes|10 kB|-1397 GB|10239 kB"]);
}

/// Wider than 96 bits, in which some keep a decimal; and an interval that is missing.
#[tokio::test]
async fn decimals_of_all_digits_and_nothing_arrive() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let asked = "SELECT 12345678901234567890::numeric(38,10), '-99999999999999999999999999999999999999'::numeric(38,0), NULL::interval, 0.5::numeric(3,2)";
    let told = "12345678901234567890.0000000000|-99999999999999999999999999999999999999|NULL|0.50";
    assert_eq!(rows(&client, asked).await, [told]);
    let binary = client.query_one(asked, &[]).await.expect("answers");
    assert_eq!(binary.len(), 4);
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

/// What a client is told of a column's type is what comes, in the binary format, too.
#[tokio::test]
async fn columns_have_the_types_that_they_are_said_to_have() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let number = client.query_one("SELECT CASE WHEN true THEN 1 ELSE 2.5 END AS n", &[]).await.expect("answers");
    assert!((number.get::<_, f64>("n") - 1.0).abs() < f64::EPSILON);
    let rows_of = client.query("SELECT 1 AS n UNION SELECT 2.5 ORDER BY 1", &[]).await.expect("answers");
    assert_eq!(rows_of.iter().map(|row| row.get::<_, f64>("n")).collect::<Vec<_>>(), [1.0, 2.5]);
    let parameter = client.query_one("SELECT CASE WHEN $1::bool THEN 1 ELSE 2.5 END AS n", &[&false]).await.expect("answers");
    assert!((parameter.get::<_, f64>("n") - 2.5).abs() < f64::EPSILON);
}

/// asyncpg reads the types of lists by a question whose own list it must know.
#[tokio::test]
async fn numbers_of_types_are_told_as_such() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let asked =
        client.prepare("SELECT array_agg(a.atttypid ORDER BY a.attnum) AS attrtypoids FROM pg_attribute AS a").await.expect("prepares");
    assert_eq!(asked.columns()[0].type_(), &tokio_postgres::types::Type::OID_ARRAY);
    assert!(!client.query_one(&asked, &[]).await.expect("answers").get::<_, Vec<u32>>(0).is_empty());
    // Its name is a text, as asyncpg reads it.
    let named = client
        .query("SELECT t.typelem, t.typelem::regtype::text AS name FROM pg_type AS t WHERE t.oid = 1022", &[])
        .await
        .expect("answers");
    let kinds: Vec<_> = named[0].columns().iter().map(|column| column.type_().clone()).collect();
    assert_eq!(kinds, [tokio_postgres::types::Type::OID, tokio_postgres::types::Type::TEXT]);
    assert_eq!((named[0].get::<_, u32>(0), named[0].get::<_, &str>(1)), (701, "701"));
}

#[tokio::test]
async fn a_column_and_its_casts_stand_beside_each_other() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let asked = client.query("SELECT \"offset\", \"offset\"::text, sum(\"offset\") AS s, count(*)::int, count(*)::text FROM messages GROUP BY 1 ORDER BY 1 LIMIT 1", &[]).await;
    let asked = asked.expect("answers");
    assert_eq!(asked[0].columns().iter().map(|column| column.name()).collect::<Vec<_>>(), ["offset", "offset", "s", "count", "count"]);
    assert_eq!(asked[0].get::<_, &str>(1), "0");
    assert_eq!(
        rows(&client, "SELECT to_char(known_at, 'YYYY-MM'), date_trunc('month', known_at)::date FROM messages ORDER BY known_at LIMIT 1")
            .await,
        ["2024-01|2024-01-01"]
    );
}

#[tokio::test]
async fn columns_of_one_name_are_called_so_and_mean_none() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    for sql in [
        "SELECT 1 AS a, 2 AS a",
        "SELECT * FROM (SELECT 1 AS a, 2 AS a) AS t",
        "WITH t AS (SELECT 1 AS a, 'b' AS a) TABLE t",
        "SELECT b AS a, a FROM (VALUES (1, 2)) AS t(a, b)",
    ] {
        let told = client.query(sql, &[]).await.expect(sql);
        assert_eq!(told[0].columns().iter().map(|column| column.name()).collect::<Vec<_>>(), ["a", "a"], "{sql}");
    }
    let counts = client.query("SELECT count(*), count(*), 1, 1 FROM messages", &[]).await.expect("answers");
    assert_eq!(counts[0].columns().iter().map(|column| column.name()).collect::<Vec<_>>(), ["count", "count", "?column?", "?column?"]);
    assert_eq!(refused(&client, "SELECT a FROM (SELECT 1 AS a, 2 AS a) AS t").await.0, "42703");
}

#[tokio::test]
async fn a_transaction_goes_on_from_its_savepoint() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    assert_eq!(refused(&client, "SAVEPOINT a").await.0, "25P01");
    rows(&client, "BEGIN; SAVEPOINT a; SET statement_timeout = '7s'").await;
    assert_eq!(refused(&client, "SELECT 1/0").await.0, "22012");
    assert_eq!(refused(&client, "SELECT 1").await.0, "25P02");
    rows(&client, "ROLLBACK TO SAVEPOINT a").await;
    assert_ne!(rows(&client, "SHOW statement_timeout").await, ["7s"]);
    assert_eq!(refused(&client, "ROLLBACK TO SAVEPOINT b").await.0, "3B001");
    rows(&client, "ROLLBACK TO a; RELEASE a; COMMIT").await;
}

/// As asyncpg asks how a statement writes its parameters, before it copies what a query gives.
#[tokio::test]
async fn parameters_are_written_as_a_statement_writes_them() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let parameter = |number: usize, kind: &str| format!("quote_literal(${number}::\"pg_catalog\".\"{kind}\"::text)");
    let asked = format!("SELECT {}, {}, {}", parameter(1, "int4"), parameter(2, "text"), parameter(3, "timestamptz"));
    let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_704_067_200);
    let row = client.query_one(&asked, &[&5_i32, &"O'Hara", &at]).await.expect("answers");
    let written: Vec<String> = (0..3).map(|column| row.get(column)).collect();
    assert_eq!(written[..2], ["'5'", "'O''Hara'"]);
    assert_eq!(rows(&client, &format!("SELECT timestamptz {} = timestamptz '2024-01-01 00:00:00Z'", written[2])).await, ["t"]);
}

/// Texts and lists that are made of little, however they are put together.
#[tokio::test]
async fn what_is_put_together_is_bounded() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    for sql in [
        "SELECT length(array_to_string(array_repeat('a', 10000), repeat('x', 60000)))",
        "SELECT array_length(flatten(array_repeat(range(0, 30000), 60)))",
        "SELECT repeat('x', 60000000) FROM messages",
        "SELECT count(*) FROM (SELECT unnest(range(0, 8000000)) FROM messages) AS u",
        "SELECT count(*) FROM (SELECT generate_series(known_at, now(), '1 second') FROM messages) AS u",
        "SELECT length(concat_ws(repeat('x', 200000), 'a', 'b', 'c')) FROM generate_series(1, 2000)",
    ] {
        assert_eq!(refused(&client, sql).await.0, "54000", "{sql}");
    }
    let doubled = (0..10).fold("SELECT repeat('x', 200000) AS x".to_owned(), |inner, _| format!("SELECT x || x AS x FROM ({inner}) AS t"));
    assert_eq!(refused(&client, &format!("SELECT length(x) FROM ({doubled}) AS t")).await.0, "54000");
    let again = |call: &dyn Fn(String) -> String, first: &str| (0..8).fold(first.to_owned(), |inner, _| call(inner));
    for grown in [
        again(&|inner| format!("encode({inner}, 'hex')"), "repeat('x', 200000)"),
        again(&|inner| format!("quote_ident({inner})"), "repeat('\"', 200000)"),
        again(&|inner| format!("quote_literal({inner})"), "repeat('''', 200000)"),
        again(&|inner| format!("overlay({inner} placing repeat('x', 100000) from 1 for 0)"), "repeat('x', 100000)"),
        again(&|inner| format!("format('%s%s', {inner}, repeat('x', 100000))"), "repeat('x', 100000)"),
    ] {
        assert_eq!(refused(&client, &format!("SELECT length({grown})")).await.0, "54000", "{grown}");
    }
    let flat = (0..10)
        .fold("SELECT range(0, 30000) AS x".to_owned(), |inner, _| format!("SELECT flatten(make_array(x, x)) AS x FROM ({inner}) AS t"));
    assert_eq!(refused(&client, &format!("SELECT array_length(x) FROM ({flat}) AS t")).await.0, "54000");
    let kept = "SELECT encode(x::bytea, 'hex'), overlay(x placing 'Y' from 1 for 1), format('%s-%s', x, x), quote_ident(x) FROM (VALUES ('ab')) AS t (x)";
    assert_eq!(rows(&client, kept).await, ["6162|Yb|ab-ab|ab"]);
    let asked = "SELECT 'a' || 'b', 'a' || NULL, topic || '/' || \"offset\", concat('a', NULL, 1), concat_ws('-', 'a', 'b'), array_to_string(ARRAY[1, 2], ',') FROM messages ORDER BY known_at LIMIT 1";
    assert_eq!(rows(&client, asked).await, ["ab|NULL|hl7.raw/0|a1|a-b|1,2"]);
    assert_eq!(rows(&client, "SELECT array_length(ARRAY[1] || ARRAY[2, 3])").await, ["3"]);
    assert_eq!(refused(&client, &format!("SELECT now(){}", " AT TIME ZONE 'utc'".repeat(200))).await.0, "54001");
}

/// Percentiles, patterns, periods and series, as PostgreSQL 15 answers them.
#[tokio::test]
async fn what_is_spelled_otherwise_is_answered_as_there() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let cases: [(&str, &[&str]); 9] = [
        (
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY a), percentile_disc(ARRAY[0, 1]) WITHIN GROUP (ORDER BY a DESC), percentile_cont(ARRAY[0.25, 0.5]) WITHIN GROUP (ORDER BY a) FROM (VALUES (1), (2), (NULL), (4), (9)) AS t(a)",
            &["2|{9,1}|{1.75,3.0}"],
        ),
        ("SELECT a FROM (VALUES ('Ab'), ('cd')) AS t(a) WHERE a ILIKE ANY (ARRAY['a%', 'x%']) AND a NOT LIKE ALL ('{c%,d%}')", &["Ab"]),
        (
            "SELECT (a, b) OVERLAPS (timestamp '2024-01-06', timestamp '2024-01-07'), (a, a) OVERLAPS (b, b) FROM (VALUES (timestamp '2024-01-05', timestamp '2024-01-09')) AS t(a, b)",
            &["t|f"],
        ),
        ("SELECT date_trunc('day', '2024-03-15 02:00:00+00'::timestamptz, 'America/New_York')", &["2024-03-14 04:00:00.000000+00"]),
        ("SELECT 1::float / 3, every(true), U&'\\0041'", &["0.3333333333333333|t|A"]),
        (
            "SELECT d::date FROM generate_series(date '2024-01-31' - interval '1 day', date '2024-01-31', '1 day') AS d",
            &["2024-01-30", "2024-01-31"],
        ),
        ("SELECT generate_series((SELECT date '2024-01-30'), date '2024-01-31', '1 day')::date", &["2024-01-30", "2024-01-31"]),
        (
            "SELECT t.a, d::date FROM (VALUES (1, date '2024-01-30', date '2024-01-31')) AS t(a, b, c), generate_series(t.b, t.c, interval '1 day') AS d ORDER BY 2",
            &["1|2024-01-30", "1|2024-01-31"],
        ),
        ("SELECT n FROM generate_series(1, (SELECT 2)) AS s(n)", &["1", "2"]),
    ];
    for (sql, answer) in cases {
        assert_eq!(rows(&client, sql).await, answer, "{sql}");
    }
}

/// What PostgreSQL answers to the same.
#[tokio::test]
async fn values_are_those_of_postgresql() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let t = "(VALUES (1), (2), (NULL)) AS t(a)";
    for (sql, answer) in [
        ("SELECT EXISTS (SELECT 1), NOT EXISTS (SELECT 1 WHERE false)", vec!["t,t"]),
        (&format!("SELECT EXISTS (SELECT * FROM {t} WHERE u.b = t.a) FROM (VALUES (1), (3)) AS u(b) ORDER BY u.b"), vec!["t", "f"]),
        (&format!("SELECT b IN (SELECT a FROM {t}), b NOT IN (SELECT 1) FROM (VALUES (1), (3)) AS u(b) ORDER BY b"), vec!["t,f", "NULL,t"]),
        (
            "SELECT NULL::int IN (SELECT 1 WHERE false), NULL::int IN (SELECT 1), 2 IN (SELECT 1), 2 > ANY (SELECT NULL::int)",
            vec!["f,NULL,f,NULL"],
        ),
        (
            "SELECT value, value IN (SELECT 2), value <> ALL (SELECT 1) FROM (VALUES (1), (2)) AS among(value) ORDER BY 1",
            vec!["1,f,f", "2,t,t"],
        ),
        ("SELECT 3 > ALL (SELECT 2), 3 > ANY (SELECT 4), 3 = SOME (SELECT 3), 1 <> ALL (SELECT 1 WHERE false)", vec!["t,f,t,t"]),
        (&format!("SELECT a FROM {t} WHERE a = ANY (SELECT 1) OR a > ALL (SELECT 1) ORDER BY a FETCH FIRST 2 ROWS ONLY"), vec!["1", "2"]),
        ("SELECT 2.5::int, a::int FROM (VALUES (2.5)) AS t(a)", vec!["3,2"]),
        ("SELECT mod(7, 3), 7.5 % 2, width_bucket(5, 0, 10, 5)", vec!["1,1.5,3"]),
        ("SELECT 'abcdef'::varchar(3), 'abc' SIMILAR TO 'a%', 'abc' NOT SIMILAR TO '_'", vec!["abc,t,t"]),
        ("SELECT x FROM generate_series(1, 2) AS x", vec!["1", "2"]),
        ("SELECT generate_series(1, 2)", vec!["1", "2"]),
        (
            "SELECT pg_typeof(a), pg_typeof(a::float8), pg_typeof(now()) FROM (VALUES ('1')) AS t(a)",
            vec!["text,double precision,timestamp with time zone"],
        ),
        ("SELECT x FROM unnest(ARRAY[3, 4]) AS x", vec!["3", "4"]),
        ("SELECT e, n FROM unnest(ARRAY['a', 'b']) WITH ORDINALITY AS t(e, n) ORDER BY n", vec!["a,1", "b,2"]),
        ("SELECT s, ordinality FROM generate_series(5, 1, -2) WITH ORDINALITY AS s ORDER BY 2", vec!["5,1", "3,2", "1,3"]),
        (
            "SELECT i, t.x, t.n FROM (VALUES (1, ARRAY[7, 8]), (2, ARRAY[9])) AS a(i, l), unnest(a.l) WITH ORDINALITY AS t(x, n) ORDER BY 1, 3",
            vec!["1,7,1", "1,8,2", "2,9,1"],
        ),
        ("SELECT * FROM (SELECT 1 AS a, 2 AS a) AS t", vec!["1,2"]),
        ("SELECT sum(v), sum(v::int), max(v::int) FROM (VALUES (1.4), (1.4)) AS t(v) HAVING sum(v::int) = 2", vec!["2.8,2,1"]),
        ("WITH t(a) AS (VALUES (1), (2)) TABLE t ORDER BY a DESC LIMIT 1", vec!["2"]),
        ("SELECT '\\x4142'::bytea = 'AB'::bytea", vec!["t"]),
        ("SELECT 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", vec!["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ] {
        let found = client.simple_query(sql).await.map(|messages| {
            let row = |message: &tokio_postgres::SimpleQueryMessage| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect::<Vec<_>>().join(","))
                }
                _ => None,
            };
            messages.iter().filter_map(row).collect::<Vec<_>>()
        });
        assert_eq!(found.expect(sql), answer, "{sql}");
    }
}

/// What the engine counts without a sign is a bigint, as drivers expect of row numbers.
#[tokio::test]
async fn row_numbers_are_whole_numbers() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let row = client.query_one("SELECT row_number() OVER (), array_length(ARRAY[1, 2], 1)", &[]).await.expect("answers");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 2));
}

/// A view as of an instant that a driver gives beside the statement.
#[tokio::test]
async fn a_parameter_may_say_as_of_when() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let sql = "SELECT count(*) FROM messages_at($2) WHERE topic <> $1";
    let statement = client.prepare(sql).await.expect(sql);
    assert_eq!(*statement.params().get(1).expect("two"), tokio_postgres::types::Type::TIMESTAMPTZ);
    let count = |at: i64| {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::try_from(at).expect("later than 1970"));
        let (client, statement) = (&client, &statement);
        async move { client.query_one(statement, &[&"none", &at]).await.expect(sql).get::<_, i64>(0) }
    };
    let all: i64 = client.query_one("SELECT count(*) FROM messages", &[]).await.expect("answers").get(0);
    assert_eq!((count(1).await, count(4_000_000_000).await), (0, all));
    assert!(all > 0);
    let missing = client.query_one(&statement, &[&"none", &None::<std::time::SystemTime>]).await.expect_err("must be refused");
    assert_eq!(missing.code().map(tokio_postgres::error::SqlState::code), Some("22004"));
}

#[tokio::test]
async fn statements_are_prepared_in_words() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    rows(&client, "PREPARE p (int, text) AS SELECT $1 + 1 AS a, $2 AS b WHERE $1 < 5").await;
    assert_eq!(rows(&client, "EXECUTE p (2, 'x')").await, ["3|x"]);
    assert_eq!(rows(&client, "EXECUTE P ('4', upper('y'))").await, ["5|Y"]);
    let told = client.query("EXECUTE p (2, 'x')", &[]).await.expect("answers");
    assert_eq!((told[0].columns()[1].name(), told[0].get::<_, &str>(1)), ("b", "x"));
    assert_eq!(refused(&client, "PREPARE p AS SELECT 1").await.0, "42P05");
    assert_eq!(refused(&client, "EXECUTE p (1)").await.0, "42601");
    rows(&client, "PREPARE q AS SELECT count(*) FROM messages_at($1)").await;
    assert_eq!(rows(&client, "EXECUTE q ('1970-01-01')").await, ["0"]);
    rows(&client, "PREPARE twice AS SELECT length($1) + length($1)").await;
    assert_eq!(refused(&client, &format!("EXECUTE twice ('{}')", "x".repeat(700_000))).await.0, "54000");
    rows(&client, "DEALLOCATE p").await;
    assert_eq!(refused(&client, "EXECUTE p (2, 'x')").await.0, "26000");
    rows(&client, "DEALLOCATE ALL; PREPARE q AS SELECT 1").await;
    // Types and values are spelled as in any statement; a value is no query.
    rows(&client, "PREPARE r (timestamp, uuid) AS SELECT date_part('minute', $1), $2").await;
    assert_eq!(rows(&client, "EXECUTE r ('2024-01-31 08:15', 'a-b')").await, ["15|a-b"]);
    assert_eq!(refused(&client, "EXECUTE r ('2024-01-31 08:15', (SELECT 'a-b'))").await.0, "0A000");
    rows(&client, "PREPARE beside AS SELECT a, $1 FROM (VALUES (1)) AS t(a)").await;
    assert_eq!(refused(&client, "EXECUTE beside (a)").await.0, "42703", "no column of the statement's");
    assert_eq!(rows(&client, "EXECUTE beside (current_user)").await, ["1|reader"]);
    // What is wrong whatever the values are is told at once, and keeps no name.
    assert_eq!(refused(&client, "PREPARE wrong (int) AS SELECT $1, nothing FROM labels").await, ("42703".to_owned(), Some(35)));
    assert_eq!(refused(&client, "PREPARE wrong AS SELECT nothing($1)").await.0, "42883");
    assert_eq!(refused(&client, "EXECUTE wrong (1)").await.0, "26000");
    rows(&client, "PREPARE untyped AS SELECT date_trunc('day', $1), round($2, $3) FROM messages_at($4) WHERE topic = $5 LIMIT $6").await;
    rows(&client, "PREPARE s AS TABLE labels LIMIT 0").await;
    assert_eq!(rows(&client, "EXECUTE s").await, Vec::<String>::new());
}

/// A list of types is short as a text, and is held.
#[tokio::test]
async fn types_of_statements_that_are_prepared_in_words_are_counted() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let types = vec!["int"; 100_000].join(",");
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        drop(client.simple_query(&format!("PREPARE {name} ({types}) AS SELECT 1")).await);
    }
    assert_eq!(refused(&client, &format!("PREPARE h ({types}) AS SELECT 1")).await.0, "53400");
}

#[tokio::test]
async fn prepared_statements_end_when_they_are_told_to() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let statement = client.prepare("SELECT 1").await.expect("is prepared");
    assert!(client.query_one(&statement, &[]).await.is_ok());
    rows(&client, "DISCARD ALL").await;
    let gone = client.query_one(&statement, &[]).await.expect_err("is gone");
    assert_eq!(gone.code().map(tokio_postgres::error::SqlState::code), Some("26000"));
    assert_eq!(refused(&client, "DEALLOCATE nothing").await.0, "26000");
}
