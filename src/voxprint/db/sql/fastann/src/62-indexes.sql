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

-- An expression as it can be compared: casts are written with more or fewer brackets and quotes.
CREATE FUNCTION fastann._bare(expression text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN translate(expression, '()" ', '');

CREATE FUNCTION fastann._cast(t fastann._target, element text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN format('%I::@extschema:vector@.%s(%s)', (t).column_name, element, (t).dim);

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
               x.indpred IS NOT NULL AS partial, ty.typname
        FROM pg_index x
        JOIN pg_class c ON c.oid = x.indexrelid
        JOIN pg_am am ON am.oid = c.relam AND am.amname IN ('ann', 'hnsw')
        JOIN pg_opclass o ON o.oid = x.indclass[0]
        JOIN pg_type ty ON ty.oid = o.opcintype
        WHERE x.indrelid = t.relation AND x.indisvalid AND x.indisready
          AND o.opcname::text = concat(ty.typname, '_', t.measure, '_ops')
    LOOP
        expression := CASE WHEN i.key = 0 THEN pg_get_indexdef(i.indexrelid, 1, false) END;
        distance := CASE
            WHEN i.key = t.column_number THEN t.distance
            WHEN fastann._bare(expression) = fastann._bare(fastann._cast(t, t.element)) THEN t.distance
            WHEN fastann._bare(expression) = fastann._bare(fastann._cast(t, 'halfvec'))
                THEN format('(%s) %s $2', expression, fastann._operator(t.measure))
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

-- Covering indexes: B-trees that carry the half-precision codes and the primary key, all of them or the
-- one of this name. Gives the key's columns, the same for all.
CREATE FUNCTION fastann._covering(t fastann._target, index_name name DEFAULT NULL, OUT name name, OUT key text[])
RETURNS SETOF record
LANGUAGE sql STABLE ROWS 1
BEGIN ATOMIC
    SELECT c.relname, ARRAY(
        SELECT quote_ident(a.attname) FROM unnest(p.indkey::int2[]) WITH ORDINALITY u(number, n)
        JOIN pg_attribute a ON a.attrelid = (t).relation AND a.attnum = u.number ORDER BY u.n)
    FROM pg_index x
    JOIN pg_class c ON c.oid = x.indexrelid
    JOIN pg_am am ON am.oid = c.relam AND am.amname = 'btree'
    JOIN pg_index p ON p.indrelid = x.indrelid AND p.indisprimary AND p.indkey::int2[] <@ x.indkey::int2[]
    JOIN pg_attribute half ON half.attrelid = x.indrelid AND half.attname = (t).half_column
        AND half.attnum = ANY ((x.indkey::int2[])[x.indnkeyatts:])
    WHERE x.indrelid = (t).relation AND x.indisvalid AND x.indisready AND x.indpred IS NULL
      AND (index_name IS NULL OR c.relname = index_name);
END;
