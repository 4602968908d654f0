-- One to many: whose voice is the probe, if anybody's.

CREATE TYPE voxprint._answer AS (
  rank int, speaker text, attributes jsonb, searched int, match voxprint._match, next voxprint._match);

-- How far one person is ahead of another: in LLR, without it in cosine.
CREATE FUNCTION voxprint._margin(ahead voxprint._match, behind voxprint._match) RETURNS float8
LANGUAGE sql IMMUTABLE RETURN coalesce((ahead).llr - (behind).llr, (ahead).score - (behind).score);

-- One probe is one person. Of two whom it would be accepted as, the odds that it is the first are
-- exp(margin): too few where they are below those that the rate asks for. Without an LLR nobody can
-- tell; then 0.05 in cosine.
CREATE FUNCTION voxprint._too_close(ahead voxprint._match, behind voxprint._match, rate float8) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN coalesce((ahead).llr - (behind).llr < greatest(0, ln((1 - rate) / rate)), (ahead).score - (behind).score < 0.05);

CREATE FUNCTION voxprint._ranked(probe voxprint._probe, k int, group_ids bigint[], contained jsonb, path jsonpath,
                                 rate float8, threshold float8) RETURNS SETOF voxprint._answer
LANGUAGE plpgsql STABLE AS $$
DECLARE
  searched constant int := voxprint._searched(group_ids, contained, path);
BEGIN
  RETURN QUERY
  WITH judged AS MATERIALIZED (
    SELECT s.external_id, s.attributes, voxprint._match(probe, n.speaker_id, rate, searched, threshold) AS m
    FROM voxprint._nearest(probe.embedding, probe.model, k, group_ids, contained, path) n
    JOIN voxprint.speakers s USING (speaker_id)
  )
  SELECT row_number() OVER w::int, j.external_id::text, j.attributes, searched, j.m, lead(j.m) OVER w
  FROM judged j
  WINDOW w AS (ORDER BY (j.m).score DESC, j.external_id)
  ORDER BY 1;
END $$;

-- At most one is accepted, and nobody who has not spoken enough. A fixed threshold is taken at its
-- word where several are alike.
CREATE FUNCTION voxprint._one_of(a voxprint._answer, first voxprint._match, rate float8) RETURNS voxprint._match
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  m voxprint._match := a.match;
BEGIN
  IF m.decision = 'accept' AND NOT m.ready THEN
    m.decision := 'inconclusive';
  END IF;
  IF m.decision <> 'accept' OR m.reasons @> '{fixed_threshold}' THEN
    RETURN m;
  ELSIF a.rank = 1 AND NOT coalesce((a.next).decision = 'accept' AND voxprint._too_close(m, a.next, rate), false) THEN
    RETURN m;
  ELSIF voxprint._too_close(first, m, rate) THEN
    m.decision := 'inconclusive';
    m.reasons := array_append(m.reasons, 'ambiguous');
  ELSE
    m.decision := 'reject';
    m.reasons := array_append(m.reasons, 'another_is_nearer');
  END IF;
  RETURN m;
END $$;

CREATE FUNCTION voxprint.identify(
  embedding @extschema:vector@.vector, k int DEFAULT 5, groups text[] DEFAULT NULL, attributes jsonb DEFAULT NULL,
  attributes_path jsonpath DEFAULT NULL, model text DEFAULT NULL, fpir float8 DEFAULT NULL,
  speech_seconds float8 DEFAULT NULL, quality jsonb DEFAULT NULL, threshold float8 DEFAULT NULL,
  record boolean DEFAULT NULL) RETURNS SETOF voxprint.candidate
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  recording boolean := voxprint._recording(identify.record);
  rate float8 := voxprint._rate('fpir', identify.fpir, (voxprint._settings()).fpir);
  probe voxprint._probe := voxprint._probe(identify.embedding, voxprint._model(identify.model),
                                           identify.speech_seconds, identify.quality);
  group_ids bigint[] := voxprint._filter_ids(identify.groups);
  a voxprint._answer;
  m voxprint._match;
  first voxprint._match;
  record_id bigint;
BEGIN
  PERFORM voxprint._check_threshold(identify.threshold);
  PERFORM voxprint._check_object('attributes', identify.attributes);
  IF identify.k IS NULL OR identify.k NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'k is from 1 to 1000 people, got %', identify.k USING ERRCODE = 'VX006';
  END IF;
  -- one more than asked for: the last one's margin is to somebody, too
  FOR a IN SELECT * FROM voxprint._ranked(probe, identify.k + 1, group_ids, identify.attributes,
                                          identify.attributes_path, rate, identify.threshold) LOOP
    EXIT WHEN a.rank > identify.k;
    IF a.rank = 1 THEN
      first := a.match;
    END IF;
    m := voxprint._one_of(a, first, rate);
    record_id := NULL;
    IF recording AND a.rank = 1 THEN
      record_id := voxprint._record_search(probe, m, a.searched, rate);
    END IF;
    RETURN NEXT (a.rank, a.speaker, m.decision, m.score, m.llr, m.threshold_llr, voxprint._margin(m, a.next),
                 m.reasons, a.attributes, m.channel, m.calibration, record_id)::voxprint.candidate;
  END LOOP;
  IF recording AND first.speaker_id IS NULL THEN
    PERFORM voxprint._record_search(probe, NULL, 0, rate);
  END IF;
END $$;
