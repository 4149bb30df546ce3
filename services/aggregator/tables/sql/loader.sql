-- cursor_of_partition --
SELECT epoch FROM cursor WHERE topic = %(topic)s AND partition = %(partition)s

-- contests_of_partition --
SELECT c.contest_id, c.digest, c.definition_offset, c.last_offset, c.last_recorded_at, c.last_reported_at,
       h.recorded_at AS definition_recorded_at, h.definition,
       (SELECT max(recorded_at) FROM log_time t WHERE t.contest_id = c.contest_id) AS latest_recorded_at
FROM contest c
LEFT JOIN contest_history h ON h.contest_id = c.contest_id AND h.log_offset = c.definition_offset
WHERE c.topic = %(topic)s AND c.partition = %(partition)s

-- blocked_of_partition --
SELECT contest_id, min(log_offset) AS log_offset FROM parked WHERE partition = %(partition)s GROUP BY contest_id

-- units_of_contest --
SELECT h.*, s.head_offset
FROM unit_state s
JOIN count_update_history h ON h.contest_id = s.contest_id AND h.log_offset = s.current_offset
WHERE s.contest_id = %(contest_id)s

-- late_heads_of_contest --
SELECT h.*
FROM unit_state s
JOIN count_update_history h ON h.contest_id = s.contest_id AND h.log_offset = s.head_offset
WHERE s.contest_id = %(contest_id)s AND s.head_offset <> s.current_offset

-- official_of_contest --
SELECT * FROM count_update_history
WHERE contest_id = %(contest_id)s AND accepted AND unit_type = ANY (%(types)s)
ORDER BY log_offset

-- totals_of_contest --
SELECT * FROM area_total WHERE contest_id = %(contest_id)s

-- update_at --
SELECT * FROM count_update_history WHERE contest_id = %(contest_id)s AND log_offset = %(log_offset)s

-- definition_at --
SELECT recorded_at, definition FROM contest_history WHERE contest_id = %(contest_id)s AND log_offset = %(log_offset)s
