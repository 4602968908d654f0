-- fastann.autotune(): measures, on this machine and for this table, what a row costs in each exact way
-- and what each setting of each HNSW index costs and finds.
--
-- Queries are what the next rows would be: the middle of a row and its two nearest neighbours, which of
-- utterances is the person, moved as another row is from its own neighbour, which is how utterances differ.
-- Rows themselves would be found too easily, for the graph has nodes for them, and so would be rows that are
-- moved: they have one near neighbour where a new utterance has all of its person's, to miss together. The
-- truth is the exact search.

CREATE FUNCTION fastann._median(list float8[]) RETURNS float8
LANGUAGE sql IMMUTABLE
RETURN (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM unnest(list) x);

-- Shortest time of a statement over these queries: what a row costs where nothing else is in the way.
CREATE FUNCTION fastann._time(statement text, queries @extschema:vector@.vector[], places tid[], dim int) RETURNS float8
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off SET max_parallel_workers_per_gather = 0 AS $$
DECLARE
    started timestamptz;
    times float8[] := '{}';
BEGIN
    FOR i IN 0 .. cardinality(queries) LOOP
        started := clock_timestamp();
        EXECUTE statement USING queries[greatest(i, 1)],
            CASE WHEN dim > 0 THEN queries[greatest(i, 1)]::@extschema:vector@.halfvec END, places;
        IF i > 0 THEN
            times := times || fastann._ms_since(started);
        END IF;
    END LOOP;
    RETURN (SELECT min(x) FROM unnest(times) x);
END $$;

