-- What searching costs and finds on this machine, as fastann.autotune() measured it, one row a
-- table and one an index. Whoever owns a table writes its rows: everything of search, autotune and
-- advise runs as its caller. Nothing of the tables' contents stands here but where rows lie.
--
-- Accuracy is kept as a function of the rank: an HNSW index that is asked for its nearest `depth`
-- rows with a beam of `ef` finds recall[ef, r] of the true nearest r. A condition, however it hangs
-- together with the vectors, only decides at which rank the k-th matching row stands, and the
-- execution sees that. So one table of figures serves every condition, and after every search it
-- is known whether the promise was kept.

CREATE TABLE fastann.table_models (
    relation oid NOT NULL,
    column_number smallint NOT NULL,
    filenode oid NOT NULL,
    tuples float8 NOT NULL,
    heap_row_ms float8 NOT NULL,
    scan_row_ms float8 NOT NULL,
    distance_row_ms float8 NOT NULL,
    covering_row_ms float8,
    probe_ms float8 NOT NULL,
    measured_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (relation, column_number)
);
COMMENT ON TABLE fastann.table_models IS 'what fastann.autotune() measured of a table: milliseconds a row';
COMMENT ON COLUMN fastann.table_models.heap_row_ms IS
    'to fetch one row found by an index, and its distance';
COMMENT ON COLUMN fastann.table_models.scan_row_ms IS
    'to pass by one row in a scan of the whole table';
COMMENT ON COLUMN fastann.table_models.distance_row_ms IS 'the distance of a row that such a scan keeps';
COMMENT ON COLUMN fastann.table_models.covering_row_ms IS
    'one row of a covering index: its half-precision distance; NULL: there was none';

-- Apart from the models, which every search reads.
CREATE TABLE fastann.samples (
    relation oid PRIMARY KEY,
    places tid[] NOT NULL
);
COMMENT ON TABLE fastann.samples IS
    'where about five hundred rows of a table lie, by whole pages: probes look there how a condition hangs together with a query';

CREATE TABLE fastann.index_models (
    index oid PRIMARY KEY,
    filenode oid NOT NULL,
    tuples float8 NOT NULL,
    ef int[] NOT NULL,
    depth int[] NOT NULL,
    ms float8[] NOT NULL,
    ranks int[] NOT NULL,
    recall float8[] NOT NULL,
    queries int NOT NULL,
    measured_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE fastann.index_models IS
    'what fastann.autotune() measured of an HNSW index: time and recall of each setting';
COMMENT ON COLUMN fastann.index_models.ef IS 'hnsw.ef_search of each setting, from the cheapest on';
COMMENT ON COLUMN fastann.index_models.depth IS
    'rows that each setting fetches; above ef the scan is iterative';
COMMENT ON COLUMN fastann.index_models.recall IS
    'of the true nearest rows up to each rank, setting by setting: the mean less its standard error';

-- One row for each search while fastann.record_workload is on: columns and sizes, no values.
CREATE TABLE fastann.workload (
    relation oid NOT NULL,
    column_name name NOT NULL,
    filter name[] NOT NULL,
    rows float8 NOT NULL,
    k int NOT NULL,
    target_recall float8 NOT NULL,
    plan text NOT NULL,
    ms float8 NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE fastann.workload IS
    'searches recorded while fastann.record_workload was on, for fastann.advise(): which columns were filtered by, never by which values';

-- Who may write about a table: its owner. Reading is anybody's, for everybody's searches need it. Rights
-- are given column by column: they write rows, but lock no table and so stop nobody's searches. So nobody
-- deletes, either: what is known of a table that is gone stays, and fits none that comes.
ALTER TABLE fastann.table_models ENABLE ROW LEVEL SECURITY;
ALTER TABLE fastann.samples ENABLE ROW LEVEL SECURITY;
ALTER TABLE fastann.index_models ENABLE ROW LEVEL SECURITY;
ALTER TABLE fastann.workload ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION fastann._owns(relation oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT coalesce(pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = relation), 'USAGE'), false);
END;
COMMENT ON FUNCTION fastann._owns IS 'Does the caller own this table?';

CREATE POLICY everybody_reads ON fastann.table_models FOR SELECT USING (true);
CREATE POLICY owner_inserts ON fastann.table_models FOR INSERT WITH CHECK (fastann._owns(relation));
CREATE POLICY owner_updates ON fastann.table_models FOR UPDATE USING (fastann._owns(relation));
CREATE POLICY everybody_reads ON fastann.samples FOR SELECT USING (true);
CREATE POLICY owner_inserts ON fastann.samples FOR INSERT WITH CHECK (fastann._owns(relation));
CREATE POLICY owner_updates ON fastann.samples FOR UPDATE USING (fastann._owns(relation));
CREATE POLICY everybody_reads ON fastann.index_models FOR SELECT USING (true);
CREATE POLICY owner_inserts ON fastann.index_models FOR INSERT WITH CHECK (fastann._owns(index));
CREATE POLICY owner_updates ON fastann.index_models FOR UPDATE USING (fastann._owns(index));
-- Whoever may search a table adds lines of their own searches; its owner reads them.
CREATE POLICY searchers_insert ON fastann.workload FOR INSERT WITH CHECK (
    pg_catalog.has_table_privilege(relation, 'SELECT')
    OR pg_catalog.has_any_column_privilege(relation, 'SELECT'));
CREATE POLICY owner_reads ON fastann.workload FOR SELECT USING (fastann._owns(relation));
