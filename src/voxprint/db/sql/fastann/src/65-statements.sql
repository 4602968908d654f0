-- The statements of a search, as text. $1 is the query, $2 the same in half precision. All names of
-- ours carry their schema: the caller's condition is read with the caller's search_path.

-- A distance that stays within a bound; NULL where there is none.
CREATE FUNCTION fastann._within(distance text, bound float8) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN distance || ' OPERATOR(pg_catalog.<=) ' || quote_literal(bound) || '::pg_catalog.float8';

-- Adding nothing keeps a distance and hides it from the ANN index.
CREATE FUNCTION fastann._hidden(distance text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '(' || distance || ') OPERATOR(pg_catalog.+) 0::pg_catalog.float8';

-- Where a row must match: the caller's condition on lines of its own, for it may end in a comment.
CREATE FUNCTION fastann._where(q fastann._question, column_name name) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN concat(format(E'WHERE %s.%I IS NOT NULL', ((q).target).alias, column_name),
              E' AND (\n' || (q).condition || E'\n)');

-- What PostgreSQL thinks of the condition. The codes are asked for where there are any, to see whether a
-- covering index would do.
CREATE FUNCTION fastann._explain_statement(q fastann._question, options text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN format('EXPLAIN (%s) SELECT %s FROM %s AS %s %s', options,
    ((q).target).alias || '.' || quote_ident(((q).target).half_column),
    ((q).target).table_name, ((q).target).alias, fastann._where(q, ((q).target).column_name));

CREATE FUNCTION fastann._key_list(t fastann._target, key text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT string_agg((t).alias || '.' || name, ', ') FROM unnest(key) AS name);

-- Of many rows, those that are given up on the way are not carried along: the best are fetched again by
-- their place. Views and foreign tables have no places.
CREATE FUNCTION fastann._exact_statement(q fastann._question, rows float8) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t constant fastann._target := q.target;
    bound constant text := ' AND ' || fastann._within(t.distance, q.max_distance);
BEGIN
    IF rows < 1000 OR t.kind NOT IN ('r', 'm') THEN
        RETURN format(
            'SELECT %1$s, %2$s AS distance, NULL::pg_catalog.jsonb FROM %3$s AS %4$s %5$s%6$s ORDER BY 2 LIMIT %7$s',
            t.hit, fastann._hidden(t.distance), t.table_name, t.alias, fastann._where(q, t.column_name), bound, q.k);
    END IF;
    RETURN format(
        'SELECT %1$s, "fastann found".distance, NULL::pg_catalog.jsonb FROM ('
        ' SELECT %4$s.ctid AS place, %2$s AS distance FROM %3$s AS %4$s %5$s%6$s ORDER BY 2 LIMIT %7$s'
        ') AS "fastann found" JOIN %3$s AS %4$s ON %4$s.ctid OPERATOR(pg_catalog.=) "fastann found".place'
        ' ORDER BY "fastann found".distance',
        t.hit, fastann._hidden(t.distance), t.table_name, t.alias, fastann._where(q, t.column_name), bound, q.k);
END $$;

-- Half precision moves a distance of unit vectors by less than 0.001; ten more rows than asked for
-- are compared in full.
CREATE FUNCTION fastann._covering_statement(q fastann._question, key text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t constant fastann._target := q.target;
BEGIN
    RETURN format(
        'SELECT * FROM (SELECT %1$s, %2$s AS distance, NULL::pg_catalog.jsonb FROM ('
        ' SELECT %3$s FROM %4$s AS %5$s %6$s%7$s ORDER BY %8$s LIMIT %9$s'
        ') AS "fastann found" JOIN %4$s AS %5$s ON %10$s) AS "fastann ranked"%11$s'
        ' ORDER BY distance LIMIT %12$s',
        t.hit, fastann._hidden(t.distance), fastann._key_list(t, key), t.table_name, t.alias,
        fastann._where(q, t.half_column),
        ' AND ' || fastann._within(t.half_distance, q.max_distance + 0.001 * greatest(1, abs(q.max_distance))),
        fastann._hidden(t.half_distance), q.k + 10,
        (SELECT string_agg(format('%1$s.%2$s OPERATOR(pg_catalog.=) "fastann found".%2$s', t.alias, name), ' AND ')
         FROM unnest(key) AS name),
        ' WHERE ' || fastann._within('distance', q.max_distance), q.k);
END $$;

-- The beam of an HNSW search, and of it what matches: places and distances of the best k, the rank
-- of the last of them, and how far the beam reached. The condition is asked of the beam's rows, found
-- again by their places, so that sub-selects in it are planned for so few. Names beside the table's
-- own are such as no column has.
CREATE FUNCTION fastann._beam_statement(q fastann._question, a fastann._ann, depth int) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t constant fastann._target := q.target;
    bound constant text := fastann._within('"fastann distance"', q.max_distance);
BEGIN
    RETURN format(
        'WITH beam AS MATERIALIZED ('
        ' SELECT %1$s.ctid AS place, %2$s AS distance FROM %3$s AS %1$s%4$s ORDER BY %5$s LIMIT %6$s'
        '), ranked ("fastann place", "fastann distance", "fastann rank") AS ('
        ' SELECT place, distance, pg_catalog.row_number() OVER (ORDER BY distance) FROM beam'
        '), found AS ('
        ' SELECT "fastann place", "fastann distance", "fastann rank" FROM ranked AS "fastann ranked"%7$s'
        ' ORDER BY "fastann rank" LIMIT %8$s'
        ') SELECT pg_catalog.array_agg("fastann place" ORDER BY "fastann rank") AS places,'
        ' pg_catalog.array_agg("fastann distance" ORDER BY "fastann rank") AS distances,'
        ' pg_catalog.max("fastann rank") AS rank,'
        ' (SELECT pg_catalog.count(*) FROM beam) AS seen, (SELECT pg_catalog.max(distance) FROM beam) AS reach'
        ' FROM found',
        t.alias, t.distance, t.table_name, E' WHERE (' || a.predicate || ')', a.distance, depth,
        coalesce(format(E' JOIN %1$s AS %2$s ON %2$s.ctid OPERATOR(pg_catalog.=) "fastann place" WHERE (\n',
                        t.table_name, t.alias) || q.condition || E'\n)' || coalesce(' AND ' || bound, ''),
                 ' WHERE ' || bound),
        q.k);
END $$;

CREATE FUNCTION fastann._fetch_statement(t fastann._target) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN format(
    'SELECT %1$s, "fastann found".distance, NULL::pg_catalog.jsonb FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS "fastann found" (place, distance)'
    ' JOIN %2$s AS %3$s ON %3$s.ctid OPERATOR(pg_catalog.=) "fastann found".place ORDER BY "fastann found".distance',
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
        ' ORDER BY %s LIMIT 30) AS "fastann probe"',
        E'\n' || q.condition || E'\n', t.table_name, t.alias, t.alias, fastann._hidden(t.distance));
END $$;
