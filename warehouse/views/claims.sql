-- claims: one row per claim: whether it was denied at first, and when that was decided. It was initially denied if its first final decision was a denial, whatever
-- an appeal brought later; a claim that is sent again under a number of its own is one of its own, and one that was cancelled is none until it is sent again under the same. `first_decided_at`: when that decision
-- was made, where nobody says when it was stated. Decisions follow one another as they were made, in whatever order they were told. A decision that was declared void
-- later is none: that of the time that the declaration names or, where none was made then, the last one before it. The patient is the stay's.
WITH decided AS (
    SELECT facility, related, time, asserted_at, text_value FROM events WHERE code = 'claim.decided' AND related IS NOT NULL
),
voids AS (
    SELECT v.facility, v.related, v.asserted_at AS void_at, max(d.time) FILTER (WHERE d.time = v.time) AS made_at, max(d.asserted_at) AS told_at
    FROM (SELECT * FROM decided WHERE text_value = 'void') AS v
    JOIN (SELECT * FROM decided WHERE text_value <> 'void') AS d ON d.facility = v.facility AND d.related = v.related AND d.asserted_at < v.asserted_at
    GROUP BY v.facility, v.related, v.asserted_at, v.time
),
gone AS (
    SELECT DISTINCT d.facility, d.related, COALESCE(d.time, d.asserted_at) AS made_at, d.asserted_at
    FROM voids AS v
    JOIN decided AS d ON d.facility = v.facility AND d.related = v.related AND d.asserted_at < v.void_at
    WHERE CASE WHEN v.made_at IS NULL THEN d.asserted_at = v.told_at ELSE d.time = v.made_at END
),
told AS (
    SELECT e.encounter_id, e.patient_id, e.facility, e.related, e.code, e.time, COALESCE(e.time, e.asserted_at) AS made_at, e.asserted_at, e.known_at,
           e.source_topic, e.source_partition, e.source_offset, e.text_value, g.related IS NULL AND COALESCE(e.text_value <> 'void', true) AS stands
    FROM gone AS g RIGHT JOIN events AS e
      ON g.facility = e.facility AND g.related = e.related AND g.asserted_at = e.asserted_at AND g.made_at = COALESCE(e.time, e.asserted_at)
    WHERE e.code IN ('claim.submitted', 'claim.decided') AND e.related IS NOT NULL
),
placed AS (
    SELECT *, stands AND code = 'claim.decided' AND text_value IN ('paid', 'denied', 'appeal_won', 'appeal_lost') AS final,
           row_number() OVER (PARTITION BY facility, related
                              ORDER BY made_at, asserted_at, known_at, source_topic, source_partition, source_offset, text_value) AS place
    FROM told
),
summed AS (
    SELECT facility || '/' || related AS claim_id,
           max(encounter_id) AS encounter_id, max(patient_id) AS patient_id,
           min(time) FILTER (WHERE code = 'claim.submitted') AS submitted_at,
           max(time) FILTER (WHERE final) AS decided_at,
           CASE
               WHEN COALESCE(max(asserted_at) FILTER (WHERE text_value = 'cancelled') >= max(asserted_at) FILTER (WHERE code = 'claim.submitted'),
                             bool_or(text_value = 'cancelled')) THEN 'cancelled'
               WHEN first_value(text_value ORDER BY place) FILTER (WHERE final) = 'denied' AND bool_or(stands AND text_value IN ('paid', 'appeal_won')) THEN 'appeal_won'
               WHEN count(*) FILTER (WHERE stands AND text_value IN ('denied', 'appeal_lost')) > 1 THEN 'appeal_lost'
               ELSE COALESCE(last_value(text_value ORDER BY place) FILTER (WHERE code = 'claim.decided' AND stands), 'submitted')
           END AS status,
           first_value(text_value ORDER BY place) FILTER (WHERE final) IN ('denied', 'appeal_won', 'appeal_lost') AS initially_denied,
           first_value(made_at ORDER BY place) FILTER (WHERE final) AS first_decided_at,
           min(known_at) FILTER (WHERE final) AS decision_known_at, min(facility) AS facility
    FROM placed
    GROUP BY facility, related
)
SELECT c.claim_id, c.encounter_id, COALESCE(s.patient_id, c.patient_id) AS patient_id, c.submitted_at, c.decided_at, c.status, c.initially_denied,
       c.first_decided_at, c.decision_known_at, c.facility
FROM stays AS s RIGHT JOIN summed AS c ON s.encounter_id = c.encounter_id
