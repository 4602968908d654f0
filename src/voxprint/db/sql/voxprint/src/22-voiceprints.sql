-- Voiceprints follow their utterances within the same transaction.

-- What people have spoken, of each model: over all channels, since the policy is about the person.
-- Unknown seconds count as enough.
CREATE FUNCTION voxprint._spoken(people bigint[])
RETURNS TABLE (speaker_id bigint, model text, utterances int, speech_seconds float8, ready boolean)
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT u.speaker_id, u.model, count(*)::int, coalesce(sum(u.speech_seconds), 0),
         bool_or(u.overruled OR u.speech_seconds IS NULL)
         OR sum(u.speech_seconds) >= (SELECT s.min_enrol_speech FROM voxprint._settings() s)
  FROM voxprint.utterances u WHERE u.speaker_id = ANY (people)
  GROUP BY u.speaker_id, u.model;
END;

CREATE FUNCTION voxprint._means(people bigint[])
RETURNS TABLE (speaker_id bigint, model text, channel text, embedding @extschema:vector@.vector,
               utterances int, speech_seconds float8)
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT u.speaker_id, u.model, u.channel, @extschema:vector@.avg(u.embedding), count(*)::int,
         sum(u.speech_seconds)
  FROM voxprint.utterances u WHERE u.speaker_id = ANY (people)
  GROUP BY u.speaker_id, u.model, u.channel;
END;

-- Without the locks two transactions that enrol one person at once would each see only their own
-- utterance, and the last one would win. In id order, so that two statements with many people
-- cannot wait for each other. The rows are written, too: under REPEATABLE READ a lock alone does
-- not tell a later transaction that its snapshot is stale, an update does (SQLSTATE 40001).
CREATE FUNCTION voxprint._refresh_voiceprints() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  people bigint[];
  cancelled text;
BEGIN
  IF TG_OP = 'INSERT' THEN
    SELECT array_agg(DISTINCT r.speaker_id) INTO people FROM new_rows r;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT array_agg(DISTINCT r.speaker_id) INTO people FROM old_rows r;
  ELSE
    SELECT array_agg(DISTINCT r.speaker_id) INTO people
    FROM (SELECT n.speaker_id FROM new_rows n UNION SELECT o.speaker_id FROM old_rows o) r;
  END IF;
  PERFORM FROM voxprint.speakers s WHERE s.speaker_id = ANY (people)
  ORDER BY s.speaker_id FOR NO KEY UPDATE;
  UPDATE voxprint.speakers s SET updated_at = now() WHERE s.speaker_id = ANY (people);

  SELECT s.external_id INTO cancelled
  FROM voxprint._means(people) m JOIN voxprint.speakers s USING (speaker_id)
  WHERE voxprint._norm(m.embedding) < 1e-6 LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'the embeddings of speaker % cancel out, so they have no mean direction',
      voxprint._shown(cancelled) USING ERRCODE = 'VX006',
      HINT = 'They cannot all be of one person: forget the speaker and enrol again.';
  END IF;

  INSERT INTO voxprint.voiceprints AS v (speaker_id, model, channel, embedding, utterances, speech_seconds, ready)
  SELECT m.speaker_id, m.model, m.channel, voxprint._normalised(m.embedding), m.utterances, m.speech_seconds, k.ready
  FROM voxprint._means(people) m JOIN voxprint._spoken(people) k USING (speaker_id, model)
  ON CONFLICT (speaker_id, model, channel) DO UPDATE
  SET embedding = excluded.embedding, utterances = excluded.utterances,
      speech_seconds = excluded.speech_seconds, ready = excluded.ready;
  DELETE FROM voxprint.voiceprints v
  WHERE v.speaker_id = ANY (people)
    AND NOT EXISTS (SELECT FROM voxprint.utterances u
                    WHERE (u.speaker_id, u.model, u.channel) = (v.speaker_id, v.model, v.channel));
  RETURN NULL;
END $$;

CREATE TRIGGER voiceprints_insert AFTER INSERT ON voxprint.utterances
  REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION voxprint._refresh_voiceprints();
CREATE TRIGGER voiceprints_update AFTER UPDATE ON voxprint.utterances
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION voxprint._refresh_voiceprints();
CREATE TRIGGER voiceprints_delete AFTER DELETE ON voxprint.utterances
  REFERENCING OLD TABLE AS old_rows
  FOR EACH STATEMENT EXECUTE FUNCTION voxprint._refresh_voiceprints();

-- Another minimum of speech makes other people ready. Enrolments wait meanwhile: one that went on
-- would still go by the old minimum.
CREATE FUNCTION voxprint._refresh_ready() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  LOCK TABLE voxprint.utterances IN SHARE ROW EXCLUSIVE MODE;
  UPDATE voxprint.voiceprints v SET ready = k.ready
  FROM voxprint._spoken(ARRAY(SELECT s.speaker_id FROM voxprint.speakers s)) k
  WHERE (v.speaker_id, v.model) = (k.speaker_id, k.model) AND v.ready <> k.ready;
  RETURN NULL;
END $$;

CREATE TRIGGER settings_ready AFTER INSERT ON voxprint.settings
  FOR EACH STATEMENT EXECUTE FUNCTION voxprint._refresh_ready();
