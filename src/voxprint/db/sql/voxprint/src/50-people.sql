-- Groups, attributes and status of people.

CREATE FUNCTION voxprint.create_group(name text, description text DEFAULT NULL, watchlist boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM voxprint._check_name('group', create_group.name);
  INSERT INTO voxprint.groups (name, description, watchlist)
  VALUES (create_group.name, create_group.description, coalesce(create_group.watchlist, false))
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'group % exists already', voxprint._shown(create_group.name) USING ERRCODE = 'VX006';
  END IF;
END $$;

CREATE FUNCTION voxprint.drop_group(name text) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  id bigint;
  members int;
BEGIN
  SELECT g.group_id INTO id FROM voxprint.groups g WHERE g.name = drop_group.name FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM voxprint._unknown_group(drop_group.name);
  END IF;
  DELETE FROM voxprint.memberships m WHERE m.group_id = id;
  GET DIAGNOSTICS members = ROW_COUNT;
  DELETE FROM voxprint.groups g WHERE g.group_id = id;
  RETURN members;
END $$;

CREATE FUNCTION voxprint.join_group(speaker text, name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN voxprint._join_groups(voxprint._lock_speaker(join_group.speaker), ARRAY[join_group.name]) > 0;
END $$;

CREATE FUNCTION voxprint.leave_group(speaker text, name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  person bigint := voxprint._lock_speaker(leave_group.speaker);
BEGIN
  DELETE FROM voxprint.memberships m
  WHERE m.speaker_id = person AND m.group_id = ANY (voxprint._group_ids(ARRAY[leave_group.name]));
  RETURN FOUND;
END $$;

CREATE FUNCTION voxprint.set_attributes(speaker text, attributes jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  person bigint := voxprint._lock_speaker(set_attributes.speaker);
BEGIN
  PERFORM voxprint._check_object('attributes', coalesce(set_attributes.attributes, 'null'));
  UPDATE voxprint.speakers s SET attributes = set_attributes.attributes, updated_at = now()
  WHERE s.speaker_id = person;
END $$;

CREATE FUNCTION voxprint.set_status(speaker text, status text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  person bigint := voxprint._lock_speaker(set_status.speaker);
BEGIN
  IF set_status.status IS NULL OR set_status.status NOT IN ('active', 'suspended') THEN
    RAISE EXCEPTION 'a status is "active" or "suspended", got %', voxprint._shown(set_status.status)
      USING ERRCODE = 'VX006';
  END IF;
  UPDATE voxprint.speakers s SET status = set_status.status, updated_at = now()
  WHERE s.speaker_id = person;
END $$;

CREATE FUNCTION voxprint.list_groups()
RETURNS TABLE (name text, description text, speakers int, watchlist boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT g.name, g.description, count(m.speaker_id)::int, g.watchlist
  FROM voxprint.groups g LEFT JOIN voxprint.memberships m USING (group_id)
  GROUP BY g.group_id ORDER BY g.name;
END;

CREATE FUNCTION voxprint.list_speakers(groups text[] DEFAULT NULL) RETURNS SETOF voxprint.speaker
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  group_ids bigint[] := voxprint._filter_ids(list_speakers.groups);
BEGIN
  RETURN QUERY
  SELECT s.external_id::text, s.status, s.attributes,
         ARRAY(SELECT g.name::text FROM voxprint.memberships m JOIN voxprint.groups g USING (group_id)
               WHERE m.speaker_id = s.speaker_id ORDER BY g.name),
         count(u.sha256)::int, coalesce(sum(u.speech_seconds), 0)
  FROM voxprint.speakers s
  -- A recording counts once, however many models have heard it.
  LEFT JOIN (SELECT o.speaker_id, o.sha256, max(o.speech_seconds) AS speech_seconds
             FROM voxprint.utterances o GROUP BY o.speaker_id, o.sha256) u USING (speaker_id)
  WHERE group_ids IS NULL OR EXISTS (SELECT FROM voxprint.memberships m
                                     WHERE m.speaker_id = s.speaker_id AND m.group_id = ANY (group_ids))
  GROUP BY s.speaker_id ORDER BY s.external_id;
END $$;
