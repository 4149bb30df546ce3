-- contests --
SELECT contest_id FROM results.contest ORDER BY contest_id

-- contest --
SELECT * FROM results.contest WHERE contest_id = %(contest_id)s

-- areas --
SELECT area_id, name, type, parent_id FROM results.area WHERE contest_id = %(contest_id)s

-- area_total --
SELECT * FROM results.area_total WHERE contest_id = %(contest_id)s AND area_id = %(area_id)s

-- unit_history --
SELECT * FROM results.update_history
WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s AND unit_id = %(unit_id)s AND accepted
ORDER BY sequence

-- findings_of_unit --
SELECT log_offset, code, message FROM results.finding
WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s AND unit_id = %(unit_id)s
ORDER BY log_offset, ordinal

-- snapshots_of_area --
WITH told AS (
    SELECT h.*, lag(count_status) OVER (PARTITION BY unit_id ORDER BY stated_at, sequence) AS before
    FROM results.update_history h
    WHERE contest_id = %(contest_id)s AND unit_type = %(level)s AND is_current
), beneath AS (
    SELECT * FROM told WHERE %(area_id)s = ANY (area_path)
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
SELECT topic, partition, topic_id, next_offset, epoch, digest, updated_at FROM results.cursor ORDER BY topic, partition

-- contest_status --
SELECT c.contest_id, c.name, c.counting_level, c.last_offset, c.last_recorded_at, c.last_reported_at, c.digest,
       c.blocked, c.blocked_offset, c.blocked_reason,
       (SELECT count(*) FROM results.update_history h WHERE h.contest_id = c.contest_id) AS updates,
       (SELECT coalesce(jsonb_object_agg(code, n), '{}') FROM (
            SELECT code, count(*) AS n FROM results.finding f WHERE f.contest_id = c.contest_id GROUP BY code) g) AS findings,
       (SELECT count(*) FROM results.parked p WHERE p.contest_id = c.contest_id) AS parked
FROM results.contest c
ORDER BY c.contest_id

-- unattributed --
SELECT p.contest_id, count(*) AS messages, min(p.log_offset) AS first_offset, min(p.reason) AS reason
FROM results.parked p
WHERE NOT EXISTS (SELECT FROM results.contest c WHERE c.contest_id = p.contest_id)
GROUP BY p.contest_id

-- all_updates --
SELECT * FROM results.update_history WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset

-- all_definitions --
SELECT * FROM results.definition_history
WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset

-- all_findings --
SELECT log_offset, code, message FROM results.finding
WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset, ordinal

-- all_units --
SELECT unit_type, unit_id, log_offset, head_offset FROM results.unit_count WHERE contest_id = %(contest_id)s

-- all_totals --
SELECT * FROM results.area_total WHERE contest_id = %(contest_id)s
