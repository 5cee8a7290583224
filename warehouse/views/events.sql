-- events: one row per clinical fact; a message that was sent twice gives its facts once. Merged patients and merged visits resolve to the survivor.
-- `tied`: the stay was told of under this number besides (`encounter_survivors`).
SELECT e.event_id, COALESCE(s.survivor_id, e.patient_id) AS patient_id, e.patient_id AS stated_patient_id,
       COALESCE(v.survivor_id, e.encounter_id) AS encounter_id, e.encounter_id AS stated_encounter_id, COALESCE(v.tied, false) AS tied, e.facility,
       e.visit_number, e.code, e.time, COALESCE(e.asserted_at, e.known_at) AS asserted_at, e.known_at, e.numeric_value, e.text_value, e.related,
       e.patient_system, e.patient_value, e.source_topic, e.source_partition, e.source_offset
FROM standing_events AS e
LEFT ANTI JOIN copies AS c ON c.topic = e.source_topic AND c."partition" = e.source_partition AND c."offset" = e.source_offset
LEFT JOIN survivors AS s ON s.patient_id = e.patient_id
LEFT JOIN encounter_survivors AS v ON v.encounter_id = e.encounter_id
