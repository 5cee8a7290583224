//! `information_schema` as PostgreSQL has it: its names of types, positions from 1, views with what they are made of, what a role may read, and the relations
//! that the engine lacks, which are empty; and `pg_views`, `pg_description` and `pg_stat_activity`.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{Query, Statement, TableFactor, VisitMut, VisitorMut};

use crate::spelling::{derived, query};

/// `columns`, where the engine knows a column's type by the engine's own name.
const COLUMNS: &str = "SELECT table_catalog, table_schema, table_name, column_name, CAST(ordinal_position AS INT) + 1 AS ordinal_position,
    column_default, is_nullable,
    CASE udt_name WHEN 'int2' THEN 'smallint' WHEN 'int4' THEN 'integer' WHEN 'int8' THEN 'bigint' WHEN 'float4' THEN 'real'
        WHEN 'float8' THEN 'double precision' WHEN 'bool' THEN 'boolean' WHEN 'timestamptz' THEN 'timestamp with time zone'
        WHEN 'timestamp' THEN 'timestamp without time zone' WHEN '_text' THEN 'ARRAY' WHEN '_int4' THEN 'ARRAY'
        WHEN '_int8' THEN 'ARRAY' WHEN '_float8' THEN 'ARRAY' ELSE udt_name END AS data_type,
    character_maximum_length, character_octet_length, numeric_precision, numeric_precision_radix, numeric_scale, datetime_precision,
    interval_type, CAST(NULL AS TEXT) AS character_set_name, CAST(NULL AS TEXT) AS collation_name, CAST(NULL AS TEXT) AS domain_schema,
    CAST(NULL AS TEXT) AS domain_name, table_catalog AS udt_catalog, 'pg_catalog' AS udt_schema, udt_name, 'NO' AS is_identity,
    CAST(NULL AS TEXT) AS identity_generation, 'NEVER' AS is_generated, CAST(NULL AS TEXT) AS generation_expression, 'NO' AS is_updatable
FROM (SELECT *, CASE WHEN data_type IN ('Int8', 'Int16', 'UInt8') THEN 'int2' WHEN data_type IN ('Int32', 'UInt16') THEN 'int4'
        WHEN data_type IN ('Int64', 'UInt32') THEN 'int8' WHEN data_type = 'UInt64' OR data_type LIKE 'Decimal%' THEN 'numeric'
        WHEN data_type = 'Float32' THEN 'float4' WHEN data_type = 'Float64' THEN 'float8' WHEN data_type = 'Boolean' THEN 'bool'
        WHEN data_type IN ('Binary', 'LargeBinary', 'BinaryView') THEN 'bytea' WHEN data_type LIKE 'Date%' THEN 'date'
        WHEN data_type LIKE 'Timestamp(%,%' THEN 'timestamptz' WHEN data_type LIKE 'Timestamp%' THEN 'timestamp'
        WHEN data_type LIKE 'Interval%' OR data_type LIKE 'Duration%' THEN 'interval' WHEN data_type LIKE 'List(Int32%' THEN '_int4'
        WHEN data_type LIKE 'List(Int64%' THEN '_int8' WHEN data_type LIKE 'List(Float64%' THEN '_float8'
        WHEN data_type LIKE 'List(%' THEN '_text' ELSE 'text' END AS udt_name
    FROM information_schema.columns) AS c";

/// `views`: every relation is one, and nothing is written through it.
const VIEWS: &str = "SELECT table_catalog, table_schema, table_name, pg_get_viewdef(table_name) AS view_definition, 'NONE' AS check_option,
    'NO' AS is_updatable, 'NO' AS is_insertable_into, 'NO' AS is_trigger_updatable, 'NO' AS is_trigger_deletable,
    'NO' AS is_trigger_insertable_into
FROM information_schema.tables WHERE table_schema = 'public'";

/// `pg_views`.
const PG_VIEWS: &str = "SELECT table_schema AS schemaname, table_name AS viewname, 'postgres' AS viewowner,
    pg_get_viewdef(table_name) AS definition
FROM information_schema.tables WHERE table_schema = 'public'";

/// `pg_description`: what PostgreSQL says of its own, and of each relation what it holds. 1259 is PostgreSQL's number of `pg_class`.
const PG_DESCRIPTION: &str = "SELECT objoid, classoid, objsubid, description FROM pg_catalog.pg_description
    UNION ALL SELECT oid, CAST(1259 AS INT), CAST(0 AS INT), obj_description(oid, 'pg_class')
    FROM pg_catalog.pg_class WHERE obj_description(oid, 'pg_class') IS NOT NULL";

/// `table_privileges` and `role_table_grants`: who asks may read what it is shown.
const PRIVILEGES: &str = "SELECT 'postgres' AS grantor, \"session_user\"() AS grantee, table_catalog, table_schema, table_name,
    'SELECT' AS privilege_type, 'NO' AS is_grantable, 'YES' AS with_hierarchy
FROM information_schema.tables WHERE table_schema = 'public'";

