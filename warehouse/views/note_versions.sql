-- note_versions: one row per (note, version), without its text; the same version sent twice counts once, since it was first known, for the patient and
-- the visit that were stated last. Whole history.
SELECT n.note_id, n.note_version_id,
       row_number() OVER (PARTITION BY n.note_id ORDER BY n.first_known_at, n.source_topic, n.source_partition, n.source_offset, n.note_version_id) AS version,
       COALESCE(s.survivor_id, n.patient_id) AS patient_id, COALESCE(v.survivor_id, n.encounter_id) AS encounter_id, n.facility, n.kind, n.type_code, n.status,
       n.authored_at, n.signed_at, n.first_known_at AS known_at, n.replaces, n.length, n.template, w.current_status, w.current_status = 'retracted' AS retracted
FROM (
    SELECT note_id, note_version_id, patient_id, encounter_id, facility, kind, type_code, status, authored_at, signed_at, replaces,
           source_topic, source_partition, source_offset, length, template, min(known_at) OVER (PARTITION BY note_version_id) AS first_known_at,
           row_number() OVER (PARTITION BY note_version_id ORDER BY COALESCE(asserted_at, known_at) DESC, known_at, source_topic, source_partition, source_offset) AS copy
    FROM standing_notes
) AS n
LEFT JOIN survivors AS s ON s.patient_id = n.patient_id
LEFT JOIN encounter_survivors AS v ON v.encounter_id = n.encounter_id
JOIN note_states AS w ON w.note_id = n.note_id
WHERE n.copy = 1
