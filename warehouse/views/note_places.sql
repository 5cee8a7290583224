-- note_places: one row per note, with the stay it belongs to and how that was decided.
-- Its newest visit number decides, unless the stay of that number is somebody else's: then the number was used twice, or mistyped. Such a note, like one
-- without a number, belongs to the stay of its patient in which it was written, or else to the last that had begun by then and was over for three days at most;
-- one that is no discharge note may be written a day before its stay begins, which comes before one that is over. Where none fits, it belongs to none.
-- Somebody else is who never shared a record number with the note's patient (senders name a person by one number here and by another there), and under
-- whom the stay was never told: one that was moved to its right patient keeps its notes.
WITH again AS (SELECT note_id FROM note_versions WHERE version = 2),
stated AS (
    SELECT n.note_id, n.kind, n.patient_id, n.encounter_id, COALESCE(n.authored_at, n.known_at) AS written_at
    FROM again AS a RIGHT ANTI JOIN note_versions AS n ON n.note_id = a.note_id
    UNION ALL
    SELECT n.note_id, last_value(n.kind ORDER BY n.version) AS kind,
           last_value(n.patient_id ORDER BY n.version) FILTER (WHERE n.patient_id IS NOT NULL) AS patient_id,
           last_value(n.encounter_id ORDER BY n.version) FILTER (WHERE n.encounter_id IS NOT NULL) AS encounter_id,
           min(COALESCE(n.authored_at, n.known_at)) AS written_at
    FROM again AS a JOIN note_versions AS n ON n.note_id = a.note_id
    GROUP BY n.note_id
),
numbered AS (
    SELECT n.*, e.patient_id <> n.patient_id AND a.patient_id IS NULL AND b.patient_id IS NULL AND m.patient_id IS NULL AS is_others
    FROM stated AS n
    LEFT JOIN encounters AS e ON e.encounter_id = n.encounter_id
    LEFT JOIN aliases AS a ON a.patient_id = e.patient_id AND a.alias_id = n.patient_id
    LEFT JOIN aliases AS b ON b.patient_id = n.patient_id AND b.alias_id = e.patient_id
    LEFT JOIN moved_stays AS m ON m.encounter_id = n.encounter_id AND m.patient_id = n.patient_id
),
around AS (
    SELECT encounter_id, patient_id, admitted_at, discharged_at, admitted_at - INTERVAL '1 day' AS since,
           COALESCE(discharged_at, admitted_at + INTERVAL '60 days') + INTERVAL '3 days' AS until
    FROM encounters
),
fitting AS (
    SELECT n.note_id, e.encounter_id, e.admitted_at,
           CASE WHEN n.written_at >= e.admitted_at AND n.written_at <= COALESCE(e.discharged_at, e.until) THEN 0 ELSE 1 END AS apart
    FROM numbered AS n
    JOIN around AS e ON e.patient_id = n.patient_id
    WHERE (n.encounter_id IS NULL OR n.is_others)
      AND n.written_at >= CASE WHEN n.kind = 'discharge' THEN e.admitted_at ELSE e.since END AND n.written_at <= e.until
),
by_time AS (
    SELECT note_id, encounter_id, row_number() OVER (PARTITION BY note_id ORDER BY apart, admitted_at DESC, encounter_id) AS nearest FROM fitting
)
SELECT n.note_id, COALESCE(t.encounter_id, CASE WHEN NOT COALESCE(n.is_others, false) THEN n.encounter_id END) AS encounter_id,
       CASE WHEN t.encounter_id IS NOT NULL THEN 'patient_and_time'
            WHEN n.encounter_id IS NOT NULL AND NOT COALESCE(n.is_others, false) THEN 'visit_number' END AS placed_by
FROM numbered AS n
LEFT JOIN by_time AS t ON t.note_id = n.note_id AND t.nearest = 1
