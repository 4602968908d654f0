-- fastann.advise(): which indexes the recorded searches would have been quicker with.

-- The columns of the table that a condition names, in the order of the table. Literals and comments are
-- taken out first: a word in a text is no column, and no value is recorded.
CREATE FUNCTION fastann._filter_columns(t fastann._target, condition text) RETURNS name[]
LANGUAGE sql STABLE
RETURN ARRAY(
    SELECT a.attname FROM pg_attribute a
    WHERE a.attrelid = (t).relation AND a.attnum > 0 AND NOT a.attisdropped
      AND regexp_replace(condition, '''([^'']|'''')*''|--[^\n]*|/\*.*?\*/', ' ', 'g')
          ~ ('(?i)(^|[^[:alnum:]_])' || regexp_replace(a.attname::text, '([^[:alnum:]_])', '\\\1', 'g') || '($|[^[:alnum:]_])')
    ORDER BY a.attnum);

CREATE FUNCTION fastann._record(q fastann._question, e fastann._estimate, plan text, ms float8) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_read_only') = 'off' THEN
        INSERT INTO fastann.workload (relation, column_name, filter, rows, k, target_recall, plan, ms)
        VALUES ((q.target).relation, (q.target).column_name, fastann._filter_columns(q.target, q.condition), coalesce(e.rows, 0),
                q.k, q.target_recall, plan, ms);
    END IF;
END $$;

-- Bytes of one row of an index: its header, the vector, and the columns beside it.
CREATE FUNCTION fastann._column_bytes(relation oid, columns name[]) RETURNS float8
LANGUAGE sql STABLE
RETURN coalesce((
    SELECT sum(coalesce(s.avg_width, nullif(a.attlen, -1), 8))
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND NOT s.inherited
    WHERE a.attrelid = relation AND a.attname = ANY (columns)), 0);

CREATE FUNCTION fastann.advise(since timestamptz DEFAULT '-infinity')
RETURNS TABLE (table_name regclass, advice text, reason text, searches bigint, saves_ms float8, bytes bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    w record;
    t fastann._target;
    c fastann._costs;
BEGIN
    FOR w IN
        SELECT l.relation, l.column_name, l.filter, count(*) AS searches,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY l.rows) AS rows, max(l.k) AS k,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY l.ms) AS ms
        FROM fastann.workload l
        JOIN pg_class r ON r.oid = l.relation AND r.relkind IN ('r', 'm') AND NOT r.relhassubclass
            AND pg_has_role(r.relowner, 'USAGE')
        -- What was renamed or dropped since, nobody can be advised about.
        JOIN pg_attribute a ON a.attrelid = l.relation AND a.attname = l.column_name AND NOT a.attisdropped
        JOIN pg_type ty ON ty.oid = a.atttypid AND ty.typname IN ('vector', 'halfvec', '_float4')
        WHERE l.plan = 'exact' AND l.asked_at >= since AND l.filter <@ ARRAY(
            SELECT o.attname FROM pg_attribute o WHERE o.attrelid = l.relation AND o.attnum > 0 AND NOT o.attisdropped)
        GROUP BY l.relation, l.column_name, l.filter ORDER BY count(*) DESC
    LOOP
        t := fastann._target(w.relation, (SELECT reltype FROM pg_class WHERE oid = w.relation), w.column_name,
                             (fastann._lengths(w.relation, w.column_name))[1], 'l2');
        c := fastann._costs(t);
        table_name := w.relation;
        searches := w.searches;
        IF w.filter = '{}' THEN
            CONTINUE WHEN EXISTS (SELECT FROM fastann._ann_indexes(t) i WHERE i.predicate IS NULL);
            saves_ms := w.ms - 0.02 * 100 * (1 + greatest(0, log(greatest(t.tuples, 1)) - 4));
            advice := format('SELECT fastann.create_index(%L, %L)', table_name, w.column_name);
            reason := 'every row was looked at for want of an ANN index';
            bytes := t.tuples * (4 * t.dim + 450);
        ELSE
            CONTINUE WHEN fastann._covered(w.relation, t.half_column, w.filter) IS NOT NULL;
            saves_ms := w.ms - fastann._covering_ms(t, c, w.rows, w.k);
            advice := format('SELECT fastann.cover(%L, %L, %L)', table_name, w.column_name, w.filter);
            reason := format('about %s rows matched a condition on %s and were fetched one by one',
                             round(w.rows), array_to_string(w.filter, ', '));
            bytes := t.tuples * 1.1 * (2 * t.dim + 32 + fastann._column_bytes(w.relation, w.filter))
                + CASE WHEN t.half_column IS NULL THEN t.tuples * (2 * t.dim + 8) ELSE 0 END;
        END IF;
        CONTINUE WHEN saves_ms < 0.3;
        RETURN NEXT;
    END LOOP;
    RETURN QUERY
        SELECT i.indrelid::regclass, format('DROP INDEX %s', i.indexrelid::regclass),
               'no search has used it since the statistics were reset', 0::bigint, 0::float8, pg_relation_size(i.indexrelid)
        FROM pg_index i
        JOIN pg_class ic ON ic.oid = i.indexrelid
        JOIN pg_am am ON am.oid = ic.relam
        WHERE i.indrelid IN (SELECT l.relation FROM fastann.workload l)
          AND pg_stat_get_numscans(i.indexrelid) = 0
          AND (am.amname IN ('ann', 'hnsw') OR (am.amname = 'btree' AND EXISTS (
                SELECT FROM pg_attribute a WHERE a.attrelid = i.indexrelid AND a.attname LIKE '%\_half')));
END $$;
COMMENT ON FUNCTION fastann.advise IS
    'Which indexes would have served the searches recorded since then better, what each saves a search and takes in bytes; and which of ours nobody used. It changes nothing. Record with SET fastann.record_workload = on.';
