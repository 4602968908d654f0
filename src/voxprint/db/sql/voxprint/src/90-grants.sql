-- The models, the owner of everything, and who may call what.

INSERT INTO voxprint.models (name, dim, threshold) VALUES
  ('campplus_zh_en_192', 192, 0.49), ('campplus_calls_192', 192, 0.50);
ALTER TABLE voxprint.settings ADD FOREIGN KEY (default_model) REFERENCES voxprint.models (name);

-- The owner first: grants are made in its name then, and a dump of the extension need not repeat
-- them.
DO $$
DECLARE
  item record;
BEGIN
  FOR item IN
    SELECT 'TABLE' AS kind, c.oid::regclass::text AS name FROM pg_class c
    WHERE c.relnamespace = 'voxprint'::regnamespace::oid AND c.relkind = 'r'
    UNION ALL
    SELECT 'TYPE', c.oid::regclass::text FROM pg_class c
    WHERE c.relnamespace = 'voxprint'::regnamespace::oid AND c.relkind = 'c'
    UNION ALL
    SELECT 'FUNCTION', p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace = 'voxprint'::regnamespace::oid
  LOOP
    EXECUTE format('ALTER %s %s OWNER TO voxprint_owner', item.kind, item.name);
  END LOOP;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA voxprint FROM PUBLIC;
GRANT USAGE ON SCHEMA voxprint TO voxprint_reader, voxprint_auditor;

DO $$
DECLARE
  item record;
BEGIN
  FOR item IN
    SELECT p.oid::regprocedure AS callable, g.role
    FROM (VALUES
      ('voxprint_reader', ARRAY['verify', 'identify', 'compare', 'check_watch', 'look']),
      ('voxprint_operator', ARRAY['enroll', 'forget', 'create_group', 'drop_group', 'join_group',
        'leave_group', 'set_attributes', 'set_status', 'list_groups', 'list_speakers', 'list_utterances',
        'cohesion', 'remove_utterance', 'find_duplicates']),
      ('voxprint_admin', ARRAY['register_model', 'tune', 'list_unmigrated', 'migrate_utterance']),
      ('voxprint_reader', ARRAY['show_settings', 'default_model']),
      ('voxprint_operator', ARRAY['list_calibrations', 'list_decisions', 'label_decision', 'decision_report']),
      ('voxprint_auditor', ARRAY['show_settings', 'list_calibrations', 'list_decisions', 'decision_report']),
      ('voxprint_admin', ARRAY['configure', 'add_calibration', 'use_calibration', 'purge_decisions',
        'labelled_decisions', 'calibration_background'])) AS g (role, names)
    JOIN pg_proc p ON p.pronamespace = 'voxprint'::regnamespace::oid AND p.proname = ANY (g.names)
  LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', item.callable, item.role);
  END LOOP;

  -- The other order is open_analytic's: it grants the same when it is created after this.
  IF voxprint._call_worker() IS NOT NULL
     AND pg_has_role((SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'open_analytic'), 'USAGE') THEN
    GRANT USAGE ON SCHEMA open_analytic TO voxprint_owner;
    GRANT EXECUTE ON FUNCTION open_analytic.call_worker(text, text, bytea) TO voxprint_owner;
    GRANT USAGE ON SCHEMA voxprint TO open_analytic_owner;
    GRANT EXECUTE ON FUNCTION voxprint.default_model() TO open_analytic_owner;
  END IF;
END $$;
