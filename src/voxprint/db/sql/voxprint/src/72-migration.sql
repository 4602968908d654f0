-- From one model to another: recordings that were kept are heard again, where they lie.

-- One row a recording, whichever models have heard it; the utterance that is named keeps the audio,
-- if any does.
CREATE FUNCTION voxprint.list_unmigrated(model text DEFAULT NULL)
RETURNS TABLE (speaker text, utterance_id bigint, kept_audio boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(list_unmigrated.model);
BEGIN
  RETURN QUERY
  SELECT s.external_id::text, u.utterance_id, u.audio IS NOT NULL
  FROM (SELECT DISTINCT ON (o.speaker_id, o.sha256) o.*
        FROM voxprint.utterances o WHERE o.model <> known.name
        ORDER BY o.speaker_id, o.sha256, o.audio IS NULL, o.utterance_id) u
  JOIN voxprint.speakers s USING (speaker_id)
  WHERE NOT EXISTS (SELECT FROM voxprint.utterances h
                    WHERE h.model = known.name AND h.sha256 = u.sha256 AND h.speaker_id = u.speaker_id)
  ORDER BY 1, 2;
END $$;

-- Which channel of a recording was heard, as a worker takes it: its number, or mix. Quality may be a
-- caller's.
CREATE FUNCTION voxprint._heard_channel(quality jsonb) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN quality ->> 'channel' ~ '^[0-9]{1,3}$' THEN quality ->> 'channel' ELSE 'mix' END;

-- The recording stays with the utterance it came with; the new one has the embedding.
CREATE FUNCTION voxprint.migrate_utterance(utterance_id bigint, model text DEFAULT NULL) RETURNS voxprint.enrolment
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(migrate_utterance.model);
  kept record;
  result voxprint.enrolment;
BEGIN
  SELECT s.external_id::text AS speaker, u.audio, u.sha256, u.overruled, voxprint._heard_channel(u.quality) AS channel
  INTO kept
  FROM voxprint.utterances u JOIN voxprint.speakers s USING (speaker_id)
  WHERE u.utterance_id = migrate_utterance.utterance_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no utterance %', coalesce(migrate_utterance.utterance_id::text, 'NULL')
      USING ERRCODE = 'VX006', HINT = 'voxprint.list_unmigrated(model) lists those to migrate.';
  ELSIF kept.audio IS NULL THEN
    RAISE EXCEPTION 'the audio of utterance % of % was not kept', migrate_utterance.utterance_id,
      voxprint._shown(kept.speaker) USING ERRCODE = 'VX006', HINT = 'Enrol the person again.';
  END IF;
  SELECT r.* INTO result FROM voxprint._embed(kept.audio, known, kept.channel) e, LATERAL voxprint.enroll(
    kept.speaker, e.embedding, known.name, kept.sha256, e.seconds, e.speech_seconds, e.sample_rate, e.quality,
    overrule => kept.overruled) r;
  RETURN result;
END $$;
