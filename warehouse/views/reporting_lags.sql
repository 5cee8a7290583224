-- reporting_lags: one row per (facility, kind of fact): within how many days facts of the last two years became known, the last thirty days left out, of which
-- only the quick ones are known yet. Admissions, discharges and deaths count from their own time, codes and first decisions of claims from the stay's
-- discharge; a fact that is said again counts when it was first said. `lag_days`: what 99 of 100 did not exceed, in whole days.
WITH ended AS (SELECT encounter_id, discharged_at FROM encounters WHERE discharged_at IS NOT NULL),
said AS (
    SELECT facility, CASE code WHEN 'encounter.discharged' THEN 'discharge' WHEN 'patient.died' THEN 'death' ELSE 'admission' END AS fact,
           COALESCE(encounter_id, patient_id) AS subject, time AS own_at, min(known_at) AS known_at
    FROM events
    WHERE code IN ('encounter.admitted', 'encounter.discharged', 'patient.died') AND time IS NOT NULL
    GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT v.facility, 'diagnosis' AS fact, v.encounter_id AS subject, e.discharged_at AS own_at, min(v.known_at) AS known_at
    FROM events AS v JOIN ended AS e ON e.encounter_id = v.encounter_id
    WHERE v.code = 'encounter.diagnosed' AND v.text_value IS NOT NULL
    GROUP BY v.facility, v.encounter_id, e.discharged_at, v.text_value
    UNION ALL
    SELECT c.facility, 'claim' AS fact, c.claim_id AS subject, e.discharged_at AS own_at, c.decision_known_at AS known_at
    FROM claims AS c JOIN ended AS e ON e.encounter_id = c.encounter_id
    WHERE c.decision_known_at IS NOT NULL
),
lagged AS (
    SELECT s.facility, s.fact, greatest(0, to_unixtime(s.known_at) - to_unixtime(s.own_at)) AS seconds
    FROM said AS s JOIN watermarks AS w ON w.facility = s.facility
    WHERE s.own_at <= w.watermark - INTERVAL '30 days' AND s.own_at > w.watermark - INTERVAL '730 days'
),
ranked AS (
    SELECT facility, fact, seconds, row_number() OVER (PARTITION BY facility, fact ORDER BY seconds) AS place, count(*) OVER (PARTITION BY facility, fact) AS n
    FROM lagged
)
SELECT facility, fact, max(n) AS n,
       CAST(ceil(min(seconds) FILTER (WHERE place >= n * 0.5) / 86400.0) AS BIGINT) AS median_days,
       CAST(ceil(min(seconds) FILTER (WHERE place >= n * 0.99) / 86400.0) AS BIGINT) AS lag_days
FROM ranked GROUP BY facility, fact
