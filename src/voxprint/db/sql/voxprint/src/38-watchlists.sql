-- Watchlists: groups whose members a verification looks out for.

-- The lists to look into: those named, each a watchlist, and all of them where the settings say so.
CREATE FUNCTION voxprint._asked_watchlists(names text[]) RETURNS SETOF voxprint.groups
LANGUAGE plpgsql STABLE AS $$
DECLARE
  ordinary text;
BEGIN
  SELECT g.name INTO ordinary FROM voxprint.groups g
  WHERE g.group_id = ANY (voxprint._group_ids(names)) AND NOT g.watchlist ORDER BY g.name LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'group % is no watchlist', voxprint._shown(ordinary) USING ERRCODE = 'VX006',
      HINT = 'voxprint.create_group(name, description, watchlist => true) makes one; identify() searches any group.';
  END IF;
  RETURN QUERY
  SELECT g.* FROM voxprint.groups g
  WHERE g.watchlist AND (g.name = ANY (names) OR (voxprint._settings()).check_watchlists = 'always')
  ORDER BY g.name;
END $$;

-- The names of the lists with a member, other than the person claimed, whose voice the probe is. Of
-- each list the two most alike are judged: the nearest cosine need not be the highest LLR.
CREATE FUNCTION voxprint._watchlist_hits(probe voxprint._probe, person bigint, names text[]) RETURNS text[]
LANGUAGE plpgsql STABLE AS $$
DECLARE
  rate float8 := (voxprint._settings()).fpir;
  hits text[];
BEGIN
  SELECT array_agg(DISTINCT l.name::text ORDER BY l.name::text) INTO hits
  FROM voxprint._asked_watchlists(names) l,
       LATERAL voxprint._nearest(probe.embedding, probe.model, 3, ARRAY[l.group_id]) n,
       LATERAL voxprint._match(probe, n.speaker_id, rate, voxprint._searched(ARRAY[l.group_id], NULL, NULL)) m
  WHERE n.speaker_id <> person AND m.decision = 'accept';
  RETURN coalesce(hits, '{}');
END $$;
