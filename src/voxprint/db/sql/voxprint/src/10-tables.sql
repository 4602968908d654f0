-- Tables. Nobody but their owner reads or writes them: the functions below are the only door.

CREATE TABLE voxprint.models (
  name text COLLATE "C" PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}$'),
  dim int NOT NULL CHECK (dim BETWEEN 1 AND 2000),
  spec_hash text,
  threshold float8 NOT NULL CHECK (threshold BETWEEN -1 AND 1),
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE voxprint.models IS
  'encoders whose embeddings may be stored; every embedding names its model, and embeddings of different models are never compared';
COMMENT ON COLUMN voxprint.models.threshold IS 'default: accept when the cosine is at least this';

CREATE TABLE voxprint.groups (
  group_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE,
  description text,
  watchlist boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN voxprint.groups.watchlist IS 'verifications may be checked against its members';

CREATE TABLE voxprint.speakers (
  speaker_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  external_id text COLLATE "C" NOT NULL UNIQUE,
  attributes jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object'),
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
  consent text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN voxprint.speakers.external_id IS 'what the caller calls the person';
CREATE INDEX speakers_suspended ON voxprint.speakers (speaker_id) WHERE status <> 'active';
CREATE INDEX speakers_attributes ON voxprint.speakers USING gin (attributes jsonb_path_ops);

CREATE TABLE voxprint.memberships (
  speaker_id bigint NOT NULL REFERENCES voxprint.speakers,
  group_id bigint NOT NULL REFERENCES voxprint.groups,
  PRIMARY KEY (speaker_id, group_id)
);
CREATE INDEX memberships_group ON voxprint.memberships (group_id);

CREATE TABLE voxprint.utterances (
  utterance_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  speaker_id bigint NOT NULL REFERENCES voxprint.speakers,
  model text COLLATE "C" NOT NULL REFERENCES voxprint.models,
  channel text COLLATE "C" NOT NULL DEFAULT 'any' CHECK (channel IN ('wideband', 'telephone', 'any')),
  embedding @extschema:vector@.vector NOT NULL,
  sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
  seconds float8,
  speech_seconds float8,
  sample_rate int,
  quality jsonb,
  audio bytea,
  overruled boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (sha256, model)
);
COMMENT ON COLUMN voxprint.utterances.sha256 IS
  'of the encoded audio; of the embedding where the audio is not known';
COMMENT ON COLUMN voxprint.utterances.channel IS
  'telephone: speech ends below 4.2 kHz; wideband: it does not; any: nobody knows';
COMMENT ON COLUMN voxprint.utterances.overruled IS
  'enrolled against the policy: the person is ready however little they spoke';
COMMENT ON COLUMN voxprint.utterances.audio IS 'only where the caller asked to keep it';
CREATE INDEX utterances_speaker ON voxprint.utterances (speaker_id, model, channel);
ALTER TABLE voxprint.utterances ALTER COLUMN audio SET STORAGE EXTERNAL;  -- it is compressed already

CREATE TABLE voxprint.voiceprints (
  speaker_id bigint NOT NULL REFERENCES voxprint.speakers,
  model text COLLATE "C" NOT NULL REFERENCES voxprint.models,
  channel text COLLATE "C" NOT NULL,
  embedding @extschema:vector@.vector NOT NULL,
  speech_seconds float8,
  utterances int NOT NULL,
  ready boolean NOT NULL,
  -- not random(): a restored gallery answers as the dumped one did
  cohort_key float8 NOT NULL GENERATED ALWAYS AS
    ((hashint8extended(speaker_id, 0) & 9007199254740991) / 9007199254740992.0::float8) STORED,
  PRIMARY KEY (speaker_id, model, channel)
);
COMMENT ON TABLE voxprint.voiceprints IS
  'what probes are compared with: the unit-length mean of the unit embeddings, kept by triggers on utterances';
COMMENT ON COLUMN voxprint.voiceprints.speech_seconds IS 'net speech behind it, as far as known; NULL: unknown';
COMMENT ON COLUMN voxprint.voiceprints.ready IS
  'the person has spoken enough, over all channels of this model, to be decided by';
COMMENT ON COLUMN voxprint.voiceprints.cohort_key IS
  'spread evenly over [0, 1): the first by it are a sample of the gallery that others do not move';
CREATE INDEX voiceprints_cohort ON voxprint.voiceprints (model, channel, cohort_key);

CREATE TABLE voxprint.tombstones (
  tombstone bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  removed jsonb NOT NULL,
  forgotten_at timestamptz NOT NULL DEFAULT now(),
  scrubbed_at timestamptz
);
COMMENT ON TABLE voxprint.tombstones IS
  'that somebody, or an utterance of theirs, was removed, and how many rows; no personal data. scrubbed_at: when the freed bytes were overwritten';

-- ANALYZE copies sample values into pg_statistic, where a deleted person would live on.
-- The indexes are found without them: the keys are unique, searches are scans or HNSW.
ALTER TABLE voxprint.speakers
  ALTER COLUMN external_id SET STATISTICS 0,
  ALTER COLUMN attributes SET STATISTICS 0,
  ALTER COLUMN consent SET STATISTICS 0;
ALTER TABLE voxprint.utterances
  ALTER COLUMN embedding SET STATISTICS 0,
  ALTER COLUMN sha256 SET STATISTICS 0,
  ALTER COLUMN quality SET STATISTICS 0,
  ALTER COLUMN audio SET STATISTICS 0;
ALTER TABLE voxprint.voiceprints ALTER COLUMN embedding SET STATISTICS 0;

-- What the functions return.
CREATE TYPE voxprint.enrolment AS (
  speaker text, added boolean, utterances int, speech_seconds float8, utterance_id bigint,
  ready boolean, speech_needed float8, reasons text[], duplicates jsonb);
CREATE TYPE voxprint.verification AS (
  speaker text, decision text, score float8, llr float8, threshold_llr float8, reject_llr float8, far float8,
  reasons text[], watchlists text[], channel text, cohort int, model text, calibration bigint,
  decision_id bigint);
CREATE TYPE voxprint.candidate AS (
  rank int, speaker text, decision text, score float8, llr float8, threshold_llr float8, margin float8,
  reasons text[], attributes jsonb, channel text, calibration bigint, decision_id bigint);
CREATE TYPE voxprint.comparison AS (
  decision text, score float8, llr float8, threshold_llr float8, reject_llr float8, far float8,
  reasons text[], cohort int, model text, calibration bigint);
CREATE TYPE voxprint.removal AS (
  tombstone bigint, removed jsonb, scrub_pending boolean);
CREATE TYPE voxprint.speaker AS (
  speaker text, status text, attributes jsonb, groups text[], utterances int, speech_seconds float8);

-- extension only: begin
-- A dump of an extension holds only what is named here. Voiceprints are left out on purpose: the
-- triggers on utterances make them again while the utterances are restored.
SELECT pg_catalog.pg_extension_config_dump('voxprint.models', '');
SELECT pg_catalog.pg_extension_config_dump('voxprint.groups', '');
SELECT pg_catalog.pg_extension_config_dump('voxprint.speakers', '');
SELECT pg_catalog.pg_extension_config_dump('voxprint.memberships', '');
SELECT pg_catalog.pg_extension_config_dump('voxprint.utterances', '');
SELECT pg_catalog.pg_extension_config_dump('voxprint.tombstones', '');
SELECT pg_catalog.pg_extension_config_dump('voxprint.groups_group_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('voxprint.speakers_speaker_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('voxprint.utterances_utterance_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('voxprint.tombstones_tombstone_seq', '');
-- extension only: end
