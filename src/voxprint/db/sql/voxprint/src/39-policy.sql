-- Enrolment policy: what a recording must be to stand for a person, and what is said about it.

-- A recording of two people would be a reference that both pass, so it is refused. What is only
-- poor makes a poor reference, which the score's calibration knows about: it is said, not refused.
CREATE FUNCTION voxprint._refuse_recording(quality jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF voxprint._quality_reasons(quality) @> '{more_than_one_speaker}' THEN
    RAISE EXCEPTION 'the recording of one person is enrolled, this one seems to have more than one speaker'
      USING ERRCODE = 'VX007', DETAIL = '["more_than_one_speaker"]',
      HINT = 'Enrol a recording of this person alone; overrule => true enrols this one if you know better.';
  END IF;
END $$;

-- Does what is known speak against the same person? By the LLR; without one, by the model's cosine.
CREATE FUNCTION voxprint._speaks_against(score float8, llr float8, model voxprint.models) RETURNS boolean
LANGUAGE sql IMMUTABLE RETURN coalesce(llr < 0, score < model.threshold);

-- A cosine that two people have not been seen to reach, though nobody is there to compare with: the
-- same recording coded anew, or hardly less.
CREATE FUNCTION voxprint._same_recording(score float8) RETURNS boolean
LANGUAGE sql IMMUTABLE RETURN score >= 0.95;

-- Other people whose voice this seems to be, the nearest first. Of the nearest few only: the rest
-- of a gallery is farther away than those.
CREATE FUNCTION voxprint._duplicates(probe voxprint._probe, person bigint, rate float8) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
  found_people jsonb;
BEGIN
  SELECT jsonb_agg(jsonb_build_object('speaker', s.external_id, 'score', (j.m).score, 'llr', (j.m).llr)
                   ORDER BY (j.m).llr DESC NULLS LAST, (j.m).score DESC, s.external_id) INTO found_people
  FROM (SELECT voxprint._match(probe, n.speaker_id, rate, voxprint._searched(NULL, NULL, NULL), speaking => person) AS m
        FROM voxprint._nearest(probe.embedding, probe.model, 4) n WHERE n.speaker_id <> person OFFSET 0) j
  JOIN voxprint.speakers s ON s.speaker_id = (j.m).speaker_id
  WHERE (j.m).decision = 'accept' OR voxprint._same_recording((j.m).score);
  RETURN coalesce(found_people, '[]');
END $$;

-- What the person has spoken by now, and whether it is enough.
CREATE FUNCTION voxprint._count_speech(INOUT result voxprint.enrolment, person bigint, model text)
LANGUAGE plpgsql STABLE AS $$
BEGIN
  SELECT k.utterances, k.speech_seconds, k.ready INTO result.utterances, result.speech_seconds, result.ready
  FROM voxprint._spoken(ARRAY[person]) k WHERE k.model = _count_speech.model;
  result.speech_needed := CASE WHEN result.ready THEN 0
                               ELSE (voxprint._settings()).min_enrol_speech - result.speech_seconds END;
  IF NOT result.ready THEN
    result.reasons := array_append(result.reasons, 'too_short');
  END IF;
END $$;
