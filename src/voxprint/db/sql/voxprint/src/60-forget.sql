-- Removal of a person, or of an utterance. Deleting is not erasing: the bytes stay in the data files until a scrub
-- (VACUUM FULL, checkpoints, a switch of the WAL file) has overwritten them, so every removal
-- leaves a tombstone; whoever scrubs, as the tables' owner, sets its scrubbed_at.

CREATE FUNCTION voxprint._bury(removed jsonb) RETURNS voxprint.removal
LANGUAGE plpgsql AS $$
DECLARE
  result voxprint.removal := (NULL, removed, true);
BEGIN
  INSERT INTO voxprint.tombstones AS t (removed) VALUES (_bury.removed) RETURNING t.tombstone INTO result.tombstone;
  RETURN result;
END $$;

CREATE FUNCTION voxprint.forget(speaker text) RETURNS voxprint.removal
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  person bigint;
  memberships int;
  voiceprints int;
  utterances int;
  decisions int;
BEGIN
  SELECT s.speaker_id INTO person FROM voxprint.speakers s WHERE s.external_id = forget.speaker FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM voxprint._unknown_speaker(forget.speaker);
  END IF;
  -- before voiceprints are: configure(), which waits for both, waits in this order
  LOCK TABLE voxprint.utterances IN ROW EXCLUSIVE MODE;
  DELETE FROM voxprint.memberships m WHERE m.speaker_id = person;
  GET DIAGNOSTICS memberships = ROW_COUNT;
  DELETE FROM voxprint.voiceprints v WHERE v.speaker_id = person;
  GET DIAGNOSTICS voiceprints = ROW_COUNT;
  DELETE FROM voxprint.utterances u WHERE u.speaker_id = person;
  GET DIAGNOSTICS utterances = ROW_COUNT;
  decisions := voxprint._forget_decisions(person);
  DELETE FROM voxprint.speakers s WHERE s.speaker_id = person;
  RETURN voxprint._bury(jsonb_build_object('speakers', 1, 'memberships', memberships, 'utterances', utterances,
                                           'voiceprints', voiceprints, 'decisions', decisions));
END $$;
