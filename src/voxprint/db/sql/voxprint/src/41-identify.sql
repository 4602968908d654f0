-- One to many: who is the probe most alike.

-- Does a path select this person? A predicate such as $.age > 30 selects where it is true; any
-- other path, such as $ ? (@.age > 30), where it finds something. Errors inside a path (a missing
-- key, a wrong type) select nobody.
CREATE FUNCTION voxprint._selected(attributes jsonb, path jsonpath) RETURNS boolean
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT coalesce(first = 'true' OR jsonb_typeof(first) NOT IN ('boolean', 'null'), false)
  FROM (SELECT jsonb_path_query_first(attributes, path, '{}', true) AS first) f;
END;

-- The k most alike of everybody, by the HNSW index of the model; no row at all where the index did
-- not give k people, as when many of the nearest are suspended: then only a scan knows. The model
-- is written into the statement because a partial index is matched against constants only; it is
-- the name in our table, not the caller's text. The settings hold for this call only. With the largest
-- ef_search, 30,000 random voices (harder than real ones) keep 97 % of their nearest ten and every
-- nearest one, in a third of the time of a scan.
CREATE FUNCTION voxprint._nearest_by_index(probe @extschema:vector@.vector, model voxprint.models, k int)
RETURNS TABLE (speaker text, score float8, attributes jsonb)
LANGUAGE plpgsql STABLE
SET enable_sort = off  -- no other plan gives the order without sorting
SET hnsw.ef_search = 1000 SET hnsw.iterative_scan = strict_order SET hnsw.max_scan_tuples = 20000
AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    'WITH nearest AS (
       SELECT v.speaker_id, voxprint._score(v.embedding, $1) AS score FROM voxprint.voiceprints v
       WHERE v.model = %1$L ORDER BY v.embedding::%2$I.vector(%3$s) OPERATOR(%2$I.<#>) $1 LIMIT 2 * $2 + 20
     ), best AS (
       SELECT s.external_id, max(n.score) AS score, s.attributes
       FROM nearest n JOIN voxprint.speakers s USING (speaker_id) WHERE s.status = ''active''
       GROUP BY s.speaker_id ORDER BY max(n.score) DESC, s.external_id LIMIT $2
     )
     SELECT b.external_id::text, b.score, b.attributes FROM best b WHERE (SELECT count(*) FROM best) = $2',
    model.name, voxprint._vector_schema(), model.dim) USING probe, k;
END $$;

-- The k most alike of those whom the filters leave, by looking at each of them.
CREATE FUNCTION voxprint._nearest_by_scan(probe @extschema:vector@.vector, model voxprint.models, k int, group_ids bigint[],
                                          contained jsonb, path jsonpath)
RETURNS TABLE (speaker text, score float8, attributes jsonb)
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
BEGIN
  RETURN QUERY
  WITH best AS (
    SELECT v.speaker_id, max(voxprint._score(v.embedding, probe)) AS score
    FROM voxprint.voiceprints v JOIN voxprint.speakers s USING (speaker_id)
    WHERE v.model = (_nearest_by_scan.model).name AND s.status = 'active'
      AND (group_ids IS NULL OR EXISTS (SELECT FROM voxprint.memberships m
                                        WHERE m.speaker_id = s.speaker_id AND m.group_id = ANY (group_ids)))
      AND (contained IS NULL OR s.attributes @> contained)
      AND (path IS NULL OR voxprint._selected(s.attributes, path))
    GROUP BY v.speaker_id ORDER BY 2 DESC FETCH FIRST (k) ROWS WITH TIES
  )
  SELECT s.external_id::text, b.score, s.attributes
  FROM best b JOIN voxprint.speakers s USING (speaker_id)
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

CREATE FUNCTION voxprint.identify(
  embedding @extschema:vector@.vector, k int DEFAULT 5, groups text[] DEFAULT NULL, attributes jsonb DEFAULT NULL,
  attributes_path jsonpath DEFAULT NULL, model text DEFAULT NULL, threshold float8 DEFAULT NULL)
RETURNS SETOF voxprint.candidate
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(identify.model);
  probe voxprint.voiceprints.embedding%TYPE := voxprint._unit(identify.embedding, known);
  accept_at float8 := coalesce(identify.threshold, known.threshold);
  group_ids bigint[] := voxprint._filter_ids(identify.groups);
  filtered boolean := num_nonnulls(identify.groups, identify.attributes, identify.attributes_path) > 0;
BEGIN
  PERFORM voxprint._check_threshold(identify.threshold);
  PERFORM voxprint._check_object('attributes', identify.attributes);
  IF identify.k IS NULL OR identify.k NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'k is from 1 to 1000 people, got %', identify.k USING ERRCODE = 'VX006';
  END IF;
  IF NOT filtered AND NOT voxprint._is_small() THEN
    RETURN QUERY
    SELECT row_number() OVER (ORDER BY n.score DESC, n.speaker COLLATE "C")::int, n.speaker,
           voxprint._decision(n.score, accept_at), n.score, accept_at, n.attributes
    FROM voxprint._nearest_by_index(probe, known, identify.k) n ORDER BY 1;
    IF FOUND THEN
      RETURN;
    END IF;
  END IF;
  RETURN QUERY
  SELECT row_number() OVER (ORDER BY n.score DESC, n.speaker COLLATE "C")::int, n.speaker,
         voxprint._decision(n.score, accept_at), n.score, accept_at, n.attributes
  FROM voxprint._nearest_by_scan(probe, known, identify.k, group_ids, identify.attributes,
                                 identify.attributes_path) n ORDER BY 1;
END $$;
