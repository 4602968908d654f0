-- Calibrations: how scores of a model become log-likelihood ratios and decisions. Versions are kept,
-- one of each model is in use, and an older one can be taken up again.

CREATE TABLE voxprint.calibrations (
  -- Numbers below 100 are for those that come with the extension: a restored dump then finds them.
  calibration_id bigint GENERATED ALWAYS AS IDENTITY (START WITH 100) PRIMARY KEY,
  model text COLLATE "C" NOT NULL REFERENCES voxprint.models,
  spec_hash text NOT NULL,
  source text NOT NULL CHECK (source IN ('shipped', 'trials', 'decisions')),
  parameters jsonb NOT NULL,
  report jsonb,
  created_at timestamptz NOT NULL DEFAULT now(),
  created_by text NOT NULL DEFAULT session_user,
  active boolean NOT NULL
);
COMMENT ON TABLE voxprint.calibrations IS
  'versions of how scores become decisions; made by voxprint calibrate, chosen by voxprint.use_calibration()';
COMMENT ON COLUMN voxprint.calibrations.spec_hash IS 'of the model whose scores it was fitted on; used for no other';
COMMENT ON COLUMN voxprint.calibrations.report IS 'what was measured when it was fitted';
CREATE UNIQUE INDEX calibrations_active ON voxprint.calibrations (model) WHERE active;

CREATE TABLE voxprint.backgrounds (
  calibration_id bigint NOT NULL REFERENCES voxprint.calibrations,
  component int NOT NULL CHECK (component >= 0),
  weight float8 NOT NULL CHECK (abs(weight) < 'infinity'),
  direction @extschema:vector@.vector NOT NULL,
  PRIMARY KEY (calibration_id, component)
);
COMMENT ON TABLE voxprint.backgrounds IS
  'second-order statistics of many people''s embeddings, from which a cohort can be drawn; the embedding of nobody';
ALTER TABLE voxprint.backgrounds ALTER COLUMN direction SET STATISTICS 0;

-- A restored dump brings the calibrations that the script has already put here; the restored values
-- win, the choice of the one in use first of all.
CREATE FUNCTION voxprint._merge_calibration() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE voxprint.calibrations c SET active = false
  WHERE NEW.active AND c.active AND c.model = NEW.model AND c.calibration_id <> NEW.calibration_id;
  UPDATE voxprint.calibrations c
  SET model = NEW.model, spec_hash = NEW.spec_hash, parameters = NEW.parameters, report = NEW.report,
      created_at = NEW.created_at, created_by = NEW.created_by, active = NEW.active
  WHERE c.calibration_id = NEW.calibration_id AND c.source = 'shipped' AND NEW.source = 'shipped';
  IF FOUND THEN
    RETURN NULL;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER merge_calibration BEFORE INSERT ON voxprint.calibrations
  FOR EACH ROW EXECUTE FUNCTION voxprint._merge_calibration();

CREATE FUNCTION voxprint._merge_background() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM voxprint.backgrounds b
  WHERE b.calibration_id = NEW.calibration_id AND b.component = NEW.component;
  RETURN NEW;
END $$;
CREATE TRIGGER merge_background BEFORE INSERT ON voxprint.backgrounds
  FOR EACH ROW EXECUTE FUNCTION voxprint._merge_background();

-- The one in use. A row of NULLs where there is none, or only one of another spec.
CREATE FUNCTION voxprint._calibration(model voxprint.models) RETURNS voxprint.calibrations
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT c.* FROM voxprint.calibrations c
  WHERE c.model = (_calibration.model).name AND c.active
    AND c.spec_hash = coalesce((_calibration.model).spec_hash, c.spec_hash);
END;

-- What voxprint._judge reads, with the number of coefficients each list has, and how large one may
-- be: nothing that speech has led to comes near, and nothing up to there makes a score no number.
CREATE FUNCTION voxprint._calibration_lists() RETURNS TABLE (name text, length int, largest int)
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  VALUES ('mean', 4, 10), ('log_scale', 3, 10), ('tail', 3, 10), ('search_tail', 3, 10), ('target', 7, 10),
         ('llr', 5, 1000), ('typical', 3, 3600);
END;

