-- The same verbs on audio: a worker turns it into an embedding, then the functions above decide.

-- The function of open_analytic that embeds audio for us; NULL where it is missing, or where it may
-- be anybody's: it runs with audio of others, called with our owner's rights. Nobody but a superuser
-- makes a schema that a superuser owns, and in this one nobody else creates functions.
CREATE FUNCTION voxprint._call_worker() RETURNS regprocedure
LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT p.oid::regprocedure
  FROM pg_proc p
  JOIN pg_roles f ON f.oid = p.proowner
  JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_roles s ON s.oid = n.nspowner
  WHERE p.oid = to_regprocedure('open_analytic.call_worker(text, text, bytea)')::oid
    AND f.rolname = 'open_analytic_owner' AND NOT (f.rolcanlogin OR f.rolsuper)
    AND s.rolsuper
    AND NOT EXISTS (SELECT FROM aclexplode(n.nspacl) a
                    WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner);
END;

-- The call is written as text so that this extension lives without open_analytic; the text is
-- constant, the values are parameters.
CREATE FUNCTION voxprint._embed(audio bytea, known voxprint.models, heard_channel text DEFAULT 'mix')
RETURNS TABLE (embedding @extschema:vector@.vector, sha256 bytea, seconds float8, speech_seconds float8,
               sample_rate int, quality jsonb)
LANGUAGE plpgsql AS $$
DECLARE
  heard record;
BEGIN
  IF audio IS NULL THEN
    RAISE EXCEPTION 'audio is needed, got NULL' USING ERRCODE = 'VX006';
  ELSIF to_regprocedure('open_analytic.call_worker(text, text, bytea)') IS NULL THEN
    RAISE EXCEPTION 'audio is embedded by a worker, and this database has no extension open_analytic'
      USING ERRCODE = 'VX010',
      HINT = 'CREATE EXTENSION open_analytic CASCADE; or embed the audio outside and pass the embedding.';
  END IF;
  IF voxprint._call_worker() IS NULL THEN
    RAISE EXCEPTION 'audio is embedded by extension open_analytic, and the schema open_analytic of this database is not its own'
      USING ERRCODE = 'VX010',
      HINT = 'A superuser must own the schema, open_analytic_owner the function call_worker in it, and nobody else may have CREATE on it.';
  END IF;
  EXECUTE 'SELECT * FROM open_analytic.call_worker($1, $2, $3)'
    INTO heard USING known.name::text, heard_channel, audio;
  IF heard.spec_hash <> known.spec_hash THEN
    RAISE EXCEPTION 'model "%" has spec % in this database, the worker has spec %',
      known.name, left(known.spec_hash, 12), left(heard.spec_hash, 12) USING ERRCODE = 'VX004',
      HINT = 'Use a worker of the version that made these embeddings, or register its model under another name.';
  END IF;
  RETURN QUERY SELECT heard.embedding, pg_catalog.sha256(audio), heard.seconds, heard.speech_seconds,
                      heard.sample_rate, heard.quality;
END $$;

CREATE FUNCTION voxprint.enroll(
  speaker text, audio bytea, attributes jsonb DEFAULT NULL, groups text[] DEFAULT NULL,
  keep_audio boolean DEFAULT false, consent text DEFAULT NULL, overrule boolean DEFAULT false) RETURNS voxprint.enrolment
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(NULL);
  result voxprint.enrolment;
BEGIN
  PERFORM voxprint._check_name('speaker', enroll.speaker);  -- before the worker is troubled
  PERFORM voxprint._group_ids(enroll.groups);
  SELECT r.* INTO result FROM voxprint._embed(enroll.audio, known) e, LATERAL voxprint.enroll(
    enroll.speaker, e.embedding, known.name, e.sha256, e.seconds, e.speech_seconds, e.sample_rate,
    e.quality, enroll.attributes, enroll.groups, CASE WHEN enroll.keep_audio THEN enroll.audio END,
    enroll.consent, enroll.overrule) r;
  RETURN result;
END $$;

CREATE FUNCTION voxprint.verify(
  speaker text, audio bytea, model text DEFAULT NULL, far float8 DEFAULT NULL, watchlists text[] DEFAULT NULL,
  threshold float8 DEFAULT NULL, record boolean DEFAULT NULL) RETURNS voxprint.verification
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(verify.model);
  result voxprint.verification;
BEGIN
  SELECT r.* INTO result FROM voxprint._embed(verify.audio, known) e, LATERAL voxprint.verify(
    verify.speaker, e.embedding, known.name, verify.far, e.speech_seconds, e.quality, verify.watchlists,
    verify.threshold, verify.record) r;
  RETURN result;
END $$;

CREATE FUNCTION voxprint.identify(
  audio bytea, k int DEFAULT 5, groups text[] DEFAULT NULL, attributes jsonb DEFAULT NULL,
  attributes_path jsonpath DEFAULT NULL, model text DEFAULT NULL, fpir float8 DEFAULT NULL,
  threshold float8 DEFAULT NULL, record boolean DEFAULT NULL) RETURNS SETOF voxprint.candidate
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(identify.model);
BEGIN
  RETURN QUERY
  SELECT r.* FROM voxprint._embed(identify.audio, known) e, LATERAL voxprint.identify(
    e.embedding, identify.k, identify.groups, identify.attributes, identify.attributes_path, known.name,
    identify.fpir, e.speech_seconds, e.quality, identify.threshold, identify.record) r;
END $$;

CREATE FUNCTION voxprint.compare(a bytea, b bytea, model text DEFAULT NULL, far float8 DEFAULT NULL,
                                 threshold float8 DEFAULT NULL) RETURNS voxprint.comparison
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known voxprint.models := voxprint._model(compare.model);
  result voxprint.comparison;
BEGIN
  SELECT r.* INTO result
  FROM voxprint._embed(compare.a, known) x, voxprint._embed(compare.b, known) y, LATERAL voxprint.compare(
    x.embedding, y.embedding, known.name, compare.far, x.speech_seconds, y.speech_seconds, x.quality, y.quality,
    compare.threshold) r;
  RETURN result;
END $$;