-- Where about five hundred rows lie, by whole pages drawn at random.
CREATE FUNCTION fastann._sample(t fastann._target) RETURNS tid[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    per_page constant int := greatest(1, ceil(t.tuples / greatest(t.pages, 1)))::int;
BEGIN
    RETURN ARRAY(
        SELECT format('(%s,%s)', page, line)::tid
        FROM (SELECT DISTINCT floor(random() * t.pages)::bigint AS page
              FROM generate_series(1, ceil(500.0 / per_page)::int)) pages,
             generate_series(1, per_page) line
        ORDER BY page, line);
END $$;

CREATE FUNCTION fastann._queries(t fastann._target, wanted int) RETURNS @extschema:vector@.vector[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    vectors @extschema:vector@.vector[];
    near @extschema:vector@.vector[];
    middles @extschema:vector@.vector[] := '{}';
    moves @extschema:vector@.vector[] := '{}';
    query @extschema:vector@.vector;
    queries @extschema:vector@.vector[] := '{}';
    kept @extschema:vector@.vector[] := '{}';
    unit boolean;
    third constant @extschema:vector@.vector := array_fill((1 / 3.0)::real, ARRAY[t.dim])::@extschema:vector@.vector;
    as_vector constant text := format('%s.%I::@extschema:vector@.vector(%s)', t.alias, t.column_name, t.dim);
    distance constant text := fastann._hidden(as_vector || ' OPERATOR(@extschema:vector@.<->) $1');
BEGIN
    EXECUTE format(
        'SELECT ARRAY(SELECT %s FROM %s AS %s WHERE ctid = ANY ((SELECT $1)::tid[]) AND %s ORDER BY random() LIMIT %s)',
        as_vector, t.table_name, t.alias, coalesce(t.fits, t.present), wanted)
        INTO vectors USING fastann._sample(t) || fastann._sample(t);
    unit := abs(@extschema:vector@.vector_norm(vectors[1]) - 1) < 0.001;
    FOR i IN 1 .. coalesce(cardinality(vectors), 0) LOOP
        EXECUTE format('SELECT ARRAY(SELECT %s FROM %s AS %s WHERE CASE WHEN %s THEN %s > 1e-6 END ORDER BY %s LIMIT 2)',
            as_vector, t.table_name, t.alias, coalesce(t.fits, t.present), distance, distance)
            INTO near USING vectors[i];
        CONTINUE WHEN cardinality(near) < 2;
        middles := middles || ((vectors[i] OPERATOR(@extschema:vector@.+) near[1] OPERATOR(@extschema:vector@.+) near[2])
            OPERATOR(@extschema:vector@.*) third);
        moves := moves || (vectors[i] OPERATOR(@extschema:vector@.-) near[1]);
        kept := kept || vectors[i];
    END LOOP;
    FOR i IN 1 .. cardinality(middles) LOOP
        query := fastann._moved(kept[i], middles[i], moves[i], moves[1 + i % cardinality(moves)], unit);
        queries := queries || query;
    END LOOP;
    RETURN queries;
END $$;

-- A middle, moved so far that the row is as far from it as from its own neighbour. Unit vectors stay that:
-- what counts is the angle.
CREATE FUNCTION fastann._moved(
    v @extschema:vector@.vector, middle @extschema:vector@.vector, own @extschema:vector@.vector,
    other @extschema:vector@.vector, unit boolean) RETURNS @extschema:vector@.vector
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    far constant float8 := @extschema:vector@.vector_norm(own);
    length constant float8 := @extschema:vector@.vector_norm(middle);
    step constant float8 := sqrt(greatest(0, CASE WHEN unit
        THEN (@extschema:vector@.inner_product(v, middle) / greatest(0.1, 1 - far ^ 2 / 2)) ^ 2 - length ^ 2
        ELSE far ^ 2 - @extschema:vector@.l2_distance(v, middle) ^ 2 END)) / greatest(@extschema:vector@.vector_norm(other), 1e-6);
    moved constant @extschema:vector@.vector := middle OPERATOR(@extschema:vector@.+) (
        other OPERATOR(@extschema:vector@.*)
        array_fill(step::real, ARRAY[@extschema:vector@.vector_dims(v)])::@extschema:vector@.vector);
BEGIN
    RETURN CASE WHEN unit THEN @extschema:vector@.l2_normalize(moved) ELSE moved END;
END $$;

-- The exact ways. Places are given as (SELECT $3): of an array that it can see the planner estimates
-- every element, which takes longer than to fetch the rows.
CREATE FUNCTION fastann._measure_table(t fastann._target, queries @extschema:vector@.vector[], sample tid[])
RETURNS fastann.table_models
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m fastann.table_models;
    few constant @extschema:vector@.vector[] := queries[1:5];
    passing float8;
    covering record;
BEGIN
    m.relation := t.relation;
    m.column_number := t.column_number;
    m.filenode := t.filenode;
    m.tuples := t.tuples;
    m.measured_at := now();

    m.heap_row_ms := fastann._heap_row_ms(t, few);
    -- a condition that is nothing to evaluate, and that no planner can decide beforehand
    passing := fastann._time(format('SELECT count(*) FROM %s WHERE xmin = ''0''', t.table_name), few[1:3], NULL, 0);
    m.scan_row_ms := passing / greatest(t.tuples, 1);
    m.distance_row_ms := greatest(0, fastann._time(format(
        'SELECT max(%s) FROM %s AS %s', t.guarded, t.table_name, t.alias), few[1:3], NULL, 0) - passing)
        / greatest(t.tuples, 1);
    m.probe_ms := fastann._start_ms() + cardinality(sample) * m.heap_row_ms;

    SELECT c.relname AS name, fastann._covering_key(t, c.relname) AS key INTO covering
    FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
    WHERE x.indrelid = t.relation AND fastann._covering_key(t, c.relname) IS NOT NULL LIMIT 1;
    IF FOUND THEN
        IF fastann._invisible(t) > 0.1 THEN
            RAISE NOTICE 'covering indexes of % are not measured: VACUUM it first', t.table_name;
        ELSE
            m.covering_row_ms := fastann._covering_row_ms(t, covering.name, covering.key, few);
        END IF;
    END IF;
    RETURN m;
END $$;

-- To fetch a row and compare it. Other rows each time: those just fetched would lie in the processor's cache.
CREATE FUNCTION fastann._heap_row_ms(t fastann._target, queries @extschema:vector@.vector[]) RETURNS float8
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    rows int;
    places tid[];
    started timestamptz;
    list float8[] := '{}';
BEGIN
    FOR i IN 0 .. 7 LOOP
        places := ARRAY(SELECT format('(%s,%s)', floor(random() * t.pages), 1 + floor(random() * t.tuples / t.pages))::tid
                        FROM generate_series(1, least(1000, greatest(100, t.tuples / 20))::int));
        started := clock_timestamp();
        EXECUTE format('SELECT count(d) FROM (SELECT %s AS d FROM %s AS %s WHERE ctid = ANY ((SELECT $2)::tid[])) s',
            t.guarded, t.table_name, t.alias) INTO rows USING queries[1 + i % cardinality(queries)], places;
        IF i > 0 THEN
            list := list || fastann._ms_since(started) / greatest(rows, 1);
        END IF;
    END LOOP;
    RETURN fastann._median(list);
END $$;

CREATE FUNCTION fastann._covering_row_ms(t fastann._target, index_name name, key text[], queries @extschema:vector@.vector[])
RETURNS float8
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_sort = on SET random_page_cost = 1 AS $$
DECLARE
    rows constant int := least(20000, greatest(100, t.tuples / 4))::int;
    first_columns text;
BEGIN
    SELECT string_agg(t.alias || '.' || quote_ident(a.attname), ', ' ORDER BY u.n) INTO first_columns
    FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY u(number, n)
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.number
    WHERE i.indrelid = t.relation AND c.relname = index_name AND u.n <= i.indnkeyatts;
    RETURN fastann._time(format(
        'SELECT FROM (SELECT %s, %s AS "fastann distance" FROM %s AS %s ORDER BY %s LIMIT %s) s ORDER BY "fastann distance" LIMIT 20',
        fastann._key_list(t, key), t.half_distance, t.table_name, t.alias, first_columns, rows),
        queries, NULL, t.dim) / rows;
END $$;

-- Distances of the true nearest, up to the deepest rank.
CREATE FUNCTION fastann._truth(t fastann._target, predicate text, query @extschema:vector@.vector, deepest int) RETURNS float8[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    distances float8[];
BEGIN
    EXECUTE format(
        'SELECT ARRAY(SELECT %s FROM %s AS %s WHERE %s%s ORDER BY 1 LIMIT %s)',
        fastann._hidden(t.guarded), t.table_name, t.alias, coalesce(t.fits, t.present),
        ' AND (' || predicate || ')', deepest) INTO distances USING query;
    RETURN distances;
END $$;

-- One HNSW index, setting by setting, until one costs more than the exact search of everything.
CREATE FUNCTION fastann._measure_index(
    t fastann._target, a fastann._ann, queries @extschema:vector@.vector[], exact_ms float8)
RETURNS fastann.index_models
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m fastann.index_models;
    efs constant int[] := '{20,40,70,100,150,200,250,320,400,500,650,800,1000,1000,1000}';
    depths constant int[] := '{20,40,70,100,150,200,250,320,400,500,650,800,1000,2000,4000}';
    tuples constant float8 := fastann._indexed(a, t);
    q fastann._question;
    statement text;
    started timestamptz;
    truths jsonb := '[]';
    beam fastann._beam;
    times float8[];
    shares float8[];
BEGIN
    m.index := a.index;
    m.filenode := a.filenode;
    m.tuples := tuples;
    m.queries := cardinality(queries);
    m.measured_at := now();
    m.ef := '{}'; m.depth := '{}'; m.ms := '{}'; m.recall := '{}';
    m.ranks := ARRAY(SELECT r FROM unnest('{1,2,3,5,7,10,14,20,28,40,56,75,100,140,200,280,400,560,800,1100,1500,2000}'::int[]) r
                     WHERE r <= greatest(1, tuples / 2));
    FOR i IN 1 .. m.queries LOOP
        truths := truths || jsonb_build_array(fastann._truth(t, a.predicate, queries[i], m.ranks[cardinality(m.ranks)]));
    END LOOP;
    q.target := t;
    FOR setting IN 1 .. cardinality(efs) LOOP
        EXIT WHEN setting > 1 AND depths[setting - 1] >= tuples;
        q.k := depths[setting];
        statement := fastann._beam_statement(q, a, q.k);
        times := '{}';
        shares := '{}';
        FOR i IN 1 .. m.queries LOOP
            started := clock_timestamp();
            beam := fastann._run_beam(statement, queries[i], fastann._halves(a.distance), NULL, efs[setting], depths[setting]);
            times := times || fastann._ms_since(started);
            shares := shares || fastann._shares(beam.distances, truths -> (i - 1), m.ranks);
        END LOOP;
        m.ef := m.ef || efs[setting];
        m.depth := m.depth || depths[setting];
        m.ms := m.ms || fastann._median(times);
        m.recall := m.recall || fastann._means_less_error(shares, cardinality(m.ranks));
        EXIT WHEN fastann._median(times) > 1.5 * exact_ms;
    END LOOP;
    -- A smaller beam never takes longer: where it did, the graph was not in the caches yet, or others worked.
    m.ms := ARRAY(SELECT min(u.ms) OVER (ORDER BY u.n DESC) FROM unnest(m.ms) WITH ORDINALITY u(ms, n) ORDER BY u.n);
    RETURN m;
END $$;

-- Share of the true nearest up to each rank that a beam holds. By distance: equal ones serve alike.
CREATE FUNCTION fastann._shares(found float8[], truth jsonb, ranks int[]) RETURNS float8[]
LANGUAGE sql IMMUTABLE
RETURN ARRAY(
    SELECT least(1, width_bucket((truth ->> (least(r, jsonb_array_length(truth)) - 1))::float8, coalesce(found, '{}'))
                    / least(r, jsonb_array_length(truth))::float8)
    FROM unnest(ranks) WITH ORDINALITY u(r, n) ORDER BY n);

-- Means over the queries for each rank, less their standard error, which is at least that of half a row
-- missed in all. No rank is better than those before it: a condition may leave just the nearest.
CREATE FUNCTION fastann._means_less_error(shares float8[], width int) RETURNS float8[]
LANGUAGE sql IMMUTABLE
RETURN ARRAY(
    SELECT min(m.mean) OVER (ORDER BY m.rank)
    FROM (SELECT (n - 1) % width AS rank, greatest(0, avg(s) - greatest(
              coalesce(stddev_samp(s), 0) / sqrt(count(*)), 0.5 / (count(*) * sqrt((n - 1) % width + 1)))) AS mean
          FROM unnest(shares) WITH ORDINALITY u(s, n) GROUP BY (n - 1) % width) m
    ORDER BY m.rank);

-- In place of what was known before.
CREATE FUNCTION fastann._store(m fastann.table_models, sample tid[]) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO fastann.table_models SELECT (m).*
    ON CONFLICT (relation, column_number) DO UPDATE
    SET filenode = excluded.filenode, tuples = excluded.tuples, heap_row_ms = excluded.heap_row_ms,
        scan_row_ms = excluded.scan_row_ms, distance_row_ms = excluded.distance_row_ms,
        covering_row_ms = excluded.covering_row_ms, probe_ms = excluded.probe_ms, measured_at = excluded.measured_at;
    INSERT INTO fastann.samples VALUES ((m).relation, sample)
    ON CONFLICT (relation) DO UPDATE SET places = excluded.places;
END;

CREATE FUNCTION fastann._store(m fastann.index_models) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO fastann.index_models SELECT (m).*
    ON CONFLICT (index) DO UPDATE
    SET filenode = excluded.filenode, tuples = excluded.tuples, ef = excluded.ef, depth = excluded.depth,
        ms = excluded.ms, ranks = excluded.ranks, recall = excluded.recall, queries = excluded.queries,
        measured_at = excluded.measured_at;
END;

CREATE FUNCTION fastann.autotune(
    table_name regclass, column_name name, distancemeasure text DEFAULT 'L2', queries integer DEFAULT 100)
RETURNS TABLE (index_name text, ef_search int, rows_fetched int, ms float8, recall_at_1 float8, recall_at_10 float8, recall_at_100 float8)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    measure constant text := fastann._measure(distancemeasure);
    leaf regclass;
    dim int;
    started constant timestamptz := clock_timestamp();
BEGIN
    IF queries IS NULL OR queries NOT BETWEEN 10 AND 1000 THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('queries: expected 10 to 1000, got %s', coalesce(queries::text, 'NULL'));
    ELSIF (SELECT relkind FROM pg_class WHERE oid = table_name) = 'p' THEN
        FOR leaf IN SELECT relid FROM pg_partition_tree(table_name) WHERE isleaf LOOP
            RETURN QUERY SELECT * FROM fastann.autotune(leaf, column_name, distancemeasure, queries);
        END LOOP;
        RETURN;
    END IF;
    FOREACH dim IN ARRAY fastann._lengths(table_name, column_name) LOOP
        RETURN QUERY SELECT * FROM fastann._autotune(fastann._target(
            table_name, (SELECT reltype FROM pg_class WHERE oid = table_name), column_name, dim, measure), queries);
    END LOOP;
    RAISE NOTICE 'autotune of %: done in % s', table_name, round((fastann._ms_since(started) / 1000)::numeric, 1);
END $$;
COMMENT ON FUNCTION fastann.autotune IS
    'Measures time and recall of each way to search this table and keeps them for fastann.search(). For the owner of the table; after building, after REINDEX and when the table has grown by half. Cancelled, it changes nothing.';

-- The same for vectors of one length.
CREATE FUNCTION fastann._autotune(t fastann._target, wanted integer)
RETURNS TABLE (index_name text, ef_search int, rows_fetched int, ms float8, recall_at_1 float8, recall_at_10 float8, recall_at_100 float8)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    sample constant tid[] := fastann._sample(t);
    drawn constant @extschema:vector@.vector[] := fastann._queries(t, wanted);
    a fastann._ann;
    costs fastann.table_models;
    m fastann.index_models;
BEGIN
    IF coalesce(cardinality(drawn), 0) < 5 THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('table %s: expected some hundred rows to measure on, got too few', t.table_name),
            HINT = 'Small tables need no autotune: they are searched exactly.';
    END IF;
    RAISE NOTICE 'autotune of %: what a row costs', t.table_name;
    costs := fastann._measure_table(t, drawn, sample);
    PERFORM fastann._store(costs, sample);
    FOR a IN SELECT * FROM fastann._ann_indexes(t) LOOP
        IF coalesce(cardinality(fastann._truth(t, a.predicate, drawn[1], 1)), 0) = 0 THEN
            RAISE NOTICE 'autotune of %: no row is in index %, left out', t.table_name, a.name;
            CONTINUE;
        END IF;
        RAISE NOTICE 'autotune of %: index %, % queries', t.table_name, a.name, cardinality(drawn);
        m := fastann._measure_index(t, a, drawn, t.tuples * (costs.scan_row_ms + costs.distance_row_ms));
        PERFORM fastann._store(m);
        RETURN QUERY
            SELECT a.name, m.ef[i], m.depth[i], m.ms[i], s.r[1], s.r[2], s.r[3]
            FROM generate_series(1, cardinality(m.ef)) i, LATERAL (SELECT ARRAY(
                SELECT m.recall[(i - 1) * cardinality(m.ranks) + array_position(m.ranks, wanted_rank)]
                FROM unnest('{1,10,100}'::int[]) wanted_rank) AS r) s;
    END LOOP;
END $$;

-- Of which lengths the vectors are that can be tuned for: the column's own, or those of its ANN indexes, or
-- that of a row.
CREATE FUNCTION fastann._lengths(table_name regclass, column_name name) RETURNS int[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    f record;
    lengths int[];
BEGIN
    SELECT c.relkind, c.relhassubclass, nullif(a.atttypmod, -1) AS declared, ty.typname,
           pg_has_role(c.relowner, 'USAGE') AS owned INTO f
    FROM pg_class c
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_type ty ON ty.oid = a.atttypid
    WHERE c.oid = table_name;
    IF (f.typname IN ('vector', 'halfvec', '_float4')) IS NOT TRUE THEN
        PERFORM fastann._refuse_column(table_name, column_name);
    ELSIF f.relkind NOT IN ('r', 'm') OR f.relhassubclass THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('%s: expected a table, got a view, foreign table or parent of other tables', table_name),
            HINT = 'Those are always searched exactly: there is nothing to measure.';
    ELSIF NOT f.owned THEN
        RAISE EXCEPTION USING ERRCODE = '42501',
            MESSAGE = format('must be owner of table %s', table_name);
    ELSIF f.typname <> '_float4' AND f.declared IS NOT NULL THEN
        RETURN ARRAY[f.declared];
    END IF;
    lengths := ARRAY(
        SELECT DISTINCT key.atttypmod FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am am ON am.oid = c.relam AND am.amname IN ('ann', 'hnsw')
        JOIN pg_attribute key ON key.attrelid = i.indexrelid AND key.attnum = 1 AND key.atttypmod > 0
        WHERE i.indrelid = table_name);
    IF lengths = '{}' THEN
        EXECUTE format('SELECT ARRAY(SELECT %s FROM %s WHERE %I IS NOT NULL LIMIT 1)',
            CASE f.typname WHEN '_float4' THEN format('cardinality(%I)', column_name)
                 ELSE format('@extschema:vector@.vector_dims(%I)', column_name) END,
            table_name, column_name) INTO lengths;
    END IF;
    IF lengths = '{}' THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('table %s: expected some hundred rows to measure on, got none', table_name);
    END IF;
    RETURN lengths;
END $$;
