-- The indexes of a target that can serve a search.

CREATE TYPE fastann._ann AS (
    index oid,
    name text,
    predicate text,      -- of a partial index, as SQL; NULL: it holds every row
    tuples float8,
    filenode oid,
    m int,
    distance text        -- to $1, or in half precision to $2
);

-- HNSW indexes on the column, for this measure: on itself, on a cast that gives it a length, or on
-- half precision of either kind.
CREATE FUNCTION fastann._ann_indexes(t fastann._target) RETURNS SETOF fastann._ann
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    i record;
    expression text;
    distance text;
BEGIN
    FOR i IN
        SELECT x.indexrelid, c.relname, c.reltuples, c.relfilenode, c.reloptions, x.indkey[0] AS key,
               x.indpred IS NOT NULL AS partial
        FROM pg_index x
        JOIN pg_class c ON c.oid = x.indexrelid
        JOIN pg_am am ON am.oid = c.relam AND am.amname IN ('ann', 'hnsw')  -- before anything else is looked up
        JOIN pg_opclass o ON o.oid = x.indclass[0] AND o.opcname IN ('vector_' || t.measure || '_ops', 'halfvec_' || t.measure || '_ops')
        WHERE x.indrelid = t.relation AND x.indisvalid AND x.indisready
    LOOP
        expression := CASE WHEN i.key = 0 THEN pg_get_indexdef(i.indexrelid, 1, false) END;
        distance := CASE
            WHEN i.key = t.column_number THEN t.distance
            WHEN expression = '(' || fastann._cast(t.column_name, t.element, t.dim) || ')' THEN t.distance
            WHEN expression = '(' || fastann._cast(t.column_name, 'halfvec', t.dim) || ')'
                THEN expression || ' ' || fastann._operator(t.measure) || ' $2'
            WHEN i.key = (SELECT attnum FROM pg_attribute
                          WHERE attrelid = t.relation AND attname = t.half_column) THEN t.half_distance
        END;
        CONTINUE WHEN distance IS NULL;
        RETURN NEXT (i.indexrelid, quote_ident(i.relname),
            CASE WHEN i.partial THEN (SELECT pg_get_expr(indpred, indrelid) FROM pg_index
                                      WHERE indexrelid = i.indexrelid) END,
            i.reltuples, i.relfilenode,
            coalesce((SELECT split_part(o, '=', 2)::int FROM unnest(i.reloptions) o WHERE o LIKE 'm=%'), 16),
            distance)::fastann._ann;
    END LOOP;
END $$;

-- Is this a covering index, a B-tree that carries the half-precision codes and the primary key? Gives the
-- key's columns; NULL: it is none. Step by step, for where the catalogs have no statistics a join of them
-- goes through all the indexes there are.
CREATE FUNCTION fastann._covering_key(t fastann._target, index_name name) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    covering record;
    key int2[];
BEGIN
    SELECT x.indkey::int2[] AS columns, x.indnkeyatts, x.indrelid, x.indpred, x.indisvalid AND x.indisready AS usable,
           (SELECT amname FROM pg_am WHERE oid = c.relam) AS method
    INTO covering
    FROM pg_class c JOIN pg_index x ON x.indexrelid = c.oid
    WHERE c.relname = index_name AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = t.relation);
    SELECT indkey::int2[] INTO key FROM pg_index WHERE indrelid = t.relation AND indisprimary;
    RETURN CASE WHEN covering.indrelid = t.relation AND covering.method = 'btree' AND covering.usable AND covering.indpred IS NULL
                 AND key <@ covering.columns
                 AND (SELECT attnum FROM pg_attribute WHERE attrelid = t.relation AND attname = t.half_column)
                     = ANY (covering.columns[covering.indnkeyatts:])
        THEN ARRAY(SELECT quote_ident(a.attname) FROM unnest(key) WITH ORDINALITY u(number, n)
                   JOIN pg_attribute a ON a.attrelid = t.relation AND a.attnum = u.number ORDER BY u.n) END;
END $$;
