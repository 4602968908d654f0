-- The options of fastann's WITH (dim = ..., distancemeasure = ...) as a function: an index
-- option needs C, a function argument does not. Everything runs as the caller, who must own
-- the table, as for CREATE INDEX.

CREATE FUNCTION fastann._operator_class(method name, element text, distancemeasure text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN format('%s.%s_%s_ops',
        CASE method WHEN 'ann' THEN '@extschema@' ELSE '@extschema:vector@' END,
        element, fastann._measure(distancemeasure));
END $$;

-- What is indexed: the column itself, or the column cast to a type with a length.
CREATE FUNCTION fastann._index_expression(
    table_name regclass, column_name name, dim integer,
    OUT expression text, OUT element text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    declared integer;
    type_name text;
BEGIN
    SELECT t.typname, nullif(a.atttypmod, -1) INTO type_name, declared
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = table_name AND a.attname = column_name
        AND a.attnum > 0 AND NOT a.attisdropped;
    IF type_name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('table %s has no column %I', table_name, column_name);
    END IF;
    IF type_name NOT IN ('vector', 'halfvec', '_float4') THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format(
                'column %I of %s: expected real[], vector or halfvec, got %s',
                column_name, table_name, ltrim(type_name, '_')),
            HINT = 'Keep features as vector(192) or as real[].';
    END IF;
    IF declared <> dim THEN
        RAISE EXCEPTION USING ERRCODE = 'VX004',
            MESSAGE = format(
                'dim: column %I of %s holds %s values, got dim => %s',
                column_name, table_name, declared, dim),
            HINT = 'Leave dim out: the type of the column says it.';
    END IF;
    IF type_name <> '_float4' AND declared IS NULL AND dim IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format(
                'dim: column %I of %s has no length of its own', column_name, table_name),
            HINT = 'Say the length, for example dim => 192.';
    END IF;
    element := CASE type_name WHEN 'halfvec' THEN 'halfvec' ELSE 'vector' END;
    IF type_name <> '_float4' AND declared IS NOT NULL THEN
        expression := quote_ident(column_name);
    ELSE
        expression := format('(%I::@extschema:vector@.%s(%s))',
            column_name, element, coalesce(dim, 192));
    END IF;
END $$;

CREATE FUNCTION fastann._check_graph_options(m integer, ef_construction integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF m NOT BETWEEN 2 AND 100 THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('hnsw_m: expected 2 to 100, got %s', m);
    END IF;
    IF ef_construction NOT BETWEEN 4 AND 1000 OR ef_construction < 2 * m THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format(
                'hnsw_ef_construction: expected 4 to 1000 and at least twice hnsw_m (%s), got %s',
                m, ef_construction);
    END IF;
    RETURN format('m = %s, ef_construction = %s', m, ef_construction);
END $$;

CREATE FUNCTION fastann._unused_index_name(table_name regclass, stem_end name, suffix text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation pg_class%ROWTYPE;
    stem text;
    candidate text;
BEGIN
    SELECT * INTO STRICT relation FROM pg_class WHERE oid = table_name;
    stem := relation.relname || '_' || stem_end;
    WHILE octet_length(stem) > 59 - octet_length(suffix) LOOP  -- a name holds 63 bytes
        stem := left(stem, -1);
    END LOOP;
    FOR i IN 0..999 LOOP
        candidate := concat(stem, suffix, nullif(i, 0));
        EXIT WHEN NOT EXISTS (
            SELECT FROM pg_class
            WHERE relnamespace = relation.relnamespace AND relname = candidate);
    END LOOP;
    RETURN candidate;
END $$;

CREATE FUNCTION fastann.create_index(
    table_name regclass,
    column_name name,
    dim integer DEFAULT NULL,
    distancemeasure text DEFAULT 'L2',
    hnsw_m integer DEFAULT 24,
    hnsw_ef_construction integer DEFAULT 100,
    pq_enable integer DEFAULT NULL,
    pq_segments integer DEFAULT NULL,
    pq_centers integer DEFAULT NULL,
    external_storage integer DEFAULT NULL,
    index_name name DEFAULT NULL,
    condition text DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target record;
    chosen_name text;
    -- Without a superuser there is no access method of ours: pgvector's does the same.
    method constant name := coalesce((SELECT amname FROM pg_am WHERE amname = 'ann'), 'hnsw');
    problem text;
BEGIN
    IF num_nonnulls(pq_enable, pq_segments, pq_centers, external_storage) > 0 THEN
        RAISE NOTICE 'pq_enable, pq_segments, pq_centers and external_storage change nothing here: '
            'the index holds whole vectors inside PostgreSQL';
    END IF;
    target := fastann._index_expression(table_name, column_name, dim);
    IF condition IS NOT NULL THEN  -- a cursor takes one statement, and so one expression
        FOR problem IN EXECUTE format(E'EXPLAIN SELECT FROM %s WHERE (\n%s\n)', table_name, condition) LOOP
            EXIT;
        END LOOP;
    END IF;
    chosen_name := coalesce(index_name, fastann._unused_index_name(table_name, column_name, '_ann'));
    IF target.expression LIKE '(%' AND dim <> 192 THEN
        RAISE NOTICE 'the index answers ORDER BY % <-> query::vector(%): operators on real[] are for 192 values',
            btrim(target.expression, '()') || ')', dim;
    END IF;
    EXECUTE format('CREATE INDEX %I ON %s USING %I (%s %s) WITH (%s)%s',
        chosen_name, table_name, method, target.expression,
        fastann._operator_class(method, target.element, distancemeasure),
        fastann._check_graph_options(hnsw_m, hnsw_ef_construction), E' WHERE (\n' || condition || E'\n)');
    RETURN chosen_name;
EXCEPTION WHEN data_exception THEN
    GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT;
    RAISE EXCEPTION USING ERRCODE = 'VX004',
        MESSAGE = format('column %I of %s: %s', column_name, table_name, problem),
        HINT = 'Every feature of an indexed column has the length of the index.';
END $$;
COMMENT ON FUNCTION fastann.create_index IS
    'CREATE INDEX ... USING ann with the published options of fastann; with a condition a partial index (names in it need their schema). Returns the name of the index.';
