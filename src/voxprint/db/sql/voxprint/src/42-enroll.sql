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

CREATE FUNCTION voxprint._check_facts(sha256 bytea, seconds float8, sample_rate int) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF octet_length(sha256) <> 32 THEN
    RAISE EXCEPTION 'sha256 has 32 bytes, got %', octet_length(sha256) USING ERRCODE = 'VX006',
      HINT = 'Give the digest itself, not its hexadecimal text.';
  ELSIF sample_rate <= 0 THEN
    RAISE EXCEPTION 'sample_rate is a number of Hz above 0, got %', sample_rate USING ERRCODE = 'VX006';
  END IF;
  PERFORM voxprint._check_seconds('seconds', seconds);
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

-- The utterance's row, and whether it is new: the same recording of the same person is not, and
-- changes nothing, unless it is enrolled again to overrule the policy.
CREATE FUNCTION voxprint._add_utterance(
  person bigint, heard voxprint._probe, recording bytea, seconds float8, sample_rate int, audio bytea, overruled boolean,
  OUT utterance_id bigint, OUT added boolean)
LANGUAGE plpgsql AS $$
BEGIN
  LOOP
    INSERT INTO voxprint.utterances AS u (speaker_id, model, channel, embedding, sha256, seconds, speech_seconds,
                                          sample_rate, quality, audio, overruled)
    VALUES (person, (heard.model).name, heard.channel, heard.embedding, recording, _add_utterance.seconds,
            heard.speech_seconds, _add_utterance.sample_rate, heard.quality, _add_utterance.audio,
            _add_utterance.overruled)
    ON CONFLICT DO NOTHING RETURNING u.utterance_id INTO _add_utterance.utterance_id;
    added := FOUND;
    PERFORM voxprint._refuse_foreign(person, recording);
    EXIT WHEN added;
    SELECT u.utterance_id INTO _add_utterance.utterance_id FROM voxprint.utterances u
    WHERE u.sha256 = recording AND u.model = (heard.model).name;
    EXIT WHEN FOUND;  -- else the one in the way was removed meanwhile
  END LOOP;
  IF overruled AND NOT added THEN
    UPDATE voxprint.utterances u SET overruled = true WHERE u.utterance_id = _add_utterance.utterance_id;
  END IF;
END $$;

CREATE FUNCTION voxprint._update_speaker(person bigint, attributes jsonb, groups text[], consent text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM voxprint._join_groups(person, groups);
  UPDATE voxprint.speakers s
  SET attributes = s.attributes || coalesce(_update_speaker.attributes, '{}'),
      consent = coalesce(_update_speaker.consent, s.consent)
  WHERE s.speaker_id = person AND num_nonnulls(_update_speaker.attributes, _update_speaker.consent) > 0;
END $$;

CREATE FUNCTION voxprint.enroll(
  speaker text, embedding @extschema:vector@.vector, model text DEFAULT NULL, sha256 bytea DEFAULT NULL,
  seconds float8 DEFAULT NULL, speech_seconds float8 DEFAULT NULL, sample_rate int DEFAULT NULL,
  quality jsonb DEFAULT NULL, attributes jsonb DEFAULT NULL, groups text[] DEFAULT NULL,
  audio bytea DEFAULT NULL, consent text DEFAULT NULL, overrule boolean DEFAULT false) RETURNS voxprint.enrolment
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(enroll.model);
  probe voxprint._probe := voxprint._probe(enroll.embedding, known, enroll.speech_seconds, enroll.quality);
  policy voxprint.settings := voxprint._settings();
  recording bytea := coalesce(enroll.sha256, voxprint._fingerprint(probe.embedding, known.name));
  overruled boolean := coalesce(enroll.overrule, false);
  person bigint;
  before voxprint._match;
  result voxprint.enrolment;
BEGIN
  PERFORM voxprint._check_name('speaker', enroll.speaker);
  PERFORM voxprint._check_object('attributes', enroll.attributes);
  PERFORM voxprint._check_facts(recording, enroll.seconds, enroll.sample_rate);
  person := voxprint._lock_or_make_speaker(enroll.speaker);
  -- before the utterance is in: it would speak for itself
  before := voxprint._match(probe, person, policy.far, 1);
  result.duplicates := voxprint._duplicates(probe, person, policy.duplicate_far);
  SELECT a.utterance_id, a.added INTO result.utterance_id, result.added
  FROM voxprint._add_utterance(person, probe, recording, enroll.seconds, enroll.sample_rate, enroll.audio, overruled) a;
  result.speaker := enroll.speaker;
  result.reasons := voxprint._quality_reasons(enroll.quality);
  IF result.added THEN
    IF NOT overruled THEN
      PERFORM voxprint._refuse_recording(enroll.quality);
    END IF;
    PERFORM voxprint._update_speaker(person, enroll.attributes, enroll.groups, enroll.consent);
    IF voxprint._speaks_against(before.score, before.llr, known) THEN
      result.reasons := array_append(result.reasons, 'disagrees_with_enrolled');
    END IF;
  END IF;
  RETURN voxprint._count_speech(result, person, known.name);
END $$;
