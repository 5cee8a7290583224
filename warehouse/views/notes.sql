-- notes: one row per version of a note, with its text and the stay it belongs to. `retracted`: the note as a whole was taken back.
SELECT v.note_id, v.version, v.note_version_id, v.patient_id, p.encounter_id, p.placed_by, v.facility, v.kind, v.type_code, v.status,
       v.authored_at, v.signed_at, v.known_at, t.text, v.replaces, v.retracted
FROM note_versions AS v
JOIN note_places AS p ON p.note_id = v.note_id
JOIN (SELECT note_version_id, min(text) AS text FROM standing_notes GROUP BY note_version_id) AS t ON t.note_version_id = v.note_version_id
