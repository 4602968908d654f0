-- The log of decisions: who asked, what was answered and by which model and calibration. Never the
-- audio, never an embedding. verify and identify write it, in their caller's transaction; nobody
-- changes it but the functions below.

CREATE TABLE voxprint.decisions (
  decision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL,
  asked_by text COLLATE "C" NOT NULL,
  kind text NOT NULL CHECK (kind IN ('verify', 'identify', 'compare', 'watch')),
  speaker_id bigint REFERENCES voxprint.speakers,
  decision text NOT NULL CHECK (decision IN ('accept', 'reject', 'inconclusive', 'changed')),
  score float8,
  llr float8,
  threshold_llr float8,
  reject_llr float8,
  target_rate float8,
  reasons text[] NOT NULL,
  channel text,
  speech_seconds float8,
  quality jsonb,
  cohort int,
  searched int,
  features jsonb,
  watchlists text[],
  model text COLLATE "C" NOT NULL REFERENCES voxprint.models,
  calibration_id bigint REFERENCES voxprint.calibrations,
  version text NOT NULL,
  label boolean,
  labelled_by text COLLATE "C",
  labelled_at timestamptz
);
COMMENT ON TABLE voxprint.decisions IS
  'answers of verify and identify that were recorded; appended to, labelled and purged by functions only';
COMMENT ON COLUMN voxprint.decisions.asked_by IS 'the role that logged in, whatever role it has SET since';
COMMENT ON COLUMN voxprint.decisions.speaker_id IS
  'claimed, or the most alike; NULL where nobody was found, or where the person was forgotten';
COMMENT ON COLUMN voxprint.decisions.target_rate IS 'the far or fpir asked for';
COMMENT ON COLUMN voxprint.decisions.searched IS 'number of people the answer was picked from';
COMMENT ON COLUMN voxprint.decisions.features IS 'what a calibration is fitted on';
COMMENT ON COLUMN voxprint.decisions.version IS 'of extension voxprint';
COMMENT ON COLUMN voxprint.decisions.label IS 'whether it was the same person, as somebody found out later';
CREATE INDEX decisions_at ON voxprint.decisions (at);
CREATE INDEX decisions_speaker ON voxprint.decisions (speaker_id) WHERE speaker_id IS NOT NULL;
ALTER TABLE voxprint.decisions
  ALTER COLUMN speaker_id SET STATISTICS 0,
  ALTER COLUMN score SET STATISTICS 0,
  ALTER COLUMN llr SET STATISTICS 0,
  ALTER COLUMN speech_seconds SET STATISTICS 0,
  ALTER COLUMN quality SET STATISTICS 0,
  ALTER COLUMN features SET STATISTICS 0,
  ALTER COLUMN watchlists SET STATISTICS 0;

-- Only the functions below act as the owner; whoever was given rights on the table is still refused,
-- a superuser, too, so that nobody rewrites the log by mistake. What they may change is written here
-- once more: a label, or everything that tells of a person who is forgotten.
CREATE FUNCTION voxprint._guard_decisions() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  labels text[] := '{label,labelled_by,labelled_at}';
  personal text[] := '{speaker_id,score,llr,speech_seconds,quality,features,watchlists}';
BEGIN
  IF current_user = 'voxprint_owner' THEN
    IF TG_OP = 'DELETE' THEN
      RETURN OLD;
    ELSIF TG_OP = 'UPDATE' AND (
        to_jsonb(NEW) - labels = to_jsonb(OLD) - labels
        OR (to_jsonb(NEW) - personal = to_jsonb(OLD) - personal
            AND num_nonnulls(NEW.speaker_id, NEW.score, NEW.llr, NEW.speech_seconds, NEW.quality,
                             NEW.features, NEW.watchlists) = 0)) THEN
      RETURN NEW;
    END IF;
  END IF;
  RAISE EXCEPTION 'the log of decisions is only added to, % is refused', TG_OP USING ERRCODE = '42501',
    HINT = 'voxprint.label_decision() labels a decision, voxprint.purge_decisions() removes old ones.';
END $$;
CREATE TRIGGER guard_decisions BEFORE UPDATE OR DELETE ON voxprint.decisions
  FOR EACH ROW EXECUTE FUNCTION voxprint._guard_decisions();
CREATE TRIGGER guard_all_decisions BEFORE TRUNCATE ON voxprint.decisions
  FOR EACH STATEMENT EXECUTE FUNCTION voxprint._guard_decisions();

