-- prompt_notes: one row per (stay, kind): the note of the kind that was first to say something and was not taken back, in the version in which it did.
-- A version of which nothing is left to read once it is cleaned (a placeholder, `<NA>`) says nothing, nor does one that takes its note back: the scorer asks
-- neither. Prediction time is when the version that is read became known, and no later correction changes it.
SELECT p.encounter_id, v.kind, first_value(v.note_id ORDER BY v.known_at, v.note_id, v.version) AS note_id,
       first_value(v.note_version_id ORDER BY v.known_at, v.note_id, v.version) AS note_version_id, min(v.known_at) AS prediction_at
FROM note_versions AS v
JOIN note_places AS p ON p.note_id = v.note_id
WHERE v.readable AND v.status <> 'retracted' AND NOT v.retracted AND p.encounter_id IS NOT NULL
GROUP BY p.encounter_id, v.kind
