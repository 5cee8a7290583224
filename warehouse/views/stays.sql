-- stays: one row per visit that any message admitted, whether it stands or not, by what was last asserted of it.
-- A late message that asserts something older never wins, nor does one that does not say when.
SELECT encounter_id,
       min(facility) AS facility,
       min(visit_number) AS visit_number,
       last_value(patient_id ORDER BY asserted_at, known_at, source_offset) AS patient_id,
       last_value(time ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE code = 'encounter.admitted' AND time IS NOT NULL) AS admitted_at,
       max(asserted_at) FILTER (WHERE code = 'encounter.admitted') AS admitted_asserted_at,
       max(asserted_at) FILTER (WHERE code = 'encounter.admission_cancelled') AS cancelled_asserted_at,
       last_value(time ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE code = 'encounter.discharged' AND time IS NOT NULL) AS discharged_at,
       last_value(text_value ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE code = 'encounter.discharged') AS disposition,
       max(asserted_at) FILTER (WHERE code = 'encounter.discharged') AS discharged_asserted_at,
       max(asserted_at) FILTER (WHERE code = 'encounter.discharge_cancelled') AS discharge_cancelled_asserted_at,
       last_value(text_value ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE code = 'encounter.class') AS class,
       last_value(text_value ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE code = 'encounter.department') AS department
FROM events
WHERE encounter_id IS NOT NULL AND code LIKE 'encounter.%'
GROUP BY encounter_id
