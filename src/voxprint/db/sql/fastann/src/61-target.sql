-- What is searched: a table and its vector column, as the parts that statements are made of.

CREATE TYPE fastann._target AS (
    relation oid,
    column_number smallint,
    column_name name,
    kind "char",          -- of relation, as in pg_class; 'i' for a table that others inherit from
    table_name text,      -- quoted, with its schema
    alias text,           -- quoted, of the table that the caller named: conditions may name it, too
    hit text,             -- a whole row, in the type that the caller asked for
    element text,         -- vector or halfvec
    declared int,         -- the length that the column's type has; NULL: none
    dim int,
    distance text,        -- between that and $1
    half_distance text,   -- the same in half precision, of the column that cover() keeps
    half_column name,
    measure text,         -- l2, ip, cosine
    pages float8,
    tuples float8,
    all_visible int,      -- pages, as of the last VACUUM
    filenode oid
);

-- How the measures are named, and which pgvector operator answers each.
CREATE FUNCTION fastann._measure(distancemeasure text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    measure constant text := CASE upper(btrim(distancemeasure))
        WHEN 'L2' THEN 'l2' WHEN 'IP' THEN 'ip' WHEN 'COSINE' THEN 'cosine' END;
BEGIN
    IF measure IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('distancemeasure: expected L2, IP or COSINE, got %L', distancemeasure),
            HINT = 'L2 suits the unit vectors of the shipped models.';
    END IF;
    RETURN measure;
END $$;

CREATE FUNCTION fastann._operator(measure text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'OPERATOR(@extschema:vector@.'
    || CASE measure WHEN 'l2' THEN '<->' WHEN 'ip' THEN '<#>' ELSE '<=>' END || ')';

-- Which table is a row type of? Composite types that are no table's have none.
CREATE FUNCTION fastann._table_of(row_type regtype) RETURNS oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found record;
BEGIN
    SELECT c.oid, c.relkind INTO found
    FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid WHERE t.oid = row_type;
    IF found.relkind IS NULL OR found.relkind NOT IN ('r', 'p', 'v', 'm', 'f') THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('table_row: expected a row of the table to search, got %s', row_type),
            HINT = 'Name the table by its row type: fastann.search(NULL::speaker_table, ''feature'', …).';
    END IF;
    RETURN found.oid;
END $$;

-- Share of pages that an index-only scan looks up in the table: those that no VACUUM found visible to
-- all, and those that changed since.
CREATE FUNCTION fastann._invisible(t fastann._target) RETURNS float8
LANGUAGE sql STABLE
RETURN CASE WHEN (t).pages < 1 OR (t).tuples < 1 THEN 1 ELSE
    least(1, greatest(0, (t).pages - (t).all_visible
        + pg_stat_get_dead_tuples((t).relation)
        + pg_stat_get_ins_since_vacuum((t).relation) * (t).pages / (t).tuples) / (t).pages) END;

-- The column's own description. One statement: each one costs every search its start.
CREATE FUNCTION fastann._target(relation oid, row_type regtype, column_name name, dim int, measure text)
RETURNS fastann._target
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t fastann._target;
BEGIN
    SELECT c.oid, a.attnum, a.attname, CASE WHEN c.relkind = 'r' AND c.relhassubclass THEN 'i' ELSE c.relkind END,
        format('%I.%I', n.nspname, c.relname), w.alias, w.hit, f.element, f.declared, dim,
        format(CASE WHEN f.element = 'halfvec' AND f.declared > 0 THEN '%1$s.%2$I %5$s $1::@extschema:vector@.halfvec(%4$s)'
                    WHEN f.element = 'halfvec'
                        THEN '%1$s.%2$I::@extschema:vector@.halfvec(%4$s) %5$s $1::@extschema:vector@.halfvec(%4$s)'
                    WHEN f.declared > 0 THEN '%1$s.%2$I %5$s $1'
                    ELSE '%1$s.%2$I::@extschema:vector@.%3$s(%4$s) %5$s $1' END,
               w.alias, a.attname, f.element, dim, f.operator),
        w.alias || '.' || quote_ident(f.half) || ' ' || f.operator || ' $2', f.half, measure,
        p.pages, CASE WHEN c.reltuples > 0 AND c.relpages > 0 THEN c.reltuples * p.pages / c.relpages ELSE p.pages * 10 END,
        c.relallvisible, c.relfilenode
    INTO t
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_type ty ON ty.oid = a.atttypid
    LEFT JOIN pg_attribute half ON half.attrelid = c.oid AND half.attname = fastann._half_name(column_name)
        AND half.attgenerated = 's' AND NOT half.attisdropped
    CROSS JOIN LATERAL (
        SELECT CASE ty.typname WHEN 'vector' THEN 'vector' WHEN '_float4' THEN 'vector' WHEN 'halfvec' THEN 'halfvec' END AS element,
               CASE WHEN ty.typname <> '_float4' AND a.atttypmod > 0 THEN a.atttypmod END AS declared,
               CASE ty.typname WHEN 'halfvec' THEN a.attname ELSE half.attname END AS half,
               fastann._operator(measure) AS operator) f
    -- A partition goes by the name of the whole, and gives its rows.
    CROSS JOIN LATERAL (
        SELECT quote_ident(c.relname) AS alias, quote_ident(c.relname) AS hit WHERE c.reltype = row_type
        UNION ALL
        SELECT quote_ident(whole.relname), format('%I::%I.%I', whole.relname, whole_n.nspname, whole.relname)
        FROM pg_type r JOIN pg_class whole ON whole.oid = r.typrelid
        JOIN pg_namespace whole_n ON whole_n.oid = whole.relnamespace
        WHERE r.oid = row_type AND c.reltype <> row_type) w
    CROSS JOIN LATERAL (SELECT pg_relation_size(c.oid) / current_setting('block_size')::float8 AS pages) p
    WHERE c.oid = _target.relation;
    IF t.relation IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '42P01',
            MESSAGE = 'the table to search is gone: it was dropped meanwhile';
    ELSIF t.element IS NULL THEN
        PERFORM fastann._refuse_column(relation, column_name);
    ELSIF t.declared <> dim THEN
        RAISE EXCEPTION USING ERRCODE = 'VX004',
            MESSAGE = format('query: column %I of %s holds %s values, got a vector of %s',
                             column_name, relation::regclass, t.declared, dim),
            HINT = 'Vectors of one model have one length; search with a vector of that model.';
    END IF;
    RETURN t;
END $$;

-- The generated column in which cover() keeps half-precision codes.
CREATE FUNCTION fastann._half_name(column_name name) RETURNS name
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (left(column_name::text, 58) || '_half')::name;

CREATE FUNCTION fastann._refuse_column(relation oid, column_name name) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    type_name constant text := (
        SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
        WHERE a.attrelid = relation AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped);
BEGIN
    IF type_name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('table %s has no column %I', relation::regclass, column_name);
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'VX006',
        MESSAGE = format('column %I of %s: expected real[], vector or halfvec, got %s',
                         column_name, relation::regclass, type_name),
        HINT = 'Keep features as vector(192) or as real[].';
END $$;
