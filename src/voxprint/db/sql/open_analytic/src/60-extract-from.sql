-- The paper's ExtractFrom: INSERT the audio, and the feature fills itself.

CREATE FUNCTION open_analytic.fill_feature() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    audio_column constant text := TG_ARGV[0];
    feature_column constant text := TG_ARGV[1];
    pipeline constant text := TG_ARGV[2];
    audio bytea;
    given text;
    stale boolean := false;
    embedding @extschema:vector@.vector;
BEGIN
    EXECUTE format('SELECT ($1).%I, ($1).%I::text', audio_column, feature_column)
        INTO audio, given USING NEW;
    IF TG_OP = 'UPDATE' THEN
        EXECUTE format('SELECT ($1).%1$I IS DISTINCT FROM ($2).%1$I '
            'AND ($1).%2$I::text IS NOT DISTINCT FROM ($2).%2$I::text', audio_column, feature_column)
            INTO stale USING NEW, OLD;
    END IF;
    IF audio IS NULL OR (given IS NOT NULL AND NOT stale) THEN
        RETURN NEW;
    END IF;
    embedding := open_analytic.pipeline_run_dist_random(pipeline, audio);
    -- A vector is read from its text, a real[] from a JSON array.
    RETURN jsonb_populate_record(NEW, jsonb_build_object(feature_column,
        CASE WHEN given_type.is_array THEN embedding::text::jsonb ELSE to_jsonb(embedding::text) END))
    FROM (
        SELECT t.typcategory = 'A' AS is_array
        FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE a.attrelid = TG_RELID AND a.attname = feature_column) AS given_type;
END $$;

CREATE FUNCTION open_analytic._column_type(table_name regclass, column_name name) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result text;
BEGIN
    SELECT t.typname INTO result
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = table_name AND a.attname = column_name
        AND a.attnum > 0 AND NOT a.attisdropped;
    IF result IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('table %s has no column %I', table_name, column_name);
    END IF;
    RETURN result;
END $$;

CREATE FUNCTION open_analytic.extract_from(
    table_name regclass, audio_column name, feature_column name, pipeline text)
RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    audio_type constant text := open_analytic._column_type(table_name, audio_column);
    feature_type constant text := open_analytic._column_type(table_name, feature_column);
    trigger_name constant name := 'extract_' || feature_column;
BEGIN
    IF audio_type <> 'bytea' THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('audio column %I: expected bytea, got %s', audio_column, audio_type);
    END IF;
    IF feature_type NOT IN ('vector', 'halfvec', '_float4', '_float8') THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('feature column %I: expected vector, halfvec or real[], got %s',
                feature_column, ltrim(feature_type, '_'));
    END IF;
    IF NOT EXISTS (SELECT FROM open_analytic.pipelines AS p WHERE p.name = pipeline) THEN
        RAISE EXCEPTION USING ERRCODE = 'VX003',
            MESSAGE = format('no pipeline is named %L', left(pipeline, 200)),
            HINT = 'SELECT open_analytic.pipeline_create(''...'') makes one.';
    END IF;
    EXECUTE format(
        'CREATE OR REPLACE TRIGGER %I BEFORE INSERT OR UPDATE ON %s '
        'FOR EACH ROW EXECUTE FUNCTION open_analytic.fill_feature(%L, %L, %L)',
        trigger_name, table_name, audio_column, feature_column, pipeline);
    RETURN trigger_name;
END $$;
COMMENT ON FUNCTION open_analytic.extract_from(regclass, name, name, text) IS
    'From now on a row without feature gets it from its audio, and new audio gets a new '
    'feature. Runs as the owner of the table; returns the name of the trigger (DROP TRIGGER '
    'ends it).';
