-- contests --
SELECT contest_id FROM contest ORDER BY contest_id

-- contest --
SELECT * FROM contest WHERE contest_id = %(contest_id)s

-- area_total --
SELECT * FROM area_total
WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s AND area_id = %(area_id)s

-- unit_history --
SELECT * FROM update_history
WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s AND unit_id = %(unit_id)s AND accepted
ORDER BY sequence

-- findings_of_unit --
SELECT log_offset, code, message FROM finding
WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s AND unit_id = %(unit_id)s
ORDER BY log_offset, ordinal

-- snapshots_of_area --
WITH current AS (
    SELECT h.*, lag(count_status) OVER (PARTITION BY unit_id ORDER BY stated_at, sequence) AS before
    FROM update_history h
    WHERE contest_id = %(contest_id)s AND unit_type = %(level)s AND is_current
), beneath AS (
    SELECT * FROM current WHERE %(area_id)s = ANY (area_path)
), moves AS (
    SELECT source ->> 'snapshot_id' AS snapshot_id, coalesce(before, 'not stated') AS before, count_status AS after,
           count(*) AS units
    FROM beneath
    GROUP BY 1, 2, 3
), changes AS (
    SELECT source ->> 'snapshot_id' AS snapshot_id, c.key AS figure, sum(c.value::bigint) AS change
    FROM beneath, jsonb_each_text(change) c
    GROUP BY 1, 2
), snapshots AS (
    SELECT source ->> 'snapshot_id' AS snapshot_id, min(source -> 'documents' -> 0 ->> 'uri') AS uri,
           min(stated_at) AS stated_at, min(log_offset) AS first_offset, max(log_offset) AS last_offset,
           count(*) AS updates, count(*) FILTER (WHERE kind = 'CORRECTED') AS corrected
    FROM beneath
    GROUP BY 1
)
SELECT s.*,
       (SELECT jsonb_agg(jsonb_build_object('before', before, 'after', after, 'units', units) ORDER BY units DESC, before, after)
        FROM moves m WHERE m.snapshot_id = s.snapshot_id) AS moves,
       (SELECT jsonb_object_agg(figure, change) FROM changes c
        WHERE c.snapshot_id = s.snapshot_id AND change <> 0) AS change
FROM snapshots s
ORDER BY first_offset

-- cursors --
SELECT topic, partition, topic_id, next_offset, epoch, digest, updated_at FROM cursor ORDER BY topic, partition

-- contest_status --
SELECT c.contest_id, c.name, c.counting_level, c.last_offset, c.last_recorded_at, c.last_reported_at, c.digest,
       c.blocked, c.blocked_offset, c.blocked_reason,
       (SELECT count(*) FROM update_history h WHERE h.contest_id = c.contest_id) AS updates,
       (SELECT coalesce(jsonb_object_agg(code, n), '{}') FROM (
            SELECT code, count(*) AS n FROM finding f WHERE f.contest_id = c.contest_id GROUP BY code) g) AS findings,
       (SELECT count(*) FROM parked p WHERE p.contest_id = c.contest_id) AS parked
FROM contest c
ORDER BY c.contest_id

-- unattributed --
SELECT p.contest_id, count(*) AS messages, min(p.log_offset) AS first_offset, min(p.reason) AS reason
FROM parked p
WHERE NOT EXISTS (SELECT FROM contest c WHERE c.contest_id = p.contest_id)
GROUP BY p.contest_id

-- all_updates --
SELECT * FROM update_history WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset

-- all_definitions --
SELECT * FROM definition_history
WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset

-- all_findings --
SELECT * FROM finding
WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset, ordinal

-- all_units --
SELECT unit_type, unit_id, current_offset AS log_offset, head_offset FROM unit_state WHERE contest_id = %(contest_id)s

-- all_parked --
SELECT * FROM parked WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset, partition

-- last_parked --
SELECT coalesce(max(log_offset), -1) AS log_offset FROM parked WHERE contest_id = %(contest_id)s

-- digests --
SELECT contest_id, digest FROM contest WHERE topic = %(topic)s AND partition = %(partition)s

-- all_totals --
SELECT * FROM area_total WHERE contest_id = %(contest_id)s

-- next_offset --
SELECT c.next_offset
FROM contest k, cursor c
WHERE k.contest_id = %(contest_id)s AND c.topic = k.topic AND c.partition = k.partition

-- first_recorded_after --
SELECT log_offset FROM log_time
WHERE contest_id = %(contest_id)s AND recorded_at > %(recorded_at)s
ORDER BY recorded_at LIMIT 1

-- accepted_definitions --
SELECT log_offset FROM definition_history
WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s AND accepted ORDER BY log_offset

