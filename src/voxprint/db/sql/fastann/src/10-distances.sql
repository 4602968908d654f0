-- Distances on real[], found without a schema, as in the article.
--
-- Only real[] x real[] is defined: pgvector casts vector to real[] implicitly, so mixed
-- arguments find the same functions, and l2_distance and cosine_distance of two vectors stay
-- pgvector's own. They are PL/pgSQL on purpose: PostgreSQL never inlines PL/pgSQL, so
-- ORDER BY l2_distance(...) stays the exact scan that the manual promises.
--
-- Their bodies name everything with its schema and set no search_path, which would cost a
-- scan of many rows more than the distances do.

-- While this script runs, objects that others made in advance are no candidates for any name
-- without a schema: CREATE EXTENSION alone would also look into the schema it creates in.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

CREATE SCHEMA fastann;

CREATE FUNCTION fastann._raise_unequal_lengths(a integer, b integer) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'VX004',
        MESSAGE = format('expected two vectors of one length, got %s and %s values', a, b),
        HINT = 'Vectors of one model have one length; compare only those.';
END $$;

CREATE FUNCTION @extschema@.l2_distance(a real[], b real[]) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 20 AS $$
BEGIN
    IF pg_catalog.cardinality(a) OPERATOR(pg_catalog.<>) pg_catalog.cardinality(b) THEN
        PERFORM fastann._raise_unequal_lengths(pg_catalog.cardinality(a), pg_catalog.cardinality(b));
    END IF;
    RETURN @extschema:vector@.l2_distance(
        a::@extschema:vector@.vector, b::@extschema:vector@.vector);
END $$;
COMMENT ON FUNCTION @extschema@.l2_distance(real[], real[]) IS
    'Euclidean distance, the root. In ORDER BY it is the exact scan: no index.';

CREATE FUNCTION @extschema@.l2_squared_distance(a real[], b real[]) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 20 AS $$
BEGIN
    IF pg_catalog.cardinality(a) OPERATOR(pg_catalog.<>) pg_catalog.cardinality(b) THEN
        PERFORM fastann._raise_unequal_lengths(pg_catalog.cardinality(a), pg_catalog.cardinality(b));
    END IF;
    RETURN @extschema:vector@.vector_l2_squared_distance(
        a::@extschema:vector@.vector, b::@extschema:vector@.vector);
END $$;
COMMENT ON FUNCTION @extschema@.l2_squared_distance(real[], real[]) IS
    'Square of the Euclidean distance.';

CREATE FUNCTION @extschema@.inner_product_distance(a real[], b real[]) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 20 AS $$
BEGIN
    IF pg_catalog.cardinality(a) OPERATOR(pg_catalog.<>) pg_catalog.cardinality(b) THEN
        PERFORM fastann._raise_unequal_lengths(pg_catalog.cardinality(a), pg_catalog.cardinality(b));
    END IF;
    RETURN @extschema:vector@.inner_product(
        a::@extschema:vector@.vector, b::@extschema:vector@.vector);
END $$;
COMMENT ON FUNCTION @extschema@.inner_product_distance(real[], real[]) IS
    'Inner product: larger = more alike. Of two unit vectors it is their cosine.';

CREATE FUNCTION @extschema@.cosine_distance(a real[], b real[]) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 20 AS $$
BEGIN
    IF pg_catalog.cardinality(a) OPERATOR(pg_catalog.<>) pg_catalog.cardinality(b) THEN
        PERFORM fastann._raise_unequal_lengths(pg_catalog.cardinality(a), pg_catalog.cardinality(b));
    END IF;
    RETURN @extschema:vector@.cosine_distance(
        a::@extschema:vector@.vector, b::@extschema:vector@.vector);
END $$;
COMMENT ON FUNCTION @extschema@.cosine_distance(real[], real[]) IS
    '1 - cosine, in [0, 2].';

-- The formula was never published; this is what the name says.
CREATE FUNCTION @extschema@.hm_distance(a real[], b real[]) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 100 AS $$
BEGIN
    IF pg_catalog.cardinality(a) OPERATOR(pg_catalog.<>) pg_catalog.cardinality(b) THEN
        PERFORM fastann._raise_unequal_lengths(pg_catalog.cardinality(a), pg_catalog.cardinality(b));
    END IF;
    -- IS DISTINCT FROM would look its = up in the caller's search_path.
    RETURN (
        SELECT pg_catalog.count(*)
        FROM ROWS FROM (pg_catalog.unnest(a), pg_catalog.unnest(b)) AS pair (x, y)
        WHERE NOT coalesce(x OPERATOR(pg_catalog.=) y, x IS NULL AND y IS NULL));
END $$;
COMMENT ON FUNCTION @extschema@.hm_distance(real[], real[]) IS
    'Hamming distance: in how many places the two differ.';

CREATE FUNCTION @extschema@.dp_distance(a real[], b real[]) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 20
RETURN @extschema@.inner_product_distance(a, b);
COMMENT ON FUNCTION @extschema@.dp_distance(real[], real[]) IS
    'The name that inner_product_distance had in 2021.';

CREATE FUNCTION @extschema@.negative_inner_product_distance(a real[], b real[])
RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 20
RETURN -@extschema@.inner_product_distance(a, b);
COMMENT ON FUNCTION @extschema@.negative_inner_product_distance(real[], real[]) IS
    'Inner product with its sign turned: smaller = more alike, for ORDER BY.';

CREATE FUNCTION @extschema@.cosine_similarity(a real[], b real[]) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 20
RETURN 1 - @extschema@.cosine_distance(a, b);
COMMENT ON FUNCTION @extschema@.cosine_similarity(real[], real[]) IS
    'Cosine of the angle, in [-1, 1]: larger = more alike.';
