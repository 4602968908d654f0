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

-- The column's own description, in few steps, for each costs every search its start. relation NULL: the table
-- whose row type this is. Of the whole table: its name; of what the caller named: alias and row type, which
-- for a partition are those of its parent.
CREATE FUNCTION fastann._target(relation oid, row_type regtype, column_name name, dim int, measure text)
RETURNS fastann._target
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v record;
    place text;
    fits text;
    distance text;
BEGIN
    SELECT c.oid, c.relkind, a.attnum, a.attname,
        CASE WHEN c.relkind <> 'p' AND NOT has_table_privilege(c.oid, 'SELECT') THEN 'c'
             WHEN c.relkind = 'r' AND c.relhassubclass THEN 'i' ELSE c.relkind END AS kind,
        format('%I.%I', n.nspname, c.relname) AS table_name, quote_ident(r.typname) AS alias,
        format('(%I.*)::%I.%I', r.typname, CASE WHEN r.typnamespace = n.oid THEN n.nspname
            ELSE (SELECT nspname FROM pg_namespace WHERE oid = r.typnamespace) END, r.typname) AS hit,
        quote_ident(r.typname) || '.' || quote_ident(a.attname) AS bare, ty.typname,
        CASE ty.typname WHEN 'vector' THEN 'vector' WHEN '_float4' THEN 'vector' WHEN 'halfvec' THEN 'halfvec' END AS element,
        CASE WHEN ty.typname <> '_float4' AND a.atttypmod > 0 THEN a.atttypmod END AS declared,
        CASE ty.typname WHEN 'halfvec' THEN a.attname ELSE (
            SELECT g.attname FROM pg_attrdef d JOIN pg_attribute g ON g.attrelid = d.adrelid AND g.attnum = d.adnum
            WHERE d.adrelid = c.oid AND g.attgenerated = 's' AND NOT g.attisdropped
              AND g.atttypid = '@extschema:vector@.halfvec'::regtype
              AND pg_get_expr(d.adbin, d.adrelid) = format('(%I)::%s', a.attname, format_type(g.atttypid, dim))
            ORDER BY g.attnum LIMIT 1) END AS half,
        pg_relation_size(c.oid) / current_setting('block_size')::float8 AS pages,
        c.reltuples, c.relpages, c.relallvisible, c.relfilenode
    INTO v
    FROM pg_type r
    JOIN pg_class c ON c.oid = coalesce(_target.relation, r.typrelid)
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_type ty ON ty.oid = a.atttypid
    WHERE r.oid = row_type;
    IF v.element IS NULL OR v.relkind = 'c' OR v.declared <> dim THEN
        PERFORM fastann._refuse_target(relation, row_type, column_name, dim);
    END IF;
    IF v.declared IS NULL THEN
        place := concat(v.bare, '::@extschema:vector@.', v.element, '(', dim, ')');
        fits := concat(CASE v.typname WHEN '_float4' THEN 'pg_catalog.cardinality(' ELSE '@extschema:vector@.vector_dims(' END,
                       v.bare, ') OPERATOR(pg_catalog.=) ', dim);
    ELSE
        place := v.bare;
    END IF;
    distance := concat(place, ' ', fastann._operator(measure), ' $1',
        CASE v.element WHEN 'halfvec' THEN '::@extschema:vector@.halfvec(' || dim || ')' END);
    RETURN (v.oid, v.attnum, v.attname, v.kind, v.table_name, v.alias, v.hit, v.element, v.declared, dim, place,
        v.bare || ' IS NOT NULL',
        -- WHERE promises no order, so what may fail stands in CASE. (Nor do lengths go into WHERE, for the
        -- planner would think that hardly any row has this one.)
        fits, distance, CASE WHEN fits IS NULL THEN distance ELSE concat('CASE WHEN ', fits, ' THEN ', distance, ' END') END,
        v.half, concat_ws(' ', v.alias || '.' || quote_ident(v.half), fastann._operator(measure), '$2'), measure, v.pages,
        CASE WHEN v.reltuples > 0 AND v.relpages > 0 THEN v.reltuples * v.pages / v.relpages ELSE v.pages * 10 END,
        v.relallvisible, v.relfilenode)::fastann._target;
END $$;

-- Why there is no such target.
CREATE FUNCTION fastann._refuse_target(relation oid, row_type regtype, column_name name, dim int) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    whole oid := relation;
    declared int;
BEGIN
    IF whole IS NULL THEN
        SELECT c.oid INTO whole FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid AND c.relkind <> 'c' WHERE t.oid = row_type;
        IF whole IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'VX006',
                MESSAGE = format('table_row: expected a row of the table to search, got %s', row_type),
                HINT = 'Name the table by its row type: fastann.search(NULL::speaker_table, ''feature'', …).';
        END IF;
    ELSIF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = whole) THEN
        RAISE EXCEPTION USING ERRCODE = '42P01',
            MESSAGE = 'the table to search is gone: it was dropped meanwhile';
    END IF;
    SELECT a.atttypmod INTO declared FROM pg_attribute a JOIN pg_type ty ON ty.oid = a.atttypid
    WHERE a.attrelid = whole AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
      AND ty.typname IN ('vector', 'halfvec') AND a.atttypmod > 0;
    IF declared <> dim THEN
        RAISE EXCEPTION USING ERRCODE = 'VX004',
            MESSAGE = format('query: column %I of %s holds %s values, got a vector of %s', column_name, whole::regclass, declared, dim),
            HINT = 'Vectors of one model have one length; search with a vector of that model.';
    END IF;
    PERFORM fastann._refuse_column(whole, column_name);
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