CREATE FUNCTION voxprint._version() RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT coalesce((SELECT e.extversion FROM pg_extension e WHERE e.extname = 'voxprint'),
                  substring(obj_description('voxprint'::regnamespace, 'pg_namespace') FROM '\[script ([0-9.]+)'),
                  'unknown');
END;

-- Is this decision to be recorded? Where the settings say always, nobody gets around it: neither by
-- asking not to be, nor by a transaction that cannot write.
CREATE FUNCTION voxprint._recording(asked boolean) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
  always boolean := (voxprint._settings()).record_decisions = 'always';
BEGIN
  IF always AND NOT asked THEN
    RAISE EXCEPTION 'every decision of this database is recorded, and record => false came' USING ERRCODE = 'VX006',
      HINT = 'Leave record out; voxprint.configure(''record_decisions'', ''asked'') lifts the rule.';
  ELSIF NOT (always OR coalesce(asked, false)) THEN
    RETURN false;
  ELSIF current_setting('transaction_read_only') = 'on' THEN
    RAISE EXCEPTION 'a decision is to be recorded, and this transaction is read-only' USING ERRCODE = 'VX006',
      HINT = CASE WHEN always THEN 'The settings have every decision recorded: ask in a transaction that may write.'
                  ELSE 'Leave record out, or ask in a transaction that may write.' END;
  END IF;
  RETURN true;
END $$;

-- Of what the caller tells about a recording, the facts we know the names of, and nothing long: a
-- log without voices must not become their store because a caller calls an embedding "quality".
CREATE FUNCTION voxprint._logged_quality(quality jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT jsonb_object_agg(q.key, q.value)
  FROM jsonb_each(CASE WHEN jsonb_typeof(quality) = 'object' THEN quality END) q
  WHERE q.key IN ('snr_db', 'clipped', 'bandwidth_hz', 'codec', 'channels', 'agreement', 'peak')
    AND jsonb_typeof(q.value) IN ('number', 'string', 'boolean', 'null') AND length(q.value::text) <= 40;
END;

-- Everything but number, time, asker, version and label is as the caller filled it in. Somebody may
-- have been forgotten since they were compared: then the answer is void, too.
CREATE FUNCTION voxprint._record(entry voxprint.decisions) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM voxprint.speakers s WHERE s.speaker_id = entry.speaker_id FOR KEY SHARE;
  IF NOT FOUND AND entry.speaker_id IS NOT NULL THEN
    RAISE EXCEPTION 'the person that the answer is about was forgotten meanwhile' USING ERRCODE = '40001',
      HINT = 'Ask again.';
  END IF;
  INSERT INTO voxprint.decisions AS d (at, asked_by, kind, speaker_id, decision, score, llr, threshold_llr,
    reject_llr, target_rate, reasons, channel, speech_seconds, quality, cohort, searched, features, watchlists,
    model, calibration_id, version)
  VALUES (clock_timestamp(), session_user, entry.kind, entry.speaker_id, entry.decision, entry.score, entry.llr,
    entry.threshold_llr, entry.reject_llr, entry.target_rate,
    ARRAY(SELECT DISTINCT r FROM unnest(entry.reasons) r WHERE r ~ '^[a-z][a-z_]{0,39}$' ORDER BY r LIMIT 20),
    entry.channel, entry.speech_seconds, voxprint._logged_quality(entry.quality), entry.cohort, entry.searched,
    entry.features, entry.watchlists, entry.model, entry.calibration_id, voxprint._version())
  RETURNING d.decision_id INTO entry.decision_id;
  RETURN entry.decision_id;
END $$;

-- Decisions about a person who is forgotten still count in the rates, and say nothing about them.
CREATE FUNCTION voxprint._forget_decisions(person bigint) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
  forgotten int;
BEGIN
  UPDATE voxprint.decisions d
  SET speaker_id = NULL, score = NULL, llr = NULL, speech_seconds = NULL, quality = NULL, features = NULL,
      watchlists = NULL
  WHERE d.speaker_id = person;
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  RETURN forgotten;
END $$;

-- extension only: begin
SELECT pg_catalog.pg_extension_config_dump('voxprint.decisions', '');
SELECT pg_catalog.pg_extension_config_dump('voxprint.decisions_decision_id_seq', '');
-- extension only: end
