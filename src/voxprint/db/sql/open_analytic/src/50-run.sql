-- From audio to embedding. STABLE, so that ORDER BY column <-> pipeline_run_...(...) uses the
-- index and EXPLAIN calls no worker; dear, so that the planner calls it seldom.

CREATE FUNCTION open_analytic.pipeline_run_dist_random(pipeline text, audio bytea)
RETURNS @extschema:vector@.vector
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE COST 100000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN split_part(open_analytic.embed(pipeline, audio, NULL, NULL), E'\n', 1)
        ::@extschema:vector@.vector;
END $$;
COMMENT ON FUNCTION open_analytic.pipeline_run_dist_random(text, bytea) IS
    'The embedding of a recording (unit length), made by one of the workers. '
    'Errors: VX003, VX006, VX010 to VX015.';

CREATE FUNCTION open_analytic.pipeline_run_digits(pipeline text, digits text)
RETURNS @extschema:vector@.vector
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE COST 100000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN split_part(open_analytic.embed(pipeline, NULL, digits, NULL), E'\n', 1)
        ::@extschema:vector@.vector;
END $$;
COMMENT ON FUNCTION open_analytic.pipeline_run_digits(text, text) IS
    'As pipeline_run_dist_random(text, bytea), from the text of the bytea: \x and hex digits.';

-- Only members of open_analytic_files may execute it.
CREATE FUNCTION open_analytic.pipeline_run_file(pipeline text, path text)
RETURNS @extschema:vector@.vector
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE COST 100000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN split_part(open_analytic.embed(pipeline, NULL, NULL, path), E'\n', 1)
        ::@extschema:vector@.vector;
END $$;
COMMENT ON FUNCTION open_analytic.pipeline_run_file(text, text) IS
    'The embedding of a file in the media folder of the worker (voxprint worker --media).';

-- PostgreSQL reads pipeline_run_dist_random('p', '\x52494646...') as this one: a literal of no
-- type is text before it is bytea.
CREATE FUNCTION open_analytic.pipeline_run_dist_random(pipeline text, source text)
RETURNS @extschema:vector@.vector
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE COST 100000
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF starts_with(source, '\x') THEN
        RETURN open_analytic.pipeline_run_digits(pipeline, source);
    END IF;
    IF source ~* '^https?:' THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('expected audio or the name of a file, got the URL %L', left(source, 200)),
            HINT = 'The worker fetches nothing from a network: pass the bytes as bytea.';
    END IF;
    IF NOT pg_has_role(current_user, 'open_analytic_files', 'USAGE') THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('role %I may not read files of the worker', current_user),
            HINT = 'Pass the audio as bytea, or ask a superuser: GRANT open_analytic_files TO ...';
    END IF;
    RETURN open_analytic.pipeline_run_file(pipeline, source);
END $$;
COMMENT ON FUNCTION open_analytic.pipeline_run_dist_random(text, text) IS
    'The embedding of a file in the media folder of the worker, for members of '
    'open_analytic_files; text that begins with \x is taken as the bytes themselves.';

CREATE FUNCTION open_analytic.pipeline_run_dist_random(pipeline text, recordings bytea[])
RETURNS TABLE (
    ordinal integer, embedding @extschema:vector@.vector,
    error text, error_code text, hint text)
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE COST 100000 ROWS 10
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    recording bytea;
BEGIN
    ordinal := 0;
    FOREACH recording IN ARRAY recordings LOOP
        ordinal := ordinal + 1;
        embedding := NULL;
        error := NULL;
        error_code := NULL;
        hint := NULL;
        BEGIN
            IF recording IS NULL THEN
                RAISE EXCEPTION 'expected audio, got NULL' USING ERRCODE = 'VX012';
            END IF;
            embedding := open_analytic.pipeline_run_dist_random(pipeline, recording);
        EXCEPTION WHEN SQLSTATE 'VX006' OR SQLSTATE 'VX012'
            OR SQLSTATE 'VX013' OR SQLSTATE 'VX014'
        THEN
            -- This recording cannot be used. Everything else concerns all of them.
            GET STACKED DIAGNOSTICS
                error = MESSAGE_TEXT, error_code = RETURNED_SQLSTATE, hint = PG_EXCEPTION_HINT;
        END;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION open_analytic.pipeline_run_dist_random(text, bytea[]) IS
    'One row for each recording, in order, ordinal from 1: its embedding, or why it has none.';

CREATE FUNCTION open_analytic.pipeline_run_json(pipeline text, audio bytea) RETURNS json
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE COST 100000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    payload constant text := open_analytic.embed(pipeline, audio, NULL, NULL);
    embedding constant text := split_part(payload, E'\n', 1);
BEGIN
    RETURN concat('{"emb": ', embedding, ', "feature": ', embedding, ', ',
        substr(split_part(payload, E'\n', 2), 2))::json;
END $$;
COMMENT ON FUNCTION open_analytic.pipeline_run_json(text, bytea) IS
    'The embedding under the keys emb and feature, with model, spec_hash, seconds, '
    'speech_seconds, sample_rate, channels, sha256 and quality.';
