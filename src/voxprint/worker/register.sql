-- Tells the database where the worker listens and how to log in there.
-- Runs in one transaction as a superuser, with the settings voxprint.worker_* filled in by
-- set_config with parameters, so that the password stands in no statement's text.
-- The server and the mapping belong to no extension: DROP EXTENSION keeps them.
DO $register$
DECLARE
    setting CONSTANT jsonb := current_setting('voxprint.worker_registration')::jsonb;
    options text;
    wrapper name;
    fault text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'open_analytic_owner') THEN
        BEGIN
            CREATE ROLE open_analytic_owner NOLOGIN NOSUPERUSER;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- another registration made it just now
        END;
    END IF;

    -- Whoever may act as this role reads the password.
    SELECT CASE
            WHEN r.rolsuper THEN 'is a superuser'
            WHEN r.rolcanlogin THEN 'can log in'
            WHEN r.rolcreaterole OR r.rolbypassrls OR r.rolreplication
                THEN 'has CREATEROLE, BYPASSRLS or REPLICATION'
            WHEN EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.member = r.oid)
                THEN 'is a member of other roles'
            ELSE 'has members who are no superusers: ' || (
                SELECT string_agg(quote_ident(o.rolname), ', ' ORDER BY o.rolname)
                  FROM pg_catalog.pg_auth_members m
                  JOIN pg_catalog.pg_roles o ON o.oid = m.member
                 WHERE m.roleid = r.oid AND NOT o.rolsuper)
        END INTO fault
      FROM pg_catalog.pg_roles r WHERE r.rolname = 'open_analytic_owner';
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'role open_analytic_owner exists and %', fault USING ERRCODE = '55000',
            HINT = 'Whoever holds this role reads the worker''s password. Find out who made it; then '
                'REVOKE and ALTER ROLE what it has, and start the worker again.';
    END IF;

    SELECT w.fdwname INTO wrapper
      FROM pg_catalog.pg_foreign_server s
      JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
     WHERE s.srvname = 'voxprint_worker';
    IF wrapper <> 'dblink_fdw' THEN
        RAISE EXCEPTION 'expected foreign server "voxprint_worker" to be of dblink_fdw, got %', wrapper
            USING HINT = 'Rename that server; voxprint needs the name.';
    END IF;
    DROP SERVER IF EXISTS voxprint_worker CASCADE;

    SELECT string_agg(format('%s %L', o.key, o.value), ', ' ORDER BY o.key) INTO options
      FROM jsonb_each_text(setting -> 'server') o;
    EXECUTE format('CREATE SERVER voxprint_worker FOREIGN DATA WRAPPER dblink_fdw OPTIONS (%s)', options);
    ALTER SERVER voxprint_worker OWNER TO open_analytic_owner;
    EXECUTE format(
        'CREATE USER MAPPING FOR open_analytic_owner SERVER voxprint_worker OPTIONS ("user" %L, password %L)',
        setting ->> 'user', setting ->> 'password'
    );
END
$register$;
