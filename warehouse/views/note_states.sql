-- note_states: one row per note, with the status that was last asserted of it, by a version or by a message without its text (MDM T03).
-- A late message that asserts something older never wins.
SELECT note_id, last_value(status ORDER BY asserted_at, retraction, status) AS current_status
FROM (
    SELECT note_id, status, COALESCE(asserted_at, known_at) AS asserted_at, CASE WHEN status = 'retracted' THEN 1 ELSE 0 END AS retraction FROM standing_notes
    UNION ALL
    SELECT note_identity(facility, related) AS note_id, text_value AS status, asserted_at, 0 AS retraction
    FROM events WHERE code = 'note.status_stated' AND related IS NOT NULL AND text_value IS NOT NULL
) AS stated
GROUP BY note_id
