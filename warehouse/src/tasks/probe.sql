INSERT INTO message_rows (known_at) VALUES ('2025-06-01T00:00:00Z');
-- a comes back after ten days, b after a hundred, c dies in the stay, d leaves for hospice and dies there, e is transferred and goes on elsewhere,
-- f is born, g stays for observation on a planned day, h lies in rehabilitation, i is still there, j was there the year before, k comes back and l dies at home
-- when half of the task's horizon has passed. m, n, o and p leave as FHIR says it: dead, for hospice, home and to another hospital. A patient's stay 1 is the one that is asked about.
CREATE VIEW came (patient, visit, code, at, said) AS VALUES
    ('a', 'a1', 'encounter.admitted', TIMESTAMP '2024-01-01T08:00:00Z', NULL), ('a', 'a1', 'encounter.discharged', TIMESTAMP '2024-01-04T12:00:00Z', '01'),
    ('a', 'a2', 'encounter.admitted', TIMESTAMP '2024-01-14T08:00:00Z', NULL), ('a', 'a2', 'encounter.discharged', TIMESTAMP '2024-01-21T12:00:00Z', '03'),
    ('b', 'b1', 'encounter.admitted', TIMESTAMP '2024-01-01T08:00:00Z', NULL), ('b', 'b1', 'encounter.discharged', TIMESTAMP '2024-01-02T12:00:00Z', '01'),
    ('b', 'b2', 'encounter.admitted', TIMESTAMP '2024-04-11T08:00:00Z', NULL), ('b', 'b2', 'encounter.discharged', TIMESTAMP '2024-04-15T12:00:00Z', '07'),
    ('c', 'c1', 'encounter.admitted', TIMESTAMP '2024-02-01T08:00:00Z', NULL), ('c', 'c1', 'encounter.discharged', TIMESTAMP '2024-02-06T12:00:00Z', '20'),
    ('c', NULL, 'patient.died', TIMESTAMP '2024-02-06T12:00:00Z', NULL),
    ('d', 'd1', 'encounter.admitted', TIMESTAMP '2024-02-01T08:00:00Z', NULL), ('d', 'd1', 'encounter.discharged', TIMESTAMP '2024-02-09T12:00:00Z', '50'),
    ('d', NULL, 'patient.died', TIMESTAMP '2024-02-20T00:00:00Z', NULL),
    ('e', 'e1', 'encounter.admitted', TIMESTAMP '2024-03-01T08:00:00Z', NULL), ('e', 'e1', 'encounter.discharged', TIMESTAMP '2024-03-03T12:00:00Z', '02'),
    ('e', 'e2', 'encounter.admitted', TIMESTAMP '2024-03-03T15:00:00Z', NULL), ('e', 'e2', 'encounter.discharged', TIMESTAMP '2024-03-12T12:00:00Z', '01'),
    ('f', 'f1', 'encounter.admitted', TIMESTAMP '2024-03-01T08:00:00Z', NULL), ('f', 'f1', 'encounter.discharged', TIMESTAMP '2024-03-03T12:00:00Z', '01'),
    ('f', NULL, 'patient.birth_date', NULL, '2024-03-01'), ('a', NULL, 'patient.birth_date', NULL, '1950-05-05'), ('b', NULL, 'patient.birth_date', NULL, '1980-05-05'),
    ('a', NULL, 'patient.sex', NULL, 'female'), ('b', NULL, 'patient.sex', NULL, 'male'), ('c', NULL, 'patient.sex', NULL, 'female'), ('k', NULL, 'patient.sex', NULL, 'male'),
    ('a', NULL, 'patient.race', NULL, '2106-3'), ('b', NULL, 'patient.race', NULL, '2054-5'),
    ('g', 'g1', 'encounter.preadmitted', TIMESTAMP '2024-05-01T08:00:00Z', 'planned'),
    ('g', 'g1', 'encounter.admitted', TIMESTAMP '2024-05-01T08:00:00Z', NULL), ('g', 'g1', 'encounter.discharged', TIMESTAMP '2024-05-01T20:00:00Z', '01'),
    ('g', 'g1', 'encounter.class', NULL, 'OBSENC'),
    ('h', 'h1', 'encounter.admitted', TIMESTAMP '2024-05-01T08:00:00Z', NULL), ('h', 'h1', 'encounter.discharged', TIMESTAMP '2024-06-20T20:00:00Z', '01'),
    ('h', 'h1', 'encounter.department', TIMESTAMP '2024-05-01T08:00:00Z', 'REH'), ('h', 'h1', 'encounter.transferred', TIMESTAMP '2024-05-03T08:00:00Z', 'REH'),
    ('i', 'i1', 'encounter.admitted', TIMESTAMP '2024-05-01T08:00:00Z', NULL),
    ('j', 'j0', 'encounter.admitted', TIMESTAMP '2023-03-01T08:00:00Z', NULL), ('j', 'j0', 'encounter.discharged', TIMESTAMP '2023-03-04T12:00:00Z', '01'),
    ('j', 'j1', 'encounter.admitted', TIMESTAMP '2024-03-10T08:00:00Z', NULL), ('j', 'j1', 'encounter.discharged', TIMESTAMP '2024-03-13T12:00:00Z', '01'),
    ('k', 'k1', 'encounter.admitted', TIMESTAMP '2024-01-05T08:00:00Z', NULL), ('k', 'k1', 'encounter.discharged', TIMESTAMP '2024-01-08T12:00:00Z', '01'),
    ('k', 'k2', 'encounter.admitted', TIMESTAMP '2024-01-08T12:00:00Z' + $half, NULL),
    ('k', 'k2', 'encounter.discharged', TIMESTAMP '2024-01-10T12:00:00Z' + $half, '01'),
    ('l', 'l1', 'encounter.admitted', TIMESTAMP '2024-01-05T08:00:00Z', NULL), ('l', 'l1', 'encounter.discharged', TIMESTAMP '2024-01-09T12:00:00Z', '01'),
    ('l', NULL, 'patient.died', TIMESTAMP '2024-01-09T12:00:00Z' + $half, NULL),
    ('m', 'm1', 'encounter.admitted', TIMESTAMP '2024-02-01T08:00:00Z', NULL), ('m', 'm1', 'encounter.discharged', TIMESTAMP '2024-02-05T12:00:00Z', 'exp'),
    ('m', NULL, 'patient.died', TIMESTAMP '2024-02-05T12:00:00Z', NULL),
    ('n', 'n1', 'encounter.admitted', TIMESTAMP '2024-02-01T08:00:00Z', NULL), ('n', 'n1', 'encounter.discharged', TIMESTAMP '2024-02-08T12:00:00Z', 'hosp'),
    ('o', 'o1', 'encounter.admitted', TIMESTAMP '2024-02-01T08:00:00Z', NULL), ('o', 'o1', 'encounter.discharged', TIMESTAMP '2024-02-04T12:00:00Z', 'home'),
    ('p', 'p1', 'encounter.admitted', TIMESTAMP '2024-02-01T08:00:00Z', NULL), ('p', 'p1', 'encounter.discharged', TIMESTAMP '2024-02-03T12:00:00Z', 'other-hcf');
