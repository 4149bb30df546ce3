-- contests --
SELECT contest_id FROM contest ORDER BY contest_id

-- contest --
SELECT * FROM contest WHERE contest_id = %(contest_id)s

-- log_of_contest --
SELECT topic, partition FROM contest WHERE contest_id = %(contest_id)s

-- area_totals --
SELECT * FROM total_row
WHERE contest_id = %(contest_id)s AND area_id = ANY (%(areas)s)

-- roll_of_areas --
-- Of the roll that holds at an offset: an area of which it has nothing has none.
SELECT a.area_id, coalesce(r.units, 0) AS units, CASE WHEN r.units IS NULL THEN 0 ELSE r.registered_voters END
           AS registered_voters
FROM (SELECT log_offset, units FROM roll_area WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s
      ORDER BY log_offset DESC LIMIT 1) h
CROSS JOIN unnest(%(areas)s::text[]) AS a (area_id)
CROSS JOIN LATERAL (
    SELECT sum(units)::bigint AS units,
           CASE WHEN bool_and(registered_voters IS NOT NULL) THEN sum(registered_voters)::bigint END AS registered_voters
    FROM roll_area o
    WHERE o.contest_id = %(contest_id)s AND o.log_offset = h.log_offset AND o.area_id = a.area_id
      AND o.unit_type = ANY (%(types)s)) r
WHERE h.units > 0

-- last_roll --
SELECT max(log_offset) AS log_offset FROM roll_history
WHERE contest_id = %(contest_id)s AND accepted AND log_offset <= %(to_offset)s

-- unit_history --
SELECT * FROM update_history
WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s AND unit_id = %(unit_id)s AND accepted
ORDER BY sequence

-- findings_of_unit --
SELECT log_offset, code, message FROM finding
WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s AND unit_id = %(unit_id)s
ORDER BY log_offset, ordinal

-- findings_by_code --
SELECT * FROM (
    SELECT code, log_offset, ordinal, unit_type, unit_id, message, count(*) OVER (PARTITION BY code) AS number,
           row_number() OVER (PARTITION BY code ORDER BY log_offset, ordinal) AS place
    FROM finding
    WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s
) AS found
WHERE place <= %(limit)s
ORDER BY code, place

-- not_accepted --
-- Of a definition or a roll, which have no unit, every finding refuses; F1xx alone refuse nothing.
WITH refused AS (
    SELECT DISTINCT log_offset FROM finding f
    WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s AND code >= 'F2'
      AND (unit_type IS NULL OR EXISTS (
          SELECT FROM update_row h
          WHERE h.contest_id = f.contest_id AND h.log_offset = f.log_offset AND NOT h.accepted))
), first AS (
    SELECT log_offset, (SELECT count(*) FROM refused) AS number FROM refused ORDER BY log_offset LIMIT %(limit)s
)
SELECT log_offset, number, min(unit_type) AS unit_type, min(unit_id) AS unit_id,
       array_agg(code || ' ' || message ORDER BY ordinal) AS findings
FROM first
JOIN finding f USING (log_offset)
WHERE f.contest_id = %(contest_id)s
GROUP BY log_offset, number
ORDER BY log_offset

-- moved_units --
SELECT DISTINCT unit_type, unit_id FROM update_row
WHERE contest_id = %(contest_id)s AND is_moved AND is_current AND unit_type = ANY (%(unit_types)s)

