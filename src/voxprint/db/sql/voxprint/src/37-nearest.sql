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

-- Are there so many people that counting them would take as long as searching? The last ANALYZE tells
-- well enough then, unless the table has doubled since.
CREATE FUNCTION voxprint._many_people() RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT pg_relation_size(c.oid) BETWEEN 2097152 AND 2.0 * c.relpages * current_setting('block_size')::int
  FROM pg_class c WHERE c.oid = 'voxprint.speakers'::regclass;
END;

-- How many people a search looks among. (The threshold goes with the logarithm; where there are many,
-- suspended people and those of another model are counted, too.)
CREATE FUNCTION voxprint._searched(model text, group_ids bigint[], contained jsonb, path jsonpath) RETURNS int
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
BEGIN
  IF num_nonnulls(contained, path) = 0 AND voxprint._many_people() THEN
    IF group_ids IS NULL THEN
      RETURN (SELECT c.reltuples * pg_relation_size(c.oid) / (c.relpages * current_setting('block_size')::int)
              FROM pg_class c WHERE c.oid = 'voxprint.speakers'::regclass);
    END IF;
    RETURN (SELECT count(DISTINCT m.speaker_id) FROM voxprint.memberships m WHERE m.group_id = ANY (group_ids));
  END IF;
  RETURN (SELECT count(*) FROM voxprint.speakers s
          WHERE s.status = 'active'
            AND ((SELECT count(*) FROM voxprint.models) = 1
                 OR EXISTS (SELECT FROM voxprint.voiceprints v WHERE v.speaker_id = s.speaker_id AND v.model = _searched.model))
            AND (group_ids IS NULL OR EXISTS (SELECT FROM voxprint.memberships m
                                              WHERE m.speaker_id = s.speaker_id AND m.group_id = ANY (group_ids)))
            AND (contained IS NULL OR s.attributes @> contained)
            AND (path IS NULL OR voxprint._selected(s.attributes, path)));
END $$;

-- The filters of a search as a condition on voiceprints: fixed text, in which the values are literals.
-- Suspended people, who are few, are named rather than joining everybody else.
CREATE FUNCTION voxprint._condition(model text, group_ids bigint[], contained jsonb, path jsonpath) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN concat(
  format('model = %L AND speaker_id <> ALL (ARRAY(SELECT s.speaker_id FROM voxprint.speakers s WHERE s.status <> ''active''))', model),
  CASE WHEN num_nonnulls(contained, path) > 0 THEN concat(
    ' AND EXISTS (SELECT FROM voxprint.speakers s WHERE s.speaker_id = voiceprints.speaker_id',
    ' AND s.attributes @> ' || quote_literal(contained) || '::jsonb',
    ' AND voxprint._selected(s.attributes, ' || quote_literal(path) || '::jsonpath)', ')') END,
  ' AND speaker_id IN (SELECT m.speaker_id FROM voxprint.memberships m WHERE m.group_id = ANY ('
  || quote_literal(group_ids) || '::bigint[]))');

-- The k most alike, in no order, by fastann.search(). One in a hundred of the nearest missed would be one
-- in a hundred people not found, so the recall is such that an HNSW index answers only where it is as good
-- as an exact search. A person may have a voiceprint for each channel, so more rows are asked for than
-- people, until there are enough people or no more rows.
CREATE FUNCTION voxprint._nearest(probe @extschema:vector@.vector, model voxprint.models, k int,
                                  group_ids bigint[] DEFAULT NULL, contained jsonb DEFAULT NULL,
                                  path jsonpath DEFAULT NULL)
RETURNS TABLE (speaker_id bigint, score float8)
LANGUAGE plpgsql STABLE AS $$
DECLARE
  condition constant text := voxprint._condition(model.name, group_ids, contained, path);
  rows_asked int := least(10000, 2 * k + 8);
  best record;
BEGIN
  LOOP
    SELECT array_agg(p.speaker_id ORDER BY p.score DESC) AS people, array_agg(p.score ORDER BY p.score DESC) AS scores,
           sum(p.prints) AS prints, min(p.last) AS last INTO best
    FROM (SELECT (s.hit).speaker_id, max(-s.distance) AS score, min(-s.distance) AS last, count(*) AS prints
          FROM fastann.search(NULL::voxprint.voiceprints, 'embedding', probe, k => rows_asked,
                              condition => condition, target_recall => 0.999,
                              distancemeasure => 'IP') s
          GROUP BY 1) p;
    -- equal scores are ranked by name: all rows of the last rank must be there
    EXIT WHEN coalesce(best.prints, 0) < rows_asked OR rows_asked = 10000
      OR (cardinality(best.people) >= k AND best.last < best.scores[k]);
    rows_asked := least(10000, 4 * rows_asked);
  END LOOP;
  RETURN QUERY
  SELECT s.speaker_id, n.score
  FROM unnest(best.people, best.scores) AS n (person, score) JOIN voxprint.speakers s ON s.speaker_id = n.person
  ORDER BY n.score DESC, s.external_id LIMIT k;
END $$;

-- Measures how the gallery is searched on this machine: fastann.autotune() of the voiceprints.
CREATE FUNCTION voxprint.tune()
RETURNS TABLE (index_name text, ef_search int, rows_fetched int, ms float8, recall_at_1 float8, recall_at_10 float8, recall_at_100 float8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT * FROM fastann.autotune('voxprint.voiceprints', 'embedding', 'IP');
END $$;
