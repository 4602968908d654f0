-- Create, list and drop pipelines. These run as their caller, and a trigger keeps everybody
-- to their own: a definer function could not tell who calls it when a superuser's REINDEX or
-- REFRESH runs somebody else's code.

CREATE FUNCTION open_analytic.keep_to_own_pipelines() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    subject constant open_analytic.pipelines := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AND NOT EXISTS (
        SELECT FROM pg_roles
        WHERE rolname IN (subject.created_by, 'open_analytic_owner')
            AND pg_has_role(current_user, oid, 'MEMBER'))
    THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('pipeline %L belongs to role %I', subject.name, subject.created_by),
            HINT = 'Its owner, members of that role and superusers may drop it.';
    END IF;
    RETURN subject;
END $$;

CREATE TRIGGER keep_to_own_pipelines BEFORE INSERT OR UPDATE OR DELETE ON open_analytic.pipelines
    FOR EACH ROW EXECUTE FUNCTION open_analytic.keep_to_own_pipelines();

CREATE FUNCTION open_analytic.pipeline_create(
    name text, model text DEFAULT 'campplus_zh_en_192', channel text DEFAULT 'mix')
RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    INSERT INTO open_analytic.pipelines (name, model, channel) VALUES (name, model, channel);
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
            HINT = 'A model is written with letters, digits, "_", "." and "-"; '
                'a channel is mix or a number from 0.';
END $$;
COMMENT ON FUNCTION open_analytic.pipeline_create(text, text, text) IS
    'Makes a pipeline and returns its name. channel: mix (the average of all) or a number from 0.';

CREATE FUNCTION open_analytic.pipeline_drop(name text) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM open_analytic.pipelines AS p WHERE p.name = pipeline_drop.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'VX003',
            MESSAGE = format('no pipeline is named %L', left(name, 200)),
            HINT = 'SELECT name FROM open_analytic.current_pipelines lists them.';
    END IF;
    RETURN name;
END $$;
COMMENT ON FUNCTION open_analytic.pipeline_drop(text) IS
    'Drops a pipeline and returns its name. Error VX003: there is none of that name.';

CREATE VIEW open_analytic.current_pipelines AS
    SELECT name, model, channel, created_by, created_at FROM open_analytic.pipelines;
COMMENT ON VIEW open_analytic.current_pipelines IS 'The pipelines of this database.';
