-- Verify: is the voice the person it is claimed to be?
SELECT speaker, decision, round(score::numeric, 3) AS score, round(llr::numeric, 2) AS llr, reasons
  FROM voxprint.verify(%(speaker)s, %(probe)s);

-- Verify somebody else's claim to be that person
SELECT speaker, decision, round(score::numeric, 3) AS score, round(llr::numeric, 2) AS llr, reasons
  FROM voxprint.verify(%(speaker)s, %(other)s);

-- Identify: the most similar people
SELECT rank, speaker, decision, round(score::numeric, 3) AS score
  FROM voxprint.identify(%(probe)s, k => 3);

-- Compare two recordings, and get a decision
SELECT decision, round(score::numeric, 3) AS score
  FROM voxprint.compare(%(probe)s, %(other)s);
