-- Everything here runs with its caller's rights. Policies say who may write what into the tables.
GRANT USAGE ON SCHEMA fastann TO PUBLIC;
GRANT SELECT ON fastann.settings TO PUBLIC;
GRANT SELECT ON fastann.table_models, fastann.samples, fastann.index_models, fastann.workload TO PUBLIC;
DO $$
DECLARE
    relation regclass;
BEGIN
    FOREACH relation IN ARRAY '{fastann.table_models,fastann.samples,fastann.index_models,fastann.workload}'::regclass[] LOOP
        EXECUTE (
            SELECT format('GRANT INSERT (%1$s), UPDATE (%1$s) ON %2$s TO PUBLIC', string_agg(quote_ident(attname), ', '), relation)
            FROM pg_attribute WHERE attrelid = relation AND attnum > 0);
    END LOOP;
END $$;
