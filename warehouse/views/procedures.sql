-- procedures: one row per (stay, code, time) that was stated and not taken back since. As for diagnoses, a record of its own (a FHIR Procedure) says what
-- its newest version says, and takes back its own alone. The patient is the stay's.
WITH told AS (
    SELECT encounter_id, patient_id, facility, code, text_value, numeric_value, time, asserted_at, CASE WHEN strpos(related, '/') > 0 THEN related ELSE '' END AS record
    FROM events WHERE code IN ('encounter.procedure', 'encounter.procedure_retracted')
),
newest AS (SELECT facility, record, max(asserted_at) AS asserted_at FROM told WHERE record <> '' GROUP BY facility, record),
standing AS (
    SELECT t.* FROM told AS t LEFT JOIN newest AS n ON n.facility = t.facility AND n.record = t.record
    WHERE t.encounter_id IS NOT NULL AND t.text_value IS NOT NULL AND (t.record = '' OR t.asserted_at = n.asserted_at)
),
retracted AS (
    SELECT encounter_id, text_value, record, max(asserted_at) AS retracted_at FROM standing WHERE code = 'encounter.procedure_retracted' GROUP BY 1, 2, 3
)
SELECT s.encounter_id, COALESCE(max(v.patient_id), max(s.patient_id)) AS patient_id,
       left(s.text_value, character_length(s.text_value) - character_length(substr_index(s.text_value, '/', -1)) - 1) AS system,
       substr_index(s.text_value, '/', -1) AS code, s.time AS done_at, min(s.numeric_value) AS rank
FROM stays AS v
RIGHT JOIN standing AS s ON v.encounter_id = s.encounter_id
LEFT JOIN retracted AS r ON r.encounter_id = s.encounter_id AND r.text_value = s.text_value AND r.record = s.record
WHERE s.code = 'encounter.procedure' AND (r.retracted_at IS NULL OR s.asserted_at > r.retracted_at)
GROUP BY s.encounter_id, s.text_value, s.time
