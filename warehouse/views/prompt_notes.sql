-- prompt_notes: one row per (stay, kind): the first note of the kind that became known and was not taken back.
-- Prediction time is when its first version became known, and that version is what is read.
SELECT p.encounter_id, v.kind, first_value(v.note_id ORDER BY v.known_at, v.note_id) AS note_id,
       first_value(v.note_version_id ORDER BY v.known_at, v.note_id) AS note_version_id, min(v.known_at) AS prediction_at
FROM note_versions AS v
JOIN note_places AS p ON p.note_id = v.note_id
WHERE v.version = 1 AND NOT v.retracted AND p.encounter_id IS NOT NULL
GROUP BY p.encounter_id, v.kind
