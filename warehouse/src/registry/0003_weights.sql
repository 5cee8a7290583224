-- Weights are removed once nothing keeps them: the line comes before the bytes go. A version that is kept for the adapters that were learned on it
-- alone loses its own.
ALTER TABLE wardstream.model_history DROP CONSTRAINT model_history_event_check;
ALTER TABLE wardstream.model_history ADD CONSTRAINT model_history_event_check CHECK (
    event IN ('registered', 'refused', 'promoted', 'rolled_back', 'took_over', 'weights_removed', 'adapters_removed')
);

-- `at` is the log's time, which a replay runs through in minutes; how long weights are kept goes by the wall clock. The lines that are there already
-- count as written now, so that a new release removes nothing at once.
ALTER TABLE wardstream.model_history ADD COLUMN written_at timestamptz NOT NULL DEFAULT now();