-- snapshots_of_area --
-- What a unit did that left or entered the area is not its recorded change: `results.explain` adds that.
WITH current AS (
    SELECT h.log_offset, h.change, h.count_status, h.kind, h.stated_at, p.snapshot_id, p.documents -> 0 ->> 'name' AS document,
           h.areas, lag(h.count_status) OVER (PARTITION BY h.unit ORDER BY h.stated_at, h.sequence) AS before
    FROM update_row h
    JOIN publication p USING (contest_id, publication)
    WHERE h.contest_id = %(contest_id)s AND h.unit_type = ANY (%(level)s) AND h.is_current
), beneath AS (
    SELECT *, log_offset = ANY (%(left)s::bigint[]) AS has_left, log_offset = ANY (%(entered)s::bigint[]) AS has_entered
    FROM current WHERE %(area_id)s = ANY (areas) OR log_offset = ANY (%(left)s::bigint[])
), moves AS (
    SELECT snapshot_id, CASE WHEN has_entered THEN 'moved here' ELSE coalesce(before, 'not stated') END AS before,
           CASE WHEN has_left THEN 'moved away' ELSE count_status END AS after, count(*) AS units
    FROM beneath
    GROUP BY 1, 2, 3
), changes AS (
    SELECT snapshot_id, c.slot, sum(c.value) AS change
    FROM beneath, unnest(change) WITH ORDINALITY AS c (value, slot)
    WHERE NOT has_left AND NOT has_entered
    GROUP BY 1, 2
), snapshots AS (
    SELECT snapshot_id, min(document) AS document, min(stated_at) AS stated_at, min(log_offset) AS first_offset,
           max(log_offset) AS last_offset, count(*) AS updates, count(*) FILTER (WHERE kind = 'CORRECTED') AS corrected,
           array_agg(log_offset ORDER BY log_offset) FILTER (WHERE has_left OR has_entered) AS moved
    FROM beneath
    GROUP BY 1
)
SELECT s.*,
       (SELECT jsonb_agg(jsonb_build_object('before', before, 'after', after, 'units', units) ORDER BY units DESC, before, after)
        FROM moves m WHERE m.snapshot_id = s.snapshot_id) AS moves,
       (SELECT array_agg(change ORDER BY slot) FROM changes c WHERE c.snapshot_id = s.snapshot_id)::bigint[] AS change
FROM snapshots s
ORDER BY first_offset

-- cursors --
SELECT topic, partition, topic_id, next_offset, epoch, digest, updated_at, unreadable FROM cursor ORDER BY topic, partition

-- contest_status --
SELECT c.contest_id, c.name, c.counting_level, c.last_offset, c.last_recorded_at, c.last_reported_at, c.digest,
       c.blocked, c.blocked_offset, c.blocked_reason,
       coalesce((SELECT jsonb_object_agg(area_id, known - limited_to) FILTER (WHERE known > limited_to)
                 FROM (SELECT area_id, sum(figures[11])::bigint AS known FROM total_row t
                       WHERE t.contest_id = c.contest_id AND t.unit_type = ANY (c.counting_types)
                         AND (t.unit_type = ANY (c.sheet_types) OR NOT c.counting_types && c.sheet_types)
                       GROUP BY area_id) k
                 JOIN expected e USING (area_id) WHERE e.contest_id = c.contest_id), '{}') AS beyond_expected,
       (SELECT count(*) FROM update_row h WHERE h.contest_id = c.contest_id) AS updates,
       (SELECT coalesce(jsonb_object_agg(code, n), '{}') FROM (
            SELECT code, count(*) AS n FROM finding f WHERE f.contest_id = c.contest_id GROUP BY code) g) AS findings,
       (SELECT count(DISTINCT f.log_offset) FROM finding f
        WHERE f.contest_id = c.contest_id AND f.code >= 'F2'
          AND (f.unit_type IS NULL OR EXISTS (
              SELECT FROM update_row h
              WHERE h.contest_id = f.contest_id AND h.log_offset = f.log_offset AND NOT h.accepted))) AS not_accepted,
       (SELECT count(*) FROM parked p WHERE p.contest_id = c.contest_id AND p.partition = c.partition) AS parked,
       (SELECT source - '{event_id,contest_id}'::text[] FROM source_history s WHERE s.contest_id = c.contest_id AND s.accepted
        ORDER BY log_offset DESC LIMIT 1) AS source
FROM contest c
ORDER BY c.contest_id

-- unattributed --
-- The first keys, also of those that stand in another partition than their contest, and how many there are.
SELECT p.contest_id, p.partition, count(*) OVER () AS keys, count(*) AS messages, min(p.log_offset) AS first_offset,
       min(p.reason) AS reason
FROM parked p
WHERE NOT EXISTS (SELECT FROM contest c WHERE c.contest_id = p.contest_id AND c.partition = p.partition)
GROUP BY p.contest_id, p.partition
ORDER BY first_offset, p.partition
LIMIT 20

-- last_parked --
SELECT coalesce(max(log_offset), -1) AS log_offset
FROM parked p JOIN contest c USING (contest_id, partition)
WHERE contest_id = %(contest_id)s

