-- Create, list and drop pipelines.
--
-- Nobody may write the table of pipelines: a right to delete from it would be a right to lock
-- it, and with that to stop everybody's pipelines. A definer function alone would not do,
-- since it cannot tell who calls it (the session's user it can, but a superuser's REINDEX or
-- REFRESH runs somebody else's code). So a call becomes a row for the table of requests: a
-- first trigger, which runs as whoever inserts, writes down who that is, and a second one,
-- which runs as the owner, decides and acts. No request is ever stored.

CREATE TABLE open_analytic.requests (
    action text NOT NULL CHECK (action IN ('create', 'drop')),
    name text,
    model text,
    channel text,
    requested_by name
);
COMMENT ON TABLE open_analytic.requests IS
    'Always empty: how pipeline_create and pipeline_drop reach the table of pipelines.';

CREATE FUNCTION open_analytic.note_requester() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.requested_by := current_user;
    RETURN NEW;
END $$;

-- The function of extension voxprint that tells the model which this database means by default;
-- NULL where it is missing, or where it may be anybody's: it is called with our owner's rights.
CREATE FUNCTION open_analytic.model_setting() RETURNS regprocedure
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT p.oid::regprocedure
    FROM pg_proc AS p
    JOIN pg_namespace AS n ON n.oid = p.pronamespace
    JOIN pg_roles AS f ON f.oid = p.proowner
    JOIN pg_roles AS s ON s.oid = n.nspowner
    WHERE n.nspname = 'voxprint' AND p.proname = 'default_model' AND p.pronargs = 0
        AND f.rolname = 'voxprint_owner' AND NOT (f.rolcanlogin OR f.rolsuper)
        AND (s.rolsuper OR s.oid = f.oid)
        AND NOT EXISTS (
            SELECT FROM aclexplode(n.nspacl) AS a
            WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner);
END;

-- The call is written as text so that this extension lives without voxprint.
CREATE FUNCTION open_analytic.default_model() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    setting constant regprocedure := open_analytic.model_setting();
    chosen text;
BEGIN
    IF setting IS NOT NULL AND has_schema_privilege('voxprint', 'USAGE')
        AND has_function_privilege(setting, 'EXECUTE')
    THEN
        EXECUTE 'SELECT voxprint.default_model()' INTO chosen;
    END IF;
    RETURN coalesce(chosen, 'campplus_zh_en_192');
END $$;

CREATE FUNCTION open_analytic.add_pipeline(request open_analytic.requests) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    most constant integer := 1000;
BEGIN
    IF (SELECT count(*) FROM open_analytic.pipelines AS p
        WHERE p.created_by = request.requested_by) >= most
    THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('role %I has %s pipelines, and may have no more',
                request.requested_by, most),
            HINT = 'SELECT open_analytic.pipeline_drop(...) drops one.';
    END IF;
    INSERT INTO open_analytic.pipelines (name, model, channel, created_by)
    VALUES (request.name, coalesce(request.model, open_analytic.default_model()), request.channel,
        request.requested_by);
END $$;

CREATE FUNCTION open_analytic.remove_pipeline(request open_analytic.requests) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder name;
BEGIN
    SELECT p.created_by INTO holder FROM open_analytic.pipelines AS p WHERE p.name = request.name;
    IF FOUND AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = request.requested_by)
        AND NOT EXISTS (
            SELECT FROM pg_roles
            WHERE rolname IN (holder, 'open_analytic_owner')
                AND pg_has_role(request.requested_by, oid, 'MEMBER'))
    THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('pipeline %L belongs to role %I', request.name, holder),
            HINT = 'Its owner, members of that role and superusers may drop it.';
    END IF;
    DELETE FROM open_analytic.pipelines AS p
    WHERE p.name = request.name AND p.created_by = holder;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'VX003',
            MESSAGE = format('no pipeline is named %L', left(request.name, 200)),
            HINT = 'SELECT name FROM open_analytic.current_pipelines lists them.';
    END IF;
END $$;

CREATE FUNCTION open_analytic.fulfil_request() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.action = 'create' THEN
        PERFORM open_analytic.add_pipeline(NEW);
    ELSIF NEW.action = 'drop' THEN
        PERFORM open_analytic.remove_pipeline(NEW);
    ELSE
        RETURN NEW;  -- which the table refuses
    END IF;
    RETURN NULL;
END $$;

-- Triggers fire in the order of their names.
CREATE TRIGGER first_note_requester BEFORE INSERT ON open_analytic.requests
    FOR EACH ROW EXECUTE FUNCTION open_analytic.note_requester();
CREATE TRIGGER second_fulfil_request BEFORE INSERT ON open_analytic.requests
    FOR EACH ROW EXECUTE FUNCTION open_analytic.fulfil_request();

CREATE FUNCTION open_analytic.pipeline_create(
    name text, model text DEFAULT NULL, channel text DEFAULT 'mix')
RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    INSERT INTO open_analytic.requests (action, name, model, channel)
    VALUES ('create', name, model, channel);
    RETURN name;
EXCEPTION
    WHEN unique_violation THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('pipeline %L exists already', name),
            HINT = 'SELECT open_analytic.pipeline_drop(...) first, or choose another name.';
    WHEN check_violation OR not_null_violation THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('expected a name of 1 to 200 bytes, a model and a channel, '
                'got name %L, model %L, channel %L', left(name, 100), left(model, 100), left(channel, 100)),
            HINT = 'A model is written with letters, digits, "_", ".", "+" and "-"; '
                'a channel is mix or a number from 0.';
END $$;
COMMENT ON FUNCTION open_analytic.pipeline_create(text, text, text) IS
    'Makes a pipeline and returns its name. model: NULL for the default of this database. '
    'channel: mix (the average of all) or a number from 0.';

CREATE FUNCTION open_analytic.pipeline_drop(name text) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO open_analytic.requests (action, name) VALUES ('drop', name);
    RETURN name;
END $$;
COMMENT ON FUNCTION open_analytic.pipeline_drop(text) IS
    'Drops a pipeline and returns its name. Error VX003: there is none of that name.';

CREATE VIEW open_analytic.current_pipelines AS
    SELECT name, model, channel, created_by, created_at FROM open_analytic.pipelines;
COMMENT ON VIEW open_analytic.current_pipelines IS 'The pipelines of this database.';