INSERT INTO event_rows (patient_id, encounter_id, visit_number, code, time, asserted_at, known_at, text_value)
SELECT patient, visit, visit AS visit_number, code, at AS time, COALESCE(at, TIMESTAMP '2023-01-01T00:00:00Z') AS asserted_at, COALESCE(at, TIMESTAMP '2023-01-01T00:00:00Z') AS known_at, said FROM came;
CREATE VIEW coded (patient, visit, code, rank, said) AS VALUES
    ('a', 'a1', 'encounter.diagnosed', 1.0, 'ICD10CM/I50.9'), ('a', 'a1', 'encounter.diagnosed', 2.0, 'ICD10CM/N18.3'), ('a', 'a2', 'encounter.diagnosed', 1.0, 'ICD10CM/I50.9'),
    ('b', 'b1', 'encounter.diagnosed', 1.0, 'ICD10CM/S72.0'), ('c', 'c1', 'encounter.diagnosed', 1.0, 'ICD10CM/C78.0'), ('e', 'e2', 'encounter.diagnosed', 1.0, 'ICD10CM/E11.9'),
    ('a', 'a1', 'encounter.procedure', 1.0, 'ICD10PCS/0DT60ZZ'), ('a', 'a1', 'encounter.insured', 1.0, 'PLAN');
INSERT INTO event_rows (patient_id, encounter_id, code, numeric_value, asserted_at, known_at, text_value)
SELECT patient, visit, code, rank, TIMESTAMP '2024-07-01T00:00:00Z' AS asserted_at, TIMESTAMP '2024-07-01T00:00:00Z' AS known_at, said FROM coded;
CREATE VIEW claimed (patient, visit, code, at, claim, said) AS VALUES
    ('a', 'a1', 'claim.submitted', TIMESTAMP '2024-02-01T00:00:00Z', 'k1', NULL), ('a', 'a1', 'claim.decided', TIMESTAMP '2024-03-01T00:00:00Z', 'k1', 'denied'),
    ('a', 'a1', 'claim.decided', TIMESTAMP '2024-04-01T00:00:00Z', 'k1', 'appeal_won'), ('b', 'b1', 'claim.submitted', TIMESTAMP '2024-02-01T00:00:00Z', 'k2', NULL),
    ('b', 'b1', 'claim.decided', TIMESTAMP '2024-03-01T00:00:00Z', 'k2', 'paid'), ('c', 'c1', 'claim.submitted', TIMESTAMP '2024-03-01T00:00:00Z', 'k3', NULL);
INSERT INTO event_rows (patient_id, encounter_id, code, time, asserted_at, known_at, related, text_value)
SELECT patient, visit, code, at AS time, at AS asserted_at, at AS known_at, claim, said FROM claimed
