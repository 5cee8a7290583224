SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new
-- next
WITH RECURSIVE tree(oid, ns, name, kind, basetype, elemtype, elemdelim, range_subtype, attrtypoids, depth) AS (
    SELECT i.oid, i.ns, i.name, i.kind, i.basetype, i.elemtype, i.elemdelim, i.range_subtype, i.attrtypoids, 0
    FROM (
        SELECT t.oid AS oid, n.nspname AS ns, t.typname AS name, t.typtype AS kind, t.typelem AS elemtype, e.typdelim AS elemdelim,
            (CASE WHEN t.typtype = 'd' THEN (WITH RECURSIVE bases(oid, depth) AS (
                SELECT b.typbasetype AS oid, 0 AS depth FROM pg_type AS b WHERE b.oid = t.oid
                UNION ALL
                SELECT b.typbasetype, s.depth + 1 FROM pg_type AS b, bases AS s WHERE s.oid = b.oid AND b.typbasetype != 0
            ) SELECT oid FROM bases ORDER BY depth DESC LIMIT 1) ELSE NULL END) AS basetype,
            COALESCE(r.rngsubtype, m.rngsubtype) AS range_subtype,
            (CASE WHEN t.typtype = 'c' THEN (SELECT array_agg(a.atttypid ORDER BY a.attnum) FROM pg_attribute AS a JOIN pg_class AS c ON (a.attrelid = c.oid)
                WHERE a.attnum > 0 AND NOT a.attisdropped AND c.reltype = t.oid) ELSE NULL END) AS attrtypoids
        FROM pg_catalog.pg_type AS t
        JOIN pg_catalog.pg_namespace AS n ON (n.oid = t.typnamespace)
        LEFT JOIN pg_type AS e ON (t.typlen = -1 AND t.typelem != 0 AND t.typelem = e.oid)
        LEFT JOIN pg_range AS r ON (t.oid = r.rngtypid)
        LEFT JOIN pg_range AS m ON (t.oid = m.rngmultitypid)
    ) AS i
    WHERE i.oid = any('{1016,1009}'::oid[])
    UNION ALL
    SELECT i.oid, n.nspname, i.typname, i.typtype, NULL AS a, i.typelem, NULL AS b, NULL AS c, NULL AS d, tree.depth + 1
    FROM pg_type AS i, pg_namespace AS n, tree
    WHERE n.oid = i.typnamespace AND tree.elemtype IS NOT NULL AND i.oid = tree.elemtype
)
SELECT DISTINCT *, basetype::regtype::text AS basetype_name, elemtype::regtype::text AS elemtype_name FROM tree ORDER BY depth DESC
-- next
SELECT t.oid, t.typelem AS elemtype, t.typtype AS kind FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON (n.oid = t.typnamespace) WHERE t.typname = 'text' AND n.nspname = 'pg_catalog'
