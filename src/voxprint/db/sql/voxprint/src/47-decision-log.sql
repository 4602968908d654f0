-- Reading, labelling and purging the log of decisions.

CREATE TYPE voxprint.logged_decision AS (
  decision_id bigint, at timestamptz, asked_by text, kind text, speaker text, decision text, score float8, llr float8,
  threshold_llr float8, reject_llr float8, target_rate float8, reasons text[], channel text, speech_seconds float8,
  quality jsonb, cohort int, searched int, features jsonb, watchlists text[], model text, calibration bigint,
  version text, label boolean, labelled_by text, labelled_at timestamptz);

CREATE FUNCTION voxprint.list_decisions(
  since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, speaker text DEFAULT NULL,
  decision text DEFAULT NULL, kind text DEFAULT NULL, labelled boolean DEFAULT NULL, max_rows int DEFAULT 1000)
RETURNS SETOF voxprint.logged_decision
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF list_decisions.decision NOT IN ('accept', 'reject', 'inconclusive', 'changed') THEN
    RAISE EXCEPTION 'a decision is "accept", "reject", "inconclusive" or "changed", got %', voxprint._shown(list_decisions.decision)
      USING ERRCODE = 'VX006';
  ELSIF list_decisions.kind NOT IN ('verify', 'identify', 'compare', 'watch') THEN
    RAISE EXCEPTION 'decisions are made by "verify", "identify", "compare" or "watch", got %', voxprint._shown(list_decisions.kind)
      USING ERRCODE = 'VX006';
  ELSIF list_decisions.max_rows < 0 THEN
    RAISE EXCEPTION 'max_rows is at least 0, got %', list_decisions.max_rows USING ERRCODE = 'VX006';
  ELSIF list_decisions.speaker IS NOT NULL
        AND NOT EXISTS (SELECT FROM voxprint.speakers s WHERE s.external_id = list_decisions.speaker) THEN
    PERFORM voxprint._unknown_speaker(list_decisions.speaker);
  END IF;
  RETURN QUERY
  SELECT d.decision_id, d.at, d.asked_by::text, d.kind, s.external_id::text, d.decision, d.score, d.llr, d.threshold_llr,
         d.reject_llr, d.target_rate, d.reasons, d.channel, d.speech_seconds, d.quality, d.cohort, d.searched,
         d.features, d.watchlists, d.model::text, d.calibration_id, d.version, d.label, d.labelled_by::text,
         d.labelled_at
  FROM voxprint.decisions d LEFT JOIN voxprint.speakers s USING (speaker_id)
  WHERE (list_decisions.since IS NULL OR d.at >= list_decisions.since)
    AND (list_decisions.until IS NULL OR d.at < list_decisions.until)
    AND (list_decisions.speaker IS NULL OR s.external_id = list_decisions.speaker)
    AND (list_decisions.decision IS NULL OR d.decision = list_decisions.decision)
    AND (list_decisions.kind IS NULL OR d.kind = list_decisions.kind)
    AND (list_decisions.labelled IS NULL OR list_decisions.labelled = (d.label IS NOT NULL))
  ORDER BY d.at DESC, d.decision_id DESC LIMIT list_decisions.max_rows;
END $$;

-- The row is locked first, so that of two labels given at once the second says what the first was.
CREATE FUNCTION voxprint.label_decision(decision_id bigint, same boolean)
RETURNS TABLE (labelled_by text, labelled_at timestamptz, earlier boolean, earlier_by text, earlier_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  entry voxprint.decisions;
BEGIN
  IF label_decision.same IS NULL THEN
    RAISE EXCEPTION 'a label is true (the same person) or false, got NULL' USING ERRCODE = 'VX006';
  END IF;
  SELECT * INTO entry FROM voxprint.decisions d WHERE d.decision_id = label_decision.decision_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no decision % is recorded', coalesce(label_decision.decision_id::text, 'NULL')
      USING ERRCODE = 'VX006', HINT = 'voxprint.list_decisions() lists them.';
  END IF;
  RETURN QUERY
  UPDATE voxprint.decisions d
  SET label = label_decision.same, labelled_by = session_user, labelled_at = clock_timestamp()
  WHERE d.decision_id = entry.decision_id
  RETURNING d.labelled_by::text, d.labelled_at, entry.label, entry.labelled_by::text, entry.labelled_at;
END $$;

-- What a calibration is fitted on. People have numbers here, to be told apart, and no names.
CREATE FUNCTION voxprint.labelled_decisions(model text DEFAULT NULL)
RETURNS TABLE (decision_id bigint, kind text, speaker bigint, same boolean, score float8, features jsonb,
               channel text, speech_seconds float8, searched int)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(labelled_decisions.model);
BEGIN
  RETURN QUERY
  SELECT d.decision_id, d.kind, d.speaker_id, d.label, d.score, d.features, d.channel, d.speech_seconds, d.searched
  FROM voxprint.decisions d
  WHERE d.label IS NOT NULL AND d.speaker_id IS NOT NULL AND d.features IS NOT NULL AND d.model = known.name
  ORDER BY d.decision_id;
END $$;

CREATE FUNCTION voxprint.purge_decisions(before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  purged bigint;
BEGIN
  IF purge_decisions.before IS NULL OR purge_decisions.before > clock_timestamp() THEN
    RAISE EXCEPTION 'decisions before a moment of the past are purged, got %', coalesce(purge_decisions.before::text, 'NULL')
      USING ERRCODE = 'VX006', HINT = 'For example now() - interval ''90 days''.';
  END IF;
  DELETE FROM voxprint.decisions d WHERE d.at < purge_decisions.before;
  GET DIAGNOSTICS purged = ROW_COUNT;
  RETURN purged;
END $$;

-- Counts by kind, and within it by one facet after the other; a decision with several reasons counts
-- with each of them. Days are those of UTC. targets and nontargets are decisions that were labelled.
CREATE FUNCTION voxprint.decision_report(since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL)
RETURNS TABLE (kind text, facet text, value text, decisions bigint, accepted bigint, rejected bigint, inconclusive bigint,
               targets bigint, targets_rejected bigint, nontargets bigint, nontargets_accepted bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT d.kind, f.facet, f.value, count(*),
         count(*) FILTER (WHERE d.decision = 'accept'),
         count(*) FILTER (WHERE d.decision = 'reject'),
         count(*) FILTER (WHERE d.decision = 'inconclusive'),
         count(*) FILTER (WHERE d.label),
         count(*) FILTER (WHERE d.label AND d.decision = 'reject'),
         count(*) FILTER (WHERE NOT d.label),
         count(*) FILTER (WHERE NOT d.label AND d.decision = 'accept')
  FROM voxprint.decisions d, LATERAL (
    VALUES ('all', ''), ('day', to_char(d.at AT TIME ZONE 'UTC', 'YYYY-MM-DD')), ('channel', coalesce(d.channel, '')),
           ('target', coalesce(d.target_rate::text, '')), ('calibration', coalesce(d.calibration_id::text, ''))
    UNION ALL
    SELECT 'reason', r FROM unnest(CASE WHEN d.reasons = '{}' THEN ARRAY[''] ELSE d.reasons END) r) AS f (facet, value)
  WHERE (since IS NULL OR d.at >= since) AND (until IS NULL OR d.at < until)
  GROUP BY d.kind, f.facet, f.value
  ORDER BY d.kind, f.facet, f.value;
END;
