SELECT n.nspname, t.oid, t.typname, t.kind, t.typnotnull, t.element
FROM (
    SELECT a.*, e.typname AS element_name, er.relkind AS element_relation, CASE WHEN ep.proname = 'array_recv' THEN 'a' ELSE e.typtype END AS element_kind
    FROM (
        SELECT y.oid, y.typnamespace, y.typname, y.typnotnull, y.typcategory, r.relkind,
            CASE WHEN p.proname = 'array_recv' THEN 'a' ELSE y.typtype END AS kind,
            CASE WHEN p.proname = 'array_recv' THEN y.typelem WHEN y.typtype = 'r' THEN g.rngsubtype
                WHEN y.typtype = 'm' THEN (SELECT rngtypid FROM pg_range WHERE rngmultitypid = y.oid) WHEN y.typtype = 'd' THEN y.typbasetype END AS element
        FROM pg_type AS y
        LEFT JOIN pg_class AS r ON (r.oid = y.typrelid)
        LEFT JOIN pg_proc AS p ON p.oid = y.typreceive
        LEFT JOIN pg_range AS g ON (g.rngtypid = y.oid)
    ) AS a
    LEFT JOIN pg_type AS e ON e.oid = a.element
    LEFT JOIN pg_class AS er ON (er.oid = e.typrelid)
    LEFT JOIN pg_proc AS ep ON ep.oid = e.typreceive
) AS t
JOIN pg_namespace AS n ON (n.oid = t.typnamespace)
WHERE kind IN ('b', 'r', 'm', 'e', 'd') OR (kind = 'c' AND relkind = 'c') OR (kind = 'p' AND typname IN ('record', 'void', 'unknown'))
    OR (kind = 'a' AND (element_kind IN ('b', 'r', 'm', 'e', 'd') OR (element_kind = 'p' AND element_name IN ('record', 'void')) OR (element_kind = 'c' AND element_relation = 'c')))
ORDER BY CASE WHEN kind IN ('b', 'e', 'p') THEN 0 WHEN kind = 'c' THEN 1 WHEN kind = 'd' AND element_kind <> 'a' THEN 4 WHEN kind = 'a' THEN 5 END
-- next
SELECT t.oid, a.attname, a.atttypid FROM pg_type AS t JOIN pg_namespace AS n ON (n.oid = t.typnamespace) JOIN pg_class AS r ON (r.oid = t.typrelid) JOIN pg_attribute AS a ON (a.attrelid = t.typrelid) WHERE (t.typtype = 'c' AND r.relkind = 'c') AND attnum > 0 AND NOT attisdropped ORDER BY t.oid, a.attnum
-- next
SELECT t.oid, enumlabel FROM pg_enum JOIN pg_type AS t ON t.oid = enumtypid JOIN pg_namespace AS n ON n.oid = t.typnamespace ORDER BY oid, enumsortorder
