-- What is enrolled, looked over: the utterances of a person, whether they are of one voice, and
-- whether one voice has several names. None of this changes a reference but remove_utterance().

CREATE FUNCTION voxprint._person(name text) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
  person bigint;
BEGIN
  SELECT s.speaker_id INTO person FROM voxprint.speakers s WHERE s.external_id = name;
  IF NOT FOUND THEN
    PERFORM voxprint._unknown_speaker(name);
  END IF;
  RETURN person;
END $$;

CREATE FUNCTION voxprint.list_utterances(speaker text)
RETURNS TABLE (utterance_id bigint, model text, channel text, seconds float8, speech_seconds float8, sample_rate int,
               quality jsonb, reasons text[], overruled boolean, kept_audio boolean, created_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  person bigint := voxprint._person(list_utterances.speaker);
BEGIN
  RETURN QUERY
  SELECT u.utterance_id, u.model::text, u.channel::text, u.seconds, u.speech_seconds, u.sample_rate, u.quality,
         voxprint._quality_reasons(u.quality), u.overruled, u.audio IS NOT NULL, u.created_at
  FROM voxprint.utterances u WHERE u.speaker_id = person ORDER BY u.utterance_id;
END $$;

-- Each utterance against the others of its person. One of another voice draws the mean of all
-- others towards itself, so it is compared with the more central half of them: those whose median
-- cosine to the rest is at least the median of these medians. Fewer than half of them bad are so
-- found; of two that disagree nobody can tell which is wrong, and both are named.
CREATE FUNCTION voxprint._cohesion(person bigint, model voxprint.models, rate float8)
RETURNS TABLE (utterance_id bigint, channel text, score float8, llr float8, outlier boolean, created_at timestamptz)
LANGUAGE sql STABLE
BEGIN ATOMIC
  WITH spoken AS MATERIALIZED (
    SELECT u.* FROM voxprint.utterances u WHERE u.speaker_id = person AND u.model = (_cohesion.model).name
  ), typical AS MATERIALIZED (
    SELECT a.*, (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY voxprint._score(a.embedding, b.embedding))
                 FROM spoken b WHERE b.utterance_id <> a.utterance_id) AS cosine
    FROM spoken a
  ), parted AS MATERIALIZED (
    SELECT t.*, t.cosine >= (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY cosine) FROM typical) AS central
    FROM typical t
  ), together AS MATERIALIZED (
    SELECT @extschema:vector@.sum(p.embedding) AS embedding, sum(p.speech_seconds) AS speech_seconds,
           CASE WHEN min(p.channel) = max(p.channel) THEN min(p.channel) ELSE 'any' END AS channel
    FROM parted p WHERE p.central
  ), others AS MATERIALIZED (
    SELECT p.*, t.channel AS reference_channel,
           voxprint._normalised(CASE WHEN p.central THEN t.embedding OPERATOR(@extschema:vector@.-) p.embedding
                                     ELSE t.embedding END) AS reference,
           abs(t.speech_seconds - CASE WHEN p.central THEN coalesce(p.speech_seconds, 0) ELSE 0 END) AS reference_speech
    FROM parted p, together t
  )
  SELECT o.utterance_id, o.channel::text, j.score, j.llr,
         coalesce(voxprint._speaks_against(j.score, j.llr, _cohesion.model), false), o.created_at
  FROM others o
  LEFT JOIN LATERAL voxprint._judge(o.embedding, o.reference, person, _cohesion.model, rate, 1, o.speech_seconds,
                                    o.quality, o.reference_speech, o.reference_channel) j ON o.reference IS NOT NULL
  ORDER BY o.utterance_id;
END;

CREATE FUNCTION voxprint.cohesion(speaker text, model text DEFAULT NULL)
RETURNS TABLE (utterance_id bigint, channel text, score float8, llr float8, outlier boolean, created_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY SELECT * FROM voxprint._cohesion(voxprint._person(cohesion.speaker), voxprint._model(cohesion.model),
                                                (voxprint._settings()).far);
END $$;

CREATE FUNCTION voxprint.remove_utterance(speaker text, utterance_id bigint) RETURNS voxprint.removal
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  person bigint := voxprint._lock_speaker(remove_utterance.speaker);
  before int := (SELECT count(*) FROM voxprint.voiceprints v WHERE v.speaker_id = person);
BEGIN
  DELETE FROM voxprint.utterances u
  WHERE u.utterance_id = remove_utterance.utterance_id AND u.speaker_id = person;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'speaker % has no utterance %', voxprint._shown(remove_utterance.speaker),
      coalesce(remove_utterance.utterance_id::text, 'NULL') USING ERRCODE = 'VX006',
      HINT = 'voxprint.list_utterances(speaker) lists them.';
  END IF;
  RETURN voxprint._bury(jsonb_build_object(
    'utterances', 1,
    'voiceprints', before - (SELECT count(*) FROM voxprint.voiceprints v WHERE v.speaker_id = person)));
END $$;

-- One search and up to three judgements for each voiceprint, so the time grows with the gallery
-- times the time of an identification; nothing is locked or written, and it can be cancelled.
CREATE FUNCTION voxprint.find_duplicates(far float8 DEFAULT NULL, model text DEFAULT NULL)
RETURNS TABLE (speaker text, other text, score float8, llr float8)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(find_duplicates.model);
  rate float8 := voxprint._rate('far', find_duplicates.far, (voxprint._settings()).duplicate_far);
BEGIN
  RETURN QUERY
  WITH alike AS (
    SELECT s.external_id AS name, d.value ->> 'speaker' AS other, (d.value ->> 'score')::float8 AS score,
           (d.value ->> 'llr')::float8 AS llr
    FROM voxprint.voiceprints v JOIN voxprint.speakers s USING (speaker_id),
         LATERAL jsonb_array_elements(voxprint._duplicates(
           (v.embedding, known, v.speech_seconds, NULL, v.channel)::voxprint._probe, v.speaker_id, rate)) d
    WHERE v.model = known.name AND s.status = 'active'
  )
  SELECT least(a.name, a.other COLLATE "C"), greatest(a.name, a.other COLLATE "C"), max(a.score), max(a.llr)
  FROM alike a GROUP BY 1, 2 ORDER BY 4 DESC NULLS LAST, 3 DESC, 1, 2;
END $$;
