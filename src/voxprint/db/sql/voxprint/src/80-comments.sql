-- What \df+ says.
DO $$
DECLARE
  entry text[];
  callable regprocedure;
BEGIN
  FOREACH entry SLICE 1 IN ARRAY ARRAY[
    ['enroll', 'Enrols one utterance of one person, made known by it where they are new; the reference they are compared with is the mean of all of them, a channel. The same recording of the same person changes nothing and says added = false; of another person it is refused (VX005); of more than one speaker, too (VX007). New attributes are merged over the old ones, key by key. overrule: against the policy.'],
    ['verify', 'Is the probe this person? accept, reject or inconclusive, so that far is the share of other people who are accepted. watchlists: names of groups to look out for, too. threshold: a cosine that decides in place of the calibration. Suspended people are refused (VX006). Scores tell: whoever may send embeddings of their own making can compute a voiceprint from as many scores as it has numbers.'],
    ['identify', 'The k active people most alike, best first, at most one of them accepted; none accepted: nobody. fpir: the share of searches for people who are not enrolled that may find somebody. Whoever may call it learns names, attributes and scores of anybody in the gallery. groups: members of at least one of them. attributes: contained in theirs. attributes_path: a jsonpath that is true of, or finds something in, theirs.'],
    ['look', 'Is the person who speaks this one, by what was heard so far? undecided, accept or reject, by a sequential test for both rates; looked at again as speech comes. What is decided is recorded; of a reject, and where changed => true, LISTEN voxprint_alert tells. decided: what an earlier look said, that this one only watches. Without a calibration VX008.'],
    ['check_watch', 'Whether a person can be watched by this model at these rates; raises what speaks against it.'],
    ['compare', 'Are two utterances of one person? As verify, without an enrolment.'],
    ['forget', 'Removes a person and everything of theirs, and leaves a tombstone without personal data. The bytes stay in the data files until a scrub.'],
    ['list_utterances', 'What is enrolled of a person, and its quality.'],
    ['cohesion', 'Do the utterances of a person agree? score, llr: with the more central half of the others. outlier: it speaks rather for another voice; remove_utterance() takes it out.'],
    ['remove_utterance', 'Removes one utterance; the references follow at once. Leaves a tombstone without personal data. The bytes stay in the data files until a scrub.'],
    ['list_unmigrated', 'Recordings that another model has heard and this one has not; kept_audio: whether this one can still hear them.'],
    ['migrate_utterance', 'Has this model hear a recording that was kept with an utterance, and adds what it makes of it as an utterance of its own. The audio does not leave the database but for its worker.'],
    ['find_duplicates', 'Pairs of active people who seem to have one voice. far: as a search for each of them. Takes about the time of an identification for each voiceprint.'],
    ['create_group', 'Makes a group, to be searched or listed alone; watchlist: for verifications to be checked against.'],
    ['drop_group', 'Drops a group, not its members. How many members it had.'],
    ['join_group', 'Puts a person into a group. False where they are in it already.'],
    ['leave_group', 'Takes a person out of a group. False where they are not in it.'],
    ['set_attributes', 'Replaces the attributes of a person.'],
    ['set_status', 'active, or suspended: not verified and not identified, but kept.'],
    ['list_speakers', 'People by name; those of the groups named, where any are.'],
    ['list_groups', 'Groups by name, with their number of members.'],
    ['show_settings', 'The settings of this database, with their defaults and what they mean.'],
    ['default_model', 'The encoder that this database means where a call names none.'],
    ['configure', 'Changes one setting for everybody, from the next call on.'],
    ['list_calibrations', 'All versions of how scores become decisions; active: the one in use of each model.'],
    ['add_calibration', 'Stores a calibration of a model, for the spec it was fitted on (else VX008), and uses it unless activate is false. background: second-order statistics, as [{"weight", "direction"}, ...], component 0 first. Returns its number.'],
    ['use_calibration', 'Takes up a calibration again, in place of the one in use.'],
    ['list_decisions', 'The log of decisions, newest first: since (included) until (excluded), of one person, outcome or kind, labelled or not. speaker: claimed, or the most alike; NULL where nobody was, or where they were forgotten.'],
    ['label_decision', 'Says whether a recorded decision was about the person it names; returns what somebody said before.'],
    ['labelled_decisions', 'What a calibration can be fitted on: labelled decisions, people by number.'],
    ['calibration_background', 'The second-order statistics that a calibration goes with, as add_calibration takes them.'],
    ['purge_decisions', 'Removes the decisions made before a moment, and returns how many. Their bytes stay until a scrub.'],
    ['decision_report', 'Counts of recorded decisions by kind and by day, channel, reason, target rate and calibration, and of errors where decisions were labelled.'],
    ['tune', 'Measures how the gallery is searched on this machine, for identify: after loading many people, and when there are half as many again.'],
    ['register_model', 'Makes a model known, or changes its spec hash (only while it has no utterances) and its threshold. What is NULL stays as it is.']
  ] LOOP
    FOR callable IN SELECT p.oid FROM pg_proc p
                    WHERE p.pronamespace = 'voxprint'::regnamespace::oid AND p.proname = entry[1] LOOP
      EXECUTE format('COMMENT ON FUNCTION %s IS %L', callable, entry[2]);
    END LOOP;
  END LOOP;
END $$;
