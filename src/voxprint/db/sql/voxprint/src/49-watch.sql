-- One to one while somebody speaks: each look judges the speech so far, and a sequential test says
-- whether that is enough. Where another voice takes over, the session that listens says so
-- (voxprint.live), and it is recorded here.

CREATE TYPE voxprint.look AS (
  speaker text, decision text, score float8, llr float8, accept_llr float8, reject_llr float8, far float8,
  frr float8, reasons text[], channel text, cohort int, model text, calibration bigint, decision_id bigint);

-- Between which LLRs one goes on listening: Wald's test (Sequential Tests of Statistical Hypotheses,
-- 1945), whose bounds are reached with room to spare, since speech comes in steps. What is lost by
-- that is a constant (Siegmund, Sequential Analysis, 1985, chapter 10); these were fitted on calls
-- (benchmarks.live). The twin of voxprint.score.sequential; a test compares the two.
CREATE FUNCTION voxprint._bounds(far float8, frr float8, cohort int, OUT accept_llr float8, OUT reject_llr float8)
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT greatest(ln((1 - frr) / far) - 0.6, CASE WHEN cohort < voxprint._small_cohort() THEN 2 ELSE 0 END),
         least(ln(frr / (1 - far)) + 0.6, 0);
END;

-- Less speech than this, in seconds, decides nothing: what is known of so short a piece, its noise above
-- all, is too little for an LLR to be believed.
CREATE FUNCTION voxprint._least_to_decide() RETURNS float8 LANGUAGE sql IMMUTABLE RETURN 0.4;

-- Whoever listens to the channel learns that there is something to read, and not about whom: every
-- role of the database may listen.
CREATE FUNCTION voxprint._alert(decision_id bigint, decision text) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
  SELECT pg_notify('voxprint_alert', json_build_object('decision_id', decision_id, 'decision', decision)::text);
END;

CREATE FUNCTION voxprint._record_look(probe voxprint._probe, match voxprint._match, answer voxprint.look)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  number bigint := voxprint._record_verification(probe, match, (
    answer.speaker, answer.decision, answer.score, answer.llr, answer.accept_llr, answer.reject_llr, answer.far,
    answer.reasons, ARRAY[]::text[], answer.channel, answer.cohort, answer.model, answer.calibration,
    NULL)::voxprint.verification, 'watch');
BEGIN
  IF answer.decision IN ('reject', 'changed') THEN
    PERFORM voxprint._alert(number, answer.decision);
  END IF;
  RETURN number;
END $$;

-- Both rates, or an error that says what is wrong with them.
CREATE FUNCTION voxprint._watch_rates(INOUT far float8, INOUT frr float8)
LANGUAGE plpgsql STABLE AS $$
DECLARE
  s voxprint.settings := voxprint._settings();
BEGIN
  far := voxprint._rate('far', far, s.far);
  frr := voxprint._rate('frr', frr, s.frr);
  IF far + frr >= 1 THEN
    RAISE EXCEPTION 'far and frr are less than 1 together, got % and %', far, frr USING ERRCODE = 'VX006';
  END IF;
END $$;

CREATE FUNCTION voxprint._watchable(person bigint, speaker text, model voxprint.models) RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM voxprint.voiceprints v WHERE v.speaker_id = person AND v.model = model.name) THEN
    RAISE EXCEPTION 'speaker % has no voiceprint of model "%"', voxprint._shown(speaker), model.name
      USING ERRCODE = 'VX004', HINT = 'Enrol an utterance with this model, or name the model that was used.';
  ELSIF (voxprint._calibration(model)).calibration_id IS NULL THEN
    RAISE EXCEPTION 'a sequential test needs log-likelihood ratios, and model "%" has no calibration', model.name
      USING ERRCODE = 'VX008', HINT = 'Fit one with voxprint calibrate, or use a model that has one.';
  END IF;
END $$;

CREATE FUNCTION voxprint.check_watch(
  speaker text, model text DEFAULT NULL, far float8 DEFAULT NULL, frr float8 DEFAULT NULL) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM voxprint._watch_rates(check_watch.far, check_watch.frr);
  PERFORM voxprint._watchable(voxprint._claimed(check_watch.speaker), check_watch.speaker,
                              voxprint._model(check_watch.model));
END $$;

-- The embedding is of all that counts so far. decided: what was decided before, by which nothing is
-- decided anew; changed: it is of another voice than before, as the session has found.
CREATE FUNCTION voxprint.look(
  speaker text, embedding @extschema:vector@.vector, model text DEFAULT NULL, far float8 DEFAULT NULL,
  frr float8 DEFAULT NULL, speech_seconds float8 DEFAULT NULL, quality jsonb DEFAULT NULL,
  decided text DEFAULT NULL, changed boolean DEFAULT false) RETURNS voxprint.look
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  rates record := voxprint._watch_rates(look.far, look.frr);
  probe voxprint._probe := voxprint._probe(look.embedding, voxprint._model(look.model), look.speech_seconds,
                                           look.quality);
  person bigint := voxprint._claimed(look.speaker);
  m voxprint._match;
  result voxprint.look;
BEGIN
  IF look.decided NOT IN ('undecided', 'accept', 'reject') THEN
    RAISE EXCEPTION 'what was decided is "undecided", "accept" or "reject", got %', voxprint._shown(look.decided)
      USING ERRCODE = 'VX006';
  END IF;
  PERFORM voxprint._watchable(person, look.speaker, probe.model);
  m := voxprint._match(probe, person, rates.far, 1);
  result := (look.speaker, 'undecided', m.score, m.llr, NULL, NULL, rates.far, rates.frr, m.reasons, m.channel,
             m.cohort, (probe.model).name, m.calibration, NULL);
  SELECT b.* INTO result.accept_llr, result.reject_llr FROM voxprint._bounds(rates.far, rates.frr, m.cohort) b;
  IF look.changed THEN
    result.decision := 'changed';
  ELSIF look.decided IN ('accept', 'reject') THEN
    result.decision := look.decided;
    RETURN result;
  ELSIF NOT m.ready OR probe.speech_seconds < voxprint._least_to_decide() THEN
    RETURN result;
  ELSIF m.llr >= result.accept_llr THEN
    result.decision := 'accept';
  ELSIF m.llr <= result.reject_llr THEN
    result.decision := 'reject';
  END IF;
  IF result.decision <> 'undecided' THEN
    result.decision_id := voxprint._record_look(probe, m, result);
  END IF;
  RETURN result;
END $$;