-- digests --
SELECT contest_id, digest FROM contest WHERE topic = %(topic)s AND partition = %(partition)s

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
    (SELECT log_offset, recorded_at, last_reported_at FROM update_row
     WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset DESC LIMIT 1)
    UNION ALL
    (SELECT d.log_offset, d.recorded_at, u.last_reported_at
     FROM (SELECT contest_id, log_offset, recorded_at FROM definition_history
           UNION ALL SELECT contest_id, log_offset, recorded_at FROM roll_history
           UNION ALL SELECT contest_id, log_offset, recorded_at FROM source_history) d
     LEFT JOIN LATERAL (
        SELECT last_reported_at FROM update_row h
        WHERE h.contest_id = d.contest_id AND h.log_offset < d.log_offset ORDER BY h.log_offset DESC LIMIT 1) u ON true
     WHERE d.contest_id = %(contest_id)s AND d.log_offset <= %(to_offset)s ORDER BY d.log_offset DESC LIMIT 1)
) e
ORDER BY log_offset DESC LIMIT 1

-- last_reported --
SELECT reported_at FROM update_row
WHERE contest_id = %(contest_id)s AND accepted AND reported_at IS NOT NULL AND log_offset <= %(to_offset)s
  AND reported_at <= least(%(stated_at)s, (
      SELECT last_reported_at FROM update_row
      WHERE contest_id = %(contest_id)s AND log_offset <= %(to_offset)s ORDER BY log_offset DESC LIMIT 1))
ORDER BY reported_at DESC LIMIT 1

-- unit_types --
SELECT DISTINCT unit_type FROM total_row WHERE contest_id = %(contest_id)s

-- unit_history_to --
-- What `rows.recorded_of` reads: `change`, which the view puts together, costs more than all of it.
SELECT h.partition, h.log_offset, h.recorded_at, h.event_id, h.contest_id, h.unit_type, h.unit_id, h.unit_name, h.area_path,
       h.sequence, h.previous_event_id, h.kind, h.correction, h.reported_at, h.stated_at, h.observed_at, h.count_status,
       h.source_status, h.review_reason, h.result_stage, h.counts, h.sub_units, h.published_percentages, h.source, h.is_test,
       h.details
FROM unnest(%(types)s::text[], %(ids)s::text[]) AS u (unit_type, unit_id)
JOIN update_history h USING (unit_type, unit_id)
WHERE h.contest_id = %(contest_id)s AND h.accepted AND h.log_offset <= %(to_offset)s
ORDER BY h.unit_type, h.unit_id, h.sequence

-- statements_of_units --
-- With the areas that each statement counts in, as `ContestDefined.areas_of` has them.
SELECT unit_id, log_offset, event_id, stated_at, areas FROM update_row
WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s AND unit_id = ANY (%(ids)s) AND accepted
  AND log_offset <= %(to_offset)s
ORDER BY unit_id, sequence

-- updates_at --
SELECT * FROM update_history WHERE contest_id = %(contest_id)s AND log_offset = ANY (%(offsets)s)

-- changes_at --
SELECT log_offset, event_id, stated_at, change FROM update_row
WHERE contest_id = %(contest_id)s AND log_offset = ANY (%(offsets)s)

-- updates_since --
SELECT h.log_offset AS "offset", h.event_id, h.contest_id, h.unit_type || '/' || h.unit_id AS unit, h.unit_name, h.areas,
       m.areas AS moved_from, h.kind, h.details -> 'correction' ->> 'reason' AS reason, h.count_status,
       h.result_stage AS stage, h.is_test, h.stated_at, h.reported_at, h.recorded_at, h.change,
       p.documents -> 0 ->> 'name' AS document, p.documents -> 0 ->> 'sha256' AS document_sha256, h.places[1] AS place
FROM update_row h
LEFT JOIN publication p ON p.contest_id = h.contest_id AND p.publication = h.publication
LEFT JOIN LATERAL (
    SELECT o.areas FROM update_row o
    WHERE h.is_moved AND h.is_current AND o.contest_id = h.contest_id AND o.unit = h.unit AND o.is_current
      AND o.log_offset < h.log_offset
    ORDER BY o.sequence DESC LIMIT 1) m ON true
WHERE h.contest_id = %(contest_id)s AND h.log_offset > %(since)s AND h.accepted
  AND (%(area)s::text IS NULL OR %(area)s = ANY (h.areas || m.areas))
ORDER BY h.log_offset LIMIT %(limit)s

