-- Nothing here reads a table of ours or runs with other rights than its caller's.
GRANT USAGE ON SCHEMA fastann TO PUBLIC;
GRANT SELECT ON fastann.settings TO PUBLIC;
