-- fastann.search(): rows that match a condition, nearest first, by the cheapest way that keeps the
-- recall asked for.
--
-- Everything runs as the caller. The functions that run the caller's condition have the caller's
-- search_path and therefore name everything with its schema; they do little else. STABLE: all
-- statements of one search see the same rows, so that places found by one are good in the next.
-- Settings are changed only in functions with SET clauses of their own for them, which hold whatever
-- set_config() does inside: none leaves a call.

-- A published setting of fastann, as a number. Settings hold any text.
CREATE FUNCTION fastann._setting(name text, lowest int, highest int, remark text) RETURNS int
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    value constant text := nullif(current_setting(name, true), '');
BEGIN
    IF value !~ '^\d{1,9}$' OR value::int NOT BETWEEN lowest AND highest THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('%s: expected %s to %s, got %L', name, lowest, highest, value),
            HINT = remark;
    END IF;
    RETURN value::int;
END $$;

CREATE FUNCTION fastann._question(
    relation oid, row_type regtype, column_name name, dim int, k int, condition text, max_distance float8,
    target_recall float8, distancemeasure text) RETURNS fastann._question
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    q fastann._question;
BEGIN
    q.k := coalesce(k, 10);
    q.mode := 'auto';
    q.scan_points := 999999999;
    q.recording := false;
    IF concat(current_setting('fastann.index_scan_mode', true), current_setting('fastann.hnsw_ef_search', true),
              current_setting('fastann.hnsw_max_scan_points', true), current_setting('fastann.topk', true),
              current_setting('fastann.record_workload', true)) <> '' THEN
        q := fastann._with_settings(q, k);
    END IF;
    IF (column_name IS NOT NULL AND dim IS NOT NULL AND q.k BETWEEN 1 AND 10000 AND target_recall > 0
        AND target_recall <= 1 AND max_distance IS DISTINCT FROM 'NaN') IS NOT TRUE THEN
        PERFORM fastann._refuse_question(column_name, dim, q.k, target_recall);
    END IF;
    q.condition := nullif(btrim(condition, E' \t\r\n'), '');
    q.max_distance := nullif(max_distance, 'Infinity');
    q.target_recall := target_recall;
    q.target := fastann._target(relation, row_type, column_name, dim, fastann._measure(distancemeasure));
    RETURN q;
END $$;

-- What SET fastann.x says.
CREATE FUNCTION fastann._with_settings(q fastann._question, k int) RETURNS fastann._question
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    q.k := coalesce(k, fastann._setting('fastann.topk', 1, 10000, 'RESET fastann.topk: ten rows.'), 10);
    q.mode := coalesce(nullif(current_setting('fastann.index_scan_mode', true), ''), 'auto');
    q.ef := fastann._setting('fastann.hnsw_ef_search', 1, 1000, 'RESET fastann.hnsw_ef_search: search chooses.');
    q.scan_points := coalesce(
        fastann._setting('fastann.hnsw_max_scan_points', 1, 999999999, 'RESET fastann.hnsw_max_scan_points.'), 999999999);
    q.recording := fastann._recording();
    IF q.mode NOT IN ('auto', 'exact', 'covering', 'ann') THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('fastann.index_scan_mode: expected auto, exact, covering or ann, got %L', q.mode),
            HINT = 'RESET fastann.index_scan_mode: search chooses.';
    END IF;
    RETURN q;
END $$;

CREATE FUNCTION fastann._refuse_question(column_name name, dim int, k int, target_recall float8) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF column_name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006', MESSAGE = 'column_name: expected the column to search, got NULL';
    ELSIF dim IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = 'query: expected a vector, got NULL',
            HINT = 'A sub-select that finds no row gives NULL.';
    ELSIF k NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('k: expected 1 to 10000 rows, got %s', k),
            HINT = 'For more rows scan the table: ORDER BY l2_distance(…).';
    ELSIF target_recall IS NULL OR NOT (target_recall > 0 AND target_recall <= 1) THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('target_recall: expected above 0 up to 1, got %s', coalesce(target_recall::text, 'NULL')),
            HINT = '0.99 finds 99 of 100 of the true nearest on the average; 1 is the exact search.';
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'VX006', MESSAGE = 'max_distance: expected a distance, got NaN';
END $$;

