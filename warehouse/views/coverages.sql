-- coverages: one row per (patient, stay, slot): the insurance plan or payer that was said last of it and still holds. A slot is a Coverage's own record, else a rank;
-- `encounter_id` is NULL where it was said of the patient and not of a stay, whose patient else counts. A Coverage that was cancelled ends wherever its record was named.
WITH told AS (
    SELECT COALESCE(s.patient_id, e.patient_id) AS patient_id, e.encounter_id, e.facility, e.text_value, e.numeric_value, e.asserted_at, e.related,
           COALESCE(e.related, 'rank/' || COALESCE(CAST(CAST(e.numeric_value AS BIGINT) AS VARCHAR), '')) AS slot
    FROM stays AS s RIGHT JOIN events AS e ON s.encounter_id = e.encounter_id
    WHERE e.code = 'encounter.insured' AND e.patient_id IS NOT NULL
),
ended AS (
    SELECT facility, related, max(asserted_at) AS over_at FROM told WHERE related IS NOT NULL AND text_value IS NULL GROUP BY facility, related
),
latest AS (
    SELECT patient_id, encounter_id, slot, max(asserted_at) AS asserted_at, max(facility) AS facility, max(related) AS related,
           last_value(text_value ORDER BY asserted_at, text_value) AS plan, last_value(numeric_value ORDER BY asserted_at, text_value) AS rank
    FROM told GROUP BY patient_id, encounter_id, slot
)
SELECT l.patient_id, l.encounter_id, l.slot, l.plan, l.rank, l.asserted_at AS stated_at
FROM latest AS l LEFT JOIN ended AS o ON o.facility = l.facility AND o.related = l.related
WHERE l.plan IS NOT NULL AND (o.over_at IS NULL OR l.asserted_at > o.over_at)
