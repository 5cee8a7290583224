-- task_rules: one row per task: the kind of note that is read, and the days after which its labels are mature for everyone.
-- Readmission: 30 days and a week for reporting after discharge. The others count from admission: a month for death and
-- length of stay, two for codes, five for claims.
SELECT column1 AS task, column2 AS kind, column3 AS clock, column4 AS mature_after
FROM (VALUES ('readmission', 'discharge', 'discharge', INTERVAL '37 days'),
             ('mortality', 'admission', 'admission', INTERVAL '30 days'),
             ('length_of_stay', 'admission', 'admission', INTERVAL '30 days'),
             ('comorbidity', 'admission', 'admission', INTERVAL '60 days'),
             ('denial', 'admission', 'admission', INTERVAL '150 days')) AS rules
