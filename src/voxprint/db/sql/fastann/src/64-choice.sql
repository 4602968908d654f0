-- The choice: the cheapest way whose expected recall reaches the target. Exact ways always do.

CREATE TYPE fastann._question AS (
    target fastann._target,
    k int,
    condition text,
    max_distance float8,
    target_recall float8,
    mode text,        -- fastann.index_scan_mode
    ef int,           -- fastann.hnsw_ef_search; NULL: ours to choose
    scan_points int   -- fastann.hnsw_max_scan_points
);

-- What is known of the condition before anything is searched.
CREATE TYPE fastann._estimate AS (
    rows float8,          -- that match, by PostgreSQL's own estimate
    by_index boolean,     -- an index finds them
    covering name,        -- the index that an index-only scan over the codes would use
    never boolean         -- PostgreSQL proves that none can match
);

CREATE TYPE fastann._choice AS (
    plan text,            -- exact, covering, ann, partial, empty
    why text,
    ms float8,
    recall float8,        -- expected
    ann fastann._ann,
    accuracy fastann._accuracy,
    setting int,          -- of accuracy
    local float8,         -- share of rows that match around the query, as far as known
    probe boolean,        -- is it worth asking the sample first
    exact_plan text,      -- what an approximate search falls back on
    exact_ms float8,
    key text[],           -- primary key in the covering indexes
    costs fastann._costs
);

-- At which rank the k-th matching row stands where this share matches: so far that it is there in
-- all but few draws.
CREATE FUNCTION fastann._rank_needed(k int, share float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN share >= 1 THEN k ELSE (k + 2 * sqrt(k) + 1) / greatest(share, 1e-9) END;

-- The first setting that reaches the recall at this rank; 0: none does.
CREATE FUNCTION fastann._cheapest_setting(y fastann._accuracy, q fastann._question, rank float8) RETURNS int
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    FOR i IN 1 .. cardinality(y.ef) LOOP
        EXIT WHEN y.depth[i] > q.scan_points;
        IF (q.ef IS NULL OR y.ef[i] = q.ef) AND fastann._recall(y, i, rank) >= q.target_recall THEN
            RETURN i;
        END IF;
    END LOOP;
    RETURN 0;
END $$;

-- A setting of the user's own takes the place of the measured one next to it.
CREATE FUNCTION fastann._with_ef(y fastann._accuracy, ef int) RETURNS fastann._accuracy
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    width constant int := coalesce(cardinality(y.ranks), 0);
    i int := 1;
BEGIN
    IF ef IS NULL THEN
        RETURN y;
    END IF;
    WHILE i < cardinality(y.ef) AND y.ef[i + 1] <= ef LOOP
        i := i + 1;
    END LOOP;
    y.ms := ARRAY[y.ms[i] * ef / y.ef[i]];
    y.recall := y.recall[(i - 1) * width + 1 : i * width];
    y.ef := ARRAY[ef];
    y.depth := ARRAY[ef];
    RETURN y;
END $$;

-- The best exact way.
CREATE FUNCTION fastann._choose_exact(q fastann._question, e fastann._estimate) RETURNS fastann._choice
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c fastann._choice;
    covering record;
    covering_ms float8;
BEGIN
    c.costs := fastann._costs(q.target);
    c.plan := 'exact';
    c.recall := 1;
    c.ms := fastann._exact_ms(q.target, c.costs, e.rows, e.by_index);
    c.why := 'every matching row is looked at in the table';
    IF e.covering IS NOT NULL AND q.target_recall < 1 AND q.mode <> 'exact'
       AND (c.ms > fastann._quick_ms() OR q.mode = 'covering') THEN
        covering_ms := fastann._covering_ms(q.target, c.costs, e.rows, q.k);
        SELECT * INTO covering FROM fastann._covering(q.target, e.covering) WHERE covering_ms < c.ms OR q.mode = 'covering';
        IF FOUND THEN
            c.plan := 'covering';
            c.ms := covering_ms;
            c.key := covering.key;
            c.recall := 0.9999;
            c.why := 'every matching row is looked at, in half precision in a covering index; the best are compared again in full';
        END IF;
    END IF;
    c.exact_plan := c.plan;
    c.exact_ms := c.ms;
    RETURN c;
END $$;

-- An exact search this quick is not worth a second thought: the thought would take as long.
CREATE FUNCTION fastann._quick_ms() RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1.0;

-- May an HNSW index answer at all?
CREATE FUNCTION fastann._approximable(q fastann._question, c fastann._choice) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((q).target).kind IN ('r', 'm') AND (q).target_recall < 1
    AND ((q).mode = 'ann' OR ((q).mode = 'auto' AND (c).ms > fastann._quick_ms()));

-- Or an approximate one, by one of these indexes. local: share of rows around the query that match, as a
-- probe found it; NULL: nobody asked.
CREATE FUNCTION fastann._choose(
    q fastann._question, e fastann._estimate, c fastann._choice, indexes fastann._ann[], local float8 DEFAULT NULL)
RETURNS fastann._choice
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t constant fastann._target := q.target;
    a fastann._ann;
    y fastann._accuracy;
    tuples float8;
    share float8;
    setting int;
    hopeful boolean := false;
BEGIN
    FOREACH a IN ARRAY indexes LOOP
        tuples := CASE WHEN a.predicate IS NULL THEN t.tuples ELSE greatest(a.tuples, 1) END;
        y := fastann._with_ef(fastann._accuracy(a, tuples), q.ef);
        -- A share of a partial index is larger than it is of the table, near the query as elsewhere.
        share := CASE WHEN q.condition IS NULL THEN 1
                 ELSE least(1, greatest(1e-9, coalesce(local, e.rows / greatest(t.tuples, 1)) * t.tuples / greatest(tuples, 1))) END;
        setting := fastann._cheapest_setting(y, q, fastann._rank_needed(q.k, share));
        IF setting = 0 AND q.mode = 'ann' THEN
            setting := cardinality(y.ef);
        END IF;
        IF setting > 0 AND (y.ms[setting] + fastann._start_ms() < c.ms OR q.mode = 'ann') THEN
            c.plan := CASE WHEN a.predicate IS NULL THEN 'ann' ELSE 'partial' END;
            c.ann := a;
            c.accuracy := y;
            c.setting := setting;
            c.ms := y.ms[setting] + fastann._start_ms();
            c.recall := fastann._recall(y, setting, q.k / share);
            c.local := local;
            c.why := format('the HNSW index %s with ef_search %s reaches the recall, and every exact way takes longer',
                            a.name, y.ef[setting]);
        END IF;
        -- Would the index pay if conditions and vectors went together, as they often do?
        setting := fastann._cheapest_setting(y, q, fastann._rank_needed(q.k, least(1, 4 * share)));
        hopeful := hopeful OR (setting > 0 AND y.ms[setting] + (c.costs).probe_ms < 0.7 * c.exact_ms);
    END LOOP;
    c.probe := local IS NULL AND hopeful AND q.condition IS NOT NULL AND (c.costs).probe_ms IS NOT NULL
        AND q.mode = 'auto';
    RETURN c;
END $$;
