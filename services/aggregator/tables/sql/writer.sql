-- other_topic --
SELECT topic FROM cursor WHERE topic <> %(topic)s LIMIT 1

-- claim_cursor --
INSERT INTO cursor (topic, partition, topic_id, next_offset, epoch, digest)
VALUES (%(topic)s, %(partition)s, %(topic_id)s, 0, 1, %(digest)s)
ON CONFLICT (topic, partition) DO UPDATE SET epoch = cursor.epoch + 1
RETURNING topic_id, next_offset, epoch

-- move_cursor --
-- Sets the limit on this transaction as well, without a query of its own.
UPDATE cursor
SET next_offset = %(next_offset)s, digest = %(digest)s, updated_at = now(), unreadable = NULL
FROM (SELECT set_config('transaction_timeout', %(timeout)s, true)) AS limits
WHERE topic = %(topic)s AND partition = %(partition)s
  AND epoch = %(epoch)s AND next_offset = %(expected_offset)s

-- hold_cursor --
SELECT set_config('transaction_timeout', %(timeout)s, true) FROM cursor
WHERE topic = %(topic)s AND partition = %(partition)s
  AND epoch = %(epoch)s AND next_offset = %(next_offset)s
FOR UPDATE

-- notify --
-- After the commit and not in it, which could fail by it or wait for another. For who follows the count: api.positions.
NOTIFY escrutinio_counted

-- put_unreadable --
UPDATE cursor
SET unreadable = %(reason)s
WHERE topic = %(topic)s AND partition = %(partition)s
  AND epoch = %(epoch)s AND next_offset = %(next_offset)s

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
INSERT INTO selection (contest_id, selection_id, candidate, party, ballot_order, kind, list_id, withdrawn_at)
SELECT %(contest_id)s, * FROM unnest(%(ids)s::text[], %(candidates)s::text[], %(parties)s::text[], %(orders)s::int[],
                                     %(kinds)s::text[], %(lists)s::text[], %(withdrawn)s::timestamptz[])
ON CONFLICT (contest_id, selection_id) DO UPDATE
SET candidate = excluded.candidate, party = excluded.party, ballot_order = excluded.ballot_order,
    kind = excluded.kind, list_id = excluded.list_id, withdrawn_at = excluded.withdrawn_at

-- put_areas --
INSERT INTO area (contest_id, area_id, name, type, parent_id, expected_units, ends_at, replaced_by, codes, within)
SELECT %(contest_id)s, area_id, name, type, parent_id, expected_units, ends_at,
       ARRAY(SELECT jsonb_array_elements_text(replaced_by::jsonb)), codes, within
FROM unnest(%(ids)s::text[], %(names)s::text[], %(types)s::text[], %(parents)s::text[], %(expected)s::bigint[],
            %(ends)s::timestamptz[], %(replaced_by)s::text[], %(codes)s::jsonb[], %(within)s::jsonb[])
     AS a (area_id, name, type, parent_id, expected_units, ends_at, replaced_by, codes, within)
ON CONFLICT (contest_id, area_id) DO UPDATE
SET name = excluded.name, type = excluded.type, parent_id = excluded.parent_id,
    expected_units = excluded.expected_units, ends_at = excluded.ends_at, replaced_by = excluded.replaced_by,
    codes = excluded.codes, within = excluded.within

-- move_units --
UPDATE unit_state s SET current_offset = u.current, head_offset = u.head
FROM unnest(%(units)s::bigint[], %(currents)s::bigint[], %(heads)s::bigint[]) AS u (unit, current, head)
WHERE s.contest_id = %(contest_id)s AND s.unit = u.unit

-- put_totals --
INSERT INTO area_total (contest_id, unit_type, area_id, figures, stated_at, last_offset, last_event_id, since, kept_at)
SELECT %(contest_id)s, unit_type, area_id, figures::bigint[], stated_at, last_offset, last_event_id, since::bigint[],
       kept_at
FROM unnest(%(types)s::text[], %(areas)s::text[], %(figures)s::text[], %(stated)s::timestamptz[], %(offsets)s::bigint[],
            %(event_ids)s::uuid[], %(since)s::text[], %(kept_at)s::bigint[])
     AS t (unit_type, area_id, figures, stated_at, last_offset, last_event_id, since, kept_at)
ON CONFLICT (contest_id, unit_type, area_id) DO UPDATE
SET figures = excluded.figures, stated_at = excluded.stated_at, last_offset = excluded.last_offset,
    last_event_id = excluded.last_event_id, since = excluded.since, kept_at = excluded.kept_at

-- parked_of_partition --
SELECT contest_id, count(*) AS messages FROM parked WHERE partition = %(partition)s GROUP BY contest_id

-- generation --
SELECT version, (SELECT count(*) FROM take_over) AS take_overs FROM projection

-- analyse --
-- What autovacuum is at work on is left to it.
ANALYZE (SKIP_LOCKED) count_update_history, unit_state, area_path, publication, area_total, area_total_block
