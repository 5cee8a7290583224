-- planned_stays: one row per stay that was announced as planned (A05, FHIR `planned`) and not called off since. A pending admission (A14), whose patient
-- waits for a bed already, is no plan.
SELECT encounter_id, min(time) AS planned_for, max(asserted_at) FILTER (WHERE code = 'encounter.preadmitted') AS announced_at
FROM events
WHERE code IN ('encounter.preadmitted', 'encounter.preadmission_cancelled') AND encounter_id IS NOT NULL AND COALESCE(text_value, 'planned') = 'planned'
GROUP BY encounter_id
HAVING count(*) FILTER (WHERE code <> 'encounter.preadmitted') = 0
    OR max(asserted_at) FILTER (WHERE code = 'encounter.preadmitted') > max(asserted_at) FILTER (WHERE code <> 'encounter.preadmitted')
