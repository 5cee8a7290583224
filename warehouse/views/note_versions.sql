-- note_versions: one row per (note, version), without its text; the same version sent twice counts once, since it was first known, for the patient and
-- the visit that were stated last. Whole history.
WITH several AS (SELECT note_id FROM stated_notes GROUP BY note_id HAVING count(*) > 1),
numbered AS (
    SELECT n.*, CAST(1 AS BIGINT) AS version FROM stated_notes AS n LEFT ANTI JOIN several AS m ON m.note_id = n.note_id
    UNION ALL
    SELECT n.*, CAST(row_number() OVER (PARTITION BY n.note_id ORDER BY n.first_known_at, n.source_topic, n.source_partition, n.source_offset, n.note_version_id) AS BIGINT) AS version
    FROM several AS m JOIN stated_notes AS n ON n.note_id = m.note_id
)
SELECT n.note_id, n.note_version_id, n.version,
       COALESCE(s.survivor_id, n.patient_id) AS patient_id, COALESCE(v.survivor_id, n.encounter_id) AS encounter_id, n.facility, n.kind, n.type_code, n.status,
       n.authored_at, n.signed_at, n.first_known_at AS known_at, n.replaces, n.length, n.template, w.current_status, w.current_status = 'retracted' AS retracted
FROM note_states AS w
JOIN numbered AS n ON n.note_id = w.note_id
LEFT JOIN survivors AS s ON s.patient_id = n.patient_id
LEFT JOIN encounter_survivors AS v ON v.encounter_id = n.encounter_id
