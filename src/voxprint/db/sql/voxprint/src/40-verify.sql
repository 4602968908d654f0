-- One to one: is the probe this person, and are two probes one person.

CREATE FUNCTION voxprint._claimed(name text) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
  person voxprint.speakers;
BEGIN
  SELECT * INTO person FROM voxprint.speakers s WHERE s.external_id = name;
  IF NOT FOUND THEN
    PERFORM voxprint._unknown_speaker(name);
  ELSIF person.status <> 'active' THEN
    RAISE EXCEPTION 'speaker % is %, only active speakers are verified', voxprint._shown(name), person.status
      USING ERRCODE = 'VX006', HINT = 'voxprint.set_status(speaker, ''active'') lifts it.';
  END IF;
  RETURN person.speaker_id;
END $$;

CREATE FUNCTION voxprint.verify(
  speaker text, embedding @extschema:vector@.vector, model text DEFAULT NULL, far float8 DEFAULT NULL,
  speech_seconds float8 DEFAULT NULL, quality jsonb DEFAULT NULL, watchlists text[] DEFAULT NULL,
  threshold float8 DEFAULT NULL, record boolean DEFAULT NULL) RETURNS voxprint.verification
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  recording boolean := voxprint._recording(verify.record);
  rate float8 := voxprint._rate('far', verify.far, (voxprint._settings()).far);
  probe voxprint._probe := voxprint._probe(verify.embedding, voxprint._model(verify.model),
                                           verify.speech_seconds, verify.quality);
  person bigint := voxprint._claimed(verify.speaker);
  m voxprint._match;
  result voxprint.verification;
BEGIN
  PERFORM voxprint._check_threshold(verify.threshold);
  m := voxprint._match(probe, person, rate, 1, verify.threshold);
  IF m.speaker_id IS NULL THEN
    RAISE EXCEPTION 'speaker % has no voiceprint of model "%"', voxprint._shown(verify.speaker), (probe.model).name
      USING ERRCODE = 'VX004', HINT = 'Enrol an utterance with this model, or name the model that was used.';
  END IF;
  result.watchlists := voxprint._watchlist_hits(probe, person, verify.watchlists);
  result.reasons := m.reasons || CASE WHEN result.watchlists <> '{}' THEN ARRAY['on_watchlist'] ELSE '{}' END;
  result := (verify.speaker, CASE WHEN m.ready THEN m.decision ELSE 'inconclusive' END, m.score, m.llr,
             m.threshold_llr, m.reject_llr, CASE WHEN verify.threshold IS NULL THEN rate END, result.reasons,
             result.watchlists, m.channel, m.cohort, (probe.model).name, m.calibration, NULL);
  IF recording THEN
    result.decision_id := voxprint._record_verification(probe, m, result);
  END IF;
  RETURN result;
END $$;

-- Whose voice a recording of nobody in particular seems to be: no stranger to another recording of
-- the same voice. By cosine, for there is no rate to keep.
CREATE FUNCTION voxprint._resembled(probe voxprint._probe) RETURNS bigint
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT n.speaker_id FROM voxprint._nearest((probe).embedding, (probe).model, 1) n
  WHERE n.score >= ((probe).model).threshold;
END;

CREATE FUNCTION voxprint.compare(
  a @extschema:vector@.vector, b @extschema:vector@.vector, model text DEFAULT NULL, far float8 DEFAULT NULL,
  speech_seconds_a float8 DEFAULT NULL, speech_seconds_b float8 DEFAULT NULL, quality_a jsonb DEFAULT NULL,
  quality_b jsonb DEFAULT NULL, threshold float8 DEFAULT NULL) RETURNS voxprint.comparison
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  rate float8 := voxprint._rate('far', compare.far, (voxprint._settings()).far);
  known voxprint.models := voxprint._model(compare.model);
  probe voxprint._probe := voxprint._probe(compare.a, known, compare.speech_seconds_a, compare.quality_a);
  other voxprint._probe := voxprint._probe(compare.b, known, compare.speech_seconds_b, compare.quality_b);
  j voxprint._judgement;
BEGIN
  PERFORM voxprint._check_threshold(compare.threshold);
  j := voxprint._judge(probe.embedding, other.embedding, voxprint._resembled(other), known, rate, 1,
                       probe.speech_seconds, probe.quality, other.speech_seconds, other.channel);
  IF compare.threshold IS NOT NULL THEN
    j := voxprint._by_threshold(j, compare.threshold);
    rate := NULL;
  END IF;
  RETURN (j.decision, j.score, j.llr, j.threshold_llr, j.reject_llr, rate, j.reasons, j.cohort, known.name,
          j.calibration);
END $$;
