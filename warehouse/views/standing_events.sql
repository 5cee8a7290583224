-- standing_events: one row per fact of the reading of its record that stands; what an earlier reading said is history.
SELECT e.*
FROM event_rows AS e
LEFT JOIN readings AS r ON r.topic = e.source_topic AND r."partition" = e.source_partition AND r."offset" = e.source_offset
WHERE e.reading = COALESCE(r.rows_reading, 0)
