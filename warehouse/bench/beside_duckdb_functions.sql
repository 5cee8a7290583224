-- What the views call that DuckDB does not have, in DuckDB's own SQL. `digest_head` and `text_hash` are only ever grouped by: any hash does.
CREATE MACRO digest_head(digest) AS hash(digest);
CREATE MACRO text_hash(stated) AS CASE WHEN stated IS NOT NULL THEN hash(stated) END;
CREATE MACRO substr_index(stated, separator, place) AS split_part(stated, separator, place);
CREATE MACRO to_unixtime(moment) AS CAST(floor(epoch(moment)) AS BIGINT);
CREATE MACRO permille(stated) AS CAST('0x' || left(sha256(stated), 8) AS BIGINT) % 1000;
-- UUIDs of version 5 after RFC 9562; `root` and `name` are bytes.
CREATE MACRO as_uuid(digest) AS
    substr(digest, 1, 8) || '-' || substr(digest, 9, 4) || '-5' || substr(digest, 14, 3) || '-'
    || format('{:x}', (CAST('0x' || substr(digest, 17, 1) AS INTEGER) & 3) | 8) || substr(digest, 18, 3) || '-' || substr(digest, 21, 12);
CREATE MACRO uuid_of(root, name) AS as_uuid(sha1(unhex(replace(root, '-', '')) || name));
CREATE MACRO facility_root(facility) AS uuid_of('6f1b9a0e-57c4-4c1d-9b43-2d0a6e5c8f10', encode(facility));
CREATE MACRO patient_identity(facility, stated) AS
    uuid_of(facility_root(facility), encode('patient' || chr(31) || CASE WHEN strpos(stated, '|') > 0
            THEN split_part(stated, '|', 1) || chr(31) || substr(stated, strpos(stated, '|') + 1) ELSE chr(31) || stated END));
CREATE MACRO encounter_identity(facility, visit) AS uuid_of(facility_root(facility), encode('encounter' || chr(31) || visit));
CREATE MACRO note_identity(facility, document) AS uuid_of(facility_root(facility), encode('note' || chr(31) || document));
-- Measures of two classes over the score of class 1.
CREATE MACRO sensitivity_at(label, score, threshold) AS
    CAST(count(*) FILTER (WHERE label = 1 AND score >= threshold) AS DOUBLE) / NULLIF(count(*) FILTER (WHERE label = 1 AND score IS NOT NULL), 0);
CREATE MACRO ppv_at(label, score, threshold) AS
    CAST(count(*) FILTER (WHERE label = 1 AND score >= threshold) AS DOUBLE) / NULLIF(count(*) FILTER (WHERE label IS NOT NULL AND score >= threshold), 0);
CREATE MACRO calibration_bin(label, probability, place) AS {
    'low': place / 15.0, 'high': (place + 1) / 15.0,
    'n': count(*) FILTER (WHERE label IS NOT NULL AND probability <= (place + 1) / 15.0 AND (probability > place / 15.0 OR place = 0)),
    'score': avg(probability) FILTER (WHERE label IS NOT NULL AND probability <= (place + 1) / 15.0 AND (probability > place / 15.0 OR place = 0)),
    'observed': avg(label) FILTER (WHERE probability <= (place + 1) / 15.0 AND (probability > place / 15.0 OR place = 0))
};
CREATE MACRO calibration(label, probability) AS [
    calibration_bin(label, probability, 0), calibration_bin(label, probability, 1), calibration_bin(label, probability, 2),
    calibration_bin(label, probability, 3), calibration_bin(label, probability, 4), calibration_bin(label, probability, 5),
    calibration_bin(label, probability, 6), calibration_bin(label, probability, 7), calibration_bin(label, probability, 8),
    calibration_bin(label, probability, 9), calibration_bin(label, probability, 10), calibration_bin(label, probability, 11),
    calibration_bin(label, probability, 12), calibration_bin(label, probability, 13), calibration_bin(label, probability, 14)
];
