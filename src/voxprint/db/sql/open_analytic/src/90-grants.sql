-- Who may do what. Everything belongs to open_analytic_owner, who is no superuser and cannot
-- log in; what is not granted here is for that role alone.

DO $$
DECLARE
    item record;
BEGIN
    FOR item IN SELECT c.oid::regclass AS name FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = 'open_analytic'::regnamespace::oid AND c.relkind IN ('r', 'v')
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO open_analytic_owner', item.name);
    END LOOP;
    FOR item IN SELECT p.oid::regprocedure AS name FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'open_analytic'::regnamespace::oid
    LOOP
        EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO open_analytic_owner', item.name);
    END LOOP;
END $$;
ALTER TYPE open_analytic.answer OWNER TO open_analytic_owner;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA open_analytic FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA open_analytic FROM PUBLIC;
GRANT USAGE ON SCHEMA open_analytic TO PUBLIC;

-- A database may keep dblink from everybody: the owner needs it all the same.
GRANT EXECUTE ON FUNCTION
    @extschema:dblink@.dblink_connect(text, text),
    @extschema:dblink@.dblink_disconnect(text),
    @extschema:dblink@.dblink_get_connections(),
    @extschema:dblink@.dblink_send_query(text, text),
    @extschema:dblink@.dblink_is_busy(text),
    @extschema:dblink@.dblink_error_message(text),
    @extschema:dblink@.dblink_get_result(text)
TO open_analytic_owner;

-- By columns: rights on a whole table would be rights to lock it.
GRANT INSERT (action, name, model, channel) ON open_analytic.requests TO PUBLIC;
GRANT SELECT ON open_analytic.pipelines TO PUBLIC;
GRANT SELECT ON open_analytic.current_pipelines TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    open_analytic.pipeline_create(text, text, text),
    open_analytic.pipeline_drop(text),
    open_analytic.pipeline_run_dist_random(text, bytea),
    open_analytic.pipeline_run_dist_random(text, text),
    open_analytic.pipeline_run_dist_random(text, bytea[]),
    open_analytic.pipeline_run_digits(text, text),
    open_analytic.pipeline_run_json(text, bytea),
    open_analytic.extract_from(regclass, name, name, text),
    open_analytic._column_type(regclass, name),
    open_analytic.fill_feature()
TO PUBLIC;
GRANT EXECUTE ON FUNCTION open_analytic.pipeline_run_file(text, text) TO open_analytic_files;

-- Extension voxprint embeds audio, too, and knows which model is meant by default. It grants the
-- same when it is created after this one.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'voxprint_owner') THEN
        GRANT EXECUTE ON FUNCTION open_analytic.call_worker(text, text, bytea) TO voxprint_owner;
    END IF;
    IF open_analytic.model_setting() IS NOT NULL THEN
        GRANT USAGE ON SCHEMA voxprint TO open_analytic_owner;
        GRANT EXECUTE ON FUNCTION voxprint.default_model() TO open_analytic_owner;
    END IF;
END $$;
