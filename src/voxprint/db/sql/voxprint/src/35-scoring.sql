-- From a pair of embeddings to a decision: score, where a stranger would score, log-likelihood
-- ratio, decision. The twin of voxprint.score.calibration in Python, which says where the formulae
-- come from and fits the coefficients; a test compares the two.

CREATE TYPE voxprint._judgement AS (
  score float8, llr float8, threshold_llr float8, reject_llr float8, decision text, reasons text[], cohort int,
  calibration bigint, features jsonb);

-- What a judgement rests on, by the names of voxprint.score.evidence.
CREATE TYPE voxprint._evidence AS (
  score float8, cohort_mean float8, cohort_variance float8, cohort_size int, probe_level float8,
  probe_spread float8, reference_level float8, probe_speech float8, reference_speech float8, snr_db float8,
  telephone float8);

-- People whose voiceprints a probe is compared with to learn where strangers score, at most: the
-- first by cohort_key, a draw that stays the same. Five hundred tell the mean to 4 % of the
-- deviation, and the deviation to 3 %.
CREATE FUNCTION voxprint._cohort_limit() RETURNS int LANGUAGE sql IMMUTABLE RETURN 500;

-- Fewer people than this tell little about where strangers score.
CREATE FUNCTION voxprint._small_cohort() RETURNS int LANGUAGE sql IMMUTABLE RETURN 9;

CREATE FUNCTION voxprint._numbers(list jsonb) RETURNS float8[]
LANGUAGE sql IMMUTABLE
RETURN ARRAY(SELECT n::float8 FROM jsonb_array_elements_text(list) n);

-- The x that a standard normal variable exceeds with probability p. Abramowitz and Stegun 26.2.23,
-- good to 4.5e-4, then Newton's method.
CREATE FUNCTION voxprint._normal_quantile(p float8) RETURNS float8
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  t float8 := sqrt(-2 * ln(least(p, 1 - p)));
  x float8 := t - (2.515517 + t * (0.802853 + t * 0.010328))
                  / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
BEGIN
  FOR step IN 1..2 LOOP
    x := x + (erfc(x / sqrt(2.0)) / 2 - least(p, 1 - p)) * sqrt(2 * pi()) * exp(x * x / 2);
  END LOOP;
  RETURN CASE WHEN p > 0.5 THEN -x ELSE x END;
END $$;