-- definition_at --
SELECT partition, log_offset, recorded_at, definition FROM definition_history
WHERE contest_id = %(contest_id)s AND log_offset = %(log_offset)s

-- last_event --
SELECT log_offset, recorded_at, last_reported_at FROM (
    (SELECT log_offset, recorded_at, last_reported_at FROM update_history
     WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset DESC LIMIT 1)
    UNION ALL
    (SELECT d.log_offset, d.recorded_at, u.last_reported_at
     FROM definition_history d
     LEFT JOIN LATERAL (
        SELECT last_reported_at FROM update_history h
        WHERE h.contest_id = d.contest_id AND h.log_offset < d.log_offset ORDER BY h.log_offset DESC LIMIT 1) u ON true
     WHERE d.contest_id = %(contest_id)s AND d.log_offset <= %(to_offset)s ORDER BY d.log_offset DESC LIMIT 1)
) e
ORDER BY log_offset DESC LIMIT 1

-- last_reported --
SELECT reported_at FROM update_history
WHERE contest_id = %(contest_id)s AND accepted AND reported_at IS NOT NULL AND log_offset <= %(to_offset)s
  AND reported_at <= least(%(stated_at)s, (
      SELECT last_reported_at FROM update_history
      WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset DESC LIMIT 1))
ORDER BY reported_at DESC LIMIT 1

-- unit_types --
SELECT DISTINCT unit_type FROM area_total WHERE contest_id = %(contest_id)s

-- unit_history_to --
SELECT h.* FROM unnest(%(types)s::text[], %(ids)s::text[]) AS u (unit_type, unit_id)
JOIN update_history h USING (unit_type, unit_id)
WHERE h.contest_id = %(contest_id)s AND h.accepted AND h.log_offset <= %(to_offset)s
ORDER BY h.unit_type, h.unit_id, h.sequence

-- statements_of_units --
-- With the areas that each statement counts in, as `CountUpdate.counting_areas` has them.
SELECT h.unit_id, h.log_offset, h.event_id, h.stated_at,
       h.area_path || CASE WHEN h.unit_type = ANY (%(sheet_types)s) THEN '{}' ELSE ARRAY[h.unit_id] END AS areas
FROM unnest(%(ids)s::text[]) AS u (unit_id)
JOIN update_history h USING (unit_id)
WHERE h.contest_id = %(contest_id)s AND h.unit_type = %(unit_type)s AND h.accepted AND h.log_offset <= %(to_offset)s
ORDER BY h.unit_id, h.sequence

-- updates_at --
SELECT * FROM update_history WHERE contest_id = %(contest_id)s AND log_offset = ANY (%(offsets)s)

-- changes_at --
SELECT log_offset, event_id, stated_at, change FROM update_history
WHERE contest_id = %(contest_id)s AND log_offset = ANY (%(offsets)s)

-- totals_since --
SELECT area_id, since FROM area_total
WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s AND area_id = ANY (%(areas)s)

-- blocks_to --
SELECT b.* FROM unnest(%(areas)s::text[]) AS a (area_id)
CROSS JOIN LATERAL (
    SELECT * FROM area_total_block b
    WHERE b.contest_id = %(contest_id)s AND b.unit_type = %(unit_type)s AND b.area_id = a.area_id
      AND b.span <= int8range(%(to_offset)s, NULL)
    ORDER BY b.span DESC LIMIT 2) b
ORDER BY b.area_id, b.span DESC

-- blocks_stated_by --
SELECT b.* FROM unnest(%(areas)s::text[]) AS a (area_id)
CROSS JOIN LATERAL (
    (SELECT * FROM area_total_block b
     WHERE b.contest_id = %(contest_id)s AND b.unit_type = %(unit_type)s AND b.area_id = a.area_id
       AND b.stated_at <= %(stated_at)s
     ORDER BY b.stated_at DESC, b.span DESC LIMIT 1)
    UNION ALL
    (SELECT * FROM area_total_block b
     WHERE b.contest_id = %(contest_id)s AND b.unit_type = %(unit_type)s AND b.area_id = a.area_id
       AND b.stated_at > %(stated_at)s
     ORDER BY b.stated_at, b.span LIMIT 1)) b
ORDER BY b.area_id, b.span DESC

-- irregular_units --
SELECT unit_id FROM update_history
WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s AND log_offset <= %(to_offset)s
  AND superseded_at > %(stated_at)s AND stated_at <= %(stated_at)s
UNION
SELECT unit_id FROM update_history
WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s AND log_offset <= %(to_offset)s AND is_moved

