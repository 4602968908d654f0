-- SET fastann.x = ... needs nothing from us: PostgreSQL accepts every name with a dot. This
-- view says, for the session that asks, what each published name acts on.

CREATE VIEW fastann.settings AS
SELECT
    published.name,
    current_setting(published.name, true) AS value,
    published.plain_sql,
    current_setting(published.plain_sql, true) AS plain_sql_value,
    published.remark
FROM (VALUES
    ('fastann.hnsw_ef_search', 'hnsw.ef_search',
        'how many candidates the index keeps while it searches (1 to 1000); search() chooses where it is not set'),
    ('fastann.hnsw_max_scan_points', 'hnsw.max_scan_tuples',
        'how many points an index scan gives at most'),
    ('fastann.index_scan_mode', NULL,
        'search(): auto (it chooses), exact, covering or ann; plain SQL: hnsw.iterative_scan = off, '
        'strict_order or relaxed_order says whether the index goes on while WHERE drops rows'),
    ('fastann.build_parallel_processes', 'max_parallel_maintenance_workers',
        'processes that build an index'),
    ('fastann.topk', NULL, 'search(): k where the call names none; plain SQL says LIMIT'),
    ('fastann.record_workload', NULL, 'search(): on notes columns and sizes of each search for advise()'),
    ('fastann.pq_amp', NULL, 'no product quantisation here: it changes nothing')
) AS published (name, plain_sql, remark);
COMMENT ON VIEW fastann.settings IS
    'Published settings of fastann beside the settings that steer plain SQL. '
    'fastann.use_settings() carries those of this session over.';

CREATE FUNCTION fastann.use_settings(is_local boolean DEFAULT false) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    setting record;
    carried integer := 0;
BEGIN
    -- Loads pgvector, which then checks the values it is given.
    PERFORM '[1]'::@extschema:vector@.vector;
    FOR setting IN
        SELECT plain_sql, value FROM fastann.settings
        WHERE plain_sql IS NOT NULL AND value <> ''
    LOOP
        PERFORM set_config(setting.plain_sql, setting.value, is_local);
        carried := carried + 1;
    END LOOP;
    RETURN carried;
END $$;
COMMENT ON FUNCTION fastann.use_settings IS
    'Makes plain SQL follow the SET fastann.x of this session (or, is_local, of this '
    'transaction). Returns how many settings were carried over.';
