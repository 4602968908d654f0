-- Time and recall of each way to search: as measured by fastann.autotune(), before that by a prior.
--
-- The prior's figures are those of one core of 2024 with everything in memory; what counts is how
-- they stand to each other. Its recall is that of m = 16, ef_construction = 64 on a spectrum that is
-- harder than real voices, so that before the first autotune a search is rather exact than fast.

CREATE TYPE fastann._costs AS (
    heap_row_ms float8, scan_row_ms float8, distance_row_ms float8, covering_row_ms float8, probe_ms float8, stale text);

-- Why a model no longer describes what it was measured on; NULL: it does. REINDEX, TRUNCATE and
-- VACUUM FULL give new files.
CREATE FUNCTION fastann._staleness(measured_file oid, file oid, measured_tuples float8, tuples float8) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN measured_file <> file THEN 'it was rewritten since autotune'
    WHEN tuples > 1.5::float8 * measured_tuples
        OR 1.5::float8 * tuples < measured_tuples
    THEN format('it had %s rows at autotune and has %s', round(measured_tuples), round(tuples))
END;

CREATE FUNCTION fastann._costs(t fastann._target) RETURNS fastann._costs
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m fastann.table_models;
    c fastann._costs := ROW (0.0009, 0.00012, 0.0003, 0.0003, NULL::float8, 'never measured'::text);
BEGIN
    SELECT * INTO m FROM fastann.table_models
    WHERE relation = t.relation AND column_number = t.column_number;
    IF FOUND THEN
        c.stale := fastann._staleness(m.filenode, t.filenode, m.tuples, t.tuples);
        IF c.stale IS NULL THEN
            c := ROW (m.heap_row_ms, m.scan_row_ms, m.distance_row_ms,
                      coalesce(m.covering_row_ms, 0.35 * m.heap_row_ms), m.probe_ms, NULL::text);
        END IF;
    END IF;
    RETURN c;
END $$;

CREATE FUNCTION fastann._ms_since(started timestamptz) RETURNS float8
LANGUAGE sql VOLATILE
RETURN extract(epoch FROM clock_timestamp() - started)::float8 * 1000;

-- Each statement starts for this much, and a covering one fetches its best rows once more.
CREATE FUNCTION fastann._start_ms() RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 0.15;

-- PostgreSQL takes 0.01 for passing by one row, which was measured in milliseconds.
CREATE FUNCTION fastann._join_ms(c fastann._costs, join_cost float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN coalesce(join_cost, 0) * (c).scan_row_ms / 0.01;

CREATE FUNCTION fastann._exact_ms(t fastann._target, c fastann._costs, rows float8, by_index boolean) RETURNS float8
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    whole constant float8 := t.tuples * c.scan_row_ms + rows * c.distance_row_ms;
BEGIN
    RETURN fastann._start_ms() + CASE WHEN by_index THEN least(whole, rows * c.heap_row_ms) ELSE whole END;
END $$;

CREATE FUNCTION fastann._covering_ms(t fastann._target, c fastann._costs, rows float8, k int) RETURNS float8
LANGUAGE sql STABLE
RETURN 2 * fastann._start_ms() + (k + 10) * 0.003
    + rows * ((c).covering_row_ms + fastann._invisible(t) * (c).heap_row_ms);

-- Settings of an HNSW index, from the cheapest on, and what each costs and finds.
CREATE TYPE fastann._accuracy AS (
    ef int[], depth int[], ms float8[], ranks int[], recall float8[], stale text, tuples float8, m int);

-- How many rows an index holds: of a partial one its own count, once VACUUM or ANALYZE has made it.
CREATE FUNCTION fastann._indexed(a fastann._ann, t fastann._target) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (a).predicate IS NOT NULL AND (a).tuples > 0 THEN (a).tuples ELSE (t).tuples END;

CREATE FUNCTION fastann._accuracy(a fastann._ann, tuples float8) RETURNS fastann._accuracy
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m fastann.index_models;
    stale text := 'never measured';
    efs constant int[] := '{40,60,100,160,250,400,650,1000}';
BEGIN
    SELECT * INTO m FROM fastann.index_models WHERE index = a.index;
    IF FOUND THEN
        stale := fastann._staleness(m.filenode, a.filenode, m.tuples, tuples);
        IF stale IS NULL THEN
            RETURN ROW (m.ef, m.depth, m.ms, m.ranks, m.recall, NULL::text, tuples, a.m);
        END IF;
    END IF;
    RETURN ROW (efs, efs,
        ARRAY(SELECT 0.5 + ef * 0.013 * (1 + greatest(0, log(greatest(tuples, 1)) - 4)) FROM unnest(efs) ef),
        NULL::int[], NULL::float8[], stale, tuples, a.m);
END $$;

-- Why the figures of an index no longer count; NULL: they do.
CREATE FUNCTION fastann._stale(a fastann._ann, t fastann._target) RETURNS text
LANGUAGE sql STABLE
RETURN (fastann._accuracy(a, fastann._indexed(a, t))).stale;

-- The prior: misses fall with ef and m, and rise with the table and the root of the rank.
CREATE FUNCTION fastann._prior_recall(ef int, rank float8, tuples float8, m int) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(0, 1 - 0.006 * (400.0 / ef) * greatest(1, tuples / 1e5) ^ 1.15 * (rank / 10) ^ 0.5 * (16.0 / m) ^ 2);

-- Which share of the true nearest `rank` rows setting number i finds. Measured: of the next rank that was.
CREATE FUNCTION fastann._recall(y fastann._accuracy, i int, rank float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN rank > (y).depth[i] THEN 0
    WHEN (y).ranks IS NULL THEN fastann._prior_recall((y).ef[i], rank, (y).tuples, (y).m)
    WHEN ceil(rank) > (y).ranks[cardinality((y).ranks)] THEN 0
    ELSE (y).recall[(i - 1) * cardinality((y).ranks) + width_bucket(ceil(rank)::int - 1, (y).ranks) + 1] END;
