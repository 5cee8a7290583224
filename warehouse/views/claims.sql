-- claims: one row per claim. It was initially denied if its first final decision was a denial, whatever an appeal brought later; a claim that is sent again
-- under a number of its own is one of its own, and one that was cancelled is none until it is sent again under the same. `first_decided_at`: when that decision was made, where nobody says when it was stated. A decision that was
-- declared void later (the same claim and time of decision, or whatever decision where none is named) is none.
WITH voids AS (
    SELECT facility, related, time, max(asserted_at) AS void_at
    FROM events WHERE code = 'claim.decided' AND text_value = 'void' AND related IS NOT NULL GROUP BY facility, related, time
)
SELECT facility || '/' || related AS claim_id,
       max(encounter_id) AS encounter_id, max(patient_id) AS patient_id,
       min(time) FILTER (WHERE code = 'claim.submitted') AS submitted_at,
       max(time) FILTER (WHERE final) AS decided_at,
       CASE
           WHEN COALESCE(max(asserted_at) FILTER (WHERE text_value = 'cancelled') >= max(asserted_at) FILTER (WHERE code = 'claim.submitted'),
                         bool_or(text_value = 'cancelled')) THEN 'cancelled'
           WHEN first_value(text_value ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE final) = 'denied' AND bool_or(stands AND text_value IN ('paid', 'appeal_won')) THEN 'appeal_won'
           WHEN count(*) FILTER (WHERE stands AND text_value IN ('denied', 'appeal_lost')) > 1 THEN 'appeal_lost'
           ELSE COALESCE(last_value(text_value ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE code = 'claim.decided' AND stands), 'submitted')
       END AS status,
       first_value(text_value ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE final) IN ('denied', 'appeal_won', 'appeal_lost') AS initially_denied,
       first_value(COALESCE(time, asserted_at) ORDER BY asserted_at, known_at, source_offset) FILTER (WHERE final) AS first_decided_at,
       min(known_at) FILTER (WHERE final) AS decision_known_at, min(facility) AS facility
FROM (
    SELECT *, stands AND code = 'claim.decided' AND text_value IN ('paid', 'denied', 'appeal_won', 'appeal_lost') AS final
    FROM (
        SELECT e.*, v.related IS NULL AND w.related IS NULL AND COALESCE(e.text_value <> 'void', true) AS stands
        FROM events AS e
        LEFT JOIN voids AS v ON v.facility = e.facility AND v.related = e.related AND v.time = e.time AND e.asserted_at < v.void_at
        LEFT JOIN voids AS w ON w.facility = e.facility AND w.related = e.related AND w.time IS NULL AND e.asserted_at < w.void_at
        WHERE e.code IN ('claim.submitted', 'claim.decided') AND e.related IS NOT NULL
    ) AS told
) AS stated
GROUP BY facility, related
