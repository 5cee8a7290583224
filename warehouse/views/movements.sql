-- movements: one row per (stay, department in turn): where the patient lay, from when and until when. The first is where the stay began, as was said first.
-- A cancelled transfer (A12) takes back the transfer that was stated last before it. `until_at` is NULL where the patient lies now.
-- Of a stay that is told twice the number that stands says where the patient lay, and the other what that one does not.
WITH told AS (
    SELECT encounter_id, code, text_value, time, asserted_at,
           lead(code) OVER (PARTITION BY encounter_id ORDER BY asserted_at, time, code DESC, text_value) AS next_code
    FROM (
        SELECT *, sum(CASE WHEN tied THEN 0 ELSE 1 END) OVER (PARTITION BY encounter_id) AS own
        FROM events WHERE code IN ('encounter.transferred', 'encounter.transfer_cancelled') AND encounter_id IS NOT NULL
    ) AS of_either
    WHERE NOT tied OR own = 0
),
moves AS (
    SELECT encounter_id, text_value AS department, time AS moved_at, max(asserted_at) AS asserted_at
    FROM told
    WHERE code = 'encounter.transferred' AND time IS NOT NULL AND next_code IS DISTINCT FROM 'encounter.transfer_cancelled'
    GROUP BY 1, 2, 3
),
first_named AS (
    SELECT encounter_id, COALESCE(first_value(text_value ORDER BY asserted_at, text_value) FILTER (WHERE NOT tied), first_value(text_value ORDER BY asserted_at, text_value)) AS department
    FROM events WHERE code = 'encounter.department' AND text_value IS NOT NULL AND encounter_id IS NOT NULL GROUP BY encounter_id
),
placed AS (
    SELECT e.encounter_id, e.patient_id, e.discharged_at, f.department, e.admitted_at AS moved_at, 0 AS transferred
    FROM encounters AS e LEFT JOIN first_named AS f ON f.encounter_id = e.encounter_id
    UNION ALL
    SELECT e.encounter_id, e.patient_id, e.discharged_at, m.department, m.moved_at, 1 AS transferred
    FROM encounters AS e JOIN moves AS m ON m.encounter_id = e.encounter_id
)
SELECT encounter_id, patient_id, row_number() OVER turns AS turn, department, moved_at, COALESCE(lead(moved_at) OVER turns, discharged_at) AS until_at
FROM placed WINDOW turns AS (PARTITION BY encounter_id ORDER BY transferred, moved_at, department)
