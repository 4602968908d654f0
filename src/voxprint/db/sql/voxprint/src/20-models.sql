-- Models: which embeddings exist, how long they are, and the HNSW index of each.

CREATE FUNCTION voxprint._vector_schema() RETURNS name
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT n.nspname FROM pg_catalog.pg_extension e
  JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector';
END;

-- A caller's text inside a message: quoted, and cut where it is too long to read.
CREATE FUNCTION voxprint._shown(value text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN value IS NULL THEN 'NULL'
            WHEN length(value) > 100 THEN '"' || left(value, 100) || '…"'
            ELSE '"' || value || '"' END;

CREATE FUNCTION voxprint._model(name text) RETURNS voxprint.models
LANGUAGE plpgsql STABLE AS $$
DECLARE
  found_model voxprint.models;
BEGIN
  SELECT * INTO found_model FROM voxprint.models m
  WHERE m.name = coalesce(_model.name, (voxprint._settings()).default_model);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'unknown model %', voxprint._shown(_model.name) USING ERRCODE = 'VX004',
      HINT = 'Models here: ' || (SELECT string_agg(m.name, ', ' ORDER BY m.name) FROM voxprint.models m)
             || '. voxprint.register_model() adds one.';
  END IF;
  RETURN found_model;
END $$;

-- A restored dump brings the row of the default model, which the script has already put here, and
-- what was set for it since: the restored values win.
CREATE FUNCTION voxprint._merge_model() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE voxprint.models m
  SET dim = NEW.dim, spec_hash = NEW.spec_hash, threshold = NEW.threshold, created_at = NEW.created_at
  WHERE m.name = NEW.name;
  IF FOUND THEN
    RETURN NULL;
  END IF;
  RETURN NEW;
END $$;

-- A trigger, not a line of register_model(), so that a restored model gets its index, too. The
-- index is on an expression, so ANALYZE would keep samples of it: no statistics here either.
CREATE FUNCTION voxprint._index_model() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  index_name text := 'voiceprints_hnsw_' || NEW.name;
BEGIN
  -- A graph as fastann.create_index builds it.
  EXECUTE format(
    'CREATE INDEX %1$I ON voxprint.voiceprints USING hnsw ((embedding::%2$I.vector(%3$s)) %2$I.vector_ip_ops)'
    ' WITH (m = 24, ef_construction = 100)'
    ' WHERE model = %4$L', index_name, voxprint._vector_schema(), NEW.dim, NEW.name);
  EXECUTE format('ALTER INDEX voxprint.%I ALTER COLUMN 1 SET STATISTICS 0', index_name);
  RETURN NULL;
END $$;

CREATE TRIGGER merge_model BEFORE INSERT ON voxprint.models
  FOR EACH ROW EXECUTE FUNCTION voxprint._merge_model();
CREATE TRIGGER index_model AFTER INSERT ON voxprint.models
  FOR EACH ROW EXECUTE FUNCTION voxprint._index_model();

CREATE FUNCTION voxprint._check_threshold(threshold float8) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF NOT threshold BETWEEN -1 AND 1 THEN  -- NaN sorts above every number
    RAISE EXCEPTION 'a threshold is a cosine from -1 to 1, got %', threshold USING ERRCODE = 'VX006';
  END IF;
END $$;

CREATE FUNCTION voxprint.register_model(name text, dim int, spec_hash text DEFAULT NULL,
                                        threshold float8 DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models;
BEGIN
  IF register_model.name IS NULL OR register_model.name !~ '^[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}$' THEN
    RAISE EXCEPTION 'a model name is 1 to 40 letters, digits, "_", ".", "+" or "-", starting with a letter or digit; got %',
      voxprint._shown(register_model.name) USING ERRCODE = 'VX006';
  ELSIF register_model.dim IS NULL OR register_model.dim NOT BETWEEN 1 AND 2000 THEN
    RAISE EXCEPTION 'the dimension of a model is from 1 to 2000, got %', register_model.dim
      USING ERRCODE = 'VX006';
  END IF;
  PERFORM voxprint._check_threshold(register_model.threshold);
  INSERT INTO voxprint.models AS m (name, dim, spec_hash, threshold)
  SELECT register_model.name, register_model.dim, register_model.spec_hash,
         coalesce(register_model.threshold, 0.5)
  WHERE NOT EXISTS (SELECT FROM voxprint.models m WHERE m.name = register_model.name)
  ON CONFLICT DO NOTHING;
  SELECT * INTO known FROM voxprint.models m WHERE m.name = register_model.name;
  IF known.dim <> register_model.dim THEN
    RAISE EXCEPTION 'model "%" has dimension % in this database, cannot become %',
      known.name, known.dim, register_model.dim USING ERRCODE = 'VX004',
      HINT = 'Register the new network under another name.';
  ELSIF known.spec_hash <> register_model.spec_hash
        AND EXISTS (SELECT FROM voxprint.utterances u WHERE u.model = known.name) THEN
    RAISE EXCEPTION 'model "%" holds embeddings of spec %, cannot become spec %',
      known.name, left(known.spec_hash, 12), left(register_model.spec_hash, 12) USING ERRCODE = 'VX004',
      HINT = 'Embeddings of different specs cannot be compared: register the new one under another name.';
  END IF;
  UPDATE voxprint.models m
  SET spec_hash = coalesce(register_model.spec_hash, m.spec_hash),
      threshold = coalesce(register_model.threshold, m.threshold)
  WHERE m.name = register_model.name
    AND (m.spec_hash, m.threshold) IS DISTINCT FROM
        (coalesce(register_model.spec_hash, m.spec_hash), coalesce(register_model.threshold, m.threshold));
END $$;
