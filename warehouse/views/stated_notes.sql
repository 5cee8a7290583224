-- stated_notes: one row per version of a note, without its text, for the patient and the visit that were stated last; `first_known_at`: since when. Few versions
-- are sent twice, and only those are ranked.
WITH said AS (
    SELECT note_id, note_version_id, patient_id, encounter_id, facility, kind, type_code, status, authored_at, signed_at, replaces, length, template,
           source_topic, source_partition, source_offset, known_at, COALESCE(asserted_at, known_at) AS asserted_at
    FROM standing_notes
),
repeated AS (SELECT note_version_id, min(known_at) AS first_known_at FROM said GROUP BY note_version_id HAVING count(*) > 1),
ranked AS (
    SELECT s.*, r.first_known_at,
           row_number() OVER (PARTITION BY s.note_version_id ORDER BY s.asserted_at DESC, s.known_at, s.source_topic, s.source_partition, s.source_offset) AS copy
    FROM repeated AS r JOIN said AS s ON s.note_version_id = r.note_version_id
)
SELECT note_id, note_version_id, patient_id, encounter_id, facility, kind, type_code, status, authored_at, signed_at, replaces, length, template,
       source_topic, source_partition, source_offset, known_at AS first_known_at
FROM said AS s LEFT ANTI JOIN repeated AS r ON r.note_version_id = s.note_version_id
UNION ALL
SELECT note_id, note_version_id, patient_id, encounter_id, facility, kind, type_code, status, authored_at, signed_at, replaces, length, template,
       source_topic, source_partition, source_offset, first_known_at
FROM ranked WHERE copy = 1
