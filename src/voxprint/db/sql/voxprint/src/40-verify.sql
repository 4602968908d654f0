-- One to one: is the probe this person, and are two probes one person.

CREATE FUNCTION voxprint.verify(speaker text, embedding @extschema:vector@.vector, model text DEFAULT NULL,
                                threshold float8 DEFAULT NULL) RETURNS voxprint.verification
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(verify.model);
  probe voxprint.voiceprints.embedding%TYPE := voxprint._unit(verify.embedding, known);
  person voxprint.speakers;
  result voxprint.verification;
BEGIN
  PERFORM voxprint._check_threshold(verify.threshold);
  SELECT * INTO person FROM voxprint.speakers s WHERE s.external_id = verify.speaker;
  IF NOT FOUND THEN
    PERFORM voxprint._unknown_speaker(verify.speaker);
  ELSIF person.status <> 'active' THEN
    RAISE EXCEPTION 'speaker % is %, only active speakers are verified',
      voxprint._shown(verify.speaker), person.status USING ERRCODE = 'VX006',
      HINT = 'voxprint.set_status(speaker, ''active'') lifts it.';
  END IF;
  SELECT max(voxprint._score(v.embedding, probe)) INTO result.score
  FROM voxprint.voiceprints v WHERE v.speaker_id = person.speaker_id AND v.model = known.name;
  IF result.score IS NULL THEN
    RAISE EXCEPTION 'speaker % has no voiceprint of model "%"', voxprint._shown(verify.speaker), known.name
      USING ERRCODE = 'VX004', HINT = 'Enrol an utterance with this model, or name the model that was used.';
  END IF;
  result.speaker := verify.speaker;
  result.threshold := coalesce(verify.threshold, known.threshold);
  result.decision := voxprint._decision(result.score, result.threshold);
  result.model := known.name;
  RETURN result;
END $$;

CREATE FUNCTION voxprint.compare(a @extschema:vector@.vector, b @extschema:vector@.vector, model text DEFAULT NULL,
                                 threshold float8 DEFAULT NULL) RETURNS voxprint.comparison
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(compare.model);
  result voxprint.comparison;
BEGIN
  PERFORM voxprint._check_threshold(compare.threshold);
  result.score := voxprint._score(voxprint._unit(compare.a, known), voxprint._unit(compare.b, known));
  result.threshold := coalesce(compare.threshold, known.threshold);
  result.decision := voxprint._decision(result.score, result.threshold);
  result.model := known.name;
  RETURN result;
END $$;
