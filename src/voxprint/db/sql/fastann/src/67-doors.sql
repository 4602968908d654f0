-- The doors: search() and explain(), for a vector and for a real[], for plain tables and partitioned.

-- What happened, for explain().
CREATE FUNCTION fastann._report(
    q fastann._question, c fastann._choice, e fastann._estimate, matching bigint, near bigint, beam fastann._beam,
    reached float8, plan_run text, rows_found bigint, asked text, started timestamptz, planned timestamptz)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t constant fastann._target := q.target;
    finished constant timestamptz := clock_timestamp();
    approximate constant boolean := c.plan IN ('ann', 'partial');
    r jsonb;
BEGIN
    r := jsonb_build_object(
        'table', t.table_name, 'plan', c.plan, 'why', c.why, 'k', q.k, 'target_recall', q.target_recall,
        'expected_recall', c.recall, 'exact', c.recall = 1,
        'estimated', jsonb_strip_nulls(jsonb_build_object(
            'rows', round(e.rows), 'table_rows', round(t.tuples), 'ms', round(c.ms::numeric, 2),
            'exact_ms', round(c.exact_ms::numeric, 2), 'exact_plan', c.exact_plan,
            'pages_not_all_visible', CASE WHEN c.exact_plan = 'covering' THEN round(fastann._invisible(t)::numeric, 3) END)),
        'stale', coalesce((c.costs).stale, (
            SELECT i.name || ': ' || fastann._stale(i, t) FROM fastann._ann_indexes(t) i WHERE fastann._stale(i, t) IS NOT NULL LIMIT 1)),
        'planning_ms', extract(epoch FROM planned - started) * 1000);
    IF near IS NOT NULL THEN
        r := r || jsonb_build_object('probe', jsonb_build_object('rows', near, 'matching', matching));
    END IF;
    IF approximate THEN
        r := r || jsonb_build_object('index', (c.ann).name, 'ef_search', (c.accuracy).ef[c.setting],
            'depth', (c.accuracy).depth[c.setting]);
    END IF;
    IF asked = 'run' THEN
        r := r || jsonb_build_object('actual', jsonb_strip_nulls(jsonb_build_object(
            'plan', plan_run, 'rows', rows_found, 'ms', extract(epoch FROM finished - planned) * 1000,
            'rank_of_last', beam.rank, 'rows_fetched', beam.seen, 'switched', plan_run <> c.plan,
            'exact', plan_run IN ('exact', 'empty'),
            'recall', CASE WHEN plan_run IN ('ann', 'partial') THEN reached
                           WHEN plan_run = 'covering' THEN 0.9999 ELSE 1 END)));
    END IF;
    RETURN r;
END $$;

CREATE FUNCTION fastann._in_words(r jsonb) RETURNS SETOF text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    e constant jsonb := r -> 'estimated';
    a constant jsonb := r -> 'actual';
    p constant jsonb := r -> 'probe';
BEGIN
    RETURN NEXT format('Plan: %s on %s: %s', r ->> 'plan', r ->> 'table', r ->> 'why');
    RETURN NEXT format('Asked: the nearest %s, recall %s', r ->> 'k', r ->> 'target_recall');
    IF e ? 'rows' THEN
        RETURN NEXT format('Estimated: %s of %s rows match, %s ms (%s: %s ms), recall %s', e ->> 'rows', e ->> 'table_rows',
            e ->> 'ms', e ->> 'exact_plan', e ->> 'exact_ms', round((r ->> 'expected_recall')::numeric, 4));
    END IF;
    IF p IS NOT NULL THEN
        RETURN NEXT format('Probe: of the %s sampled rows nearest to the query %s match', p ->> 'rows', p ->> 'matching');
    END IF;
    IF r ? 'index' THEN
        RETURN NEXT format('Index: %s, ef_search %s, %s rows fetched', r ->> 'index', r ->> 'ef_search', r ->> 'depth');
    END IF;
    IF r ->> 'stale' IS NOT NULL THEN
        RETURN NEXT format('Model: a prior (%s); run fastann.autotune()', r ->> 'stale');
    END IF;
    IF a IS NOT NULL THEN
        RETURN NEXT format('Came true: %s rows by %s in %s ms, recall %s%s', a ->> 'rows', a ->> 'plan',
            round((a ->> 'ms')::numeric, 2), round((a ->> 'recall')::numeric, 4),
            CASE WHEN (a ->> 'exact')::boolean THEN ' (exact)' ELSE '' END);
        IF (a ->> 'switched')::boolean THEN
            RETURN NEXT CASE WHEN r ->> 'plan' = 'covering' THEN 'Switched: no code matched, or half precision could not tell the last ones apart'
                ELSE format('Switched: the index gave too few matching rows, or the last only at rank %s, where it is not good enough',
                            coalesce(a ->> 'rank_of_last', '-')) END;
        END IF;
    END IF;
    RETURN NEXT format('Planning: %s ms', round((r ->> 'planning_ms')::numeric, 2));
