-- note_states: one row per note of which more than one status was asserted, by versions or by messages without its text (MDM T03), with the one that was
-- asserted last. A late message that asserts something older never wins. Any other note is what its one version says.
-- A note that another one replaces stands as it was read, but for one: what another patient's note replaces was about somebody else, which takes it back. By the
-- numbers that the two notes state, and not where both state one visit: the scorer, which knows of no merges, goes by the same.
WITH replacing AS (
    SELECT replaces, patient_id, encounter_id, COALESCE(asserted_at, known_at) AS asserted_at FROM standing_notes WHERE replaces <> note_id AND status <> 'retracted'
),
stated AS (
    SELECT note_id, status, COALESCE(asserted_at, known_at) AS asserted_at, CASE WHEN status = 'retracted' THEN 1 ELSE 0 END AS retraction FROM standing_notes
    UNION ALL
    SELECT note_identity(facility, related) AS note_id, text_value AS status, asserted_at, 0 AS retraction
    FROM events WHERE code = 'note.status_stated' AND related IS NOT NULL AND text_value IS NOT NULL
    UNION ALL
    SELECT n.note_id, 'retracted' AS status, r.asserted_at, 1 AS retraction
    FROM replacing AS r JOIN standing_notes AS n ON n.note_id = r.replaces
    WHERE r.patient_id <> n.patient_id AND COALESCE(r.encounter_id <> n.encounter_id, true)
),
several AS (SELECT note_id FROM stated GROUP BY note_id HAVING count(*) > 1)
SELECT s.note_id, last_value(s.status ORDER BY s.asserted_at, s.retraction, s.status) AS current_status
FROM several AS m JOIN stated AS s ON s.note_id = m.note_id
GROUP BY s.note_id
