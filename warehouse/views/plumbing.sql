-- plumbing: one row per (facility, month, measure): the share of messages, notes or stays in which the feed fell short of itself.
-- A template is new where fewer than two notes of the kind had its headings in the twelve months before.
WITH written AS (
    SELECT facility, kind, date_trunc('month', known_at) AS month, COALESCE(template, '') AS template, encounter_id, length
    FROM note_versions WHERE kind IN ('admission', 'discharge') AND version = 1
),
templates AS (SELECT facility, kind, template, month, count(*) AS n FROM written WHERE length > 0 GROUP BY facility, kind, template, month),
known AS (
    SELECT t.facility, t.kind, t.template, t.month
    FROM templates AS t
    JOIN templates AS p ON p.facility = t.facility AND p.kind = t.kind AND p.template = t.template
    WHERE p.month < t.month AND p.month >= t.month - INTERVAL '12 months'
    GROUP BY t.facility, t.kind, t.template, t.month
    HAVING sum(p.n) >= 2
),
begun AS (SELECT facility, kind, min(month) AS month FROM templates GROUP BY facility, kind)
SELECT facility, date_trunc('month', known_at) AS month, 'rejected_share' AS measure, count(*) AS n, count(*) FILTER (WHERE outcome = 'rejected') AS hits
FROM standing_messages WHERE facility <> 'wardstream' GROUP BY 1, 2
UNION ALL
SELECT facility, date_trunc('month', known_at) AS month, 'partly_mapped_share' AS measure, count(*) AS n, count(*) FILTER (WHERE outcome = 'partly') AS hits
FROM standing_messages WHERE facility <> 'wardstream' GROUP BY 1, 2
UNION ALL
SELECT facility, month, 'missing_visit_number' AS measure, count(*) AS n, count(*) FILTER (WHERE encounter_id IS NULL) AS hits
FROM written GROUP BY 1, 2
UNION ALL
SELECT facility, month, 'missing_text' AS measure, count(*) AS n, count(*) FILTER (WHERE length IS NULL OR length = 0) AS hits
FROM written GROUP BY 1, 2
UNION ALL
SELECT t.facility, t.month, 'new_template_' || t.kind AS measure, sum(t.n) AS n, COALESCE(sum(t.n) FILTER (WHERE k.template IS NULL), 0) AS hits
FROM templates AS t
JOIN begun AS b ON b.facility = t.facility AND b.kind = t.kind
LEFT JOIN known AS k ON k.facility = t.facility AND k.kind = t.kind AND k.template = t.template AND k.month = t.month
WHERE t.month >= b.month + INTERVAL '3 months' GROUP BY t.facility, t.month, t.kind
UNION ALL
SELECT facility, date_trunc('month', admitted_at) AS month, 'missing_department' AS measure, count(*) AS n, count(*) FILTER (WHERE department IS NULL OR department = '') AS hits
FROM encounters GROUP BY 1, 2