END $$;

-- Not in SQL-standard form, which knows no polymorphic arguments, and with nothing else in it, so that
-- PostgreSQL puts the search itself into the caller's statement.
CREATE FUNCTION fastann.search(
    table_row anyelement, column_name name, query @extschema:vector@.vector, k integer DEFAULT NULL,
    condition text DEFAULT NULL, max_distance double precision DEFAULT NULL,
    target_recall double precision DEFAULT 0.99, distancemeasure text DEFAULT 'L2')
RETURNS TABLE (hit anyelement, distance double precision)
LANGUAGE sql STABLE COST 1000 ROWS 10
AS $$
    SELECT s.hit, s.distance FROM fastann._search(
        table_row, NULL, column_name, query, k, condition, max_distance,
        target_recall, distancemeasure, 'none') s
$$;
COMMENT ON FUNCTION fastann.search(anyelement, name, @extschema:vector@.vector, integer, text, double precision, double precision, text) IS
    'The k nearest rows that match a condition, whole and with their distance, by the cheapest plan that keeps the recall asked for. table_row names the table: NULL::my_table. Runs with the caller''s rights.';

CREATE FUNCTION fastann.search(
    table_row anyelement, column_name name, query real[], k integer DEFAULT NULL,
    condition text DEFAULT NULL, max_distance double precision DEFAULT NULL,
    target_recall double precision DEFAULT 0.99, distancemeasure text DEFAULT 'L2')
RETURNS TABLE (hit anyelement, distance double precision)
LANGUAGE sql STABLE COST 1000 ROWS 10
AS $$
    SELECT s.hit, s.distance FROM fastann._search(
        table_row, NULL, column_name, query::@extschema:vector@.vector, k, condition,
        max_distance, target_recall, distancemeasure, 'none') s
$$;
COMMENT ON FUNCTION fastann.search(anyelement, name, real[], integer, text, double precision, double precision, text) IS
    'The same for a query that is a real[].';

CREATE FUNCTION fastann.explain(
    table_row anyelement, column_name name, query @extschema:vector@.vector, k integer DEFAULT NULL,
    condition text DEFAULT NULL, max_distance double precision DEFAULT NULL,
    target_recall double precision DEFAULT 0.99, distancemeasure text DEFAULT 'L2',
    run boolean DEFAULT false, format text DEFAULT 'text')
RETURNS TABLE (line text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    reports pg_catalog.jsonb[];
BEGIN
    IF (format OPERATOR(pg_catalog.=) ANY (ARRAY['text', 'json'])) IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = pg_catalog.format('format: expected text or json, got %L', format);
    END IF;
    reports := ARRAY(SELECT s.report FROM fastann._search(
        table_row, NULL, column_name, query, k, condition, max_distance,
        target_recall, distancemeasure, CASE WHEN run THEN 'run' ELSE 'plan' END) s
        WHERE s.report IS NOT NULL);
    IF format OPERATOR(pg_catalog.=) 'json' THEN
        RETURN QUERY SELECT pg_catalog.jsonb_pretty(pg_catalog.to_jsonb(reports));
    ELSE
        RETURN QUERY SELECT words.said FROM pg_catalog.unnest(reports) r, LATERAL fastann._in_words(r) AS words (said);
    END IF;
END $$;
COMMENT ON FUNCTION fastann.explain IS
    'Which plan fastann.search() takes for these arguments, why, and what it expects; with run => true also what came true. One line each, or JSON: an array with one object a table or partition.';
