-- update_history --
-- HISTORY and RESOLVED of tables/rows.py, in their order. Left joins: a number that stands for nothing is a mismatch.
SELECT h.log_offset, h.recorded_at, h.event_id, h.leaf, h.sequence, h.observed_at, h.stated_at, h.part,
       h.previous_event_id, h.reported_at, h.last_reported_at, h.superseded_at, h.figures, h.change, h.kind,
       h.count_status, h.source_status, h.review_reason, h.result_stage, h.is_test, h.accepted, h.is_current,
       h.is_moved, h.contest_id, h.unit_name, h.details, h.places,
       h.unit_type, h.unit_id, a.areas, p.name, p.snapshot_id, p.parts, p.is_complete, p.documents
FROM update_row h
LEFT JOIN area_path a ON a.contest_id = h.contest_id AND a.area_path = h.area_path AND a.unit_type = h.unit_type
LEFT JOIN publication p ON p.contest_id = h.contest_id AND p.publication = h.publication
WHERE h.contest_id = %(contest_id)s AND h.log_offset BETWEEN %(first)s AND %(last)s
ORDER BY h.log_offset

-- area_total_block --
SELECT contest_id, unit_type, area_id, span, offsets, figures, stated_at, last_offset, last_event_id,
       upper(span) - 1 AS log_offset
FROM area_total_block
WHERE contest_id = %(contest_id)s AND upper(span) - 1 <= %(to_offset)s
ORDER BY upper(span), unit_type, area_id

-- definition_history --
SELECT * FROM definition_history
WHERE contest_id = %(contest_id)s AND log_offset BETWEEN %(first)s AND %(last)s ORDER BY log_offset

-- roll_history --
SELECT * FROM roll_history
WHERE contest_id = %(contest_id)s AND log_offset BETWEEN %(first)s AND %(last)s ORDER BY log_offset

-- source_history --
SELECT * FROM source_history
WHERE contest_id = %(contest_id)s AND log_offset BETWEEN %(first)s AND %(last)s ORDER BY log_offset

-- roll_area --
SELECT * FROM roll_area
WHERE contest_id = %(contest_id)s AND log_offset BETWEEN %(first)s AND %(last)s
ORDER BY log_offset, unit_type COLLATE "C", area_id COLLATE "C"

-- finding --
SELECT * FROM finding
WHERE contest_id = %(contest_id)s AND log_offset BETWEEN %(first)s AND %(last)s ORDER BY log_offset, ordinal

-- log_time --
SELECT * FROM log_time
WHERE contest_id = %(contest_id)s AND log_offset BETWEEN %(first)s AND %(last)s ORDER BY log_offset

-- parked --
-- not those that stand in another partition than the contest: they are none of it
SELECT p.* FROM parked p JOIN contest c USING (contest_id, partition)
WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset

-- leaves --
SELECT s.unit_type, s.unit_id, s.leaf, k.leaf AS head_leaf
FROM (SELECT DISTINCT ON (unit) unit, unit_type, unit_id, leaf FROM update_row
      WHERE contest_id = %(contest_id)s AND log_offset <= %(last)s AND accepted
      ORDER BY unit, stated_at DESC, sequence DESC) s
JOIN (SELECT DISTINCT ON (unit) unit, leaf FROM update_row
      WHERE contest_id = %(contest_id)s AND log_offset <= %(last)s AND accepted
      ORDER BY unit, sequence DESC) k USING (unit)
WHERE s.unit_id IS NOT NULL

-- unnamed_area_path --
SELECT area_path AS number FROM area_path a
WHERE contest_id = %(contest_id)s
  AND NOT EXISTS (SELECT FROM update_row h WHERE h.contest_id = a.contest_id AND h.area_path = a.area_path)

-- unnamed_publication --
SELECT publication AS number FROM publication p
WHERE contest_id = %(contest_id)s
  AND NOT EXISTS (SELECT FROM update_row h WHERE h.contest_id = p.contest_id AND h.publication = p.publication)

-- unnamed_unit --
SELECT unit AS number FROM unit_row u
WHERE contest_id = %(contest_id)s AND current_offset IS NULL
  AND NOT EXISTS (SELECT FROM update_row h WHERE h.contest_id = u.contest_id AND h.unit = u.unit)
  AND (unit_type, unit_id) NOT IN (
      SELECT x ->> 'type', x ->> 'id' FROM roll_history r CROSS JOIN jsonb_array_elements(r.roll -> 'units') x
      WHERE r.contest_id = %(contest_id)s AND r.accepted)

-- units --
SELECT unit_type, unit_id, current_offset, head_offset FROM unit_row WHERE contest_id = %(contest_id)s

-- totals --
SELECT * FROM total_row WHERE contest_id = %(contest_id)s
