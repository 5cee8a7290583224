-- fallen_predictions: one row per (prediction, reason) that does not stand: it was `retracted`, or `superseded` by the prediction about another version.
-- The text of a version may come back, and what was said of it is said again: what was said last decides. A record that is only repeated was said when it first was.
-- What a prediction about another note supersedes, one that replaces its note, does not come back, wherever in the topic that prediction stands.
-- All about a note stands in one partition in the order in which it was said, whatever the senders' clocks say: nothing there was said before what precedes it.
-- Between partitions, of which there may be more by now, time decides.
WITH superseding AS (SELECT note_id, supersedes FROM prediction_rows WHERE supersedes IS NOT NULL),
touched AS (SELECT DISTINCT note_id FROM prediction_rows WHERE supersedes IS NOT NULL OR retracts IS NOT NULL),
logged AS (
    SELECT p.note_id, p.prediction_id, p.predicted_at, p.supersedes, p.retracts, p.source_topic, p.source_partition, p.source_offset,
           max(p.known_at) OVER (PARTITION BY p.note_id, p.source_topic, p.source_partition ORDER BY p.source_offset
                                 ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS said_at
    FROM touched AS t JOIN prediction_rows AS p ON p.note_id = t.note_id
),
placed AS (
    SELECT prediction_id, predicted_at, supersedes, retracts,
           row_number() OVER (PARTITION BY note_id ORDER BY said_at, source_topic, source_partition, source_offset) AS place
    FROM logged
),
sayings AS (SELECT prediction_id, supersedes, retracts, min(place) AS place FROM placed GROUP BY prediction_id, predicted_at, supersedes, retracts),
said AS (SELECT prediction_id, max(place) AS place FROM sayings WHERE retracts IS NULL GROUP BY prediction_id),
felled AS (
    SELECT retracts AS prediction_id, 'retracted' AS because, max(place) AS place FROM sayings WHERE retracts IS NOT NULL GROUP BY retracts
    UNION ALL
    SELECT supersedes AS prediction_id, 'superseded' AS because, max(place) AS place FROM sayings WHERE supersedes IS NOT NULL GROUP BY supersedes
)
SELECT f.prediction_id, f.because FROM felled AS f JOIN said AS s ON s.prediction_id = f.prediction_id WHERE f.place > s.place
UNION
SELECT p.prediction_id, 'superseded' AS because
FROM superseding AS s JOIN prediction_rows AS p ON p.prediction_id = s.supersedes
WHERE p.note_id <> s.note_id AND p.retracts IS NULL
