-- The voice gallery in SQL: groups, speakers, utterances, voiceprints, and the verbs enroll,
-- verify, identify, compare and forget.
--
-- The files of this folder, joined in the order of their names, are the extension's script. They
-- are also a plain script for a server without superuser: run it in ONE transaction as a role that
-- may CREATE ROLE and CREATE in the database, with the lines between "extension only: begin" and
-- "end" cut out.
--
-- Every name of ours is written in full. The path set here only finds pgvector's names, and only
-- while this script runs: function bodies that use them are parsed now, not when they are called,
-- so no caller's search_path and no other schema can change what they mean.
DO $$
DECLARE
  home text := (SELECT n.nspname FROM pg_catalog.pg_extension e
                JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector');
BEGIN
  IF home IS NULL THEN
    RAISE EXCEPTION 'voxprint needs the extension vector (pgvector 0.8.4 or newer) in this database'
      USING ERRCODE = '0A000', HINT = 'CREATE EXTENSION vector;';
  END IF;
  PERFORM pg_catalog.set_config('search_path', pg_catalog.format('pg_catalog, %I, pg_temp', home), true);
END $$;

-- Roles belong to the server, not to the database: another database may have made them already.
DO $$
DECLARE
  role text;
  pair text[];
  home text := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                WHERE e.extname = 'vector');
BEGIN
  FOREACH role IN ARRAY ARRAY['voxprint_owner', 'voxprint_reader', 'voxprint_operator', 'voxprint_admin'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', role);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;  -- a script in another database was faster
      END;
    END IF;
  END LOOP;
  IF EXISTS (SELECT FROM pg_roles r
             WHERE r.rolname = 'voxprint_owner' AND (r.rolsuper OR r.rolcanlogin)) THEN
    RAISE EXCEPTION 'role voxprint_owner must be able neither to log in nor to act as superuser'
      USING ERRCODE = '42501', HINT = 'ALTER ROLE voxprint_owner NOLOGIN NOSUPERUSER;';
  END IF;
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
  IF NOT has_schema_privilege('voxprint_owner', home, 'USAGE') THEN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO voxprint_owner', home);
  END IF;
END $$;

CREATE SCHEMA voxprint AUTHORIZATION voxprint_owner;
COMMENT ON SCHEMA voxprint IS 'voiceprints in SQL: enrol, verify and identify speakers';