/// `pg_stat_activity`, of what is known of a connection.
const ACTIVITY: &str = "SELECT CAST(NULL AS INT) AS datid, current_database() AS datname, pid, CAST(NULL AS INT) AS leader_pid,
    CAST(NULL AS INT) AS usesysid, usename, application_name, CAST(NULL AS TEXT) AS client_addr, CAST(NULL AS TEXT) AS client_hostname,
    CAST(NULL AS INT) AS client_port, CAST(NULL AS TIMESTAMPTZ) AS backend_start, CAST(NULL AS TIMESTAMPTZ) AS xact_start, query_start,
    query_start AS state_change, CAST(NULL AS TEXT) AS wait_event_type, CAST(NULL AS TEXT) AS wait_event, state,
    CAST(NULL AS INT) AS backend_xid, CAST(NULL AS INT) AS backend_xmin, CAST(NULL AS BIGINT) AS query_id, query,
    'client backend' AS backend_type
FROM pg_stat_get_activity()";

/// Relations of which there are no rows in a server of views, and their columns; positions and orders are numbers.
const ABSENT: [(&str, &str); 7] = [
    (
        "table_constraints",
        "constraint_catalog constraint_schema constraint_name table_catalog table_schema table_name constraint_type is_deferrable initially_deferred enforced",
    ),
    (
        "key_column_usage",
        "constraint_catalog constraint_schema constraint_name table_catalog table_schema table_name column_name ordinal_position position_in_unique_constraint",
    ),
    ("constraint_column_usage", "table_catalog table_schema table_name column_name constraint_catalog constraint_schema constraint_name"),
    (
        "referential_constraints",
        "constraint_catalog constraint_schema constraint_name unique_constraint_catalog unique_constraint_schema unique_constraint_name match_option update_rule delete_rule",
    ),
    ("check_constraints", "constraint_catalog constraint_schema constraint_name check_clause"),
    (
        "triggers",
        "trigger_catalog trigger_schema trigger_name event_manipulation event_object_catalog event_object_schema event_object_table action_order action_statement action_timing",
    ),
    ("sequences", "sequence_catalog sequence_schema sequence_name data_type start_value minimum_value maximum_value increment"),
];

/// The schema of what has none, where its name is one of this schema's.
const CATALOGUE: &str = "pg_catalog";

/// The relations by schema and name, as what is read instead.
static RELATIONS: LazyLock<Vec<(&'static str, &'static str, Box<Query>)>> = LazyLock::new(|| {
    const SCHEMA: &str = "information_schema";
    let there = [
        (SCHEMA, "columns", COLUMNS),
        (SCHEMA, "views", VIEWS),
        (SCHEMA, "table_privileges", PRIVILEGES),
        (SCHEMA, "role_table_grants", PRIVILEGES),
        (CATALOGUE, "pg_views", PG_VIEWS),
        (CATALOGUE, "pg_description", PG_DESCRIPTION),
        (CATALOGUE, "pg_stat_activity", ACTIVITY),
    ];
    let there = there.map(|(schema, name, sql)| (schema, name, sql.to_owned())).into_iter();
    let absent = ABSENT.iter().map(|(name, columns)| (SCHEMA, *name, without_rows(columns)));
    there.chain(absent).filter_map(|(schema, name, sql)| Some((schema, name, query(&sql)?))).collect()
});

fn without_rows(columns: &str) -> String {
    let one = |column: &str| {
        let kind = if column.contains("position") || column.contains("order") { "INT" } else { "TEXT" };
        format!("CAST(NULL AS {kind}) AS {column}")
    };
    format!("SELECT {} WHERE false", columns.split(' ').map(one).collect::<Vec<_>>().join(", "))
}

/// The statement with PostgreSQL's relations in the place of the engine's.
pub(super) fn standard(mut statement: Statement) -> Statement {
    let _whole = statement.visit(&mut Standard);
    statement
}

struct Standard;

impl VisitorMut for Standard {
    type Break = ();

    /// After its children, so that what is put in its place is not visited again.
    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.to_lowercase()).collect();
        let (schema, relation) = match parts.as_slice() {
            [relation] => (CATALOGUE, relation),
            [.., schema, relation] => (schema.as_str(), relation),
            [] => return ControlFlow::Continue(()),
        };
        if let Some((.., instead)) = RELATIONS.iter().find(|(of, name, _)| *of == schema && name == relation) {
            *factor = derived(instead.clone(), relation, alias.take());
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn every_relation_parses_and_takes_the_place_of_its_name() {
        assert_eq!(RELATIONS.len(), ABSENT.len() + 7);
        for (schema, name, _) in RELATIONS.iter() {
            for sql in [format!("SELECT 1 FROM {schema}.{name} AS x"), format!("SELECT 1 FROM wardstream.{schema}.{name}")] {
                let parsed = Parser::parse_sql(&PostgreSqlDialect {}, &sql).expect("parses").remove(0);
                let read = standard(parsed).to_string();
                assert!(read.starts_with("SELECT 1 FROM (SELECT "), "{read}");
            }
        }
        let others = "SELECT 1 FROM columns, public.columns";
        assert_eq!(standard(Parser::parse_sql(&PostgreSqlDialect {}, others).expect("parses").remove(0)).to_string(), others);
    }
}
