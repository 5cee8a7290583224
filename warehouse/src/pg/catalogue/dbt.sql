SELECT 'wardstream' AS database, tablename AS name, schemaname AS schema, 'table' AS type FROM pg_tables WHERE schemaname ILIKE 'public' UNION ALL SELECT 'wardstream' AS database, viewname AS name, schemaname AS schema, 'view' AS type FROM pg_views WHERE schemaname ILIKE 'public' UNION ALL SELECT 'wardstream' AS database, matviewname AS name, schemaname AS schema, 'materialized_view' AS type FROM pg_matviews WHERE schemaname ILIKE 'public'
-- next
SELECT DISTINCT nspname FROM pg_namespace
-- next
SELECT count(*) FROM pg_namespace WHERE nspname = 'public'
-- next
SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale FROM wardstream.INFORMATION_SCHEMA.columns WHERE table_name = 'labels' AND table_schema = 'public' ORDER BY ordinal_position
-- next
SELECT 'wardstream' AS table_database, n.nspname AS table_schema, r.relname AS table_name,
    CASE WHEN r.relkind = 'v' THEN 'VIEW' WHEN r.relkind = 'm' THEN 'MATERIALIZED VIEW' ELSE 'BASE TABLE' END AS table_type,
    d.description AS table_comment, a.attname AS column_name, a.attnum AS column_index, pg_catalog.format_type(a.atttypid, a.atttypmod) AS column_type,
    c.description AS column_comment, pg_get_userbyid(r.relowner) AS table_owner
FROM pg_catalog.pg_namespace AS n
JOIN pg_catalog.pg_class AS r ON r.relnamespace = n.oid
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid
LEFT OUTER JOIN pg_catalog.pg_description AS d ON (d.objoid = r.oid AND d.objsubid = 0)
LEFT OUTER JOIN pg_catalog.pg_description AS c ON (c.objoid = r.oid AND c.objsubid = a.attnum)
WHERE (upper(n.nspname) = upper('public')) AND NOT pg_is_other_temp_schema(n.oid) AND r.relpersistence IN ('p', 'u') AND r.relkind IN ('r', 'v', 'f', 'p', 'm')
    AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY n.nspname, r.relname, a.attnum
