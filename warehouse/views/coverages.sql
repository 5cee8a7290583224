-- coverages: one row per (patient, stay, slot): the insurance plan or payer that was said last of it and still holds. A slot is a Coverage's own record, else a rank;
-- `encounter_id` is NULL where it was said of the patient and not of a stay. A Coverage that was cancelled ends wherever its record was named.
WITH told AS (
    SELECT patient_id, encounter_id, facility, text_value, numeric_value, asserted_at, related,
           COALESCE(related, 'rank/' || COALESCE(CAST(CAST(numeric_value AS BIGINT) AS VARCHAR), '')) AS slot
    FROM events WHERE code = 'encounter.insured' AND patient_id IS NOT NULL
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
