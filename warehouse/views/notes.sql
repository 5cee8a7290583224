-- notes: one row per version of a note, with its text and the stay it belongs to. `retracted`: the note as a whole was taken back;
-- `current_status`: what was last said of it, with a text or without. `adds_to`: the note that it is an addendum to. `readable`: something is left to read
-- of the version's text once it is cleaned.
-- A version has one text, whose digest names it. Few versions stand in more than one row; the text of any other is fetched from its row, last, on the side
-- of the join that streams, so that no more than a few texts are held at a time.
WITH several AS (SELECT note_version_id FROM standing_notes GROUP BY note_version_id HAVING count(*) > 1),
single AS (
    SELECT n.note_version_id, n.source_topic, n.source_partition, n.source_offset, n.reading
    FROM several AS m RIGHT ANTI JOIN standing_notes AS n ON n.note_version_id = m.note_version_id
),
repeated AS (
    SELECT n.note_version_id, min(n.text) AS text
    FROM several AS m JOIN standing_notes AS n ON n.note_version_id = m.note_version_id
    GROUP BY n.note_version_id
),
added AS (
    SELECT note_identity(facility, text_value) AS note_id, last_value(note_identity(facility, related) ORDER BY asserted_at, related) AS parent_id
    FROM events WHERE code = 'note.added_to' AND related IS NOT NULL AND text_value IS NOT NULL
    GROUP BY 1
),
placed AS (
    SELECT v.note_id, v.version, v.note_version_id, v.patient_id, p.encounter_id, p.placed_by, v.facility, v.kind, v.type_code, v.status, v.current_status,
           v.authored_at, v.signed_at, v.known_at, v.replaces, a.parent_id AS adds_to, v.retracted, v.readable
    FROM note_versions AS v
    JOIN note_places AS p ON p.note_id = v.note_id
    LEFT JOIN added AS a ON a.note_id = v.note_id
)
SELECT p.note_id, p.version, p.note_version_id, p.patient_id, p.encounter_id, p.placed_by, p.facility, p.kind, p.type_code, p.status, p.current_status,
       p.authored_at, p.signed_at, p.known_at, t.text, p.replaces, p.adds_to, p.retracted, p.readable
FROM placed AS p
JOIN single AS s ON s.note_version_id = p.note_version_id
JOIN note_rows AS t ON t.note_version_id = s.note_version_id AND t.source_topic = s.source_topic AND t.source_partition = s.source_partition
                   AND t.source_offset = s.source_offset AND t.reading = s.reading
UNION ALL
SELECT p.note_id, p.version, p.note_version_id, p.patient_id, p.encounter_id, p.placed_by, p.facility, p.kind, p.type_code, p.status, p.current_status,
       p.authored_at, p.signed_at, p.known_at, t.text, p.replaces, p.adds_to, p.retracted, p.readable
FROM repeated AS t
JOIN placed AS p ON p.note_version_id = t.note_version_id
