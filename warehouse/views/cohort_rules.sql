-- cohort_rules: one row per (task, rule): what is done about stays of that kind, and why. `excluded`: stays that left at this step, mature ones alone. `holds`: stays
-- that stand of which the rule holds, whatever other rule holds of them too; NULL for the steps that every task has.
SELECT s.task, s.step, s.reason, s.effect, CASE WHEN s.effect = 'excluded' THEN COALESCE(a.encounters, 0) END AS excluded, m.holds, s.why
FROM task_steps AS s
LEFT JOIN attrition AS a ON a.task = s.task AND a.step = s.step
LEFT JOIN task_marks AS m ON m.task = s.task AND m.reason = s.reason
WHERE s.effect IN ('excluded', 'counted', 'pending')
