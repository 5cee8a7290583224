-- readings: one row per record that was replayed, or landed by another attempt than the first, with the reading whose facts and notes stand for it now.
SELECT topic, "partition", "offset", rows_reading
FROM (
    SELECT topic, "partition", "offset", rows_reading, row_number() OVER (PARTITION BY topic, "partition", "offset" ORDER BY reading DESC) AS age
    FROM message_rows WHERE reading <> 0
) AS read
WHERE age = 1
