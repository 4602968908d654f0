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

-- The column's own description; everything wrong with it is said here.
CREATE FUNCTION fastann._target(relation oid, row_type regtype, column_name name, dim int, measure text)
RETURNS fastann._target
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t fastann._target;
    f record;
    operator constant text := fastann._operator(measure);
BEGIN
    SELECT c.relname, n.nspname, c.relkind, c.relhassubclass, c.reltuples, c.relpages, c.relallvisible,
           c.relfilenode, c.reltype, a.attnum, a.atttypmod, ty.typname, half.attname AS half
    INTO f
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = column_name
        AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_type ty ON ty.oid = a.atttypid
    LEFT JOIN pg_attribute half ON half.attrelid = c.oid AND half.attgenerated = 's'
        AND half.attname = fastann._half_name(column_name) AND NOT half.attisdropped
    WHERE c.oid = relation;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '42P01',
            MESSAGE = 'the table to search is gone: it was dropped meanwhile';
    ELSIF f.typname IS NULL OR f.typname NOT IN ('vector', 'halfvec', '_float4') THEN
        PERFORM fastann._refuse_column(relation, column_name, f.typname);
    ELSIF f.typname <> '_float4' AND f.atttypmod > 0 AND f.atttypmod <> dim THEN
        RAISE EXCEPTION USING ERRCODE = 'VX004',
            MESSAGE = format('query: column %I of %s holds %s values, got a vector of %s',
                             column_name, relation::regclass, f.atttypmod, dim),
            HINT = 'Vectors of one model have one length; search with a vector of that model.';
    END IF;
    t.relation := relation;
    t.column_number := f.attnum;
    t.column_name := column_name;
    t.kind := CASE WHEN f.relkind = 'r' AND f.relhassubclass THEN 'i' ELSE f.relkind END;
    t.table_name := format('%I.%I', f.nspname, f.relname);
    t.alias := quote_ident(f.relname);
    t.hit := t.alias;
    IF f.reltype <> row_type THEN  -- a partition: it goes by the name of the whole, and gives its rows
        SELECT quote_ident(c.relname), format('%I::%I.%I', c.relname, n.nspname, c.relname) INTO t.alias, t.hit
        FROM pg_type row_of
        JOIN pg_class c ON c.oid = row_of.typrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE row_of.oid = row_type;
    END IF;
    t.dim := dim;
    t.measure := measure;
    t.element := CASE f.typname WHEN 'halfvec' THEN 'halfvec' ELSE 'vector' END;
    t.distance := format('%s.%I%s %s $1%s', t.alias, column_name,
        CASE WHEN f.typname = '_float4' OR f.atttypmod < 1
             THEN format('::@extschema:vector@.%s(%s)', t.element, dim) ELSE '' END,
        operator,
        CASE WHEN t.element = 'halfvec' THEN format('::@extschema:vector@.halfvec(%s)', dim) ELSE '' END);
    t.half_column := CASE WHEN t.element = 'halfvec' THEN column_name ELSE f.half END;
    t.half_distance := t.alias || '.' || quote_ident(t.half_column) || ' ' || operator || ' $2';
    t.pages := pg_relation_size(relation) / current_setting('block_size')::float8;
    t.tuples := CASE WHEN f.reltuples > 0 AND f.relpages > 0 THEN f.reltuples * t.pages / f.relpages
                ELSE t.pages * 10 END;
    t.all_visible := f.relallvisible;
    t.filenode := f.relfilenode;
    RETURN t;
END $$;

-- The generated column in which cover() keeps half-precision codes.
CREATE FUNCTION fastann._half_name(column_name name) RETURNS name
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (left(column_name::text, 58) || '_half')::name;

CREATE FUNCTION fastann._refuse_column(relation oid, column_name name, type_name name) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF type_name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('table %s has no column %I', relation::regclass, column_name);
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'VX006',
        MESSAGE = format('column %I of %s: expected real[], vector or halfvec, got %s',
                         column_name, relation::regclass, ltrim(type_name, '_')),
        HINT = 'Keep features as vector(192) or as real[].';
END $$;
