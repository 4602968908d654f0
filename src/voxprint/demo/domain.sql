-- Verify: is the voice the person it is claimed to be?
SELECT decision, round(score::numeric, 3) AS score, round(llr::numeric, 2) AS llr,
       round(threshold_llr::numeric, 2) AS accepted_from, reasons
  FROM voxprint.verify(%(speaker)s, %(probe)s, record => true);

-- Somebody else claims to be that person
SELECT decision, round(score::numeric, 3) AS score, round(llr::numeric, 2) AS llr, reasons
  FROM voxprint.verify(%(speaker)s, %(other)s, record => true);

-- The person again, with half a second of speech: too little to tell
SELECT decision, round(score::numeric, 3) AS score, round(llr::numeric, 2) AS llr, reasons
  FROM voxprint.verify(%(speaker)s, %(half_a_second)s, record => true);

-- A stricter demand: one impostor in a thousand
SELECT decision, round(llr::numeric, 2) AS llr, round(threshold_llr::numeric, 2) AS accepted_from
  FROM voxprint.verify(%(speaker)s, %(probe)s, far => 0.001);

-- Identify: whose voice is this?
SELECT rank, speaker, decision, round(score::numeric, 3) AS score, round(margin::numeric, 2) AS margin
  FROM voxprint.identify(%(probe)s, k => 3, record => true);

-- Identify an outsider, who is not enrolled: nobody is accepted
SELECT rank, speaker, decision, round(score::numeric, 3) AS score, round(margin::numeric, 2) AS margin
  FROM voxprint.identify(%(outsider)s, k => 3, record => true);

-- Compare two recordings, and get a decision
SELECT decision, round(score::numeric, 3) AS score, round(llr::numeric, 2) AS llr
  FROM voxprint.compare(%(probe)s, %(other)s);

-- What was asked and answered, without audio and without embeddings
SELECT kind, speaker, decision, round(llr::numeric, 2) AS llr, reasons, asked_by
  FROM voxprint.list_decisions();
