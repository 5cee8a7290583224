-- encounter_survivors: one row per visit that goes on under another number, and the visit that stands for it now. `tied`: because it, or what it was merged into, is a stay
-- that was told a second time, and not because anybody said so.
SELECT m.encounter_id, COALESCE(t.survivor_id, m.survivor_id) AS survivor_id, t.encounter_id IS NOT NULL AS tied
FROM tied_stays AS t RIGHT JOIN merged_stays AS m ON t.encounter_id = m.survivor_id
UNION ALL
SELECT encounter_id, survivor_id, true AS tied FROM tied_stays
