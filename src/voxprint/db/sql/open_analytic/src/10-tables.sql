-- Pipelines, and the secret that guards the cache of one transaction.
--
-- Two roles belong to the server, not to a database, so they may be there already:
--   open_analytic_owner  owns the definer functions and the address of the worker
--   open_analytic_files  its members may name files of the worker instead of sending bytes

-- While this script runs, objects that others made in advance are no candidates for any name
-- without a schema: CREATE EXTENSION alone would also look into the schema it creates in.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

DO $$
DECLARE
    missing name;
BEGIN
    FOREACH missing IN ARRAY ARRAY['open_analytic_owner', 'open_analytic_files'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = missing) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOSUPERUSER', missing);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this server has just made it
            END;
        END IF;
    END LOOP;
END $$;

-- Whoever made the owner's role, or may act as it, has all that it owns: so one that exists
-- already must be as powerless as the one we make, in nobody's hands but the installer's, and
-- with nothing of its own in this database, such as a definer function that lends its rights.
-- The address of the worker may be there: each start of one writes it anew.
DO $$
DECLARE
    fault text;
BEGIN
    SELECT CASE
            WHEN r.rolsuper THEN 'is a superuser'
            WHEN r.rolcanlogin THEN 'can log in'
            WHEN r.rolcreaterole OR r.rolbypassrls OR r.rolreplication
                THEN 'has CREATEROLE, BYPASSRLS or REPLICATION'
            WHEN EXISTS (SELECT FROM pg_auth_members AS m WHERE m.member = r.oid)
                THEN 'is a member of other roles'
            WHEN EXISTS (
                SELECT FROM pg_shdepend AS d JOIN pg_database AS b ON b.oid = d.dbid
                WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid
                    AND d.deptype = 'o' AND b.datname = current_database()
                    AND d.classid NOT IN (
                        'pg_foreign_server'::regclass, 'pg_user_mapping'::regclass))
                THEN 'owns objects or default privileges in this database'
            ELSE 'has members who are no superusers: ' || (
                SELECT string_agg(quote_ident(o.rolname), ', ' ORDER BY o.rolname)
                FROM pg_auth_members AS m JOIN pg_roles AS o ON o.oid = m.member
                WHERE m.roleid = r.oid AND NOT o.rolsuper AND o.rolname <> current_user)
        END INTO fault
    FROM pg_roles AS r WHERE r.rolname = 'open_analytic_owner';
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'role open_analytic_owner exists and %', fault USING ERRCODE = '55000',
            HINT = 'Whoever holds this role holds all that it is to own. Find out who made it; '
                'then REVOKE and ALTER ROLE what it has, or DROP OWNED BY and DROP ROLE it, and '
                'install again.';
    END IF;
END $$;

CREATE SCHEMA open_analytic;

CREATE TABLE open_analytic.pipelines (
    name text PRIMARY KEY CHECK (name <> '' AND octet_length(name) <= 200),
    model text NOT NULL CHECK (model ~ '^[A-Za-z0-9_.+-]{1,64}$'),
    channel text NOT NULL CHECK (channel ~ '^(mix|[0-9]{1,3})$'),
    created_by name NOT NULL DEFAULT current_user,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE open_analytic.pipelines IS
    'Which model embeds, and which channel of the audio it hears (mix: the average of all).';

-- Never dumped: a restored database has its own, made when the extension is created.
CREATE TABLE open_analytic.secret (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    inner_pad bytea NOT NULL,
    outer_pad bytea NOT NULL,
    seeds bigint[] NOT NULL
);
COMMENT ON TABLE open_analytic.secret IS
    'Key of an HMAC-SHA256 (its two padded forms) and seeds of two hashes. They guard the '
    'cached embeddings of a transaction, which stand in settings that anyone can write.';

DO $$
DECLARE
    -- gen_random_uuid draws from the server's strong random source; two make 244 bits.
    key constant bytea := pg_catalog.sha256(
        pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
        || pg_catalog.uuid_send(pg_catalog.gen_random_uuid()));
    random_bytes constant bytea := pg_catalog.uuid_send(pg_catalog.gen_random_uuid());
    inner_pad bytea := pg_catalog.decode(pg_catalog.repeat('36', 64), 'hex');
    outer_pad bytea := pg_catalog.decode(pg_catalog.repeat('5c', 64), 'hex');
BEGIN
    FOR i IN 0..31 LOOP
        inner_pad := pg_catalog.set_byte(inner_pad, i, pg_catalog.get_byte(key, i) # 54);
        outer_pad := pg_catalog.set_byte(outer_pad, i, pg_catalog.get_byte(key, i) # 92);
    END LOOP;
    INSERT INTO open_analytic.secret (inner_pad, outer_pad, seeds) VALUES (
        inner_pad, outer_pad, ARRAY[
            pg_catalog.hash_record_extended(ROW(random_bytes), 1),
            pg_catalog.hash_record_extended(ROW(random_bytes), 2)]);
END $$;

-- What a worker answers about one recording.
CREATE TYPE open_analytic.answer AS (
    embedding @extschema:vector@.vector,
    model text,
    spec_hash text,
    seconds double precision,
    speech_seconds double precision,
    sample_rate integer,
    channels integer,
    sha256 bytea,
    quality jsonb
);
COMMENT ON TYPE open_analytic.answer IS
    'embedding: unit length; seconds: of the whole recording; speech_seconds: of net speech; '
    'sample_rate, channels: of the source; sha256: of the encoded bytes.';

-- extension only: begin
SELECT pg_catalog.pg_extension_config_dump('open_analytic.pipelines', '');
-- extension only: end
