-- diagnoses: one row per (stay, code) that was stated and not taken back since. The code stands behind the last slash: a system may be a URL.
-- A record of its own (a FHIR Condition) says what its newest version says, and nothing that an older one said; it takes back its own alone.
-- The patient is the stay's: it may have been told under another before it was moved.
WITH told AS (
    SELECT encounter_id, patient_id, facility, code, text_value, numeric_value, asserted_at, CASE WHEN strpos(related, '/') > 0 THEN related ELSE '' END AS record
    FROM events WHERE code IN ('encounter.diagnosed', 'encounter.diagnosis_retracted')
),
newest AS (SELECT facility, record, max(asserted_at) AS asserted_at FROM told WHERE record <> '' GROUP BY facility, record),
stated AS (
    SELECT t.encounter_id, t.text_value, t.record, max(t.patient_id) AS patient_id,
           last_value(t.numeric_value ORDER BY t.asserted_at, t.numeric_value DESC) FILTER (WHERE t.code = 'encounter.diagnosed' AND t.numeric_value IS NOT NULL) AS rank,
           max(t.asserted_at) FILTER (WHERE t.code = 'encounter.diagnosed') AS stated_at,
           max(t.asserted_at) FILTER (WHERE t.code = 'encounter.diagnosis_retracted') AS retracted_at
    FROM told AS t
    LEFT JOIN newest AS n ON n.facility = t.facility AND n.record = t.record
    WHERE t.encounter_id IS NOT NULL AND t.text_value IS NOT NULL AND (t.record = '' OR t.asserted_at = n.asserted_at)
    GROUP BY t.encounter_id, t.text_value, t.record
)
SELECT t.encounter_id, COALESCE(max(s.patient_id), max(t.patient_id)) AS patient_id,
       left(t.text_value, character_length(t.text_value) - character_length(substr_index(t.text_value, '/', -1)) - 1) AS system,
       substr_index(t.text_value, '/', -1) AS code, min(t.rank) AS rank
FROM stays AS s RIGHT JOIN stated AS t ON s.encounter_id = t.encounter_id
WHERE t.stated_at IS NOT NULL AND (t.retracted_at IS NULL OR t.stated_at > t.retracted_at)
GROUP BY t.encounter_id, t.text_value
