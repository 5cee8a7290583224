-- claims: one row per claim. It was initially denied if its first final decision was a denial, whatever an appeal brought later; a claim that is sent again
-- under a number of its own is one of its own. `first_decided_at`: when that decision was made, where nobody says when it was stated.
SELECT facility || '/' || related AS claim_id,
       max(encounter_id) AS encounter_id, max(patient_id) AS patient_id,
       min(time) FILTER (WHERE code = 'claim.submitted') AS submitted_at,
       max(time) FILTER (WHERE final) AS decided_at,
       CASE
           WHEN bool_or(text_value = 'cancelled') THEN 'cancelled'
           WHEN first_value(text_value ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE final) = 'denied' AND bool_or(text_value IN ('paid', 'appeal_won')) THEN 'appeal_won'
           WHEN count(*) FILTER (WHERE text_value IN ('denied', 'appeal_lost')) > 1 THEN 'appeal_lost'
           ELSE COALESCE(last_value(text_value ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE code = 'claim.decided'), 'submitted')
       END AS status,
       first_value(text_value ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE final) IN ('denied', 'appeal_won', 'appeal_lost') AS initially_denied,
       first_value(COALESCE(time, asserted_at) ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE final) AS first_decided_at,
       min(known_at) FILTER (WHERE final) AS decision_known_at, min(facility) AS facility
FROM (
    SELECT *, code = 'claim.decided' AND text_value IN ('paid', 'denied', 'appeal_won', 'appeal_lost') AS final
    FROM events WHERE code IN ('claim.submitted', 'claim.decided') AND related IS NOT NULL
) AS stated
GROUP BY facility, related
