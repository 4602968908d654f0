-- The statements of a search, as text. $1 is the query, $2 the same in half precision. All names of
-- ours carry their schema: the caller's condition is read with the caller's search_path.

-- A distance that stays within the bound, which is $3; NULL where there is none.
CREATE FUNCTION fastann._within(distance text, bound float8) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN bound IS NOT NULL THEN distance || ' OPERATOR(pg_catalog.<=) $3' END;

-- Does a distance take the query in half precision?
CREATE FUNCTION fastann._halves(distance text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN right(distance, 2) = '$2';

-- Adding nothing keeps a distance and hides it from the ANN index.
CREATE FUNCTION fastann._hidden(distance text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '(' || distance || ') OPERATOR(pg_catalog.+) 0::pg_catalog.float8';

-- Where a row must match: the caller's condition on lines of its own, for it may end in a comment.
CREATE FUNCTION fastann._where(q fastann._question, present text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN concat('WHERE ' || present, E' AND (\n' || (q).condition || E'\n)');

CREATE FUNCTION fastann._has_codes(t fastann._target) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (t).alias || '.' || quote_ident((t).half_column) || ' IS NOT NULL';

-- What PostgreSQL thinks of the condition. The codes are asked for where there are any, and nothing of the
-- column itself, to see whether a covering index would do.
CREATE FUNCTION fastann._explain_statement(q fastann._question, options text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN format('EXPLAIN (%s) SELECT %s FROM %s AS %s %s', options,
    ((q).target).alias || '.' || quote_ident(((q).target).half_column),
    ((q).target).table_name, ((q).target).alias,
    fastann._where(q, coalesce(fastann._has_codes((q).target), ((q).target).present)));

CREATE FUNCTION fastann._key_list(t fastann._target, key text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT string_agg((t).alias || '.' || name, ', ') FROM unnest(key) AS name);

-- Of many rows, those that are given up on the way are not carried along: the best are fetched again by
-- their place. Views and foreign tables have no places.
CREATE FUNCTION fastann._exact_statement(q fastann._question, rows float8) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t constant fastann._target := q.target;
    bound constant text := ' AND ' || fastann._within(t.guarded, q.max_distance);
BEGIN
    IF rows < 400 OR t.kind NOT IN ('r', 'm') THEN
        RETURN format(
            'SELECT * FROM (SELECT %1$s, %2$s AS "fastann distance", NULL::pg_catalog.jsonb FROM %3$s AS %4$s %5$s%6$s'
            ' ORDER BY 2 LIMIT %7$s) AS "fastann found"%8$s',
            t.hit, fastann._hidden(t.guarded), t.table_name, t.alias, fastann._where(q, t.present), bound, q.k,
            CASE WHEN t.fits IS NOT NULL THEN ' WHERE "fastann distance" IS NOT NULL' END);
    END IF;
    RETURN format(
        'SELECT %1$s, "fastann found"."fastann distance", NULL::pg_catalog.jsonb FROM ('
        ' SELECT %4$s.ctid AS "fastann place", %2$s AS "fastann distance" FROM %3$s AS %4$s %5$s%6$s ORDER BY 2 LIMIT %7$s'
        ') AS "fastann found" JOIN %3$s AS %4$s ON %4$s.ctid OPERATOR(pg_catalog.=) "fastann found"."fastann place"'
        '%8$s ORDER BY "fastann found"."fastann distance"',
        t.hit, fastann._hidden(t.guarded), t.table_name, t.alias, fastann._where(q, t.present), bound, q.k,
        CASE WHEN t.fits IS NOT NULL THEN ' WHERE "fastann distance" IS NOT NULL' END);
END $$;

-- The best by codes, and some more, are compared again in full. Rounding to half precision moves a vector by
-- at most 1/2048 of its length, so a row within the bound has codes within the bound and that much of both
-- lengths. A distance moves by a random sum of such roundings, whose deviation is below 0.0003 of the lengths
-- over the root of the dimension: where the last of the codes is not six of those beyond the k-th best, or
-- the bound leaves fewer than k of them, they cannot tell, and no row comes back.
CREATE FUNCTION fastann._covering_statement(q fastann._question, key text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t constant fastann._target := q.target;
    fetched constant int := q.k + greatest(10, q.k / 10);
    query_length constant text := '@extschema:vector@.vector_norm($1)';
    row_length constant text := CASE t.element WHEN 'halfvec' THEN '@extschema:vector@.l2_norm(' ELSE '@extschema:vector@.vector_norm(' END
        || t.place || ')';
BEGIN
    RETURN concat(
        'WITH "fastann codes" AS MATERIALIZED (SELECT ',
        (SELECT string_agg(format('%s.%s AS "fastann key %s"', t.alias, name, n), ', ') FROM unnest(key) WITH ORDINALITY u(name, n)),
        ', ', fastann._hidden(t.half_distance), ' AS "fastann code" FROM ', t.table_name, ' AS ', t.alias, ' ',
        fastann._where(q, fastann._has_codes(t)),
        CASE WHEN q.max_distance IS NOT NULL THEN concat(' AND ', t.half_distance,
            ' OPERATOR(pg_catalog.<=) ($3 OPERATOR(pg_catalog.+) (0.001::pg_catalog.float8 OPERATOR(pg_catalog.*)',
            ' ($3 OPERATOR(pg_catalog.+) (2::pg_catalog.float8 OPERATOR(pg_catalog.*) ',
            CASE t.measure WHEN 'cosine' THEN '1::pg_catalog.float8' ELSE query_length END, '))))') END,
        ' ORDER BY "fastann code" LIMIT ', fetched,
        '), "fastann best" AS MATERIALIZED (SELECT ', t.hit, ' AS "fastann hit", ', fastann._hidden(t.distance),
        ' AS "fastann distance", ', row_length, ' AS "fastann length" FROM "fastann codes" JOIN ', t.table_name, ' AS ', t.alias, ' ON ',
        (SELECT string_agg(format('%s.%s OPERATOR(pg_catalog.=) "fastann key %s"', t.alias, name, n), ' AND ')
         FROM unnest(key) WITH ORDINALITY u(name, n)),
        ' WHERE ' || fastann._within(t.distance, q.max_distance), ' ORDER BY "fastann distance" LIMIT ', q.k,
        ') SELECT "fastann hit", "fastann distance", NULL::pg_catalog.jsonb FROM "fastann best" WHERE (SELECT',
        ' pg_catalog.count(*) OPERATOR(pg_catalog.<) ', fetched, ' OR pg_catalog.max("fastann code") OPERATOR(pg_catalog.>=) (SELECT',
        ' pg_catalog.max("fastann distance") OPERATOR(pg_catalog.+) (', 0.0018 / sqrt(t.dim), '::pg_catalog.float8 OPERATOR(pg_catalog.*) (',
        CASE t.measure
            WHEN 'cosine' THEN '2::pg_catalog.float8'
            WHEN 'ip' THEN '2::pg_catalog.float8 OPERATOR(pg_catalog.*) ' || query_length
                || ' OPERATOR(pg_catalog.*) pg_catalog.max("fastann length")'
            ELSE query_length || ' OPERATOR(pg_catalog.+) pg_catalog.max("fastann length")' END,
        ')) FROM "fastann best" HAVING pg_catalog.count(*) OPERATOR(pg_catalog.=) ', q.k, ') FROM "fastann codes") ORDER BY "fastann distance"');
END $$;

-- The beam of an HNSW search, and of it what matches: places and distances of the best k, the rank
-- of the last of them, and how far the beam reached. The condition is asked of the beam's rows, found
-- again by their places, so that sub-selects in it are planned for so few. The distance is hidden here, too,
-- for the planner takes the beam for sorted by it, and an iterative scan gives it in no order. No table of
-- anybody's has the names that stand around the condition.
CREATE FUNCTION fastann._beam_statement(q fastann._question, a fastann._ann, depth int) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t constant fastann._target := q.target;
    bound constant text := fastann._within('"fastann distance"', q.max_distance);
BEGIN
    RETURN concat(
        'WITH "fastann beam" AS MATERIALIZED (SELECT ', t.alias, '.ctid AS "fastann place", ', fastann._hidden(t.distance),
        ' AS "fastann distance" FROM ', t.table_name, ' AS ', t.alias, ' WHERE (' || a.predicate || ')',
        ' ORDER BY ', a.distance, ' LIMIT ', depth,
        '), "fastann ranked" AS (SELECT *, pg_catalog.row_number() OVER (ORDER BY "fastann distance") AS "fastann rank" FROM "fastann beam"',
        '), "fastann found" AS (SELECT "fastann place", "fastann distance", "fastann rank" FROM "fastann ranked"',
        concat(' JOIN (SELECT ', t.alias, '.ctid AS "fastann place" FROM ', t.table_name, ' AS ', t.alias, ' WHERE ', t.alias,
               '.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT "fastann place" FROM "fastann beam"))')
        || E' AND (\n' || q.condition || E'\n)) AS "fastann matching" USING ("fastann place")',
        ' WHERE ' || bound,
        ' ORDER BY "fastann rank" LIMIT ', q.k,
        ') SELECT pg_catalog.array_agg("fastann place" ORDER BY "fastann rank") AS places,',
        ' pg_catalog.array_agg("fastann distance" ORDER BY "fastann rank") AS distances,',
        ' pg_catalog.max("fastann rank") AS rank, (SELECT pg_catalog.count(*) FROM "fastann beam") AS seen,',
        ' (SELECT pg_catalog.max("fastann distance") FROM "fastann beam") AS reach, ',
        coalesce('(SELECT pg_catalog.count(*) FROM "fastann beam" WHERE ' || bound || ')', 'NULL::pg_catalog.int8'),
        ' AS inside FROM "fastann found"');
END $$;

CREATE FUNCTION fastann._fetch_statement(t fastann._target) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN format(
    'SELECT %1$s, "fastann found"."fastann distance", NULL::pg_catalog.jsonb'
    ' FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS "fastann found" ("fastann place", "fastann distance")'
    ' JOIN %2$s AS %3$s ON %3$s.ctid OPERATOR(pg_catalog.=) "fastann found"."fastann place"'
    ' ORDER BY "fastann found"."fastann distance"',
    (t).hit, (t).table_name, (t).alias);

-- How many of the sample's rows nearest to the query match, and how many those are. (SELECT $2), for
-- the planner estimates each element of an array that it can see.
CREATE FUNCTION fastann._probe_statement(q fastann._question) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t constant fastann._target := q.target;
BEGIN
    RETURN format(
        'SELECT pg_catalog.count(*) FILTER (WHERE matching) AS matching, pg_catalog.count(*) AS near FROM ('
        ' SELECT (%s) IS TRUE AS matching FROM %s AS %s WHERE %s.ctid OPERATOR(pg_catalog.=) ANY ((SELECT $2)::pg_catalog.tid[])'
        ' ORDER BY %s LIMIT 20) AS "fastann probe"',
        E'\n' || q.condition || E'\n', t.table_name, t.alias, t.alias, fastann._hidden(t.guarded));
END $$;
