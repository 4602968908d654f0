-- What is searched: a table and its vector column, as the parts that statements are made of.

CREATE TYPE fastann._target AS (
    relation oid,
    column_number smallint,
    column_name name,
    kind "char",          -- of relation, as in pg_class; 'i': others inherit from it; 'c': no right to the whole table
    table_name text,      -- quoted, with its schema
    alias text,           -- quoted, of the table that the caller named: conditions may name it, too
    hit text,             -- a whole row, in the type that the caller asked for
    element text,         -- vector or halfvec
    declared int,         -- the length that the column's type has; NULL: none
    dim int,
    place text,           -- the column, with a length
    present text,         -- that there is a vector
    fits text,            -- that it has this length; NULL: the type says so
    distance text,        -- between the column and $1
    guarded text,         -- the same, for rows that may have another length
    half_column name,     -- where cover() keeps codes in half precision
    half_distance text,   -- between that and $2, which is $1 in half precision
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

-- A column cast to a length, as PostgreSQL writes it.
CREATE FUNCTION fastann._cast(column_name name, element text, dim int) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN format('(%I)::%s', column_name, format_type(
        CASE element WHEN 'halfvec' THEN '@extschema:vector@.halfvec'::regtype ELSE '@extschema:vector@.vector'::regtype END, dim));
END $$;

-- The generated column that holds this one in half precision, whatever it is called; NULL: there is none.
CREATE FUNCTION fastann._half_column(relation oid, column_name name, dim int) RETURNS name
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT a.attname FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = relation AND a.attgenerated = 's' AND NOT a.attisdropped
          AND a.atttypid = '@extschema:vector@.halfvec'::regtype
          AND pg_get_expr(d.adbin, d.adrelid) = fastann._cast(column_name, 'halfvec', dim)
        ORDER BY a.attnum LIMIT 1);
END $$;

-- The column's own description. One statement: each one costs every search its start.
CREATE FUNCTION fastann._target(relation oid, row_type regtype, column_name name, dim int, measure text)
RETURNS fastann._target
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t fastann._target;
    f record;
    operator constant text := fastann._operator(measure);
BEGIN
    SELECT c.oid, a.attnum, c.relkind, c.relhassubclass, n.nspname, c.relname, c.reltype, c.reltuples, c.relpages,
           c.relallvisible, c.relfilenode, ty.typname, CASE WHEN ty.typname <> '_float4' THEN nullif(a.atttypmod, -1) END AS declared,
           pg_relation_size(c.oid) / current_setting('block_size')::float8 AS pages,
           EXISTS (SELECT FROM pg_attribute g WHERE g.attrelid = c.oid AND g.attgenerated = 's') AS generates,
           has_table_privilege(c.oid, 'SELECT') AS readable
    INTO f
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_type ty ON ty.oid = a.atttypid
    WHERE c.oid = relation;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '42P01',
            MESSAGE = 'the table to search is gone: it was dropped meanwhile';
    ELSIF (f.typname IN ('vector', 'halfvec', '_float4')) IS NOT TRUE THEN
        PERFORM fastann._refuse_column(relation, column_name);
    ELSIF f.declared <> dim THEN
        RAISE EXCEPTION USING ERRCODE = 'VX004',
            MESSAGE = format('query: column %I of %s holds %s values, got a vector of %s',
                             column_name, relation::regclass, f.declared, dim),
            HINT = 'Vectors of one model have one length; search with a vector of that model.';
    END IF;
    t := ROW (f.oid, f.attnum, column_name,
        CASE WHEN NOT f.readable AND f.relkind <> 'p' THEN 'c' WHEN f.relkind = 'r' AND f.relhassubclass THEN 'i' ELSE f.relkind END,
        format('%I.%I', f.nspname, f.relname), quote_ident(f.relname), format('(%I.*)::%I.%I', f.relname, f.nspname, f.relname),
        CASE f.typname WHEN 'halfvec' THEN 'halfvec' ELSE 'vector' END, f.declared, dim, NULL, NULL, NULL, NULL, NULL,
        CASE WHEN f.typname = 'halfvec' THEN column_name
             WHEN f.generates THEN fastann._half_column(relation, column_name, dim) END,
        NULL, measure, f.pages,
        CASE WHEN f.reltuples > 0 AND f.relpages > 0 THEN f.reltuples * f.pages / f.relpages ELSE f.pages * 10 END,
        f.relallvisible, f.relfilenode)::fastann._target;
    IF f.reltype <> row_type THEN  -- a partition: it goes by the name of the whole, and gives its rows
        SELECT quote_ident(c.relname), format('(%I.*)::%I.%I', c.relname, n.nspname, c.relname) INTO t.alias, t.hit
        FROM pg_type r JOIN pg_class c ON c.oid = r.typrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE r.oid = row_type;
    END IF;
    RETURN fastann._with_distances(t, operator, f.typname = '_float4');
END $$;

CREATE FUNCTION fastann._with_distances(t fastann._target, operator text, is_array boolean) RETURNS fastann._target
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    bare constant text := t.alias || '.' || quote_ident(t.column_name);
    length constant text := '::@extschema:vector@.' || t.element || '(' || t.dim || ')';
BEGIN
    t.place := bare || CASE WHEN t.declared IS NULL THEN length ELSE '' END;
    t.distance := t.place || ' ' || operator || ' $1'
        || CASE t.element WHEN 'halfvec' THEN length ELSE '' END;
    t.half_distance := t.alias || '.' || quote_ident(t.half_column) || ' ' || operator || ' $2';
    t.present := bare || ' IS NOT NULL';
    t.guarded := t.distance;
    IF t.declared IS NULL THEN
        -- WHERE promises no order, so what may fail stands in CASE. (Nor do lengths go into WHERE, for the
        -- planner would think that hardly any row has this one.)
        t.fits := format('%s(%s) OPERATOR(pg_catalog.=) %s',
            CASE WHEN is_array THEN 'pg_catalog.cardinality' ELSE '@extschema:vector@.vector_dims' END, bare, t.dim);
        t.guarded := format('CASE WHEN %s THEN %s END', t.fits, t.distance);
    END IF;
    RETURN t;
END $$;

CREATE FUNCTION fastann._refuse_column(relation oid, column_name name) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    type_name constant text := (
        SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
        WHERE a.attrelid = relation AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped);
BEGIN
    IF relation IS NULL OR column_name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006', MESSAGE = 'table_name and column_name: expected a name each, got NULL';
    ELSIF type_name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('table %s has no column %I', relation::regclass, column_name);
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'VX006',
        MESSAGE = format('column %I of %s: expected real[], vector or halfvec, got %s',
                         column_name, relation::regclass, type_name),
        HINT = 'Keep features as vector(192) or as real[].';
END $$;
