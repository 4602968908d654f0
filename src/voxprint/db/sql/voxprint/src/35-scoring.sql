-- From a pair of embeddings to a decision.

CREATE TYPE voxprint._judgement AS (
  score float8, llr float8, threshold_llr float8, reject_llr float8, decision text, reasons text[], cohort int,
  calibration bigint, features jsonb);

-- The model's cosine threshold decides, until a calibration does.
CREATE FUNCTION voxprint._judge(
  probe @extschema:vector@.vector, reference @extschema:vector@.vector, person bigint, model voxprint.models,
  rate float8, searched int, probe_speech float8, probe_quality jsonb, reference_speech float8,
  reference_channel text) RETURNS voxprint._judgement
LANGUAGE plpgsql STABLE AS $$
DECLARE
  result voxprint._judgement;
BEGIN
  result.score := voxprint._score(probe, reference);
  result.decision := CASE WHEN result.score >= model.threshold THEN 'accept' ELSE 'reject' END;
  result.reasons := voxprint._quality_reasons(probe_quality) || 'uncalibrated'::text;
  RETURN result;
END $$;
