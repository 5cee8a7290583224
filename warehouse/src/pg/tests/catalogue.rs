//! The catalogue as clients ask for it.

use super::stand::{Stand, rows, said};

/// What psql, SQLAlchemy, pgjdbc, Grafana, Metabase, DBeaver, pgAdmin, pgcli, Npgsql, asyncpg and dbt ask about the catalogue: as they ask it, or in our own words with what theirs need.
const CLIENTS: [(&str, &str); 12] = [
    ("psql", include_str!("../catalogue/psql.sql")),
    ("psql's completion", include_str!("../catalogue/psql_tab.sql")),
    ("SQLAlchemy", include_str!("../catalogue/sqlalchemy.sql")),
    ("pgjdbc", include_str!("../catalogue/pgjdbc.sql")),
    ("Grafana", include_str!("../catalogue/grafana.sql")),
    ("Metabase", include_str!("../catalogue/metabase.sql")),
    ("DBeaver", include_str!("../catalogue/dbeaver.sql")),
    ("pgAdmin", include_str!("../catalogue/pgadmin.sql")),
    ("pgcli", include_str!("../catalogue/pgcli.sql")),
    ("Npgsql", include_str!("../catalogue/npgsql.sql")),
    ("asyncpg", include_str!("../catalogue/asyncpg.sql")),
    ("dbt", include_str!("../catalogue/dbt.sql")),
];

#[tokio::test]
async fn the_questions_of_clients_about_the_catalogue_are_answered() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let mut failed = Vec::new();
    for (name, text) in CLIENTS {
        for (index, sql) in text.split("\n-- next\n").enumerate() {
            if let Err(error) = client.simple_query(sql).await {
                let sql: String = sql.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(700).collect();
                failed.push(format!("{name} {index}: {}\n    {sql}", said(&error)));
            }
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// SQLAlchemy reflects a relation by the question in which it asks for defaults, identities and collations too.
#[tokio::test]
async fn sqlalchemy_is_told_the_columns() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let asks = include_str!("../catalogue/sqlalchemy.sql").split("\n-- next\n").find(|sql| sql.contains("AS identity_options"));
    let told = rows(&client, asks.expect("it is among them")).await;
    assert!(told.iter().any(|row| row.starts_with("task|")), "{told:?}");
}

/// `\d+` of psql 15: the columns with what a server of views has nothing of, then what the view is made of.
#[tokio::test]
async fn a_view_is_described_with_its_columns_and_its_definition() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let number = rows(&client, "SELECT 'labels'::regclass::oid").await.remove(0);
    let columns = format!(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
           (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d
            WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),
           a.attnotnull, pg_catalog.col_description(a.attrelid, a.attnum)
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = '{number}' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    );
    let told = rows(&client, &columns).await;
    assert!(told.iter().any(|row| row.starts_with("task|text|NULL|")), "{told:?}");
    let wanted = format!("{};", crate::views::source("labels").expect("a view").trim_end());
    for sql in [
        format!("SELECT pg_catalog.pg_get_viewdef('{number}'::pg_catalog.oid, true)"),
        "SELECT pg_get_viewdef('public.labels'::text)".to_owned(),
        "SELECT pg_get_viewdef('labels'::regclass, true)".to_owned(),
        "SELECT pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class AS c WHERE c.relname = 'labels'".to_owned(),
        "SELECT definition FROM pg_views WHERE viewname = 'labels'".to_owned(),
        "SELECT view_definition FROM information_schema.views WHERE table_schema = 'public' AND table_name = 'labels'".to_owned(),
    ] {
        assert_eq!(rows(&client, &sql).await, [wanted.as_str()], "{sql}");
    }
    let of_tasks =
        rows(&client, "SELECT definition FROM pg_views WHERE viewname IN ('mortality_outcomes', 'message_rows') ORDER BY viewname").await;
    assert!(of_tasks.len() == 2 && of_tasks[0] == "NULL" && of_tasks[1].contains("outcome_at"), "{of_tasks:?}");
}

