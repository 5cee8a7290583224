-- plumbing: one row per (facility, month, measure): the share of messages or notes in which the feed fell short.
SELECT facility, date_trunc('month', known_at) AS month, 'rejected_share' AS measure, count(*) AS n, count(*) FILTER (WHERE outcome = 'rejected') AS hits
FROM message_rows WHERE facility <> 'wardstream' GROUP BY 1, 2
UNION ALL
SELECT facility, date_trunc('month', known_at) AS month, 'missing_visit_number' AS measure, count(*) AS n, count(*) FILTER (WHERE encounter_id IS NULL) AS hits
FROM note_versions WHERE kind IN ('admission', 'discharge') GROUP BY 1, 2
UNION ALL
SELECT facility, date_trunc('month', admitted_at) AS month, 'missing_department' AS measure, count(*) AS n, count(*) FILTER (WHERE department IS NULL OR department = '') AS hits
FROM encounters GROUP BY 1, 2
