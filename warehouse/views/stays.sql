-- stays: one row per visit that any message admitted, whether it stands or not, by what was last asserted of it.
-- A late message that asserts something older never wins. What was asserted at the same instant is told apart by what it says, never by
-- when it came: in whatever order a stay's messages arrive, its row is the same. Where a visit that was merged into another had an admission
-- and the other has one of its own, coming, going and cancelling are told by the other's own facts alone. Where the patient went is what was said since a
-- discharge was last taken back.
-- Of a stay that is told twice (`tied`) the number that stands says what it is; what nothing under that one says (how it ends, where the
-- patient went, its class, its department) the other does.
WITH several AS (
    SELECT e.encounter_id, bool_or(e.stated_encounter_id = e.encounter_id AND e.code <> 'encounter.discharged') AS has_own,
           bool_or(NOT e.tied AND e.code <> 'encounter.discharged') AS comes, bool_or(NOT e.tied AND e.code = 'encounter.discharged') AS goes,
           bool_or(e.tied AND e.code = 'encounter.discharged') AS goes_besides
    FROM (SELECT DISTINCT survivor_id FROM encounter_survivors) AS m JOIN events AS e ON e.encounter_id = m.survivor_id
    WHERE e.code IN ('encounter.admitted', 'encounter.admission_stated', 'encounter.discharged')
    GROUP BY e.encounter_id
),
said AS (
    SELECT e.*,
           CASE WHEN o.encounter_id IS NULL THEN true
                WHEN o.goes_besides AND NOT o.goes AND e.code IN ('encounter.discharged', 'encounter.discharge_cancelled', 'encounter.disposition') THEN e.tied
                WHEN e.tied THEN NOT o.comes
                ELSE e.stated_encounter_id = e.encounter_id OR NOT o.has_own END AS counts
    FROM events AS e LEFT JOIN several AS o ON o.encounter_id = e.encounter_id
    WHERE e.encounter_id IS NOT NULL AND e.code LIKE 'encounter.%'
),
taken_back AS (
    SELECT encounter_id, max(asserted_at) FILTER (WHERE counts) AS taken_back_at, max(asserted_at) FILTER (WHERE tied) AS taken_back_besides
    FROM said WHERE code = 'encounter.discharge_cancelled' GROUP BY encounter_id
)
SELECT encounter_id,
       min(facility) AS facility,
       COALESCE(min(visit_number) FILTER (WHERE stated_encounter_id = encounter_id), min(visit_number)) AS visit_number,
       last_value(patient_id ORDER BY asserted_at, CASE WHEN code = 'encounter.moved' THEN 1 ELSE 0 END, patient_id) FILTER (WHERE patient_id IS NOT NULL) AS patient_id,
       last_value(time ORDER BY asserted_at, time)
           FILTER (WHERE counts AND code IN ('encounter.admitted', 'encounter.admission_stated') AND time IS NOT NULL) AS admitted_at,
       max(asserted_at) FILTER (WHERE counts AND code = 'encounter.admitted') AS admitted_asserted_at,
       max(asserted_at) FILTER (WHERE counts AND code IN ('encounter.admission_cancelled', 'encounter.deleted')) AS cancelled_asserted_at,
       max(asserted_at) FILTER (WHERE counts AND code = 'encounter.made_outpatient') AS outpatient_asserted_at,
       last_value(time ORDER BY asserted_at, time) FILTER (WHERE counts AND code = 'encounter.discharged' AND time IS NOT NULL) AS discharged_at,
       COALESCE(
           last_value(text_value ORDER BY asserted_at, text_value)
               FILTER (WHERE counts AND (taken_back_at IS NULL OR asserted_at > taken_back_at)
                         AND (code = 'encounter.disposition' OR (code = 'encounter.discharged' AND text_value IS NOT NULL))),
           last_value(text_value ORDER BY asserted_at, text_value)
               FILTER (WHERE tied AND (taken_back_besides IS NULL OR asserted_at > taken_back_besides)
                         AND (code = 'encounter.disposition' OR (code = 'encounter.discharged' AND text_value IS NOT NULL)))) AS disposition,
       max(asserted_at) FILTER (WHERE counts AND code = 'encounter.discharged') AS discharged_asserted_at,
       max(asserted_at) FILTER (WHERE counts AND code = 'encounter.discharge_cancelled') AS discharge_cancelled_asserted_at,
       COALESCE(last_value(text_value ORDER BY asserted_at, text_value) FILTER (WHERE code = 'encounter.class' AND NOT tied),
                last_value(text_value ORDER BY asserted_at, text_value) FILTER (WHERE code = 'encounter.class' AND tied)) AS class,
       COALESCE(last_value(text_value ORDER BY asserted_at, text_value) FILTER (WHERE code = 'encounter.department' AND NOT tied),
                last_value(text_value ORDER BY asserted_at, text_value) FILTER (WHERE code = 'encounter.department' AND tied)) AS department
FROM (SELECT s.*, t.taken_back_at, t.taken_back_besides FROM taken_back AS t RIGHT JOIN said AS s ON s.encounter_id = t.encounter_id) AS told
GROUP BY encounter_id
