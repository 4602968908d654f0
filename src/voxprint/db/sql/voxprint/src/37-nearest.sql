-- Who is most alike, by cosine: the people whom the rest of the work is about.

-- Does a path select this person? A predicate such as $.age > 30 selects where it is true; any
-- other path, such as $ ? (@.age > 30), where it finds something. Errors inside a path (a missing
-- key, a wrong type) select nobody.
CREATE FUNCTION voxprint._selected(attributes jsonb, path jsonpath) RETURNS boolean
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT coalesce(first = 'true' OR jsonb_typeof(first) NOT IN ('boolean', 'null'), false)
  FROM (SELECT jsonb_path_query_first(attributes, path, '{}', true) AS first) f;
END;

-- How many people a search looks among. Counted, but in a gallery so large that counting would take
-- as long as searching: there the last ANALYZE tells it well enough, unless the table has doubled
-- since. (The threshold goes with the logarithm; suspended people are counted then, too.)
CREATE FUNCTION voxprint._gallery_size() RETURNS int
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT CASE WHEN pg_relation_size(c.oid) BETWEEN 16777216 AND 2.0 * c.relpages * current_setting('block_size')::int
              THEN c.reltuples * pg_relation_size(c.oid) / (c.relpages * current_setting('block_size')::int)
              ELSE (SELECT count(*) FROM voxprint.speakers s WHERE s.status = 'active') END::int
  FROM pg_class c WHERE c.oid = 'voxprint.speakers'::regclass;
END;

-- The k most alike of everybody, by the HNSW index of the model; no row at all where the index did
-- not give k people, as when many of the nearest are suspended: then only a scan knows. The model
-- is written into the statement because a partial index is matched against constants only; it is
-- the name in our table, not the caller's text. The settings hold for this call only. With the largest
-- ef_search, 30,000 random voices (harder than real ones) keep 97 % of their nearest ten and every
-- nearest one, in a third of the time of a scan.
CREATE FUNCTION voxprint._nearest_by_index(probe @extschema:vector@.vector, model voxprint.models, k int)
RETURNS TABLE (speaker_id bigint, score float8, searched int)
LANGUAGE plpgsql STABLE
SET enable_sort = off  -- no other plan gives the order without sorting
SET hnsw.ef_search = 1000 SET hnsw.iterative_scan = strict_order SET hnsw.max_scan_tuples = 20000
AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    'WITH nearest AS (
       SELECT v.speaker_id, voxprint._score(v.embedding, $1) AS score FROM voxprint.voiceprints v
       WHERE v.model = %1$L ORDER BY v.embedding::%2$I.vector(%3$s) OPERATOR(%2$I.<#>) $1 LIMIT 3 * $2 + 20
     ), best AS (
       SELECT s.speaker_id, max(n.score) AS score
       FROM nearest n JOIN voxprint.speakers s USING (speaker_id) WHERE s.status = ''active''
       GROUP BY s.speaker_id ORDER BY max(n.score) DESC, s.external_id LIMIT $2
     )
     SELECT b.speaker_id, b.score, (SELECT voxprint._gallery_size())
     FROM best b WHERE (SELECT count(*) FROM best) = $2',
    model.name, voxprint._vector_schema(), model.dim) USING probe, k;
END $$;

-- The k most alike of those whom the filters leave, by looking at each of them.
CREATE FUNCTION voxprint._nearest_by_scan(probe @extschema:vector@.vector, model voxprint.models, k int, group_ids bigint[],
                                          contained jsonb, path jsonpath)
RETURNS TABLE (speaker_id bigint, score float8, searched int)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
BEGIN
  RETURN QUERY
  WITH best AS (
    SELECT v.speaker_id, max(voxprint._score(v.embedding, probe)) AS score, count(*) OVER ()::int AS people
    FROM voxprint.voiceprints v JOIN voxprint.speakers s USING (speaker_id)
    WHERE v.model = (_nearest_by_scan.model).name AND s.status = 'active'
      AND (group_ids IS NULL OR EXISTS (SELECT FROM voxprint.memberships m
                                        WHERE m.speaker_id = s.speaker_id AND m.group_id = ANY (group_ids)))
      AND (contained IS NULL OR s.attributes @> contained)
      AND (path IS NULL OR voxprint._selected(s.attributes, path))
    GROUP BY v.speaker_id ORDER BY 2 DESC FETCH FIRST (k) ROWS WITH TIES
  )
  SELECT b.speaker_id, b.score, b.people FROM best b JOIN voxprint.speakers s USING (speaker_id)
  ORDER BY b.score DESC, s.external_id LIMIT k;
END $$;

-- Up to this size of the table of voiceprints every search looks at all of them; above it, searches
-- without a filter use the index. The setting is in kB.
CREATE FUNCTION voxprint._is_small() RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT pg_relation_size('voxprint.voiceprints') <=
         1024 * coalesce(nullif(current_setting('voxprint.exact_scan_kb', true), ''), '16384')::bigint;
END;


-- The k most alike, in no order, and among how many people they were looked for.
CREATE FUNCTION voxprint._nearest(probe @extschema:vector@.vector, model voxprint.models, k int,
                                  group_ids bigint[] DEFAULT NULL, contained jsonb DEFAULT NULL,
                                  path jsonpath DEFAULT NULL)
RETURNS TABLE (speaker_id bigint, score float8, searched int)
LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF num_nonnulls(group_ids, contained, path) = 0 AND NOT voxprint._is_small() THEN
    RETURN QUERY SELECT * FROM voxprint._nearest_by_index(probe, model, k);
    IF FOUND THEN
      RETURN;
    END IF;
  END IF;
  RETURN QUERY SELECT * FROM voxprint._nearest_by_scan(probe, model, k, group_ids, contained, path);
END $$;