-- How the probe scores against other people than those left out, who came the same way as the
-- reference where there are enough of those. From five on the nearest is left out: it may be the
-- person who speaks (an impostor who is enrolled, somebody enrolled twice, a twin).
CREATE FUNCTION voxprint._cohort(INOUT e voxprint._evidence, probe @extschema:vector@.vector, model text,
                                 left_out bigint[], channel text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
  total float8;
  squares float8;
  largest float8;
BEGIN
  SELECT count(*), sum(s.score), sum(s.score ^ 2), max(s.score) INTO e.cohort_size, total, squares, largest
  FROM (SELECT voxprint._score(v.embedding, probe) AS score FROM voxprint.voiceprints v
        WHERE v.model = _cohort.model AND v.channel = _cohort.channel
          AND v.speaker_id <> ALL (left_out)
        ORDER BY v.cohort_key LIMIT voxprint._cohort_limit()) s;
  IF e.cohort_size < 10 THEN
    SELECT count(*), sum(s.score), sum(s.score ^ 2), max(s.score) INTO e.cohort_size, total, squares, largest
    FROM (SELECT max(voxprint._score(v.embedding, probe)) AS score
          FROM (SELECT * FROM voxprint.voiceprints a
                WHERE a.model = _cohort.model AND a.speaker_id <> ALL (left_out)
                LIMIT 10 * voxprint._cohort_limit()) v
          GROUP BY v.speaker_id, v.cohort_key ORDER BY v.cohort_key LIMIT voxprint._cohort_limit()) s;
  END IF;
  IF e.cohort_size >= 5 THEN
    e.cohort_size := e.cohort_size - 1;
    total := total - largest;
    squares := squares - largest ^ 2;
  END IF;
  e.cohort_mean := coalesce(total / nullif(e.cohort_size, 0), 0);
  e.cohort_variance := coalesce(greatest(squares / nullif(e.cohort_size, 0) - e.cohort_mean ^ 2, 0), 0);
END $$;

CREATE FUNCTION voxprint._evidence(
  probe @extschema:vector@.vector, reference @extschema:vector@.vector, left_out bigint[], model text,
  calibration bigint, probe_speech float8, probe_quality jsonb, reference_speech float8, channel text)
RETURNS voxprint._evidence
LANGUAGE plpgsql STABLE AS $$
DECLARE
  e voxprint._evidence;
BEGIN
  e.score := voxprint._score(probe, reference);
  SELECT sum(s.p) FILTER (WHERE s.component = 0), sum(s.r) FILTER (WHERE s.component = 0),
         sqrt(sum(CASE WHEN s.component = 0 THEN s.weight ELSE s.weight * s.p ^ 2 END))
  INTO e.probe_level, e.reference_level, e.probe_spread
  FROM (SELECT b.component, b.weight, voxprint._score(b.direction, probe) AS p,
               CASE WHEN b.component = 0 THEN voxprint._score(b.direction, reference) END AS r
        FROM voxprint.backgrounds b WHERE b.calibration_id = calibration) s;
  e.probe_speech := probe_speech;
  e.reference_speech := reference_speech;
  e.snr_db := voxprint._quality_number(probe_quality, 'snr_db');
  e.telephone := (voxprint._channel(probe_quality) = 'telephone')::int;
  RETURN voxprint._cohort(e, probe, model, left_out, channel);
END $$;

-- A number among the facts about a recording. A caller may have put anything there.
CREATE FUNCTION voxprint._quality_number(quality jsonb, fact text) RETURNS float8
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN jsonb_typeof(quality -> fact) = 'number' AND abs((quality -> fact)::numeric) < 1e9
            THEN round((quality -> fact)::numeric, 9)::float8 END;

-- Net speech on the scale of the model: natural logarithm, from 0.1 to 30 s.
CREATE FUNCTION voxprint._log_speech(seconds float8, typical float8) RETURNS float8
LANGUAGE sql IMMUTABLE RETURN ln(greatest(0.1, least(30, coalesce(seconds, typical))));

-- Offset and slope of the LLR over z, and z itself.
CREATE FUNCTION voxprint._llr_line(e voxprint._evidence, p jsonb, OUT z float8, OUT start float8, OUT slope float8)
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  mean float8[] := voxprint._numbers(p -> 'mean');
  log_scale float8[] := voxprint._numbers(p -> 'log_scale');
  target float8[] := voxprint._numbers(p -> 'target');
  llr float8[] := voxprint._numbers(p -> 'llr');
  typical float8[] := voxprint._numbers(p -> 'typical');
  kappa float8 := (p ->> 'kappa')::float8;
  nu float8 := (p ->> 'nu')::float8;
  people float8 := kappa + e.cohort_size;
  freedom float8 := nu + e.cohort_size;
  speech float8 := voxprint._log_speech(e.probe_speech, typical[1]);
  prior float8 := mean[1] + mean[2] * e.probe_level + mean[3] * e.reference_level + mean[4] * speech;
  prior_scale float8 := exp(log_scale[1] + log_scale[2] * ln(e.probe_spread) + log_scale[3] * speech);
  location float8 := (kappa * prior + e.cohort_size * e.cohort_mean) / people;
  scale float8 := sqrt((nu * prior_scale ^ 2 + e.cohort_size * e.cohort_variance
                        + kappa * e.cohort_size / people * (e.cohort_mean - prior) ^ 2)
                       / freedom * (1 + 1 / people));
  t float8 := (e.score - location) / scale;
  snr float8 := (greatest(-5, least(30, coalesce(e.snr_db, typical[3]))) - 20) / 10;
  expected float8 := target[1] + target[2] * speech
    + target[3] * voxprint._log_speech(e.reference_speech, typical[2]) + target[4] * ln(e.probe_spread / 0.1)
    + target[5] * e.probe_level + target[6] * snr + target[7] * e.telephone;
  distance float8 := greatest(0.2, least(12, (expected - location) / scale));
BEGIN
  z := sign(t) * sqrt(ln(1 + t ^ 2 / freedom) * (freedom - 1) ^ 2 / (freedom - 1.5));
  start := llr[1] + llr[2] * distance + llr[3] * distance ^ 2;
  slope := greatest(0.05, llr[4] + llr[5] * distance);
END $$;

-- The rate at which one of so many people may be accepted where their best may be at the rate given;
-- 1 - (1 - rate) ^ (1 / searched) would lose the digits of a small rate. Below 1e-200 nothing is told apart.
CREATE FUNCTION voxprint._rate_of_each(rate float8, searched int) RETURNS float8
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN searched <= 1 THEN greatest(rate, 1e-200)
            WHEN rate < 1e-6 THEN greatest(rate, 1e-200) / searched
            ELSE 1 - (1 - rate) ^ (1.0 / searched) END;

-- z that a stranger reaches at a rate, as the best of so many people.
CREATE FUNCTION voxprint._needed_z(e voxprint._evidence, p jsonb, rate float8, searched int) RETURNS float8
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  tail float8[] := voxprint._numbers(CASE WHEN searched > 1 THEN p -> 'search_tail' ELSE p -> 'tail' END);
BEGIN
  RETURN tail[1] + greatest(0.2, tail[2] + tail[3] * ln(e.probe_spread / 0.1))
         * voxprint._normal_quantile(voxprint._rate_of_each(rate, searched));
END $$;

-- The LLR below which is rejected: where an error costs no more than asking again. Asking again
-- costs more the longer somebody has spoken already, since more of the same tells less and less;
-- up to one second and a half, so that nobody is sent away whom much speaks for. Where next to
-- nobody is enrolled to compare with, up to one: what is lacking then is not speech.
CREATE FUNCTION voxprint._reject_llr(speech float8, cohort int) RETURNS float8
LANGUAGE plpgsql STABLE AS $$
DECLARE
  s voxprint.settings := voxprint._settings();
  -- in logarithms: whatever is configured, and whatever somebody says was heard, is a number then
  log_share float8 := ln(greatest(s.cost_inconclusive, 1e-300)) - ln(s.cost_false_reject)
    + ln(greatest(least(speech, CASE WHEN cohort < voxprint._small_cohort() THEN 1 ELSE 1.5 END), 1e-300));
  share float8 := exp(greatest(least(log_share, 0), ln(1e-9::float8)));
BEGIN
  IF share >= 1 THEN
    RETURN NULL;
  END IF;
  RETURN ln(share / (1 - share)) - ln(s.p_target / (1 - s.p_target));
END $$;

-- Of the cohort are left out the person whose reference it is and, where that is known, the one who
-- speaks: under a second name, they would be taken for a stranger. Without a calibration the model's
-- cosine threshold decides.
CREATE FUNCTION voxprint._judge(
  probe @extschema:vector@.vector, reference @extschema:vector@.vector, person bigint, model voxprint.models,
  rate float8, searched int, probe_speech float8, probe_quality jsonb, reference_speech float8,
  reference_channel text, speaking bigint DEFAULT NULL) RETURNS voxprint._judgement
LANGUAGE plpgsql STABLE AS $$
DECLARE
  known voxprint.calibrations := voxprint._calibration(model);
  e voxprint._evidence;
  line record;
  result voxprint._judgement;
BEGIN
  result.reasons := voxprint._quality_reasons(probe_quality);
  IF known.calibration_id IS NULL THEN
    result.score := voxprint._score(probe, reference);
    result.decision := CASE WHEN result.score >= model.threshold THEN 'accept' ELSE 'reject' END;
    result.reasons := array_append(result.reasons, 'uncalibrated');
    RETURN result;
  END IF;
  e := voxprint._evidence(probe, reference, array_remove(ARRAY[person, speaking], NULL), model.name,
                          known.calibration_id, probe_speech, probe_quality, reference_speech, reference_channel);
  SELECT * INTO line FROM voxprint._llr_line(e, known.parameters);
  result.score := e.score;
  result.llr := line.start + line.slope * line.z;
  -- What few people tell of strangers is taken with caution: seven to one, at least.
  result.threshold_llr := greatest(line.start + line.slope * voxprint._needed_z(e, known.parameters, rate, searched),
                                   CASE WHEN e.cohort_size < voxprint._small_cohort() THEN 2 END);
  result.reject_llr := least(result.threshold_llr, voxprint._reject_llr(
    coalesce(probe_speech, (known.parameters -> 'typical' ->> 0)::float8), e.cohort_size));
  result.decision := CASE WHEN result.llr >= result.threshold_llr THEN 'accept'
                          WHEN result.llr < result.reject_llr THEN 'reject' ELSE 'inconclusive' END;
  result.cohort := e.cohort_size;
  result.calibration := known.calibration_id;
  result.features := to_jsonb(e);
  IF e.cohort_size = 0 THEN
    result.reasons := array_append(result.reasons, 'no_cohort');
  ELSIF e.cohort_size < voxprint._small_cohort() THEN
    result.reasons := array_append(result.reasons, 'small_cohort');
  END IF;
  RETURN result;
END $$;