-- notices_since --
SELECT number, body::text FROM notice WHERE contest_id = %(contest_id)s AND number > %(since)s ORDER BY number LIMIT %(limit)s

-- units_of_area --
SELECT s.current_offset AS log_offset
FROM unit_row s
JOIN update_row h ON h.contest_id = s.contest_id AND h.log_offset = s.current_offset
WHERE s.contest_id = %(contest_id)s AND %(area)s = ANY (h.areas) AND (s.unit_id, s.unit_type) > (%(after_id)s, %(after_type)s)
  AND (%(type)s::text IS NULL OR s.unit_type = %(type)s)
ORDER BY s.unit_id, s.unit_type LIMIT %(limit)s

-- states_at --
-- The state of each unit at a moment: of its accepted statements up to there the last of the latest official time. One
-- that is taken back adds nothing.
SELECT s.log_offset AS "offset", s.event_id, s.unit_type || '/' || s.unit_id AS unit, s.unit_name, s.kind, s.count_status,
       s.stated_at, s.publication, s.places
FROM (SELECT DISTINCT ON (h.unit) h.* FROM update_row h
      WHERE h.contest_id = %(contest_id)s AND h.unit_type = ANY (%(level)s) AND h.accepted
        AND h.log_offset <= %(to_offset)s AND h.stated_at <= coalesce(%(stated_at)s::timestamptz, 'infinity')
      ORDER BY h.unit, h.stated_at DESC, h.sequence DESC) s
WHERE %(area_id)s = ANY (s.areas) AND s.kind <> 'RETRACTED'
ORDER BY s.log_offset

-- statement_at --
SELECT log_offset AS "offset", event_id, unit_type || '/' || unit_id AS unit, unit_name, kind, count_status, stated_at,
       publication, places
FROM update_row WHERE contest_id = %(contest_id)s AND log_offset = %(log_offset)s

-- documents_of --
SELECT publication, documents FROM publication
WHERE contest_id = %(contest_id)s AND publication = ANY (%(publications)s)

-- stages_at --
SELECT log_offset, result_stage FROM update_row WHERE contest_id = %(contest_id)s AND log_offset = ANY (%(offsets)s)

-- totals_since --
SELECT area_id, since FROM total_row
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
-- Few updates first, of indexes that have no others: the planner does not know that before a table is analysed. `+ 0`
-- hides the offset from the index of all.
WITH irregular AS MATERIALIZED (
    SELECT unit FROM update_row
    WHERE contest_id = %(contest_id)s AND superseded_at > %(stated_at)s AND stated_at <= %(stated_at)s
      AND log_offset + 0 <= %(to_offset)s
    UNION
    SELECT unit FROM update_row WHERE contest_id = %(contest_id)s AND is_moved AND log_offset + 0 <= %(to_offset)s
)
SELECT unit, unit_id FROM irregular JOIN unit_row USING (unit)
WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s

-- late_changes --
-- Summed first by path of areas, and by how many of these areas' totals end before the update: some thousand sums. {sums}
-- is the array of the sums of each slot. An accepted statement that did not become its unit's state changed nothing, and
-- counts for `last_accepted` alone. No change is beyond the last one of the outermost area: else a type of few statements
-- would read all those of the others. `|| ''` and `+ 0`: see Reader._late_rows.
WITH path AS MATERIALIZED (
    SELECT p.area_path, array_agg(w.area_id ORDER BY w.after) AS areas, array_agg(w.after ORDER BY w.after) AS ends
    FROM area_path p CROSS JOIN LATERAL unnest(p.areas) AS a (area_id)
    JOIN unnest(%(areas)s::text[], %(after)s::bigint[]) AS w (area_id, after) USING (area_id)
    WHERE p.contest_id = %(contest_id)s AND p.unit_type = %(unit_type)s
    GROUP BY p.area_path
), late AS MATERIALIZED (
    SELECT h.area_path, width_bucket(h.log_offset - 1, p.ends) AS reached, max(h.log_offset) AS log_offset,
           max(h.stated_at) AS stated_at, {sums} AS change
    FROM update_row h JOIN path p ON p.area_path = h.area_path
    WHERE h.contest_id || '' = %(contest_id)s AND h.is_current AND h.stated_at <= %(stated_at)s
      AND h.log_offset + 0 > %(first)s AND h.log_offset + 0 <= least(%(to_offset)s, (
          SELECT last_offset FROM total_row
          WHERE contest_id = %(contest_id)s AND unit_type = %(unit_type)s AND area_id = %(root)s))
      AND h.unit <> ALL (%(irregular)s::int[])
    GROUP BY 1, 2
), by_area AS (
    SELECT w.area_id, max(log_offset) AS log_offset, max(stated_at) AS stated_at, {sums} AS change
    FROM late JOIN path p USING (area_path) CROSS JOIN LATERAL unnest(p.areas, p.ends) AS w (area_id, after)
    WHERE w.after <= p.ends[reached]
    GROUP BY w.area_id
), superseded AS (
    SELECT max(h.log_offset) AS log_offset FROM update_row h
    WHERE h.contest_id = %(contest_id)s AND h.superseded_at IS NOT NULL AND h.stated_at <= %(stated_at)s
      AND h.log_offset + 0 <= %(to_offset)s AND h.log_offset + 0 > %(first)s
      AND h.area_path IN (SELECT area_path FROM path)
)
SELECT coalesce(greatest((SELECT max(log_offset) FROM late), s.log_offset), -1) AS last_accepted,
       a.area_id, a.log_offset, a.stated_at, a.change,
       (SELECT event_id FROM update_row h WHERE h.contest_id = %(contest_id)s AND h.log_offset = a.log_offset) AS event_id
