SELECT
        CASE WHEN
              quote_ident(table_schema) IN (
              SELECT
                CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
              FROM
                generate_series(
                  array_lower(string_to_array(current_setting('search_path'),','),1),
                  array_upper(string_to_array(current_setting('search_path'),','),1)
                ) as i,
                string_to_array(current_setting('search_path'),',') s
              )
          THEN quote_ident(table_name)
          ELSE quote_ident(table_schema) || '.' || quote_ident(table_name)
        END AS "table"
        FROM information_schema.tables
        WHERE quote_ident(table_schema) NOT IN ('information_schema',
                                 'pg_catalog',
                                 '_timescaledb_cache',
                                 '_timescaledb_catalog',
                                 '_timescaledb_internal',
                                 '_timescaledb_config',
                                 'timescaledb_information',
                                 'timescaledb_experimental')
        ORDER BY CASE WHEN
              quote_ident(table_schema) IN (
              SELECT
                CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
              FROM
                generate_series(
                  array_lower(string_to_array(current_setting('search_path'),','),1),
                  array_upper(string_to_array(current_setting('search_path'),','),1)
                ) as i,
                string_to_array(current_setting('search_path'),',') s
              ) THEN 0 ELSE 1 END, 1
-- next
SELECT quote_ident(column_name) AS "column", data_type AS "type"
        FROM information_schema.columns
        WHERE
          CASE WHEN array_length(parse_ident('public.labels'),1) = 2
            THEN quote_ident(table_schema) = (parse_ident('public.labels'))[1]
              AND quote_ident(table_name) = (parse_ident('public.labels'))[2]
            ELSE quote_ident(table_name) = 'public.labels'
              AND
              quote_ident(table_schema) IN (
              SELECT
                CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
              FROM
                generate_series(
                  array_lower(string_to_array(current_setting('search_path'),','),1),
                  array_upper(string_to_array(current_setting('search_path'),','),1)
                ) as i,
                string_to_array(current_setting('search_path'),',') s
              )
          END
-- next
SELECT column_name, data_type, udt_name, numeric_precision, numeric_scale FROM information_schema.columns WHERE table_schema = 'public' AND table_name = 'labels' ORDER BY ordinal_position
-- next
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type IN ('BASE TABLE', 'VIEW') ORDER BY table_name
-- next
SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT LIKE 'pg_%' AND schema_name != 'information_schema' ORDER BY schema_name
-- next
SELECT current_setting('server_version_num')::int / 100 AS version
-- next
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'
-- next
SELECT floor(extract(epoch FROM admitted_at) / 300) * 300 AS "time", facility AS metric, count(*) FROM encounters WHERE admitted_at BETWEEN '2024-01-01T00:00:00Z' AND '2024-02-01T00:00:00.123456789Z' GROUP BY 1, 2 ORDER BY 1
-- next
SELECT 'task' AS col_name, "task"::text AS val FROM (SELECT DISTINCT "task" FROM "public"."labels" WHERE "task" IS NOT NULL ORDER BY "task" LIMIT 100) AS a UNION ALL SELECT 'label' AS col_name, "label"::text AS val FROM (SELECT DISTINCT "label" FROM "public"."labels" WHERE "label" IS NOT NULL LIMIT 100) AS b
