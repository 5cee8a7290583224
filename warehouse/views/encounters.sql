-- encounters: one row per hospital stay that stands: admitted, neither cancelled since nor made an outpatient's.
SELECT encounter_id, patient_id, visit_number, facility, class, department, admitted_at,
       CASE WHEN discharge_cancelled_asserted_at >= discharged_asserted_at THEN NULL ELSE discharged_at END AS discharged_at,
       CASE WHEN discharge_cancelled_asserted_at >= discharged_asserted_at THEN NULL ELSE disposition END AS disposition
FROM stays
WHERE admitted_at IS NOT NULL
  AND (cancelled_asserted_at IS NULL OR admitted_asserted_at > cancelled_asserted_at)
  AND (outpatient_asserted_at IS NULL OR admitted_asserted_at > outpatient_asserted_at)
