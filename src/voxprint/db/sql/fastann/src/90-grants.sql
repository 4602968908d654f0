-- Everything here runs with its caller's rights. Policies say who may write what into the tables.
GRANT USAGE ON SCHEMA fastann TO PUBLIC;
GRANT SELECT ON fastann.settings TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON fastann.table_models, fastann.index_models TO PUBLIC;
GRANT SELECT, INSERT, DELETE ON fastann.samples, fastann.workload TO PUBLIC;
