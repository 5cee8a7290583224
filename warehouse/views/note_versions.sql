-- note_versions: one row per (note, version), without its text; the same version sent twice counts once, since it was first known, for the patient and
-- the visit that were stated last. Whole history. Few notes have more than one row, and only those are ranked.
-- `readable`: something is left to read of its text once it is cleaned. Rows of a release that did not say count as readable, but those whose text is too
-- short for the ten words that it takes, with what stands between them.
WITH said AS (
    SELECT note_id, note_version_id, patient_id, encounter_id, facility, kind, type_code, status, authored_at, signed_at, replaces, length, template,
           COALESCE(readable, length >= 19, true) AS readable, source_topic, source_partition, source_offset, known_at, asserted_at
    FROM standing_notes
),
several AS (SELECT note_id FROM said GROUP BY note_id HAVING count(*) > 1),
copied AS (
    SELECT s.*, min(s.known_at) OVER (PARTITION BY s.note_id, s.note_version_id) AS first_known_at,
           row_number() OVER (PARTITION BY s.note_id, s.note_version_id
                              ORDER BY COALESCE(s.asserted_at, s.known_at) DESC, s.known_at, s.source_topic, s.source_partition, s.source_offset) AS copy
    FROM several AS m JOIN said AS s ON s.note_id = m.note_id
),
numbered AS (
    SELECT note_id, note_version_id, CAST(1 AS BIGINT) AS version, patient_id, encounter_id, facility, kind, type_code, status, authored_at, signed_at,
           known_at, replaces, length, template, readable
    FROM several AS m RIGHT ANTI JOIN said AS s ON s.note_id = m.note_id
    UNION ALL
    SELECT note_id, note_version_id,
           CAST(row_number() OVER (PARTITION BY note_id ORDER BY first_known_at, source_topic, source_partition, source_offset, note_version_id) AS BIGINT) AS version,
           patient_id, encounter_id, facility, kind, type_code, status, authored_at, signed_at, first_known_at AS known_at, replaces, length, template,
           readable
    FROM copied WHERE copy = 1
)
SELECT n.note_id, n.note_version_id, n.version,
       COALESCE(s.survivor_id, n.patient_id) AS patient_id, COALESCE(v.survivor_id, n.encounter_id) AS encounter_id, n.facility, n.kind, n.type_code, n.status,
       n.authored_at, n.signed_at, n.known_at, n.replaces, n.length, n.template, n.readable,
       COALESCE(w.current_status, n.status) AS current_status, COALESCE(w.current_status, n.status) = 'retracted' AS retracted
FROM numbered AS n
LEFT JOIN note_states AS w ON w.note_id = n.note_id
LEFT JOIN survivors AS s ON s.patient_id = n.patient_id
LEFT JOIN encounter_survivors AS v ON v.encounter_id = n.encounter_id