-- A number that is 0 or has a size from the smallest to the largest; one of 1e-400 is no float8.
CREATE FUNCTION voxprint._is_number(value jsonb, largest numeric, smallest numeric DEFAULT 1e-30) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN jsonb_typeof(value) = 'number'
            THEN value::numeric = 0 OR abs(value::numeric) BETWEEN smallest AND largest ELSE false END;

CREATE FUNCTION voxprint._check_calibration(parameters jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  wrong text;
BEGIN
  IF parameters IS NULL OR jsonb_typeof(parameters) <> 'object' THEN
    RAISE EXCEPTION 'the parameters of a calibration are a JSON object, got %',
      voxprint._shown(parameters::text) USING ERRCODE = 'VX006';
  END IF;
  SELECT format('%s is a list of %s numbers from -%s to %3$s', l.name, l.length, l.largest) INTO wrong
  FROM voxprint._calibration_lists() l
  WHERE CASE WHEN jsonb_typeof(parameters -> l.name) = 'array'
             THEN jsonb_array_length(parameters -> l.name) <> l.length
                  OR EXISTS (SELECT FROM jsonb_array_elements(parameters -> l.name) v
                             WHERE NOT voxprint._is_number(v, l.largest))
             ELSE true END
  LIMIT 1;
  IF wrong IS NULL AND NOT (
      voxprint._is_number(parameters -> 'kappa', 1e6, 1e-3) AND voxprint._is_number(parameters -> 'nu', 1e6)
      AND (parameters ->> 'kappa')::float8 > 0 AND (parameters ->> 'nu')::float8 > 2) THEN
    wrong := 'kappa is a number from 0.001 to 1e6, and nu one above 2 to 1e6';
  END IF;
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION 'among the parameters of a calibration %, got %', wrong, voxprint._shown(parameters::text)
      USING ERRCODE = 'VX006', HINT = 'voxprint calibrate fits them; voxprint calibrations show prints those in use.';
  END IF;
END $$;

CREATE FUNCTION voxprint._is_component(item jsonb, dim int) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN coalesce(voxprint._is_number(item -> 'weight', 1, 1e-100) AND (item ->> 'weight')::numeric >= 0
       AND CASE WHEN jsonb_typeof(item -> 'direction') = 'array'
                THEN jsonb_array_length(item -> 'direction') = dim
                     AND NOT EXISTS (SELECT FROM jsonb_array_elements(item -> 'direction') v
                                     WHERE NOT voxprint._is_number(v, 1)) END, false);

CREATE FUNCTION voxprint._check_background(background jsonb, model voxprint.models) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  rows int := CASE WHEN jsonb_typeof(background) = 'array' THEN jsonb_array_length(background) ELSE 0 END;
BEGIN
  IF rows NOT BETWEEN 1 AND model.dim + 1
     -- the weight of the mean is the variance in any other direction: without it a probe may have none
     OR NOT voxprint._is_number(background -> 0 -> 'weight', 1, 1e-9) OR (background -> 0 ->> 'weight')::float8 = 0
     OR EXISTS (SELECT FROM jsonb_array_elements(background) item WHERE NOT voxprint._is_component(item, model.dim))
  THEN
    RAISE EXCEPTION 'a background is an array of 1 to % {"weight": number, "direction": [% numbers from -1 to 1]}',
      model.dim + 1, model.dim USING ERRCODE = 'VX006',
      HINT = 'Weights are variances from 0 to 1, the first one (of all other directions) above 0. '
             'voxprint.calibration_background() gives that of a calibration.';
  END IF;
END $$;

CREATE FUNCTION voxprint._store_background(calibration bigint, background jsonb) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
  INSERT INTO voxprint.backgrounds (calibration_id, component, weight, direction)
  SELECT calibration, b.place - 1, (b.item ->> 'weight')::float8, (b.item ->> 'direction')::@extschema:vector@.vector
  FROM jsonb_array_elements(background) WITH ORDINALITY b (item, place);
END;

CREATE FUNCTION voxprint._background(calibration bigint) RETURNS jsonb
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT jsonb_agg(jsonb_build_object('weight', b.weight, 'direction', b.direction::text::jsonb) ORDER BY b.component)
  FROM voxprint.backgrounds b WHERE b.calibration_id = calibration;
END;

CREATE FUNCTION voxprint.calibration_background(calibration bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM voxprint.calibrations c WHERE c.calibration_id = calibration_background.calibration) THEN
    PERFORM voxprint._unknown_calibration(calibration_background.calibration);
  END IF;
  RETURN coalesce(voxprint._background(calibration_background.calibration), '[]');
END $$;

CREATE FUNCTION voxprint._unknown_calibration(calibration bigint) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RAISE EXCEPTION 'no calibration %', coalesce(calibration::text, 'NULL') USING ERRCODE = 'VX006',
    HINT = 'voxprint.list_calibrations() lists them.';
END $$;

CREATE FUNCTION voxprint.add_calibration(
  model text, spec_hash text, parameters jsonb, report jsonb DEFAULT NULL, source text DEFAULT 'trials',
  activate boolean DEFAULT true, background jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(add_calibration.model);
  -- without one of its own a calibration goes with the background of the one in use
  statistics jsonb := coalesce(add_calibration.background, voxprint._background((voxprint._calibration(known)).calibration_id));
  id bigint;
BEGIN
  IF add_calibration.spec_hash IS NULL OR add_calibration.spec_hash <> known.spec_hash THEN
    RAISE EXCEPTION 'model "%" has spec % in this database, the calibration is for spec %', known.name,
      voxprint._shown(left(known.spec_hash, 12)), voxprint._shown(left(add_calibration.spec_hash, 12))
      USING ERRCODE = 'VX008', HINT = 'Scores of another encoder mean something else: calibrate with this one.';
  ELSIF add_calibration.source IS NULL OR add_calibration.source NOT IN ('trials', 'decisions') THEN
    RAISE EXCEPTION 'the source of a calibration is "trials" or "decisions", got %',
      voxprint._shown(add_calibration.source) USING ERRCODE = 'VX006';
  END IF;
  PERFORM voxprint._check_calibration(add_calibration.parameters);
  PERFORM voxprint._check_object('report', add_calibration.report);
  IF statistics IS NULL THEN
    RAISE EXCEPTION 'a calibration needs a background, and model "%" has none in use to take it from', known.name
      USING ERRCODE = 'VX006';
  END IF;
  PERFORM voxprint._check_background(statistics, known);
  INSERT INTO voxprint.calibrations AS c (model, spec_hash, source, parameters, report, active)
  VALUES (known.name, add_calibration.spec_hash, add_calibration.source, add_calibration.parameters,
          add_calibration.report, false)
  RETURNING c.calibration_id INTO id;
  PERFORM voxprint._store_background(id, statistics);
  IF add_calibration.activate THEN
    PERFORM voxprint.use_calibration(id);
  END IF;
  RETURN id;
END $$;

CREATE FUNCTION voxprint.use_calibration(calibration bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  chosen voxprint.calibrations;
  known voxprint.models;
BEGIN
  SELECT * INTO chosen FROM voxprint.calibrations c WHERE c.calibration_id = use_calibration.calibration;
  IF NOT FOUND THEN
    PERFORM voxprint._unknown_calibration(use_calibration.calibration);
  END IF;
  -- The model's row is what two calls wait for, so that one of them is the last.
  SELECT * INTO known FROM voxprint.models m WHERE m.name = chosen.model FOR NO KEY UPDATE;
  IF chosen.spec_hash <> known.spec_hash THEN
    RAISE EXCEPTION 'calibration % is for spec % of model "%", which has spec % in this database',
      chosen.calibration_id, left(chosen.spec_hash, 12), known.name, left(known.spec_hash, 12) USING ERRCODE = 'VX008',
      HINT = 'Scores of another encoder mean something else: calibrate with this one.';
  END IF;
  UPDATE voxprint.calibrations c SET active = false
  WHERE c.model = chosen.model AND c.active AND c.calibration_id <> chosen.calibration_id;
  UPDATE voxprint.calibrations c SET active = true
  WHERE c.calibration_id = chosen.calibration_id AND NOT c.active;
END $$;

CREATE FUNCTION voxprint.list_calibrations() RETURNS SETOF voxprint.calibrations
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT c.* FROM voxprint.calibrations c ORDER BY c.model, c.calibration_id;
END;

-- extension only: begin
SELECT pg_catalog.pg_extension_config_dump('voxprint.calibrations', '');
SELECT pg_catalog.pg_extension_config_dump('voxprint.backgrounds', '');
SELECT pg_catalog.pg_extension_config_dump('voxprint.calibrations_calibration_id_seq', '');
-- extension only: end