FROM superseded s
LEFT JOIN by_area a ON true

-- plan_late_changes --
-- Workers would take longer to start than the rows to be read; so would machine code (2 s), of which PostgreSQL 17 thinks
-- that it pays as soon as anything is done that is off.
SET LOCAL enable_seqscan = off; SET LOCAL enable_nestloop = off; SET LOCAL jit = off;
SET LOCAL max_parallel_workers_per_gather = 0

-- plan_as_usual --
SET LOCAL enable_seqscan TO DEFAULT; SET LOCAL enable_nestloop TO DEFAULT; SET LOCAL jit TO DEFAULT;
SET LOCAL max_parallel_workers_per_gather TO DEFAULT

-- updates_between --
-- An update belongs to one of two moments only if its offset is beyond one of them, or its official time is: two ranges
-- that share no update, each with an index of its own.
WITH paths AS MATERIALIZED (
    SELECT area_path, %(area_id)s = ANY (areas) AS is_within FROM area_path
    WHERE contest_id = %(contest_id)s AND unit_type = ANY (%(unit_types)s)
), differing AS (
    SELECT log_offset, unit, area_path, sequence, %(offset_back)s::bool AS taken_back
    FROM update_row
    WHERE contest_id = %(contest_id)s AND accepted
      AND log_offset > %(offset_low)s AND log_offset <= %(offset_high)s AND stated_at <= %(stated_by)s
    UNION ALL
    SELECT log_offset, unit, area_path, sequence, %(stated_back)s::bool
    FROM update_row
    WHERE contest_id = %(contest_id)s AND accepted
      AND log_offset <= %(offset_low)s AND stated_at > %(stated_low)s AND stated_at <= %(stated_high)s
), affected AS (
    SELECT log_offset, taken_back FROM differing d JOIN paths p USING (area_path)
    WHERE p.is_within
       -- a unit that has moved out of the area: by the log, or among what came late by the office's time
       OR (sequence > 1 AND EXISTS (
           SELECT FROM update_row o JOIN paths q USING (area_path)
           WHERE o.contest_id = %(contest_id)s AND o.unit = d.unit AND o.accepted AND o.sequence < d.sequence AND q.is_within))
       OR unit IN (SELECT unit FROM update_row WHERE contest_id = %(contest_id)s AND is_moved)
)
SELECT h.*, t.taken_back, (SELECT count(*) FROM affected) AS updates_total
FROM (SELECT * FROM affected ORDER BY log_offset LIMIT %(limit)s) t
JOIN update_history h ON h.contest_id = %(contest_id)s AND h.log_offset = t.log_offset
ORDER BY h.log_offset

-- made_until --
SELECT until_stated_at FROM projection

-- all_selections --
SELECT * FROM selection WHERE contest_id = %(contest_id)s

-- all_areas --
SELECT * FROM area WHERE contest_id = %(contest_id)s

-- first_event --
SELECT log_offset, recorded_at FROM log_time WHERE contest_id = %(contest_id)s ORDER BY log_offset LIMIT 1
