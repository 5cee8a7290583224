-- events: one row per clinical fact; a message that was sent twice gives its facts once. Merged patients and merged visits resolve to the survivor.
SELECT e.event_id, COALESCE(s.survivor_id, e.patient_id) AS patient_id, e.patient_id AS stated_patient_id,
       COALESCE(v.survivor_id, e.encounter_id) AS encounter_id, e.encounter_id AS stated_encounter_id, e.facility,
       e.visit_number, e.code, e.time, COALESCE(e.asserted_at, e.known_at) AS asserted_at, e.known_at, e.numeric_value, e.text_value, e.related,
       e.patient_system, e.patient_value, e.source_topic, e.source_partition, e.source_offset
FROM (
    SELECT *, row_number() OVER (PARTITION BY event_id ORDER BY greatest(reading, 0) DESC, known_at, source_topic, source_partition, source_offset) AS copy
    FROM standing_events
) AS e
LEFT JOIN survivors AS s ON s.patient_id = e.patient_id
LEFT JOIN encounter_survivors AS v ON v.encounter_id = e.encounter_id
WHERE e.copy = 1
