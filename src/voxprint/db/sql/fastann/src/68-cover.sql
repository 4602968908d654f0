-- Covering indexes: an index-only scan over half-precision codes instead of the rows themselves.
--
-- An index includes columns and no expressions, so the codes are a generated column of the table.
-- Everything runs as the caller, who must own the table.

CREATE FUNCTION fastann._add_half_column(table_name regclass, column_name name, dim integer) RETURNS name
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    half constant name := fastann._half_name(column_name);
    type_name name;
    declared integer;
BEGIN
    SELECT t.typname, nullif(a.atttypmod, -1) INTO type_name, declared
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = table_name AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped;
    IF type_name IS NULL OR type_name NOT IN ('vector', 'halfvec', '_float4') THEN
        PERFORM fastann._refuse_column(table_name, column_name);
    END IF;
    dim := coalesce(CASE WHEN type_name <> '_float4' THEN declared END, dim, CASE type_name WHEN '_float4' THEN 192 END);
    IF dim IS NULL OR dim NOT BETWEEN 1 AND 1200 THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('dim: expected 1 to 1200 values for a covering index on %I, got %s', column_name,
                             coalesce(dim::text, 'none')),
            HINT = 'A B-tree holds rows of up to a third of a page. Say dim => n where the column has no length.';
    ELSIF type_name = 'halfvec' THEN
        RETURN column_name;
    ELSIF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = table_name AND attname = half AND NOT attisdropped) THEN
        EXECUTE format(
            'ALTER TABLE %s ADD COLUMN %I @extschema:vector@.halfvec(%s)'
            ' GENERATED ALWAYS AS (%I::@extschema:vector@.halfvec(%s)) STORED',
            table_name, half, dim, column_name, dim);
        -- Codes are vectors of people, too: no samples of them in pg_statistic.
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS 0', table_name, half);
    END IF;
    RETURN half;
END $$;

CREATE FUNCTION fastann.cover(
    table_name regclass, column_name name, filter name[], dim integer DEFAULT NULL, index_name name DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key name[];
    half name;
    chosen name;
BEGIN
    IF coalesce(cardinality(filter), 0) = 0 OR array_position(filter, NULL) IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = 'filter: expected the columns that conditions name, got none',
            HINT = 'For example fastann.cover(''speaker_table'', ''feature'', ''{city}'').';
    END IF;
    key := ARRAY(
        SELECT a.attname FROM pg_index i
        CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY u(number, n)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.number
        WHERE i.indrelid = table_name AND i.indisprimary ORDER BY u.n);
    IF cardinality(key) = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('table %s has no primary key, by which rows are found again', table_name),
            HINT = 'ALTER TABLE … ADD PRIMARY KEY first.';
    END IF;
    half := fastann._add_half_column(table_name, column_name, dim);
    chosen := coalesce(index_name, fastann._unused_index_name(
        table_name, array_to_string(filter || half, '_')::name, '_covering'));
    EXECUTE format('CREATE INDEX %I ON %s (%s) INCLUDE (%s)', chosen, table_name,
        (SELECT string_agg(quote_ident(f), ', ' ORDER BY n) FROM unnest(filter) WITH ORDINALITY u(f, n)),
        (SELECT string_agg(quote_ident(c), ', ') FROM unnest(key || half) c WHERE c <> ALL (filter)));
    RAISE NOTICE 'VACUUM (ANALYZE) %, or the index-only scan looks every row up in the table', table_name;
    RETURN chosen;
END $$;
COMMENT ON FUNCTION fastann.cover IS
    'Declares a covering index for conditions on these columns: half-precision codes beside the columns and the primary key. Adds a generated column for the codes where there is none. Returns the name of the index.';
