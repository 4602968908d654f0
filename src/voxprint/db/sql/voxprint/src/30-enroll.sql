-- Enrolment: one utterance of one person joins the gallery.

CREATE FUNCTION voxprint._join_groups(person bigint, names text[]) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
  joined int;
BEGIN
  INSERT INTO voxprint.memberships (speaker_id, group_id)
  SELECT person, g.group_id FROM voxprint.groups g
  WHERE g.group_id = ANY (voxprint._group_ids(names)) ORDER BY g.group_id FOR KEY SHARE
  ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS joined = ROW_COUNT;
  RETURN joined;
END $$;

CREATE FUNCTION voxprint._check_facts(sha256 bytea, seconds float8, speech_seconds float8, sample_rate int)
RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF octet_length(sha256) <> 32 THEN
    RAISE EXCEPTION 'sha256 has 32 bytes, got %', octet_length(sha256) USING ERRCODE = 'VX006',
      HINT = 'Give the digest itself, not its hexadecimal text.';
  ELSIF NOT (seconds >= 0 AND seconds < 'Infinity') THEN
    RAISE EXCEPTION 'seconds is finite and not negative, got %', seconds USING ERRCODE = 'VX006';
  ELSIF NOT (speech_seconds >= 0 AND speech_seconds < 'Infinity') THEN
    RAISE EXCEPTION 'speech_seconds is finite and not negative, got %', speech_seconds USING ERRCODE = 'VX006';
  ELSIF sample_rate <= 0 THEN
    RAISE EXCEPTION 'sample_rate is a number of Hz above 0, got %', sample_rate USING ERRCODE = 'VX006';
  END IF;
END $$;

-- The person's row, made where it is missing, locked. Between the two statements somebody may make
-- or forget the person: then the next round sees it.
CREATE FUNCTION voxprint._lock_or_make_speaker(name text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  person bigint;
BEGIN
  LOOP
    SELECT s.speaker_id INTO person FROM voxprint.speakers s WHERE s.external_id = name FOR NO KEY UPDATE;
    EXIT WHEN FOUND;
    INSERT INTO voxprint.speakers AS s (external_id) VALUES (name)
    ON CONFLICT DO NOTHING RETURNING s.speaker_id INTO person;
    EXIT WHEN FOUND;
  END LOOP;
  RETURN person;
END $$;

-- A recording belongs to one person, whichever model reads it.
CREATE FUNCTION voxprint._refuse_foreign(person bigint, recording bytea) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  other text;
BEGIN
  SELECT s.external_id INTO other FROM voxprint.utterances u JOIN voxprint.speakers s USING (speaker_id)
  WHERE u.sha256 = recording AND u.speaker_id <> person LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'this recording is already enrolled under speaker %', voxprint._shown(other)
      USING ERRCODE = 'VX005', HINT = 'A recording belongs to one person. Forget that one first if it was a mistake.';
  END IF;
END $$;

CREATE FUNCTION voxprint.enroll(
  speaker text, embedding @extschema:vector@.vector, model text DEFAULT NULL, sha256 bytea DEFAULT NULL,
  seconds float8 DEFAULT NULL, speech_seconds float8 DEFAULT NULL, sample_rate int DEFAULT NULL,
  quality jsonb DEFAULT NULL, attributes jsonb DEFAULT NULL, groups text[] DEFAULT NULL,
  audio bytea DEFAULT NULL, consent text DEFAULT NULL) RETURNS voxprint.enrolment
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(enroll.model);
  unit voxprint.utterances.embedding%TYPE := voxprint._unit(enroll.embedding, known);
  recording bytea := coalesce(enroll.sha256, voxprint._fingerprint(unit, known.name));
  person bigint;
  result voxprint.enrolment;
BEGIN
  PERFORM voxprint._check_name('speaker', enroll.speaker);
  PERFORM voxprint._check_object('attributes', enroll.attributes);
  PERFORM voxprint._check_facts(recording, enroll.seconds, enroll.speech_seconds, enroll.sample_rate);
  person := voxprint._lock_or_make_speaker(enroll.speaker);
  LOOP
    INSERT INTO voxprint.utterances AS u (
      speaker_id, model, embedding, sha256, seconds, speech_seconds, sample_rate, quality, audio)
    VALUES (person, known.name, unit, recording, enroll.seconds, enroll.speech_seconds,
            enroll.sample_rate, enroll.quality, enroll.audio)
    ON CONFLICT DO NOTHING RETURNING u.utterance_id INTO result.utterance_id;
    result.added := FOUND;
    PERFORM voxprint._refuse_foreign(person, recording);
    EXIT WHEN result.added;
    SELECT u.utterance_id INTO result.utterance_id FROM voxprint.utterances u
    WHERE u.sha256 = recording AND u.model = known.name;
    EXIT WHEN FOUND;  -- else the one in the way was removed meanwhile
  END LOOP;
  IF result.added THEN
    PERFORM voxprint._join_groups(person, enroll.groups);
    UPDATE voxprint.speakers s
    SET attributes = s.attributes || coalesce(enroll.attributes, '{}'),
        consent = coalesce(enroll.consent, s.consent)
    WHERE s.speaker_id = person AND (enroll.attributes IS NOT NULL OR enroll.consent IS NOT NULL);
  END IF;
  SELECT count(*), coalesce(sum(u.speech_seconds), 0) INTO result.utterances, result.speech_seconds
  FROM voxprint.utterances u WHERE u.speaker_id = person AND u.model = known.name;
  result.speaker := enroll.speaker;
  RETURN result;
END $$;
