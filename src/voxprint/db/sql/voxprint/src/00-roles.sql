-- The voice gallery in SQL: groups, speakers, utterances, voiceprints, and the verbs enroll,
-- verify, identify, compare and forget.
--
-- The files of this folder, joined in the order of their names, are the extension's script. They
-- are also a plain script for a server without superuser: run it in ONE transaction as a role that
-- may CREATE ROLE and CREATE in the database, with the lines between "extension only: begin" and
-- "end" cut out.
--
-- While this script runs, objects that others made in advance are no candidates for any name
-- without a schema: CREATE EXTENSION alone would also look into the schema it creates in. Our names
-- and pgvector's are written with their schema; function bodies that use pgvector's are parsed now,
-- not when they are called, so no caller's search_path can change what they mean.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

-- Roles belong to the server, not to the database: another database may have made them already.
DO $$
DECLARE
  role text;
BEGIN
  FOREACH role IN ARRAY ARRAY['voxprint_owner', 'voxprint_reader', 'voxprint_operator', 'voxprint_admin',
                             'voxprint_auditor'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', role);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;  -- a script in another database was faster
      END;
    END IF;
  END LOOP;
END $$;

-- Whoever made the owner's role, or may act as it, has all that it owns: so one that exists already
-- must be as powerless as the one we make, in nobody's hands but the installer's, and with nothing
-- of its own in this database, such as a definer function that lends its rights.
DO $$
DECLARE
  fault text;
BEGIN
  SELECT CASE
      WHEN r.rolsuper THEN 'is a superuser'
      WHEN r.rolcanlogin THEN 'can log in'
      WHEN r.rolcreaterole OR r.rolbypassrls OR r.rolreplication
        THEN 'has CREATEROLE, BYPASSRLS or REPLICATION'
      WHEN EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid) THEN 'is a member of other roles'
      WHEN EXISTS (SELECT FROM pg_shdepend d JOIN pg_database b ON b.oid = d.dbid
                   WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o'
                     AND b.datname = current_database())
        THEN 'owns objects or default privileges in this database'
      ELSE 'has members who are no superusers: ' || (
        SELECT string_agg(quote_ident(o.rolname), ', ' ORDER BY o.rolname)
        FROM pg_auth_members m JOIN pg_roles o ON o.oid = m.member
        WHERE m.roleid = r.oid AND NOT o.rolsuper AND o.rolname <> current_user)
    END INTO fault
  FROM pg_roles r WHERE r.rolname = 'voxprint_owner';
  IF fault IS NOT NULL THEN
    RAISE EXCEPTION 'role voxprint_owner exists and %', fault USING ERRCODE = '55000',
      HINT = 'Whoever holds this role holds all that it is to own. Find out who made it; then REVOKE '
             'and ALTER ROLE what it has, or DROP OWNED BY and DROP ROLE it, and install again.';
  END IF;
END $$;

DO $$
DECLARE
  pair text[];
BEGIN
  FOREACH pair SLICE 1 IN ARRAY ARRAY[['voxprint_reader', 'voxprint_operator'],
                                      ['voxprint_operator', 'voxprint_admin']] LOOP
    IF NOT pg_has_role(pair[2], pair[1], 'USAGE') THEN
      EXECUTE format('GRANT %I TO %I WITH INHERIT TRUE', pair[1], pair[2]);
    END IF;
  END LOOP;
  -- Whoever creates a role without being superuser may administer it, but not act as it yet.
  -- The grant stays: VACUUM FULL after a removal needs the owner of the tables.
  IF NOT (pg_has_role('voxprint_owner', 'USAGE') AND pg_has_role('voxprint_owner', 'SET')) THEN
    EXECUTE format('GRANT voxprint_owner TO %I WITH INHERIT TRUE, SET TRUE', current_user);
  END IF;
  -- The index of a model is made in the owner's name, when the model is registered.
  IF NOT has_schema_privilege('voxprint_owner', '@extschema:vector@'::regnamespace::oid, 'USAGE') THEN
    GRANT USAGE ON SCHEMA @extschema:vector@ TO voxprint_owner;
  END IF;
END $$;

CREATE SCHEMA voxprint AUTHORIZATION voxprint_owner;
COMMENT ON SCHEMA voxprint IS 'voiceprints in SQL: enrol, verify and identify speakers';