-- SET fastann.record_workload, read as PostgreSQL reads a switch.
CREATE FUNCTION fastann._recording() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    value constant text := nullif(current_setting('fastann.record_workload', true), '');
BEGIN
    IF value ~* '^(on|t|tr|tru|true|y|ye|yes|1)$' THEN
        RETURN true;
    ELSIF value IS NULL OR value ~* '^(off?|f|fa|fal|fals|false|n|no|0)$' THEN
        RETURN false;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'VX006',
        MESSAGE = format('fastann.record_workload: expected on or off, got %L', value),
        HINT = 'RESET fastann.record_workload: nothing is recorded.';
END $$;

-- PostgreSQL's own estimate of a condition, with the plan it would take if it had to use an index.
-- A cursor runs it: several statements in one text are refused. VOLATILE, for PostgreSQL lets no
-- other function explain.
CREATE FUNCTION fastann._explained(statement text) RETURNS pg_catalog.jsonb
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET random_page_cost = 1.1 AS $$
DECLARE
    plan pg_catalog.json;
BEGIN
    FOR plan IN EXECUTE statement LOOP
        RETURN plan::pg_catalog.jsonb;
    END LOOP;
END $$;

-- The node of a plan that scans the target.
CREATE FUNCTION fastann._scan(t fastann._target, plan jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_path_query_first(plan, '$.** ? (@."Alias" == $alias)', jsonb_build_object('alias', (parse_ident((t).alias))[1]));

-- Reads that estimate.
CREATE FUNCTION fastann._estimate(t fastann._target, plan jsonb) RETURNS fastann._estimate
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    e fastann._estimate;
    top constant jsonb := plan -> 0 -> 'Plan';
    scan constant jsonb := CASE WHEN top ? 'Plans' THEN fastann._scan(t, plan) ELSE top END;
BEGIN
    e.rows := (top ->> 'Plan Rows')::float8;
    -- A scan on the inner side of a loop says its cost for one turn.
    e.join_cost := CASE WHEN top ? 'Plans' THEN greatest(0, (top ->> 'Total Cost')::float8
        - (scan ->> 'Total Cost')::float8 * greatest(1, e.rows / greatest((scan ->> 'Plan Rows')::float8, 1))) END;
    e.never := top ->> 'One-Time Filter' = 'false';
    e.by_index := coalesce(scan ->> 'Node Type' <> 'Seq Scan', false);
    e.covering := CASE WHEN scan ->> 'Node Type' = 'Index Only Scan' THEN scan ->> 'Index Name' END;
    RETURN e;
END $$;

-- The ANN indexes that hold every row that can match: whole ones, and partial ones whose predicate the
-- condition implies.
CREATE FUNCTION fastann._usable(q fastann._question, query @extschema:vector@.vector) RETURNS fastann._ann[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    a fastann._ann;
    indexes fastann._ann[] := '{}';
BEGIN
    FOR a IN SELECT * FROM fastann._ann_indexes(q.target) LOOP
        IF a.predicate IS NULL OR (q.condition IS NOT NULL AND fastann._implied(q, a, query)) THEN
            indexes := pg_catalog.array_append(indexes, a);
        END IF;
    END LOOP;
    RETURN indexes;
END $$;

-- Does the condition imply the predicate of this index? That is for PostgreSQL to prove, which then uses it.
CREATE FUNCTION fastann._implied(q fastann._question, a fastann._ann, query @extschema:vector@.vector) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = off AS $$
DECLARE
    plan pg_catalog.json;
    t CONSTANT fastann._target := q.target;
BEGIN
    FOR plan IN EXECUTE pg_catalog.format(
        'EXPLAIN (VERBOSE, FORMAT JSON) SELECT FROM %s AS %s %s ORDER BY %s LIMIT 1',
        t.table_name, t.alias, fastann._where(q, t.present), a.distance)
        USING query, CASE WHEN fastann._halves(a.distance) THEN query::@extschema:vector@.halfvec END
    LOOP
        -- The table itself goes by its alias; the same table in a sub-select by another one.
        RETURN fastann._scan(t, plan::pg_catalog.jsonb) OPERATOR(pg_catalog.->>) 'Index Name'
            OPERATOR(pg_catalog.=) (SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) a.index);
    END LOOP;
END $$;

-- Is it certain enough that the beam held the nearest k? Where it gave them, by the rank of the last;
-- where it gave fewer, because the bound ends within it, by how many are inside; else only an exact search
-- knows.
CREATE TYPE fastann._beam AS (places tid[], distances float8[], rank bigint, seen bigint, reach float8, inside bigint);

CREATE FUNCTION fastann._settled(q fastann._question, c fastann._choice, beam fastann._beam) RETURNS float8
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF cardinality(beam.places) = q.k THEN
        RETURN fastann._recall(c.accuracy, c.setting, beam.rank);
    ELSIF q.max_distance IS NOT NULL AND beam.reach > q.max_distance THEN
        RETURN fastann._recall(c.accuracy, c.setting, beam.inside + 1);
    END IF;
    RETURN 0;
END $$;

CREATE FUNCTION fastann._empty(why text) RETURNS fastann._choice
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c fastann._choice;
BEGIN
    c.plan := 'empty';
    c.why := why;
    c.ms := 0;
    c.recall := 1;
    c.exact_plan := 'empty';
    c.exact_ms := 0;
    RETURN c;
END $$;

-- Share of rows around the query that match, of what a probe counted: the estimate is worth three
-- rows of it.
CREATE FUNCTION fastann._local(q fastann._question, e fastann._estimate, matching bigint, near bigint) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (matching + 3 * least(1, (e).rows / greatest(((q).target).tuples, 1))) / (near + 3);

-- One beam of an HNSW index. No other plan than the index gives the order without sorting.
CREATE FUNCTION fastann._run_beam(statement text, query @extschema:vector@.vector, half boolean, max_distance float8, ef int, depth int)
RETURNS fastann._beam
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_sort = off SET jit = off
SET hnsw.ef_search = 40 SET hnsw.iterative_scan = off SET hnsw.max_scan_tuples = 20000 SET hnsw.scan_mem_multiplier = 1
AS $$
DECLARE
    beam fastann._beam;
BEGIN
    PERFORM pg_catalog.set_config('hnsw.ef_search', ef::pg_catalog.text, true);
    IF depth OPERATOR(pg_catalog.>) ef THEN
        PERFORM pg_catalog.set_config('hnsw.iterative_scan', 'relaxed_order', true),
            pg_catalog.set_config('hnsw.max_scan_tuples', '2147483647', true),
            pg_catalog.set_config('hnsw.scan_mem_multiplier', '64', true);
    END IF;
    EXECUTE statement INTO beam USING query, CASE WHEN half THEN query::@extschema:vector@.halfvec END, max_distance;
    RETURN beam;
END $$;

-- An exact search of many rows: just-in-time compilation would take longer than what it hastens. (Page costs
-- stay as they are: thought cheaper, PostgreSQL fetches rows one by one instead of page by page.)
CREATE FUNCTION fastann._run_exact(table_row anyelement, statement text, query @extschema:vector@.vector, max_distance float8)
RETURNS TABLE (hit anyelement, distance float8, report jsonb)
LANGUAGE plpgsql STABLE ROWS 10 SET jit = off AS $$
BEGIN
    RETURN QUERY EXECUTE statement USING query, NULL::@extschema:vector@.halfvec, max_distance;
END $$;

-- A covering index is used as it was explained.
CREATE FUNCTION fastann._run_covering(table_row anyelement, statement text, query @extschema:vector@.vector, max_distance float8)
RETURNS TABLE (hit anyelement, distance float8, report jsonb)
LANGUAGE plpgsql STABLE ROWS 10 SET jit = off SET enable_seqscan = off SET random_page_cost = 1.1 AS $$
BEGIN
    RETURN QUERY EXECUTE statement USING query, query::@extschema:vector@.halfvec, max_distance;
END $$;

-- Nothing was found in a column whose type says no length: because what matches has another one?
CREATE FUNCTION fastann._refuse_length(q fastann._question) RETURNS void
LANGUAGE plpgsql STABLE AS $$
DECLARE
    t CONSTANT fastann._target := q.target;
    length pg_catalog.int4;
BEGIN
    EXECUTE pg_catalog.format('SELECT %s FROM %s AS %s %s LIMIT 1',
        pg_catalog.split_part(t.fits, ' OPERATOR', 1), t.table_name, t.alias,
        fastann._where(q, t.present)) INTO length;
    IF length IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX004',
            MESSAGE = pg_catalog.format('query: column %I of %s holds vectors of %s values where the condition is true, got one of %s',
                                        t.column_name, t.table_name, length, t.dim),
            HINT = 'Vectors of one model have one length; search with a vector of that model.';
    END IF;
END $$;

-- The partitions in which PostgreSQL would look for this condition, each a table to search by itself. NULL
-- where the rights or policies of the whole decide what the caller sees of them: then they are searched as
-- one, exactly.
CREATE FUNCTION fastann._partitions(q fastann._question) RETURNS pg_catalog.oid[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    plan pg_catalog.json;
    leaves pg_catalog.oid[];
BEGIN
    FOR plan IN EXECUTE fastann._explain_statement(q, 'VERBOSE, FORMAT JSON') LOOP
        leaves := fastann._leaves((q.target).relation, plan::pg_catalog.jsonb);
    END LOOP;
    RETURN leaves;
END $$;

CREATE FUNCTION fastann._leaves(whole oid, plan jsonb) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    leaves constant oid[] := ARRAY(
        SELECT leaf.relid::oid FROM pg_partition_tree(whole) leaf
        WHERE leaf.isleaf AND leaf.relid::oid IN (
            SELECT fastann._relation(scan) FROM jsonb_path_query(plan, '$.** ? (exists(@."Relation Name"))') scan));
BEGIN
    IF row_security_active(whole) OR EXISTS (
        SELECT FROM unnest(leaves) leaf WHERE NOT has_table_privilege(leaf, 'SELECT') OR row_security_active(leaf))
    THEN
        RETURN NULL;
    END IF;
    RETURN leaves;
END $$;

CREATE FUNCTION fastann._relation(scan jsonb) RETURNS oid
LANGUAGE sql STABLE
RETURN to_regclass(format('%I.%I', scan ->> 'Schema', scan ->> 'Relation Name'))::oid;

-- The search in one table, or in each partition that the condition leaves. With asked 'plan' it only
-- plans; with 'run' a last row without a hit tells what happened.
CREATE FUNCTION fastann._search(
    table_row anyelement, relation oid, column_name name, query @extschema:vector@.vector, k integer, condition text,
    max_distance float8, target_recall float8, distancemeasure text, asked text)
RETURNS TABLE (hit anyelement, distance float8, report jsonb)
LANGUAGE plpgsql STABLE ROWS 10 AS $$
DECLARE
    started CONSTANT pg_catalog.timestamptz := pg_catalog.clock_timestamp();
    planned pg_catalog.timestamptz;
    q CONSTANT fastann._question := fastann._question(
        relation, pg_catalog.pg_typeof(table_row), column_name, @extschema:vector@.vector_dims(query), k, condition,
        max_distance, target_recall, distancemeasure);
    t CONSTANT fastann._target := q.target;
    e fastann._estimate;
    c fastann._choice;
    indexes fastann._ann[];
    leaves pg_catalog.oid[];
    matching pg_catalog.int8;
    near pg_catalog.int8;
    beam fastann._beam;
    reached pg_catalog.float8;
    rows_found pg_catalog.int8 := 0;
    plan_run pg_catalog.text;
BEGIN
    IF t.kind OPERATOR(pg_catalog.=) 'p' THEN
        leaves := fastann._partitions(q);
    END IF;
    IF pg_catalog.cardinality(leaves) OPERATOR(pg_catalog.>) 0 THEN
        RETURN QUERY SELECT s.hit, s.distance, s.report
            FROM pg_catalog.unnest(leaves) leaf, LATERAL fastann._search(
                table_row, leaf, column_name, query, q.k, condition, max_distance, target_recall, distancemeasure, asked) s
            ORDER BY s.distance LIMIT CASE WHEN asked OPERATOR(pg_catalog.=) 'none' THEN q.k END;
        RETURN;
    ELSIF pg_catalog.cardinality(leaves) OPERATOR(pg_catalog.=) 0 THEN
        c := fastann._empty('no partition can hold a row that matches');
    ELSIF q.max_distance OPERATOR(pg_catalog.<) 0 AND t.measure OPERATOR(pg_catalog.<>) 'ip' THEN
        c := fastann._empty('no distance is below 0');
    ELSE
        e := fastann._estimate(t, fastann._explained(fastann._explain_statement(q, 'FORMAT JSON')));
        c := CASE WHEN e.never THEN fastann._empty('PostgreSQL proves that no row can match the condition')
             ELSE fastann._choose_exact(q, e) END;
        IF fastann._approximable(q, c) THEN
            indexes := fastann._usable(q, query);
            c := fastann._choose(q, e, c, indexes);
            IF c.probe THEN
                EXECUTE fastann._probe_statement(q) INTO matching, near
                    USING query, (SELECT s.places FROM fastann.samples s WHERE s.relation OPERATOR(pg_catalog.=) t.relation);
                c := fastann._choose(q, e, fastann._choose_exact(q, e), indexes, fastann._local(q, e, matching, near));
            END IF;
        END IF;
    END IF;
    planned := pg_catalog.clock_timestamp();
    plan_run := c.plan;
    IF (c.exact_plan OPERATOR(pg_catalog.=) 'covering' OR fastann._halves((c.ann).distance))
       AND @extschema:vector@.vector_norm(query) OPERATOR(pg_catalog.>=) 65504 THEN
        c.exact_plan := 'exact';  -- no half precision holds such a query
        IF plan_run OPERATOR(pg_catalog.=) 'covering' OR fastann._halves((c.ann).distance) THEN
            plan_run := 'exact';
        END IF;
    END IF;

    IF asked OPERATOR(pg_catalog.<>) 'plan' AND plan_run OPERATOR(pg_catalog.=) ANY (ARRAY['ann', 'partial']) THEN
        beam := fastann._run_beam(fastann._beam_statement(q, c.ann, (c.accuracy).depth[c.setting]), query,
            fastann._halves((c.ann).distance), q.max_distance, (c.accuracy).ef[c.setting], (c.accuracy).depth[c.setting]);
        reached := fastann._settled(q, c, beam);
        IF reached OPERATOR(pg_catalog.>=) target_recall THEN
            RETURN QUERY EXECUTE fastann._fetch_statement(t) USING beam.places, beam.distances;
            GET DIAGNOSTICS rows_found = ROW_COUNT;
        ELSE
            plan_run := c.exact_plan;
        END IF;
    END IF;
    IF asked OPERATOR(pg_catalog.<>) 'plan' AND plan_run OPERATOR(pg_catalog.=) 'covering' THEN
        RETURN QUERY SELECT r.* FROM fastann._run_covering(
            table_row, fastann._covering_statement(q, c.key), query, q.max_distance) r;
        GET DIAGNOSTICS rows_found = ROW_COUNT;
        IF rows_found OPERATOR(pg_catalog.=) 0 THEN  -- nothing matches, or half precision could not tell
            plan_run := 'exact';
        END IF;
    END IF;
    IF asked OPERATOR(pg_catalog.<>) 'plan' AND plan_run OPERATOR(pg_catalog.=) 'exact' THEN
        IF c.exact_ms OPERATOR(pg_catalog.<) 2 THEN
            RETURN QUERY EXECUTE fastann._exact_statement(q, e.rows) USING query, NULL::@extschema:vector@.halfvec, q.max_distance;
        ELSE
            RETURN QUERY SELECT r.* FROM fastann._run_exact(
                table_row, fastann._exact_statement(q, e.rows), query, q.max_distance) r;
        END IF;
        GET DIAGNOSTICS rows_found = ROW_COUNT;
        IF rows_found OPERATOR(pg_catalog.=) 0 AND t.declared IS NULL AND q.max_distance IS NULL THEN
            PERFORM fastann._refuse_length(q);
        END IF;
    END IF;
    IF q.recording AND asked OPERATOR(pg_catalog.<>) 'plan' THEN
        PERFORM fastann._record(q, e, plan_run, fastann._ms_since(planned));
    END IF;
    IF asked OPERATOR(pg_catalog.<>) 'none' THEN
        hit := NULL;
        distance := NULL;
        report := fastann._report(q, c, e, matching, near, beam, reached, plan_run, rows_found, asked, started, planned);
        RETURN NEXT;
    END IF;
END $$;
