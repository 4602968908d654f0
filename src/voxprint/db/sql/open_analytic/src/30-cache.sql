-- One embedding a statement.
--
-- The article writes the same audio twice in one statement, and PostgreSQL calls a STABLE
-- function again for every row that comes back. So the last answers stay in settings of the
-- transaction (open_analytic.cache_1 to _4), which vanish with it. Anyone can write a setting,
-- so each entry is sealed with an HMAC over its key, the backend and the transaction: a planted
-- entry, or one copied from elsewhere, is passed over. What is looked for is the model, the
-- channel, the length of the audio and two 64-bit hashes with secret seeds (of a row, for
-- PostgreSQL hashes a bare bytea only from 18 on), which are cheap enough to be computed for
-- every row; the whole audio is copied only when it is sent. These hashes are no cryptographic
-- ones, so the key that anyone can read is half an HMAC of all that.

CREATE FUNCTION open_analytic.seal(message text, inner_pad bytea, outer_pad bytea) RETURNS text
LANGUAGE sql IMMUTABLE STRICT
RETURN encode(sha256(outer_pad || sha256(inner_pad || convert_to(message, 'UTF8'))), 'hex');
COMMENT ON FUNCTION open_analytic.seal(text, bytea, bytea) IS 'HMAC-SHA256 (RFC 2104) as hex.';

-- The recording comes as bytes (audio), as the text of a bytea literal (digits) or as a file
-- of the worker (path); the other two are NULL. Returns the embedding, a newline, and the
-- facts about the recording as a JSON object.
CREATE FUNCTION open_analytic.embed(wanted text, audio bytea, digits text, path text)
RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    slots constant integer := 4;
    known record;
    key text;
    stamp constant text := concat(
        pg_backend_pid(), ' ', extract(epoch FROM transaction_timestamp()), E'\n');
    entry text;
    sealed text;
    vacant text;
    result open_analytic.answer;
BEGIN
    SELECT p.model, p.channel, s.inner_pad, s.outer_pad, s.seeds[1] AS seed1, s.seeds[2] AS seed2
    INTO known
    FROM open_analytic.pipelines AS p, open_analytic.secret AS s WHERE p.name = wanted;
    IF known.model IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'VX003',
            MESSAGE = format('no pipeline is named %L', left(wanted, 200)),
            HINT = 'SELECT name FROM open_analytic.current_pipelines lists them; '
                'SELECT open_analytic.pipeline_create(''...'') makes one.';
    END IF;
    key := known.model || ' ' || known.channel || CASE
        WHEN audio IS NOT NULL THEN concat(' bytes ', octet_length(audio), ' ',
            hash_record_extended(ROW(audio), known.seed1), ' ', hash_record_extended(ROW(audio), known.seed2))
        WHEN digits IS NOT NULL THEN concat(' digits ', octet_length(digits), ' ',
            hashtextextended(digits, known.seed1), ' ', hashtextextended(digits, known.seed2))
        -- A file may change: what was read is good for the statement that read it.
        ELSE concat(' file ', encode(sha256(convert_to(path, 'UTF8')), 'hex'), ' ',
            extract(epoch FROM statement_timestamp()))
        END;
    key := left(open_analytic.seal('key ' || key, known.inner_pad, known.outer_pad), 32) || E'\n';

    FOR slot IN 1..slots LOOP
        entry := current_setting('open_analytic.cache_' || slot, true);
        IF entry IS NULL OR entry = '' THEN
            vacant := coalesce(vacant, 'open_analytic.cache_' || slot);
            CONTINUE;
        END IF;
        sealed := right(entry, -64);
        IF starts_with(sealed, key) AND left(entry, 64) = open_analytic.seal(
            stamp || sealed, known.inner_pad, known.outer_pad)
        THEN
            RETURN right(sealed, -length(key));
        END IF;
    END LOOP;

    IF digits IS NOT NULL THEN
        audio := open_analytic.read_digits(digits);
    END IF;
    PERFORM open_analytic.check_request(known.model, known.channel, audio);
    result := open_analytic.converse(known.model, known.channel, audio, path);
    sealed := key || open_analytic.payload(result);
    IF vacant IS NULL THEN
        -- All slots are taken: they take turns. A forged turn does no more than choose one.
        entry := coalesce(substring(
            current_setting('open_analytic.cache_turn', true) FROM '^[1-4]$'), '1');
        vacant := 'open_analytic.cache_' || entry;
        PERFORM set_config('open_analytic.cache_turn', (entry::integer % slots + 1)::text, true);
    END IF;
    PERFORM set_config(vacant, open_analytic.seal(
        stamp || sealed, known.inner_pad, known.outer_pad) || sealed, true);
    RETURN right(sealed, -length(key));
END $$;

CREATE FUNCTION open_analytic.payload(result open_analytic.answer) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT concat(result.embedding, E'\n', jsonb_build_object(
        'model', result.model, 'spec_hash', result.spec_hash, 'seconds', result.seconds,
        'speech_seconds', result.speech_seconds, 'sample_rate', result.sample_rate,
        'channels', result.channels, 'sha256', encode(result.sha256, 'hex'),
        'quality', result.quality));
$$;

CREATE FUNCTION open_analytic.read_digits(digits text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN decode(substr(digits, 3), 'hex');
EXCEPTION WHEN invalid_parameter_value THEN
    RAISE EXCEPTION USING ERRCODE = 'VX006',
        MESSAGE = format('expected \x and then pairs of hexadecimal digits, got \x and %s characters '
            'that are not', length(digits) - 2),
        HINT = 'Pass the audio as a bytea, or as its hexadecimal text.';
END $$;
