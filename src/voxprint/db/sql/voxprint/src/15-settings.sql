-- Settings of the whole database, in one row: how often decisions may be wrong, what each error
-- costs, what enrolment asks for, what is recorded. They decide about people, so they are a table
-- that only voxprint.configure() writes, and nothing that a session could SET for itself.
--
-- The definitions below are all there is to a setting: show_settings() and configure() take names,
-- types, defaults, limits and descriptions from the catalogue.

CREATE TABLE voxprint.settings (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  far float8 NOT NULL DEFAULT 0.01 CHECK (far > 0 AND far < 1),
  frr float8 NOT NULL DEFAULT 0.05 CHECK (frr > 0 AND frr < 1),
  fpir float8 NOT NULL DEFAULT 0.01 CHECK (fpir > 0 AND fpir < 1),
  duplicate_far float8 NOT NULL DEFAULT 0.01 CHECK (duplicate_far > 0 AND duplicate_far < 1),
  min_enrol_speech float8 NOT NULL DEFAULT 3 CHECK (min_enrol_speech BETWEEN 0 AND 3600),
  record_decisions text NOT NULL DEFAULT 'asked' CHECK (record_decisions IN ('asked', 'always')),
  check_watchlists text NOT NULL DEFAULT 'asked' CHECK (check_watchlists IN ('asked', 'always')),
  cost_false_reject float8 NOT NULL DEFAULT 1 CHECK (cost_false_reject > 0 AND cost_false_reject <= 1e6),
  cost_inconclusive float8 NOT NULL DEFAULT 0.5 CHECK (cost_inconclusive BETWEEN 0 AND 1e6),
  p_target float8 NOT NULL DEFAULT 0.5 CHECK (p_target > 0 AND p_target < 1),
  default_model text COLLATE "C" NOT NULL DEFAULT 'campplus_zh_en_192'  -- REFERENCES voxprint.models, once there are any
);
COMMENT ON TABLE voxprint.settings IS 'one row; read it with voxprint.show_settings(), change it with voxprint.configure()';
COMMENT ON COLUMN voxprint.settings.far IS
  'share of other people''s probes that a verification may accept, between 0 and 1';
COMMENT ON COLUMN voxprint.settings.frr IS
  'share of a person''s own calls that watching may reject, between 0 and 1';
COMMENT ON COLUMN voxprint.settings.fpir IS
  'share of searches for people who are not enrolled that may find somebody, between 0 and 1';
COMMENT ON COLUMN voxprint.settings.duplicate_far IS
  'the same for the question at enrolment whether this voice is enrolled under another name, between 0 and 1';
COMMENT ON COLUMN voxprint.settings.min_enrol_speech IS
  'seconds of net speech, over all utterances of a person, that make a voiceprint ready, 0 to 3600';
COMMENT ON COLUMN voxprint.settings.record_decisions IS
  'asked: verify and identify are recorded where the caller says record => true; always: all are';
COMMENT ON COLUMN voxprint.settings.check_watchlists IS
  'asked: a verification looks into the watchlists that the caller names; always: into all of them';
COMMENT ON COLUMN voxprint.settings.cost_false_reject IS
  'what rejecting the right person costs, above 0 to 1000000';
COMMENT ON COLUMN voxprint.settings.cost_inconclusive IS
  'what an inconclusive answer costs for each second of speech that was heard, up to one and a half, 0 to 1000000; reject where P(target) * cost_false_reject is below it';
COMMENT ON COLUMN voxprint.settings.p_target IS
  'share of probes that are of the person they claim to be, before anything is heard, between 0 and 1';
COMMENT ON COLUMN voxprint.settings.default_model IS
  'the encoder that is meant where a call names none, one of voxprint.models; a worker must serve it';

-- A new row takes the place of the old one: configure() writes so, and a restored dump brings the
-- row that the script has already put here.
CREATE FUNCTION voxprint._replace_settings() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM voxprint.settings;
  RETURN NEW;
END $$;
CREATE TRIGGER replace_settings BEFORE INSERT ON voxprint.settings
  FOR EACH ROW EXECUTE FUNCTION voxprint._replace_settings();

INSERT INTO voxprint.settings DEFAULT VALUES;

CREATE FUNCTION voxprint._settings() RETURNS voxprint.settings
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT * FROM voxprint.settings;
END;

-- A function of its own for extension open_analytic, whose pipelines are made for this model.
CREATE FUNCTION voxprint.default_model() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT s.default_model::text FROM voxprint.settings s;
END;

CREATE FUNCTION voxprint.show_settings()
RETURNS TABLE (name text, value text, "default" text, description text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT a.attname::text, to_jsonb(s) ->> a.attname::text,
         regexp_replace(pg_get_expr(d.adbin, d.adrelid), '^''(.*)''::text$', '\1'),
         col_description(a.attrelid, a.attnum)
  FROM voxprint.settings s, pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = 'voxprint.settings'::regclass AND a.attname <> 'singleton'
  ORDER BY a.attnum;
END;

CREATE FUNCTION voxprint.configure(name text, value text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  meaning text;
BEGIN
  SELECT s.description INTO meaning FROM voxprint.show_settings() s WHERE s.name = configure.name;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no setting is called %', voxprint._shown(configure.name) USING ERRCODE = 'VX006',
      HINT = 'Settings are: ' || (SELECT string_agg(s.name, ', ' ORDER BY s.name) FROM voxprint.show_settings() s) || '.';
  END IF;
  LOCK TABLE voxprint.settings IN SHARE ROW EXCLUSIVE MODE;  -- or the row of another call would be lost
  INSERT INTO voxprint.settings
  SELECT changed.* FROM voxprint.settings s,
         LATERAL jsonb_populate_record(s, jsonb_build_object(configure.name, configure.value)) changed;
EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
  RAISE EXCEPTION '% cannot be %', configure.name, voxprint._shown(configure.value) USING ERRCODE = 'VX006',
    HINT = configure.name || ': ' || meaning || '.';
END $$;

-- extension only: begin
SELECT pg_catalog.pg_extension_config_dump('voxprint.settings', '');
-- extension only: end