/// How psql 15 asks for `\dv+`, and how people, pgjdbc and SQLAlchemy ask: each relation says what a row of it is.
#[tokio::test]
async fn relations_are_described_by_the_first_sentence_of_their_files() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let without = "SELECT c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname = 'public' AND pg_catalog.obj_description(c.oid, 'pg_class') IS NULL";
    assert_eq!(rows(&client, without).await, Vec::<String>::new());
    let wanted = "one row per (task, stay): what came of it, once that is mature.";
    for sql in [
        "SELECT pg_catalog.obj_description(c.oid, 'pg_class') AS \"Description\" FROM pg_catalog.pg_class c WHERE c.relname = 'labels'",
        "SELECT obj_description('labels'::regclass)",
        "SELECT obj_description(('public.' || table_name)::regclass, 'pg_class') FROM information_schema.tables WHERE table_name = 'labels'",
        "SELECT d.description FROM pg_class c JOIN pg_description d
         ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass WHERE c.relname = 'labels'",
    ] {
        assert_eq!(rows(&client, sql).await, [wanted], "{sql}");
    }
    let others = "SELECT obj_description(oid, 'pg_namespace'), obj_description(oid, 'pg_type') FROM pg_class WHERE relname = 'labels'";
    assert_eq!(rows(&client, others).await, ["NULL|NULL"], "numbers of other kinds of things are no relations'");
    let asks = |text: &'static str, class: &str| {
        text.split("\n-- next\n").find(|sql| sql.contains("description") && sql.contains(class)).expect("it is among them")
    };
    let of_pgjdbc = rows(&client, asks(include_str!("../catalogue/pgjdbc.sql"), "'pg_class'::regclass")).await;
    assert!(of_pgjdbc.iter().any(|row| row.starts_with(&format!("NULL|public|labels|VIEW|{wanted}|"))), "{of_pgjdbc:?}");
    let of_sqlalchemy = rows(&client, asks(include_str!("../catalogue/sqlalchemy.sql"), "CAST('pg_class' AS REGCLASS)")).await;
    assert!(of_sqlalchemy.contains(&format!("labels|{wanted}")), "{of_sqlalchemy:?}");
}

#[tokio::test]
async fn a_role_is_told_what_it_may_read() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    for relation in ["table_privileges", "role_table_grants"] {
        let asked = format!(
            "SELECT grantee, privilege_type FROM information_schema.{relation} WHERE table_schema = 'public' AND table_name = 'labels'"
        );
        assert_eq!(rows(&client, &asked).await, ["reader|SELECT"]);
        assert_eq!(
            rows(&client, &format!("SELECT count(*) FROM information_schema.{relation} WHERE privilege_type <> 'SELECT'")).await,
            ["0"]
        );
    }
}

/// What others ask may name their patients.
#[tokio::test]
async fn a_user_is_told_what_its_own_connections_do() {
    let mut stand = Stand::new().await;
    let (first, second, other) = (stand.client("reader").await, stand.client("reader").await, stand.client("nurse").await);
    rows(&other, "SELECT 'of the nurse'").await;
    rows(&second, "BEGIN").await;
    rows(&second, "SELECT 'of the reader'").await;
    let own = "SELECT usename, datname, state, query_start > '2020-01-01T00:00:00Z', query LIKE 'SELECT usename%' FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    assert_eq!(rows(&first, own).await, ["reader|wardstream|active|t|t"]);
    let all = "SELECT usename, state, query FROM pg_catalog.pg_stat_activity WHERE pid <> pg_backend_pid()";
    assert_eq!(rows(&first, all).await, ["reader|idle in transaction|SELECT 'of the reader'"]);
}

/// Grafana lists relations of the search path without their schema, and asks for the columns of one by the name that it listed.
#[tokio::test]
async fn grafana_is_told_the_columns_of_a_relation_as_it_lists_it() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let mut asks = include_str!("../catalogue/grafana.sql").split("\n-- next\n");
    let listed = rows(&client, asks.next().expect("relations are asked for first")).await;
    assert!(listed.contains(&"labels".to_owned()), "{listed:?}");
    let columns = asks.next().expect("then the columns of one");
    for asked in ["public.labels", "labels"] {
        let told = rows(&client, &columns.replace("public.labels", asked)).await;
        assert!(told.iter().any(|row| row.starts_with("task|")), "{asked}: {told:?}");
    }
}

#[tokio::test]
async fn the_catalogue_names_the_relations_and_their_columns() {
    let mut stand = Stand::new().await;
    let client = stand.client("reader").await;
    let listed = "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relname = 'labels'";
    assert_eq!(rows(&client, listed).await, ["labels"]);
    let columns = "SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = 'labels'::regclass AND attname = 'task'";
    assert_eq!(rows(&client, columns).await, ["task"]);
    assert_eq!(rows(&client, "SELECT current_database(), current_schema(), current_user").await, ["wardstream|public|reader"]);
    assert!(rows(&client, "SELECT version()").await.join("").starts_with("PostgreSQL 16"));
}