-- late_changes --
-- `|| ''` and `+ 0`: see Reader._late_rows.
WITH wanted AS (
    SELECT * FROM unnest(%(areas)s::text[], %(after)s::bigint[]) AS w (area_id, after)
), late AS MATERIALIZED (
    SELECT log_offset, event_id, stated_at, change,
           area_path || CASE WHEN unit_type = ANY (%(sheet_types)s) THEN '{}' ELSE ARRAY[unit_id] END AS areas
    FROM update_history
    WHERE contest_id || '' = %(contest_id)s AND unit_type = %(unit_type)s AND is_current
      AND stated_at <= %(stated_at)s AND log_offset + 0 <= %(to_offset)s AND log_offset + 0 > %(first)s
      AND unit_id <> ALL (%(irregular)s)
), of_area AS MATERIALIZED (
    SELECT area_id, l.log_offset, l.event_id, l.stated_at, l.change
    FROM late l CROSS JOIN LATERAL unnest(l.areas) AS a (area_id) JOIN wanted w USING (area_id)
    WHERE l.log_offset > w.after
), sums AS (
    SELECT area_id, jsonb_object_agg(figure, change) AS change
    FROM (SELECT l.area_id, c.key AS figure, sum(c.value::bigint) AS change
          FROM of_area l, jsonb_each_text(l.change) c GROUP BY 1, 2) s
    GROUP BY area_id
)
SELECT area_id, l.log_offset, l.event_id, l.stated_at, s.change
FROM (SELECT area_id, max(log_offset) AS log_offset, max(stated_at) AS stated_at,
             (array_agg(event_id ORDER BY log_offset DESC))[1] AS event_id
      FROM of_area GROUP BY area_id) l
LEFT JOIN sums s USING (area_id)

-- last_late --
SELECT coalesce(max(log_offset), -1) AS log_offset FROM update_history
WHERE contest_id || '' = %(contest_id)s AND unit_type = %(unit_type)s AND accepted
  AND stated_at <= %(stated_at)s AND log_offset + 0 <= %(to_offset)s AND log_offset + 0 > %(after)s

-- updates_between --
-- An update belongs to one of two moments only if its offset is beyond one of them, or its official time is: two ranges
-- that share no update, each with an index of its own.
WITH differing AS (
    SELECT contest_id, log_offset, unit_type, unit_id, area_path, sequence, %(offset_back)s::bool AS taken_back
    FROM update_history
    WHERE contest_id = %(contest_id)s AND accepted AND unit_type = ANY (%(unit_types)s)
      AND log_offset > %(offset_low)s AND log_offset <= %(offset_high)s AND stated_at <= %(stated_by)s
    UNION ALL
    SELECT contest_id, log_offset, unit_type, unit_id, area_path, sequence, %(stated_back)s::bool
    FROM update_history
    WHERE contest_id = %(contest_id)s AND accepted AND unit_type = ANY (%(unit_types)s)
      AND log_offset <= %(offset_low)s AND stated_at > %(stated_low)s AND stated_at <= %(stated_high)s
), affected AS (
    SELECT log_offset, taken_back FROM differing d
    WHERE %(area_id)s = ANY (area_path) OR (unit_id = %(area_id)s AND unit_type = ANY (%(area_types)s))
       -- a unit that has moved out of the area: by the log, or among what came late by the office's time
       OR (sequence > 1 AND EXISTS (
           SELECT FROM update_history p
           WHERE p.contest_id = d.contest_id AND p.unit_type = d.unit_type AND p.unit_id = d.unit_id AND p.accepted
             AND p.sequence < d.sequence AND %(area_id)s = ANY (p.area_path)))
       OR (unit_type, unit_id) IN (
           SELECT unit_type, unit_id FROM update_history
           WHERE contest_id = %(contest_id)s AND unit_type = ANY (%(unit_types)s) AND is_moved)
)
SELECT h.*, t.taken_back, (SELECT count(*) FROM affected) AS updates_total
FROM (SELECT * FROM affected ORDER BY log_offset LIMIT %(limit)s) t
JOIN update_history h ON h.contest_id = %(contest_id)s AND h.log_offset = t.log_offset
ORDER BY h.log_offset

-- all_log_times --
SELECT * FROM log_time WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset

-- all_blocks --
SELECT *, upper(span) - 1 AS log_offset FROM area_total_block
WHERE contest_id = %(contest_id)s AND upper(span) - 1 <= %(to_offset)s ORDER BY upper(span), unit_type, area_id

-- made_until --
SELECT until_stated_at FROM projection

-- all_selections --
SELECT * FROM selection WHERE contest_id = %(contest_id)s

-- all_areas --
SELECT * FROM area WHERE contest_id = %(contest_id)s

-- first_event --
SELECT log_offset, recorded_at FROM log_time WHERE contest_id = %(contest_id)s ORDER BY log_offset LIMIT 1
