-- The extensions
CREATE EXTENSION IF NOT EXISTS open_analytic;
CREATE EXTENSION IF NOT EXISTS fastann;

-- A table for voices
CREATE TABLE speaker_table (
    speaker_id TEXT NOT NULL,
    audio BYTEA NOT NULL,
    feature REAL[] NOT NULL,
    PRIMARY KEY (speaker_id)
);

-- An index for approximate nearest neighbours
CREATE INDEX speaker_table_index ON speaker_table USING ann ((feature::vector(192)));

-- A pipeline: audio in, voiceprint out
SELECT open_analytic.pipeline_create('speaker_feature_extractor');

-- Extract a voiceprint
SELECT open_analytic.pipeline_run_dist_random('speaker_feature_extractor', %(enrolled)s);

-- Insert a voice, extracting its voiceprint in the same statement (once for every speaker)
INSERT INTO speaker_table VALUES (
    %(speaker)s,
    %(enrolled)s,
    open_analytic.pipeline_run_dist_random('speaker_feature_extractor', %(enrolled)s)
);

-- Search: whose voice is this?
SELECT speaker_id,
       l2_distance(feature, open_analytic.pipeline_run_dist_random('speaker_feature_extractor', %(probe)s)) AS distance
  FROM speaker_table
 ORDER BY feature <-> open_analytic.pipeline_run_dist_random('speaker_feature_extractor', %(probe)s)
 LIMIT 3;

-- Search with a condition on an ordinary column, and a largest distance
SELECT speaker_id
  FROM speaker_table
 WHERE speaker_id <> %(speaker)s
   AND l2_distance(feature, open_analytic.pipeline_run_dist_random('speaker_feature_extractor', %(probe)s)) < 1.0
 ORDER BY feature <-> open_analytic.pipeline_run_dist_random('speaker_feature_extractor', %(probe)s)
 LIMIT 1;

-- Compare two recordings
SELECT l2_distance(
    open_analytic.pipeline_run_dist_random('speaker_feature_extractor', %(enrolled)s),
    open_analytic.pipeline_run_dist_random('speaker_feature_extractor', %(probe)s)
);
