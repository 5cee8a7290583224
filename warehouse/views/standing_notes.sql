-- standing_notes: one row per note version of the reading of its record that stands; what an earlier reading said is history.
-- The texts are on the side of the join that streams.
SELECT n.*
FROM readings AS r
RIGHT JOIN note_rows AS n ON r.topic = n.source_topic AND r."partition" = n.source_partition AND r."offset" = n.source_offset
WHERE n.reading = COALESCE(r.rows_reading, 0)
