-- cursor_of_partition --
SELECT epoch FROM cursor WHERE topic = %(topic)s AND partition = %(partition)s

-- contests_of_partition --
SELECT c.contest_id, c.digest, c.definition_offset, c.last_offset, c.last_recorded_at, c.last_reported_at,
       c.blocked_offset IS NOT NULL AS is_blocked,
       h.recorded_at AS definition_recorded_at, h.definition,
       (SELECT max(recorded_at) FROM log_time t WHERE t.contest_id = c.contest_id) AS latest_recorded_at,
       EXISTS (SELECT FROM count_update_history u WHERE u.contest_id = c.contest_id AND u.log_offset = c.last_offset)
       OR EXISTS (SELECT FROM contest_history d WHERE d.contest_id = c.contest_id AND d.log_offset = c.last_offset)
       OR EXISTS (SELECT FROM roll_history r WHERE r.contest_id = c.contest_id AND r.log_offset = c.last_offset)
       OR EXISTS (SELECT FROM source_history s WHERE s.contest_id = c.contest_id AND s.log_offset = c.last_offset)
       AS has_last
FROM contest c
LEFT JOIN contest_history h ON h.contest_id = c.contest_id AND h.log_offset = c.definition_offset
WHERE c.topic = %(topic)s AND c.partition = %(partition)s

-- blocked_of_partition --
SELECT contest_id, p.key, p.log_offset, c.blocked_offset, c.partition IS NOT NULL AS is_contest
FROM (SELECT contest_id, key, min(log_offset) AS log_offset
      FROM parked WHERE partition = %(partition)s GROUP BY contest_id, key) p
FULL JOIN (SELECT contest_id, partition, blocked_offset FROM contest WHERE partition = %(partition)s) c
    USING (contest_id)
WHERE p.log_offset IS NOT NULL OR c.blocked_offset IS NOT NULL
ORDER BY p.log_offset

-- rolls_of_contest --
SELECT log_offset, roll FROM roll_history WHERE contest_id = %(contest_id)s AND accepted ORDER BY log_offset

-- units_of_contest --
SELECT unit, unit_type, unit_id FROM unit_state WHERE contest_id = %(contest_id)s ORDER BY unit

-- area_paths_of_contest --
SELECT area_path, unit_type, areas FROM area_path WHERE contest_id = %(contest_id)s ORDER BY area_path

-- states_of_contest --
SELECT s.unit, h.area_path, h.log_offset, h.stated_at, h.event_id, h.leaf,
       k.sequence, k.log_offset, k.event_id, k.leaf,
       array_position(%(kinds)s::text[], h.kind) - 1,
       array_position(%(statuses)s::text[], h.count_status) - 1,
       coalesce(array_position(%(reasons)s::text[], h.review_reason), 0) - 1,
       (h.details -> 'counts' -> 'suppressed' IS NOT NULL AND h.details -> 'counts' ->> 'suppressed' IS NOT NULL)::int,
       (h.details -> 'counted_with' IS NOT NULL)::int,
       h.figures
FROM unit_state s
JOIN count_update_history h ON h.contest_id = s.contest_id AND h.log_offset = s.current_offset
JOIN count_update_history k ON k.contest_id = s.contest_id AND k.log_offset = s.head_offset
WHERE s.contest_id = %(contest_id)s

-- official_of_area --
SELECT * FROM {}.update_history
WHERE contest_id = %(contest_id)s AND accepted AND unit_type = %(type)s AND unit_id = %(area_id)s
ORDER BY log_offset

-- totals_of_contest --
SELECT * FROM area_total WHERE contest_id = %(contest_id)s
