-- prompt_notes: one row per (stay, kind): the first note of the kind that became known and was not taken back.
-- Prediction time is when its first version became known, and that version is what is read.
SELECT encounter_id, kind, note_id, note_version_id, prediction_at
FROM (
    SELECT p.encounter_id, v.kind, v.note_id, v.note_version_id, v.known_at AS prediction_at,
           row_number() OVER (PARTITION BY p.encounter_id, v.kind ORDER BY v.known_at, v.note_id) AS first
    FROM note_versions AS v
    JOIN note_places AS p ON p.note_id = v.note_id
    WHERE v.version = 1 AND NOT v.retracted AND p.encounter_id IS NOT NULL
) AS candidates
WHERE first = 1
