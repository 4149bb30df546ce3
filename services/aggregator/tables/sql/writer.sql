-- other_topic --
SELECT topic FROM cursor WHERE topic <> %(topic)s LIMIT 1

-- claim_cursor --
INSERT INTO cursor (topic, partition, topic_id, next_offset, epoch, digest)
VALUES (%(topic)s, %(partition)s, %(topic_id)s, 0, 1, %(digest)s)
ON CONFLICT (topic, partition) DO UPDATE SET epoch = cursor.epoch + 1
RETURNING topic_id, next_offset, epoch

-- move_cursor --
UPDATE cursor
SET next_offset = %(next_offset)s, digest = %(digest)s, updated_at = now()
WHERE topic = %(topic)s AND partition = %(partition)s
  AND epoch = %(epoch)s AND next_offset = %(expected_offset)s

-- put_contest --
INSERT INTO contest (contest_id, topic, partition, definition_offset, definition, digest,
                               last_offset, last_recorded_at, last_reported_at, blocked_offset, blocked_reason)
VALUES (%(contest_id)s, %(topic)s, %(partition)s, %(definition_offset)s, %(definition)s, %(digest)s,
        %(last_offset)s, %(last_recorded_at)s, %(last_reported_at)s, %(blocked_offset)s, %(blocked_reason)s)
ON CONFLICT (contest_id) DO UPDATE
SET definition_offset = excluded.definition_offset, definition = excluded.definition, digest = excluded.digest,
    last_offset = excluded.last_offset, last_recorded_at = excluded.last_recorded_at,
    last_reported_at = excluded.last_reported_at, blocked_offset = excluded.blocked_offset,
    blocked_reason = excluded.blocked_reason
WHERE contest.partition = excluded.partition

-- home_of_contest --
SELECT partition FROM contest WHERE contest_id = %(contest_id)s

-- block_contest --
UPDATE contest SET blocked_offset = %(offset)s, blocked_reason = %(reason)s
WHERE contest_id = %(contest_id)s AND blocked_offset IS NULL

-- put_selections --
INSERT INTO selection (contest_id, selection_id, candidate, party, ballot_order)
SELECT %(contest_id)s, * FROM unnest(%(ids)s::text[], %(candidates)s::text[], %(parties)s::text[], %(orders)s::int[])
ON CONFLICT (contest_id, selection_id) DO UPDATE
SET candidate = excluded.candidate, party = excluded.party, ballot_order = excluded.ballot_order

-- put_areas --
INSERT INTO area (contest_id, area_id, name, type, parent_id)
SELECT %(contest_id)s, * FROM unnest(%(ids)s::text[], %(names)s::text[], %(types)s::text[], %(parents)s::text[])
ON CONFLICT (contest_id, area_id) DO UPDATE
SET name = excluded.name, type = excluded.type, parent_id = excluded.parent_id

-- put_units --
INSERT INTO unit_state (contest_id, unit_type, unit_id, current_offset, head_offset)
SELECT %(contest_id)s, types, ids, currents, heads
FROM unnest(%(types)s::text[], %(ids)s::text[], %(currents)s::bigint[], %(heads)s::bigint[])
     AS u (types, ids, currents, heads)
ON CONFLICT (contest_id, unit_type, unit_id) DO UPDATE
SET current_offset = excluded.current_offset, head_offset = excluded.head_offset

-- put_totals --
INSERT INTO area_total
SELECT * FROM jsonb_populate_recordset(NULL::area_total, %(rows)s)
ON CONFLICT (contest_id, unit_type, area_id) DO UPDATE
SET votes = excluded.votes,
    registered_voters = excluded.registered_voters,
    registered_voters_counted = excluded.registered_voters_counted,
    ballots_cast = excluded.ballots_cast,
    valid_votes = excluded.valid_votes,
    blank_votes = excluded.blank_votes,
    invalid_votes = excluded.invalid_votes,
    challenged_votes = excluded.challenged_votes,
    annulled_ballots = excluded.annulled_ballots,
    total = excluded.total,
    processed = excluded.processed,
    counted = excluded.counted,
    counted_normal = excluded.counted_normal,
    annulled = excluded.annulled,
    not_installed = excluded.not_installed,
    under_review = excluded.under_review,
    to_be_processed = excluded.to_be_processed,
    pending = excluded.pending,
    in_process = excluded.in_process,
    under_review_by_reason = excluded.under_review_by_reason,
    stated_at = excluded.stated_at,
    last_offset = excluded.last_offset,
    last_event_id = excluded.last_event_id,
    since = excluded.since,
    kept_at = excluded.kept_at

-- parked_of_partition --
SELECT contest_id, count(*) AS messages FROM parked WHERE partition = %(partition)s GROUP BY contest_id

-- generation --
SELECT version, (SELECT count(*) FROM take_over) AS take_overs FROM projection
