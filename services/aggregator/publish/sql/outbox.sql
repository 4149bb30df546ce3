-- contest --
SELECT * FROM publish.contest WHERE contest_id = %(contest_id)s

-- known_notices --
SELECT contest_id, notices FROM publish.contest WHERE notices IS NOT NULL

-- know_notices --
INSERT INTO publish.contest (contest_id, version, notices) VALUES (%(contest_id)s, %(version)s, %(notices)s)
ON CONFLICT (contest_id) DO UPDATE SET notices = excluded.notices

-- told_to --
INSERT INTO publish.contest (contest_id, version, totals_to, outer_to)
VALUES (%(contest_id)s, %(version)s, %(totals_to)s, %(outer_to)s)
ON CONFLICT (contest_id) DO UPDATE
SET totals_to = excluded.totals_to, outer_to = excluded.outer_to, version = excluded.version

-- updates_since --
-- By areas, those that report and the others: of a night two thousand rows. In no order, which would cost a sort.
-- An update that moved its unit counts for the areas that it left, too.
SELECT areas, coalesce(array_agg(log_offset) FILTER (WHERE kind = 'REPORTED'), '{}') AS ordinary,
       coalesce(array_agg(log_offset) FILTER (WHERE kind <> 'REPORTED'), '{}') AS others
FROM (
    SELECT areas, kind, log_offset FROM update_row
    WHERE contest_id = %(contest_id)s AND accepted AND log_offset > %(after)s AND log_offset <= %(to_offset)s
    UNION ALL
    SELECT ARRAY(SELECT unnest(m.areas) EXCEPT SELECT unnest(h.areas)), h.kind, h.log_offset
    FROM update_row h
    CROSS JOIN LATERAL (
        SELECT o.areas FROM update_row o
        WHERE o.contest_id = h.contest_id AND o.unit = h.unit AND o.is_current AND o.log_offset < h.log_offset
        ORDER BY o.sequence DESC LIMIT 1) m
    WHERE h.contest_id = %(contest_id)s AND h.accepted AND h.log_offset > %(after)s AND h.log_offset <= %(to_offset)s
      AND h.is_moved AND h.is_current) u
GROUP BY areas

-- causes --
SELECT log_offset, event_id, kind, unit_type, unit_id, details -> 'correction' ->> 'reason' AS reason,
       details -> 'correction' ->> 'basis' AS basis
FROM update_row WHERE contest_id = %(contest_id)s AND log_offset = ANY (%(offsets)s)

-- redefined --
SELECT EXISTS (SELECT FROM definition_history WHERE contest_id = %(contest_id)s AND accepted AND log_offset > %(after)s)
    OR EXISTS (SELECT FROM roll_history WHERE contest_id = %(contest_id)s AND accepted AND log_offset > %(after)s)
    OR EXISTS (SELECT FROM contest WHERE contest_id = %(contest_id)s AND blocked AND blocked_offset > %(after)s) AS redefined

-- counted_areas --
SELECT DISTINCT area_id FROM total_row WHERE contest_id = %(contest_id)s
UNION SELECT area_id FROM publish.area WHERE contest_id = %(contest_id)s

-- told --
SELECT area_id, event_id, figures, content FROM publish.area WHERE contest_id = %(contest_id)s AND area_id = ANY (%(areas)s)

-- put_told --
INSERT INTO publish.area (contest_id, area_id, event_id, figures, content)
SELECT %(contest_id)s, area_id, event_id, figures::jsonb, content
FROM unnest(%(areas)b::text[], %(event_ids)b::uuid[], %(figures)b::text[], %(contents)b::bytea[])
     AS t (area_id, event_id, figures, content)
ON CONFLICT (contest_id, area_id) DO UPDATE
SET event_id = excluded.event_id, figures = excluded.figures, content = excluded.content

-- keep_notices --
INSERT INTO publish.notice (contest_id, number, body)
SELECT %(contest_id)s, place + (SELECT coalesce(max(number), 0) FROM publish.notice WHERE contest_id = %(contest_id)s), body::json
FROM unnest(%(bodies)s::text[]) WITH ORDINALITY AS n (body, place)

-- put_messages --
INSERT INTO publish.outbox (topic, key, value, headers, partition, told_to)
SELECT %(topic)s, key, value, headers::jsonb, %(partition)s,
       coalesce((SELECT told_to FROM publish.partition WHERE partition = %(partition)s), 0)
FROM unnest(%(keys)b::bytea[], %(values)b::bytea[], %(headers)b::text[])
     WITH ORDINALITY AS m (key, value, headers, place)
ORDER BY place

-- told_partition --
INSERT INTO publish.partition (partition, told_to) VALUES (%(partition)s, %(next_offset)s)
ON CONFLICT (partition) DO UPDATE SET told_to = excluded.told_to

-- unsent --
SELECT count(*) AS messages FROM publish.outbox

-- one_sender --
SELECT is_one FROM publish.sender, set_config('transaction_timeout', %(timeout)s, true) FOR UPDATE OF sender

-- next_messages --
SELECT number, topic, key, value, headers FROM publish.outbox ORDER BY number LIMIT %(limit)s

-- sent --
DELETE FROM publish.outbox WHERE number = ANY (%(numbers)s)
