-- The choice: the cheapest way whose expected recall reaches the target. Exact ways always do.

CREATE TYPE fastann._question AS (
    target fastann._target,
    k int,
    condition text,
    max_distance float8,
    target_recall float8,
    mode text,        -- fastann.index_scan_mode
    ef int,           -- fastann.hnsw_ef_search; NULL: ours to choose
    scan_points int,  -- fastann.hnsw_max_scan_points
    recording boolean -- fastann.record_workload
);

-- What is known of the condition before anything is searched.
CREATE TYPE fastann._estimate AS (
    rows float8,          -- that match, by PostgreSQL's own estimate
    join_cost float8,     -- of what the condition asks of other tables, in PostgreSQL's units
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
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce((
    SELECT min(i)::int FROM unnest((y).depth, (y).ef) WITH ORDINALITY u(depth, ef, i)
    WHERE depth >= rank AND (q).target_recall <= CASE
        WHEN (y).ranks IS NULL THEN fastann._prior_recall(ef, rank, (y).tuples, (y).m)
        ELSE (y).recall[(i - 1) * cardinality((y).ranks) + width_bucket(ceil(rank)::int - 1, (y).ranks) + 1] END), 0);

-- A setting of the user's own takes the place of the measured one next below it.
CREATE FUNCTION fastann._with_ef(y fastann._accuracy, ef int, scan_points int) RETURNS fastann._accuracy
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    width constant int := coalesce(cardinality(y.ranks), 0);
    i int := 1;
BEGIN
    IF ef IS NULL AND y.depth[1] <= scan_points THEN
        WHILE y.depth[cardinality(y.depth)] > scan_points LOOP
            y.depth := trim_array(y.depth, 1);
            y.ef := trim_array(y.ef, 1);
        END LOOP;
        RETURN y;
    END IF;
    ef := least(1000, coalesce(ef, scan_points), scan_points);
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
    covering_ms float8;
BEGIN
    c.costs := fastann._costs(q.target);
    c.plan := 'exact';
    c.recall := 1;
    c.ms := fastann._exact_ms(q.target, c.costs, e.rows, e.by_index) + fastann._join_ms(c.costs, e.join_cost);
    c.why := 'every matching row is looked at in the table';
    -- (Of inner products nobody can say how far rounding moves them.)
    IF e.covering IS NOT NULL AND (q.target).half_column IS NOT NULL AND q.target_recall < 1 AND q.mode <> 'exact'
       AND ((q.target).measure <> 'ip' OR q.max_distance IS NULL) THEN
        covering_ms := fastann._covering_ms(q.target, c.costs, e.rows, q.k) + fastann._join_ms(c.costs, e.join_cost);
        IF covering_ms < c.ms OR q.mode = 'covering' THEN
            c.key := fastann._covering_key(q.target, e.covering);
        END IF;
        IF c.key IS NOT NULL THEN
            c.plan := 'covering';
            c.ms := covering_ms;
            c.recall := 0.9999;
            c.why := 'every matching row is looked at in half precision in a covering index, the best again in full';
        END IF;
    END IF;
    IF q.mode = 'covering' AND c.plan = 'exact' THEN
        c.why := c.why || '; fastann.index_scan_mode asks for covering, and no covering index has what the condition names';
    END IF;
    c.exact_plan := c.plan;
    c.exact_ms := c.ms;
    RETURN c;
END $$;

-- No graph is asked for less, on any machine that measured it; and the thought would take as long.
CREATE FUNCTION fastann._quick_ms() RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 2.0;

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
        tuples := fastann._indexed(a, t);
        y := fastann._accuracy(a, tuples);
        IF q.ef IS NOT NULL OR q.scan_points < 999999999 THEN
            y := fastann._with_ef(y, q.ef, q.scan_points);
        END IF;
        -- A share of a partial index is larger than it is of the table, near the query as elsewhere.
        share := CASE WHEN q.condition IS NULL THEN 1
                 ELSE least(1, greatest(1e-9, coalesce(local, e.rows / greatest(t.tuples, 1)) * t.tuples / greatest(tuples, 1))) END;
        CONTINUE WHEN y.ms[1] >= c.ms AND q.mode <> 'ann';
        setting := fastann._cheapest_setting(y, q, fastann._rank_needed(q.k, share));
        IF setting = 0 AND q.mode = 'ann' THEN
            setting := cardinality(y.ef);
        END IF;
        IF setting > 0 AND (y.ms[setting] + fastann._start_ms() < c.ms OR (q.mode = 'ann' AND c.ann IS NULL)) THEN
            c.plan := CASE WHEN a.predicate IS NULL THEN 'ann' ELSE 'partial' END;
            c.ann := a;
            c.accuracy := y;
            c.setting := setting;
            c.ms := y.ms[setting] + fastann._start_ms();
            c.recall := fastann._recall(y, setting, q.k / share);
            c.why := format(CASE q.mode WHEN 'ann' THEN 'fastann.index_scan_mode asks for the HNSW index %s, with ef_search %s'
                ELSE 'the HNSW index %s with ef_search %s reaches the recall, and every exact way takes longer' END,
                a.name, y.ef[setting]);
        END IF;
        -- Would the index pay if conditions and vectors went together, as they often do?
        IF q.condition IS NOT NULL AND NOT hopeful AND local IS NULL AND y.ms[1] + (c.costs).probe_ms < 0.7 * c.exact_ms THEN
            setting := fastann._cheapest_setting(y, q, fastann._rank_needed(q.k, least(1, 4 * share)));
            hopeful := setting > 0 AND y.ms[setting] + (c.costs).probe_ms < 0.7 * c.exact_ms;
        END IF;
    END LOOP;
    IF q.mode = 'ann' AND c.ann IS NULL THEN
        c.why := c.why || '; fastann.index_scan_mode asks for ann, and no HNSW index holds all that can match';
    END IF;
    c.probe := local IS NULL AND hopeful AND q.condition IS NOT NULL AND (c.costs).probe_ms IS NOT NULL
        AND q.mode = 'auto';
    RETURN c;
END $$;
