-- What every verb checks and computes alike. Nothing here is executable by a caller.

-- pgvector's functions, bound to their schema while this script runs.
CREATE FUNCTION voxprint._dim(embedding @extschema:vector@.vector) RETURNS int
LANGUAGE sql IMMUTABLE RETURN @extschema:vector@.vector_dims(embedding);

CREATE FUNCTION voxprint._norm(embedding @extschema:vector@.vector) RETURNS float8
LANGUAGE sql IMMUTABLE RETURN @extschema:vector@.vector_norm(embedding);

CREATE FUNCTION voxprint._normalised(embedding @extschema:vector@.vector) RETURNS @extschema:vector@.vector
LANGUAGE sql IMMUTABLE RETURN @extschema:vector@.l2_normalize(embedding);

-- Where the audio is not known, the embedding's own bits tell whether it has been here before.
CREATE FUNCTION voxprint._fingerprint(embedding @extschema:vector@.vector, model text) RETURNS bytea
LANGUAGE sql IMMUTABLE RETURN sha256(convert_to(model, 'UTF8') || @extschema:vector@.vector_send(embedding));

-- The cosine of two unit vectors. Rounding may carry the inner product past 1.
CREATE FUNCTION voxprint._score(a @extschema:vector@.vector, b @extschema:vector@.vector) RETURNS float8
LANGUAGE sql IMMUTABLE RETURN greatest(-1, least(1, -(a OPERATOR(@extschema:vector@.<#>) b)));

CREATE FUNCTION voxprint._unit(embedding @extschema:vector@.vector, model voxprint.models) RETURNS @extschema:vector@.vector
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF embedding IS NULL THEN
    RAISE EXCEPTION 'an embedding is needed, got NULL' USING ERRCODE = 'VX006';
  ELSIF voxprint._dim(embedding) <> model.dim THEN
    RAISE EXCEPTION 'model "%" has embeddings of % numbers, got %',
      model.name, model.dim, voxprint._dim(embedding) USING ERRCODE = 'VX004',
      HINT = 'Name the model that made the embedding.';
  ELSIF voxprint._norm(embedding) = 0 THEN
    RAISE EXCEPTION 'an embedding has a direction, got % zeros', model.dim USING ERRCODE = 'VX006';
  END IF;
  RETURN voxprint._normalised(embedding);
END $$;

CREATE FUNCTION voxprint._check_name(what text, name text) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF name IS NULL OR btrim(name, E' \t\r\n') = '' OR octet_length(name) > 512 THEN
    RAISE EXCEPTION 'the name of a % has 1 to 512 bytes, not only blanks; got %', what,
      CASE WHEN octet_length(name) > 512 THEN octet_length(name) || ' bytes' ELSE voxprint._shown(name) END
      USING ERRCODE = 'VX006';
  END IF;
END $$;

CREATE FUNCTION voxprint._check_object(what text, value jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF jsonb_typeof(value) <> 'object' THEN
    RAISE EXCEPTION '% is a JSON object, got a JSON %', what, jsonb_typeof(value)
      USING ERRCODE = 'VX006', HINT = CASE what WHEN 'attributes' THEN 'For example {"city": "Uppsala"}.'
                                        ELSE 'For example {"a name": 1}; leave it NULL where nothing is known.' END;
  END IF;
END $$;

CREATE FUNCTION voxprint._check_seconds(what text, seconds float8) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF NOT (seconds >= 0 AND seconds <= 1e9) THEN  -- NaN sorts above every number
    RAISE EXCEPTION '% is a number of seconds from 0 to 1e9, got %', what, seconds USING ERRCODE = 'VX006';
  END IF;
END $$;

-- A target rate; where none is given, the usual one.
CREATE FUNCTION voxprint._rate(what text, given float8, usual float8) RETURNS float8
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF NOT (given > 0 AND given < 1) THEN
    RAISE EXCEPTION '% is a rate above 0 and below 1, got %', what, given USING ERRCODE = 'VX006',
      HINT = 'One in a thousand is 0.001.';
  END IF;
  RETURN coalesce(given, usual);
END $$;

CREATE FUNCTION voxprint._unknown_speaker(name text) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RAISE EXCEPTION 'no speaker % is enrolled', voxprint._shown(name) USING ERRCODE = 'VX001',
    HINT = 'Names are compared byte by byte. voxprint.list_speakers() lists them.';
END $$;

-- The speaker's row, locked, so that removal and enrolment of one person take turns.
CREATE FUNCTION voxprint._lock_speaker(name text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  person bigint;
BEGIN
  SELECT s.speaker_id INTO person FROM voxprint.speakers s WHERE s.external_id = name FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    PERFORM voxprint._unknown_speaker(name);
  END IF;
  RETURN person;
END $$;

CREATE FUNCTION voxprint._unknown_group(name text) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RAISE EXCEPTION 'no group % exists', voxprint._shown(name) USING ERRCODE = 'VX002',
    HINT = 'Names are compared byte by byte. voxprint.list_groups() lists them, voxprint.create_group() makes one.';
END $$;

CREATE FUNCTION voxprint._group_ids(names text[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
  wanted text;
  ids bigint[];
BEGIN
  FOR wanted IN SELECT n FROM unnest(names) n
                WHERE NOT EXISTS (SELECT FROM voxprint.groups g WHERE g.name = n) LOOP
    PERFORM voxprint._unknown_group(wanted);
  END LOOP;
  SELECT array_agg(g.group_id) INTO ids FROM voxprint.groups g WHERE g.name = ANY (names);
  RETURN ids;
END $$;

-- The groups of a filter: at least one, since "in none of no groups" is nobody, and hardly meant.
CREATE FUNCTION voxprint._filter_ids(names text[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF cardinality(names) = 0 THEN
    RAISE EXCEPTION 'groups names at least one group, got none' USING ERRCODE = 'VX006',
      HINT = 'Leave it NULL to search in all of them.';
  END IF;
  RETURN voxprint._group_ids(names);
END $$;

-- What the quality of a recording says of the way it came; nothing where nobody measured.
CREATE FUNCTION voxprint._channel(quality jsonb) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN jsonb_typeof(quality -> 'bandwidth_hz') IS DISTINCT FROM 'number' THEN 'any'
            WHEN (quality -> 'bandwidth_hz')::numeric < 4200 THEN 'telephone' ELSE 'wideband' END;

-- What is to be said against a recording, out of the words we know.
CREATE FUNCTION voxprint._quality_reasons(quality jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT coalesce(array_agg(k.reason ORDER BY k.place), '{}')
  FROM unnest(ARRAY['short', 'noisy', 'clipped', 'narrowband', 'more_than_one_speaker', 'mostly_silence'])
       WITH ORDINALITY k (reason, place)
  WHERE jsonb_typeof(quality -> 'reasons') = 'array' AND quality -> 'reasons' ? k.reason;
END;
