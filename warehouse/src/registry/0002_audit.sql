-- What was exported, and who was erased. Both are append-only, as the history of models is.
CREATE TABLE wardstream.exports (
    seq bigserial PRIMARY KEY,
    at text NOT NULL,
    by text NOT NULL,
    kind text NOT NULL,
    dataset_id text,
    watermark text,
    details jsonb NOT NULL
);

CREATE TABLE wardstream.erasures (
    seq bigserial PRIMARY KEY,
    event text NOT NULL CHECK (event IN ('begun', 'done')),
    at text NOT NULL,
    by text NOT NULL,
    reason text NOT NULL,
    salt text NOT NULL,
    subject text NOT NULL,
    counts jsonb NOT NULL,
    used_by jsonb NOT NULL
);

CREATE OR REPLACE FUNCTION wardstream.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the registry''s history is append-only';
END $$;

CREATE TRIGGER exports_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON wardstream.exports
    FOR EACH STATEMENT EXECUTE FUNCTION wardstream.refuse();
CREATE TRIGGER erasures_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON wardstream.erasures
    FOR EACH STATEMENT EXECUTE FUNCTION wardstream.refuse();
CREATE TRIGGER models_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON wardstream.models
    FOR EACH STATEMENT EXECUTE FUNCTION wardstream.refuse();
CREATE TRIGGER evaluations_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON wardstream.evaluations
    FOR EACH STATEMENT EXECUTE FUNCTION wardstream.refuse();
ALTER TABLE wardstream.exports ENABLE ALWAYS TRIGGER exports_is_append_only;
ALTER TABLE wardstream.erasures ENABLE ALWAYS TRIGGER erasures_is_append_only;
ALTER TABLE wardstream.models ENABLE ALWAYS TRIGGER models_is_append_only;
ALTER TABLE wardstream.evaluations ENABLE ALWAYS TRIGGER evaluations_is_append_only;
