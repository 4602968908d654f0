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

-- The column's own description. One statement, for each costs every search its start. Of the whole table:
-- its name; of what the caller named: alias and row type, which for a partition are those of its parent.
CREATE FUNCTION fastann._target(relation oid, row_type regtype, column_name name, dim int, measure text)
RETURNS fastann._target
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t fastann._target;
BEGIN
    SELECT c.oid, a.attnum, a.attname,
        CASE WHEN c.relkind <> 'p' AND NOT has_table_privilege(c.oid, 'SELECT') THEN 'c'
             WHEN c.relkind = 'r' AND c.relhassubclass THEN 'i' ELSE c.relkind END,
        format('%I.%I', n.nspname, c.relname), quote_ident(named.relname),
        format('(%I.*)::%I.%I', named.relname, named_n.nspname, named.relname),
        f.element, f.declared, dim, f.place, f.bare || ' IS NOT NULL',
        -- WHERE promises no order, so what may fail stands in CASE. (Nor do lengths go into WHERE, for the
        -- planner would think that hardly any row has this one.)
        f.fits, f.distance, CASE WHEN f.fits IS NULL THEN f.distance ELSE format('CASE WHEN %s THEN %s END', f.fits, f.distance) END,
        h.half, quote_ident(named.relname) || '.' || quote_ident(h.half) || f.operator || '$2',
        measure, p.pages,
        CASE WHEN c.reltuples > 0 AND c.relpages > 0 THEN c.reltuples * p.pages / c.relpages ELSE p.pages * 10 END,
        c.relallvisible, c.relfilenode
    INTO t
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_type r ON r.oid = row_type
    JOIN pg_class named ON named.oid = r.typrelid
    JOIN pg_namespace named_n ON named_n.oid = named.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_type ty ON ty.oid = a.atttypid
    CROSS JOIN LATERAL (SELECT
        CASE ty.typname WHEN 'vector' THEN 'vector' WHEN '_float4' THEN 'vector' WHEN 'halfvec' THEN 'halfvec' END AS element,
        CASE WHEN ty.typname <> '_float4' AND a.atttypmod > 0 THEN a.atttypmod END AS declared,
        ' ' || fastann._operator(measure) || ' ' AS operator,
        quote_ident(named.relname) || '.' || quote_ident(a.attname) AS bare) e
    CROSS JOIN LATERAL (SELECT e.*, '::@extschema:vector@.' || e.element || '(' || dim || ')' AS length) l
    CROSS JOIN LATERAL (SELECT l.*, l.bare || CASE WHEN l.declared IS NULL THEN l.length ELSE '' END AS place,
        CASE WHEN l.declared IS NULL THEN format('%s(%s) OPERATOR(pg_catalog.=) %s', CASE ty.typname
            WHEN '_float4' THEN 'pg_catalog.cardinality' ELSE '@extschema:vector@.vector_dims' END, l.bare, dim) END AS fits) g
    CROSS JOIN LATERAL (SELECT g.*,
        g.place || g.operator || '$1' || CASE g.element WHEN 'halfvec' THEN g.length ELSE '' END AS distance) f
    CROSS JOIN LATERAL (SELECT CASE ty.typname WHEN 'halfvec' THEN a.attname ELSE (
        SELECT g.attname FROM pg_attribute g JOIN pg_attrdef d ON d.adrelid = g.attrelid AND d.adnum = g.attnum
        WHERE g.attrelid = c.oid AND g.attgenerated = 's' AND NOT g.attisdropped
          AND g.atttypid = '@extschema:vector@.halfvec'::regtype
          AND pg_get_expr(d.adbin, d.adrelid) = format('(%I)::%s', a.attname, format_type(g.atttypid, dim))
        ORDER BY g.attnum LIMIT 1) END AS half OFFSET 0) h  -- once, wherever it is used
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
