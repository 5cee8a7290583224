-- A model that is registered behind an erasure, and learned from rows that were pinned before it, is named by a line of its own: the erasure's lists are
-- made already.
ALTER TABLE wardstream.erasures DROP CONSTRAINT erasures_event_check;
ALTER TABLE wardstream.erasures ADD CONSTRAINT erasures_event_check CHECK (event IN ('begun', 'done', 'listed'));
