-- One probe against one person: which of their voiceprints, and what comes of it. Verification,
-- identification, watchlists and the search for duplicates all go through here.

CREATE TYPE voxprint._probe AS (
  embedding @extschema:vector@.vector, model voxprint.models, speech_seconds float8, quality jsonb, channel text);

CREATE TYPE voxprint._match AS (
  speaker_id bigint, channel text, ready boolean, decision text, score float8, llr float8, threshold_llr float8,
  reject_llr float8, reasons text[], cohort int, calibration bigint, features jsonb);

CREATE FUNCTION voxprint._probe(embedding @extschema:vector@.vector, model voxprint.models, speech_seconds float8,
                                quality jsonb) RETURNS voxprint._probe
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  PERFORM voxprint._check_seconds('speech_seconds', speech_seconds);
  PERFORM voxprint._check_object('quality', quality);
  RETURN (voxprint._unit(embedding, model), model, speech_seconds, quality, voxprint._channel(quality));
END $$;

-- Of several voiceprints of a person the one that came the same way as the probe, where that is
-- known and they have one; else the most alike.
CREATE FUNCTION voxprint._reference(probe voxprint._probe, person bigint) RETURNS voxprint.voiceprints
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT v.* FROM voxprint.voiceprints v
  WHERE v.speaker_id = person AND v.model = ((probe).model).name
  ORDER BY ((probe).channel <> 'any' AND v.channel = (probe).channel) DESC,
           voxprint._score(v.embedding, (probe).embedding) DESC, v.channel LIMIT 1;
END;

-- A fixed cosine in place of the calibration. The LLR stays to be seen.
CREATE FUNCTION voxprint._by_threshold(judged voxprint._judgement, threshold float8) RETURNS voxprint._judgement
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  judged.decision := CASE WHEN judged.score >= threshold THEN 'accept' ELSE 'reject' END;
  judged.threshold_llr := NULL;
  judged.reject_llr := NULL;
  judged.reasons := array_append(array_remove(judged.reasons, 'uncalibrated'), 'fixed_threshold');
  RETURN judged;
END $$;

-- NULL where the person has no voiceprint of the probe's model.
CREATE FUNCTION voxprint._match(probe voxprint._probe, person bigint, rate float8, searched int,
                                threshold float8 DEFAULT NULL, speaking bigint DEFAULT NULL) RETURNS voxprint._match
LANGUAGE plpgsql STABLE AS $$
DECLARE
  reference voxprint.voiceprints := voxprint._reference(probe, person);
  j voxprint._judgement;
BEGIN
  IF reference.speaker_id IS NULL THEN
    RETURN NULL;
  END IF;
  j := voxprint._judge(probe.embedding, reference.embedding, person, probe.model, rate, searched,
                       probe.speech_seconds, probe.quality, reference.speech_seconds, reference.channel, speaking);
  IF threshold IS NOT NULL THEN
    j := voxprint._by_threshold(j, threshold);
  END IF;
  IF NOT reference.ready THEN
    j.reasons := array_append(j.reasons, 'enrolment_too_short');
  END IF;
  RETURN (reference.speaker_id, reference.channel, reference.ready, j.decision, j.score, j.llr, j.threshold_llr,
          j.reject_llr, j.reasons, j.cohort, j.calibration, j.features);
END $$;
