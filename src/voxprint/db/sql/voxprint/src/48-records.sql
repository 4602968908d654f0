-- Verifications and searches as records of the log.

CREATE FUNCTION voxprint._record_verification(probe voxprint._probe, match voxprint._match,
                                              answer voxprint.verification, kind text DEFAULT 'verify')
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  entry voxprint.decisions;
BEGIN
  entry.kind := _record_verification.kind;
  entry.speaker_id := match.speaker_id;
  entry.decision := answer.decision;
  entry.score := answer.score;
  entry.llr := answer.llr;
  entry.threshold_llr := answer.threshold_llr;
  entry.reject_llr := answer.reject_llr;
  entry.target_rate := answer.far;
  entry.reasons := answer.reasons;
  entry.channel := answer.channel;
  entry.speech_seconds := probe.speech_seconds;
  entry.quality := probe.quality;
  entry.cohort := answer.cohort;
  entry.searched := 1;
  entry.features := match.features;
  entry.watchlists := answer.watchlists;
  entry.model := answer.model;
  entry.calibration_id := answer.calibration;
  RETURN voxprint._record(entry);
END $$;

-- One record a search: what was answered about the nearest; a NULL speaker where nobody was there.
CREATE FUNCTION voxprint._record_search(probe voxprint._probe, best voxprint._match, searched int, rate float8)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  entry voxprint.decisions;
BEGIN
  entry.kind := 'identify';
  entry.speaker_id := best.speaker_id;
  entry.decision := coalesce(best.decision, 'reject');
  entry.score := best.score;
  entry.llr := best.llr;
  entry.threshold_llr := best.threshold_llr;
  entry.reject_llr := best.reject_llr;
  entry.target_rate := rate;
  entry.reasons := coalesce(best.reasons, voxprint._quality_reasons(probe.quality));
  entry.channel := best.channel;
  entry.speech_seconds := probe.speech_seconds;
  entry.quality := probe.quality;
  entry.cohort := best.cohort;
  entry.searched := coalesce(searched, 0);
  entry.features := best.features;
  entry.model := (probe.model).name;
  entry.calibration_id := best.calibration;
  RETURN voxprint._record(entry);
END $$;
