-- The registry: what was trained, what was measured, what was live. Its history is append-only by the database's own rules.
CREATE SCHEMA IF NOT EXISTS wardstream;

CREATE TABLE IF NOT EXISTS wardstream.models (
    model_version text PRIMARY KEY,
    created_at text NOT NULL,
    dataset_id text NOT NULL,
    parent text,
    weights_uri text NOT NULL,
    details jsonb NOT NULL
);

CREATE TABLE IF NOT EXISTS wardstream.evaluations (
    model_version text NOT NULL,
    task text NOT NULL,
    split text NOT NULL,
    figures jsonb NOT NULL,
    PRIMARY KEY (model_version, task, split)
);

CREATE TABLE IF NOT EXISTS wardstream.model_history (
    seq bigserial PRIMARY KEY,
    model_version text NOT NULL,
    event text NOT NULL CHECK (event IN ('registered', 'refused', 'promoted', 'rolled_back', 'took_over')),
    at text NOT NULL,
    by text NOT NULL,
    reason text NOT NULL,
    offsets jsonb
);

CREATE OR REPLACE FUNCTION wardstream.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of models is append-only';
END $$;

CREATE OR REPLACE TRIGGER model_history_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON wardstream.model_history
    FOR EACH STATEMENT EXECUTE FUNCTION wardstream.refuse();

-- In every mode of the session, replication included.
ALTER TABLE wardstream.model_history ENABLE ALWAYS TRIGGER model_history_is_append_only;
