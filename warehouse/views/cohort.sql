-- cohort: one row per stay that anybody admitted, whether it stands or not: whom every task is asked of. `gone_because`: why it no longer stands.
SELECT s.encounter_id, s.patient_id, s.facility, s.admitted_at, e.discharged_at,
       CASE WHEN e.encounter_id IS NOT NULL THEN NULL
            WHEN s.cancelled_asserted_at IS NOT NULL AND (s.admitted_asserted_at IS NULL OR s.admitted_asserted_at <= s.cancelled_asserted_at) THEN 'cancelled'
            ELSE 'made_outpatient' END AS gone_because
FROM stays AS s LEFT JOIN encounters AS e ON e.encounter_id = s.encounter_id
WHERE s.admitted_at IS NOT NULL
