-- notes: one row per version of a note, with its text and the stay it belongs to. `retracted`: the note as a whole was taken back;
-- `current_status`: what was last said of it, with a text or without. `adds_to`: the note that it is an addendum to.
SELECT v.note_id, v.version, v.note_version_id, v.patient_id, p.encounter_id, p.placed_by, v.facility, v.kind, v.type_code, v.status, v.current_status,
       v.authored_at, v.signed_at, v.known_at, t.text, v.replaces, a.parent_id AS adds_to, v.retracted
FROM note_versions AS v
JOIN note_places AS p ON p.note_id = v.note_id
JOIN (SELECT note_version_id, min(text) AS text FROM standing_notes GROUP BY note_version_id) AS t ON t.note_version_id = v.note_version_id
LEFT JOIN (
    SELECT note_identity(facility, text_value) AS note_id, last_value(note_identity(facility, related) ORDER BY asserted_at, related) AS parent_id
    FROM events WHERE code = 'note.added_to' AND related IS NOT NULL AND text_value IS NOT NULL
    GROUP BY 1
) AS a ON a.note_id = v.note_id
