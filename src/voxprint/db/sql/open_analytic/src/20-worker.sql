-- One conversation with the worker, over dblink.
--
-- These functions run with the rights of open_analytic_owner, who alone has the address and
-- the password (user mapping of the foreign server voxprint_worker). A connection is made for
-- each call and closed on every path: an open one could be used by the caller, and one that
-- outlives a restart of the worker stays broken. Nothing waits inside dblink: a loop asks
-- whether the answer is there, so that a cancel, statement_timeout and our own deadline act
-- at once.

-- The detail may name a folder or a port of the server: that is for superusers.
CREATE FUNCTION open_analytic.no_worker(detail text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'VX010',
        MESSAGE = 'expected a worker to embed the audio, but none answers',
        DETAIL = CASE WHEN current_setting('is_superuser') = 'on' THEN coalesce(detail, '') ELSE '' END,
        HINT = 'Start one: voxprint up, or voxprint worker --dsn ... for a server of your own.';
END $$;

CREATE FUNCTION open_analytic.timeout() RETURNS interval
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    milliseconds constant text := coalesce(
        nullif(current_setting('open_analytic.timeout', true), ''), '60000');
BEGIN
    IF milliseconds !~ '^[1-9][0-9]{0,8}$' THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format(
                'open_analytic.timeout: expected milliseconds from 1, got %L', milliseconds),
            HINT = 'For example: SET open_analytic.timeout = 60000.';
    END IF;
    RETURN make_interval(secs => milliseconds::double precision / 1000);
END $$;
COMMENT ON FUNCTION open_analytic.timeout() IS
    'How long a call waits for the worker: SET open_analytic.timeout = milliseconds.';

CREATE FUNCTION open_analytic.hang_up(link text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF link = ANY (@extschema:dblink@.dblink_get_connections()) THEN
        PERFORM @extschema:dblink@.dblink_disconnect(link);
    END IF;
END $$;

-- Sends one request and waits for its row.
CREATE FUNCTION open_analytic.ask(link text, request text, deadline timestamptz)
RETURNS open_analytic.answer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    started constant timestamptz := clock_timestamp();
    waited double precision;
    result open_analytic.answer;
BEGIN
    IF @extschema:dblink@.dblink_send_query(link, request) <> 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'connection_failure',
            MESSAGE = @extschema:dblink@.dblink_error_message(link);
    END IF;
    WHILE @extschema:dblink@.dblink_is_busy(link) = 1 LOOP
        IF clock_timestamp() > deadline THEN
            RAISE EXCEPTION USING ERRCODE = 'VX011',
                MESSAGE = format(
                    'expected an answer of the worker within %s ms, but none came',
                    round(extract(epoch FROM open_analytic.timeout()) * 1000)),
                HINT = 'The worker is busy or stuck: try again, or SET open_analytic.timeout.';
        END IF;
        -- pg_sleep knows whole milliseconds. A cached answer is here sooner, so we do not
        -- sleep at first; a long job is asked after ever more seldom, so that the answer
        -- lies for about a hundredth of its time.
        waited := extract(epoch FROM clock_timestamp() - started);
        IF waited > 0.0005 THEN
            PERFORM pg_sleep(least(0.010, greatest(0.001, waited / 50)));
        END IF;
    END LOOP;
    SELECT r.embedding::@extschema:vector@.vector, r.model, r.spec_hash, r.seconds,
        r.speech_seconds, r.sample_rate, r.channels, decode(r.sha256, 'hex'), r.quality
    INTO result
    FROM @extschema:dblink@.dblink_get_result(link) AS r (
        embedding text, model text, spec_hash text, seconds double precision,
        speech_seconds double precision, sample_rate integer, channels integer,
        sha256 text, quality jsonb);
    -- The protocol of dblink: the connection is free again once an empty result was read.
    PERFORM FROM @extschema:dblink@.dblink_get_result(link) AS r (
        embedding text, model text, spec_hash text, seconds text,
        speech_seconds text, sample_rate text, channels text, sha256 text, quality text);
    RETURN result;
END $$;

-- The bytes (audio) or a file in the worker's media folder (path): one of them is NULL.
CREATE FUNCTION open_analytic.converse(wanted_model text, wanted_channel text, audio bytea, path text)
RETURNS open_analytic.answer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    link constant text := 'open_analytic_worker';
    what constant text := wanted_model || ' ' || wanted_channel || ' ';
    deadline constant timestamptz := clock_timestamp() + open_analytic.timeout();
    connected boolean := false;
    result open_analytic.answer;
    state text;
    message text;
    detail text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_foreign_server WHERE srvname = 'voxprint_worker') THEN
        PERFORM open_analytic.no_worker('No worker has registered with this database.');
    END IF;
    PERFORM open_analytic.hang_up(link);  -- a caller may have taken the name
    PERFORM @extschema:dblink@.dblink_connect(link, 'voxprint_worker'::text);
    connected := true;
    IF path IS NOT NULL THEN
        result := open_analytic.ask(
            link, 'FILE ' || what || encode(convert_to(path, 'UTF8'), 'hex'), deadline);
    ELSE
        -- Not GET first: PostgreSQL's own sha256 takes as long as sending the audio, and the
        -- worker looks among its answers in any case.
        result := open_analytic.ask(link, 'RUN ' || what || encode(audio, 'hex'), deadline);
    END IF;
    PERFORM open_analytic.hang_up(link);
    RETURN result;
EXCEPTION
    WHEN query_canceled THEN
        PERFORM open_analytic.hang_up(link);
        RAISE;
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
            detail = PG_EXCEPTION_DETAIL;
        PERFORM open_analytic.hang_up(link);
        -- Class 08: the connection broke. 57P..: the worker is shutting down.
        IF state NOT LIKE 'VX%' AND (NOT connected OR state LIKE '08%' OR state LIKE '57P%') THEN
            PERFORM open_analytic.no_worker(concat_ws(': ', message, nullif(detail, '')));
        END IF;
        RAISE;
END $$;

CREATE FUNCTION open_analytic.check_request(wanted_model text, wanted_channel text, audio bytea)
RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF wanted_model !~ '^[A-Za-z0-9_.+-]{1,64}$' THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('model: expected letters, digits, "_", ".", "+" and "-", got %L',
                left(wanted_model, 100));
    END IF;
    IF wanted_channel !~ '^(mix|[0-9]{1,3})$' THEN
        RAISE EXCEPTION USING ERRCODE = 'VX006',
            MESSAGE = format('channel: expected mix or a number from 0 to 999, got %L',
                left(wanted_channel, 100));
    END IF;
    -- The bytes travel as hex in one value, and PostgreSQL allows a value one gigabyte.
    IF octet_length(audio) > 500000000 THEN
        RAISE EXCEPTION USING ERRCODE = 'VX014',
            MESSAGE = format('expected at most 500000000 bytes of audio, got %s',
                octet_length(audio)),
            HINT = 'The limit of the worker is lower still: cut the recording into parts.';
    END IF;
END $$;

CREATE FUNCTION open_analytic.call_worker(model text, channel text, audio bytea)
RETURNS open_analytic.answer
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE COST 100000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM open_analytic.check_request(model, channel, audio);
    RETURN open_analytic.converse(model, channel, audio, NULL);
END $$;
COMMENT ON FUNCTION open_analytic.call_worker(text, text, bytea) IS
    'Has a worker embed the audio. Errors: VX006, VX010 to VX015. For roles that own other '
    'definer functions; everybody else has pipeline_run_dist_random.';
