-- What readers see. Views run with their owner's rights, so a reader needs no right on the tables beneath.

COMMENT ON SCHEMA :results IS 'The count, for readers. Only views.';
COMMENT ON SCHEMA :checking IS 'What is behind the count: for checking it, and for programs. Only views.';

CREATE VIEW :results.contest AS
SELECT contest_id, topic, partition, definition_offset, d.name, d.election_name, d.authority, d.time_zone,
       coalesce(d.counting_level, '{}')           AS counting_types,
       array_to_string(d.counting_level, ' + ')   AS counting_level,
       coalesce(d.sheet_types, '{}')              AS sheet_types,
       -- of which areas expect a number: sheets of the level; where areas are added up, those of a later level, or all
       (SELECT t.types
        FROM (SELECT 1 AS place, ARRAY(SELECT unnest(d.counting_level) INTERSECT SELECT unnest(d.sheet_types))
              UNION ALL
              SELECT 2, ARRAY(SELECT jsonb_array_elements_text(l) FROM jsonb_array_elements(d.later_counting_levels) l
                              INTERSECT SELECT unnest(d.sheet_types))
              UNION ALL
              SELECT 3, d.sheet_types) AS t (place, types)
        WHERE cardinality(t.types) > 0 ORDER BY t.place LIMIT 1) AS sheet_types_expected,
       d.partial_sheets_count, d.votes_allowed, d.expected_units, d.registered_voters, d.is_test,
       digest, last_offset, last_recorded_at, last_reported_at,
       stop_offset IS NOT NULL AS blocked, stop_offset AS blocked_offset, stop_reason AS blocked_reason,
       definition
FROM (  -- it stops at a message of its own, or with its whole partition; no join, which would mislead the planner
    SELECT c.*,
           coalesce(blocked_offset, (
               SELECT k.next_offset FROM :aggregate.cursor k
               WHERE k.topic = c.topic AND k.partition = c.partition AND k.unreadable IS NOT NULL)) AS stop_offset,
           coalesce(blocked_reason, (
               SELECT k.unreadable FROM :aggregate.cursor k
               WHERE k.topic = c.topic AND k.partition = c.partition)) AS stop_reason
    FROM :aggregate.contest c) AS contest
CROSS JOIN LATERAL jsonb_to_record(rules) AS d (
    name text, election_name text, authority text, time_zone text, counting_level text[], later_counting_levels jsonb,
    sheet_types text[], partial_sheets_count boolean, votes_allowed bigint, expected_units bigint,
    registered_voters bigint, is_test boolean);

CREATE VIEW :checking.area AS SELECT * FROM :aggregate.area;
CREATE VIEW :checking.selection AS SELECT * FROM :aggregate.selection;

-- The layout of figures: the names of the selections, in the order of their places after the 53 of every contest.
-- Selection n has four: 50 + 4n its votes, 51 + 4n the units that lack them, 52 + 4n the votes that do not count,
-- 53 + 4n the units on whose ballots it stood.
-- schemas.columns.layout names the others.
CREATE VIEW :checking.layout AS
SELECT contest_id, array_agg(s.selection ->> 'selection_id'
                             ORDER BY (s.selection ->> 'ballot_order')::bigint, s.place) AS selections
FROM :aggregate.contest
CROSS JOIN jsonb_array_elements(definition -> 'selections') WITH ORDINALITY AS s (selection, place)
GROUP BY contest_id;

CREATE VIEW :checking.area_path AS SELECT * FROM :aggregate.area_path;
CREATE VIEW :checking.roll_area AS SELECT * FROM :aggregate.roll_area;
COMMENT ON VIEW :checking.roll_area IS 'Tally sheets and voters of each area by a roll, from the offset on at which it holds.';
-- Tables are of one topic. A query that does not name it pays nothing for it.
CREATE VIEW :checking.roll_history AS
SELECT h.*, (SELECT k.topic FROM :aggregate.cursor k WHERE k.partition = h.partition) AS topic FROM :aggregate.roll_history h;
COMMENT ON VIEW :checking.roll_history IS 'The parts of the contests'' rolls of units, as they came.';
CREATE VIEW :checking.source_history AS
SELECT s.*, source ->> 'state' AS state, (source ->> 'since')::timestamptz AS since, source ->> 'reason' AS reason,
       source ->> 'authority' AS authority,
       (SELECT k.topic FROM :aggregate.cursor k WHERE k.partition = s.partition) AS topic
FROM :aggregate.source_history s;
COMMENT ON VIEW :checking.source_history IS 'When the source of a contest fell silent, spoke again, or said that it has ended, and why.';
CREATE VIEW :checking.publication AS SELECT * FROM :aggregate.publication;
CREATE VIEW :checking.unit_row AS SELECT * FROM :aggregate.unit_state;
CREATE VIEW :checking.total_row AS SELECT * FROM :aggregate.area_total;
CREATE VIEW :checking.area_total_block AS SELECT * FROM :aggregate.area_total_block;
COMMENT ON VIEW :checking.area_total_block IS 'Past totals by area, at the end of each span of offsets.';

-- Left joins over keys: a query pays only for those whose columns it names.
CREATE VIEW :checking.update_row AS
SELECT h.*, u.unit_type, u.unit_id, a.areas
FROM :aggregate.count_update_history h
LEFT JOIN :aggregate.unit_state u ON u.contest_id = h.contest_id AND u.unit = h.unit
LEFT JOIN :aggregate.area_path a ON a.contest_id = h.contest_id AND a.area_path = h.area_path;
COMMENT ON VIEW :checking.update_row IS 'Every official update with its figures as arrays, for programs. People read update_history.';

CREATE VIEW :results.update_history AS
SELECT c.topic, c.partition, h.log_offset, h.recorded_at, h.event_id, h.contest_id, h.unit_type, h.unit_id, h.unit_name,
       CASE WHEN r.area_id IS NOT NULL AND h.areas[cardinality(h.areas)] = h.unit_id
            THEN h.areas[:cardinality(h.areas) - 1] ELSE h.areas END AS area_path,
       h.sequence, h.previous_event_id, h.kind, (h.details -> 'correction')::jsonb AS correction,
       h.reported_at, h.observed_at, h.stated_at, h.count_status, h.source_status, h.review_reason, h.result_stage,
       h.details ->> 'office_note' AS office_note,
       CASE
           WHEN h.details -> 'counts' IS NOT NULL THEN (h.details -> 'counts')::jsonb
           WHEN num_nonnulls(VARIADIC h.figures[1:9] || h.figures[54:]) > 0 THEN jsonb_build_object(
               'registered_voters', h.figures[1], 'registered_voters_counted', h.figures[2], 'ballots_cast', h.figures[3],
               'valid_votes', h.figures[4], 'blank_votes', h.figures[5], 'invalid_votes', h.figures[6],
               'challenged_votes', h.figures[7], 'undervotes', h.figures[8], 'overvotes', h.figures[9],
               'votes', (SELECT coalesce(jsonb_object_agg(selection, figure), '{}')
                         FROM unnest(l.selections) WITH ORDINALITY AS s (selection, n)
                         CROSS JOIN LATERAL (SELECT h.figures[50 + 4 * n] AS figure) v
                         WHERE 50 + 4 * n <= cardinality(h.figures)))
       END AS counts,
       CASE
           WHEN h.details -> 'sub_units' IS NOT NULL THEN (h.details -> 'sub_units')::jsonb
           WHEN num_nonnulls(VARIADIC h.figures[11:19] || h.figures[21:29]) > 0 THEN jsonb_build_object(
               'total', h.figures[11], 'processed', h.figures[12], 'counted', h.figures[13], 'counted_normal', h.figures[14],
               'annulled', h.figures[15], 'not_installed', h.figures[16], 'under_review', h.figures[17],
               'to_be_processed', h.figures[18], 'pending', h.figures[19],
               'under_review_by_reason', jsonb_build_object(
                   'CHALLENGED_VOTES', h.figures[21], 'MATERIAL_ERROR', h.figures[22], 'NULLITY_REQUEST', h.figures[23],
                   'ILLEGIBLE', h.figures[24], 'INCOMPLETE', h.figures[25], 'MISSING_SIGNATURES', h.figures[26],
                   'LOST', h.figures[27], 'DESTROYED', h.figures[28], 'OTHER', h.figures[29]))
       END AS sub_units,
       (h.details -> 'published_percentages')::jsonb AS published_percentages,
       jsonb_build_object('name', p.name, 'snapshot_id', p.snapshot_id, 'part', h.part, 'parts', p.parts, 'is_complete', p.is_complete, 'documents',
           (SELECT coalesce(jsonb_agg(d.document::jsonb || jsonb_build_object('place', w.place) ORDER BY d.place), '[]')
            FROM json_array_elements(p.documents) WITH ORDINALITY AS d (document, place)
            JOIN unnest(h.places) WITH ORDINALITY AS w (place, at) ON w.at = d.place)) AS source,
       h.is_test, h.details::jsonb AS details, h.accepted, h.is_current,
       CASE WHEN h.change IS NULL THEN '{}' ELSE
           -- under the names that counts, sub_units and area_count have
           (SELECT coalesce(jsonb_object_agg(name, figure) FILTER (WHERE figure IS NOT NULL), '{}')
            FROM unnest(ARRAY[
                'registered_voters', 'registered_voters_counted', 'ballots_cast', 'valid_votes', 'blank_votes',
                'invalid_votes', 'challenged_votes', 'undervotes', 'overvotes', 'annulled_ballots', 'total', 'processed',
                'counted', 'counted_normal', 'annulled', 'not_installed', 'under_review', 'to_be_processed', 'pending',
                'in_process'], h.change[1:20]) AS c (name, figure))
           || (SELECT coalesce(jsonb_object_agg(name, figure) FILTER (WHERE figure IS NOT NULL), '{}')
               FROM unnest(ARRAY['units', 'units_counted', 'units_partial', 'units_suppressed', 'units_unknown',
                                 'units_annulled'], h.change[30:35]) AS c (name, figure))
           || jsonb_strip_nulls((
               SELECT jsonb_build_object(
                   'votes', jsonb_object_agg(selection, h.change[50 + 4 * n]) FILTER (WHERE h.change[50 + 4 * n] IS NOT NULL),
                   'not_counted', jsonb_object_agg(selection, h.change[52 + 4 * n])
                       FILTER (WHERE h.change[52 + 4 * n] IS NOT NULL),
                   'on_ballot', jsonb_object_agg(selection, h.change[53 + 4 * n])
                       FILTER (WHERE h.change[53 + 4 * n] IS NOT NULL))
               FROM unnest(l.selections) WITH ORDINALITY AS s (selection, n)))
           || jsonb_strip_nulls(jsonb_build_object(
               'under_review_by_reason', (
                   SELECT jsonb_object_agg(reason, figure) FILTER (WHERE figure IS NOT NULL)
                   FROM unnest(ARRAY['CHALLENGED_VOTES', 'MATERIAL_ERROR', 'NULLITY_REQUEST', 'ILLEGIBLE', 'INCOMPLETE',
                                     'MISSING_SIGNATURES', 'LOST', 'DESTROYED', 'OTHER'], h.change[21:29])
                       AS r (reason, figure)),
               'not_stated', (
                   SELECT jsonb_object_agg(name, units) FILTER (WHERE units IS NOT NULL)
                   FROM (SELECT * FROM unnest(ARRAY[
                             'registered_voters', 'registered_voters_counted', 'ballots_cast', 'valid_votes', 'blank_votes',
                             'invalid_votes', 'challenged_votes', 'undervotes', 'overvotes', 'total', 'processed',
                             'counted', 'counted_normal', 'annulled', 'not_installed', 'under_review',
                             'to_be_processed', 'pending'], h.change[36:53])
                         UNION ALL
                         SELECT 'votes.' || selection, h.change[51 + 4 * n]
                         FROM unnest(l.selections) WITH ORDINALITY AS s (selection, n)) AS f (name, units))))
       END AS change,
       h.superseded_at, h.is_moved, h.last_reported_at
FROM :checking.update_row h
LEFT JOIN :aggregate.contest c ON c.contest_id = h.contest_id
LEFT JOIN :aggregate.publication p ON p.contest_id = h.contest_id AND p.publication = h.publication
LEFT JOIN :checking.layout l ON l.contest_id = h.contest_id
LEFT JOIN :aggregate.area r ON r.contest_id = h.contest_id AND r.area_id = h.unit_id AND r.type = h.unit_type;
COMMENT ON VIEW :results.update_history IS 'Every official update, with what the count gained or lost by it.';

CREATE VIEW :checking.definition_history AS
SELECT h.*, (SELECT k.topic FROM :aggregate.cursor k WHERE k.partition = h.partition) AS topic
FROM :aggregate.contest_history h;
COMMENT ON VIEW :checking.definition_history IS 'Every definition of a contest, as it came.';

CREATE VIEW :results.unit_count AS
SELECT h.*, s.head_offset
FROM :aggregate.unit_state s
-- the unit as well: so one unit is found by its id
JOIN :results.update_history h
    ON h.contest_id = s.contest_id AND h.log_offset = s.current_offset AND h.unit_id = s.unit_id AND h.unit_type = s.unit_type;
COMMENT ON VIEW :results.unit_count IS 'The latest official statement about each reporting unit.';

-- What was stated up to an official time about the units of a type in an area, as it was published: the updates on the log
-- before the first one of a later time. The kept total of the block before that one, and the recorded changes of its own
-- block up to there (aggregator.fold.totals.Blocks), as `results.as_of` has it. A function: a view would read the whole past.
CREATE FUNCTION :aggregate.total_up_to(contest text, type text, area text, up_to timestamptz)
RETURNS TABLE (figures bigint[], stated_at timestamptz, last_offset bigint, last_event_id uuid)
LANGUAGE sql STABLE
BEGIN ATOMIC
WITH base AS (
    SELECT b.figures, b.stated_at, b.last_offset, b.last_event_id FROM :checking.area_total_block b
    WHERE b.contest_id = contest AND b.unit_type = type AND b.area_id = area AND b.stated_at <= up_to
    ORDER BY b.stated_at DESC, b.span DESC LIMIT 1
), block AS (
    (SELECT b.offsets, b.figures FROM :checking.area_total_block b
     WHERE b.contest_id = contest AND b.unit_type = type AND b.area_id = area AND b.stated_at > up_to
     ORDER BY b.stated_at, b.span LIMIT 1)
    UNION ALL
    SELECT t.since, t.figures FROM :checking.total_row t
    WHERE t.contest_id = contest AND t.unit_type = type AND t.area_id = area
    LIMIT 1
), own AS (
    SELECT * FROM (
        SELECT h.log_offset, h.stated_at, h.event_id, h.change,
               bool_or(h.stated_at > up_to) OVER (ORDER BY h.log_offset) AS is_later
        FROM :checking.update_row h
        WHERE h.contest_id = contest AND h.log_offset = ANY (ARRAY(SELECT unnest(b.offsets) FROM block b))) h
    WHERE NOT h.is_later
)
SELECT (SELECT array_agg(s.figure ORDER BY s.slot)
        FROM (SELECT f.slot, sum(f.figure)::bigint AS figure
              FROM (SELECT f.slot, f.figure FROM base CROSS JOIN LATERAL unnest(base.figures) WITH ORDINALITY f (figure, slot)
                    UNION ALL
                    SELECT f.slot, f.figure FROM own CROSS JOIN LATERAL unnest(own.change) WITH ORDINALITY f (figure, slot)
                    UNION ALL
                    SELECT generate_subscripts(block.figures, 1), 0 FROM block) f
              GROUP BY f.slot) s),
       l.stated_at, l.last_offset, l.last_event_id
FROM (SELECT max(l.stated_at) AS stated_at, max(l.last_offset) AS last_offset,
             (array_agg(l.last_event_id ORDER BY l.last_offset DESC))[1] AS last_event_id
      FROM (SELECT base.stated_at, base.last_offset, base.last_event_id FROM base
            UNION ALL SELECT own.stated_at, own.log_offset, own.event_id FROM own) l) l
WHERE l.last_offset IS NOT NULL;
END;

-- The official times at which the sum of an area over the units of the counting level was another: those later than any
-- before them on the log. Only blocks in which the latest time rose have one.
CREATE VIEW :checking.moment AS
SELECT DISTINCT k.contest_id, k.area_id, u.stated_at AS at
FROM (SELECT b.*, lag(b.stated_at) OVER (PARTITION BY b.contest_id, b.unit_type, b.area_id ORDER BY b.ends) AS before
      FROM (SELECT contest_id, unit_type, area_id, upper(span) AS ends, offsets, stated_at FROM :aggregate.area_total_block
            UNION ALL
            SELECT contest_id, unit_type, area_id, NULL, since, stated_at FROM :aggregate.area_total) b) k
JOIN :results.contest c ON c.contest_id = k.contest_id AND k.unit_type = ANY (c.counting_types)
CROSS JOIN LATERAL (
    SELECT h.stated_at,
           max(h.stated_at) OVER (ORDER BY h.log_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS latest
    FROM :aggregate.count_update_history h
    WHERE h.contest_id = k.contest_id AND h.log_offset = ANY (k.offsets)) u
WHERE (k.before IS NULL OR k.stated_at > k.before) AND u.stated_at > coalesce(greatest(u.latest, k.before), '-infinity');
COMMENT ON VIEW :checking.moment IS 'The official times at which the sum of an area changed.';

-- Sums by area over the units of each type, now (is_now). And over all that are added up: now where
-- they are of several types, and of the past, at each moment. Beside sheets the others only add votes and ballots: what
-- they lack of sheets and voters is nobody's. `on_roll`: the units whose rolls are added up, of sheets all that are known, of
-- areas the counted. `of_areas`: units that are areas; `beside_sheets`: ballots of others than sheets are among them.
CREATE VIEW :checking.summed_total AS
SELECT t.contest_id, t.unit_type, t.area_id, true AS is_now, NULL::timestamptz AS at, t.figures, t.stated_at,
       t.last_offset, t.last_event_id,
       t.figures[30] AS of_sheets,
       CASE WHEN t.unit_type = ANY (c.sheet_types) THEN t.figures[30] ELSE t.figures[31] END AS on_roll,
       CASE WHEN t.unit_type = ANY (c.sheet_types)
            THEN t.figures[13] + CASE WHEN c.partial_sheets_count THEN t.figures[20] ELSE 0 END
            ELSE t.figures[31] END AS on_counted_roll,
       CASE WHEN NOT t.unit_type = ANY (c.sheet_types)
                 AND (t.contest_id, t.unit_type) IN (SELECT a.contest_id, a.type FROM :aggregate.area a)
            THEN t.figures[30] END AS of_areas,
       false AS beside_sheets
FROM :aggregate.area_total t
LEFT JOIN :results.contest c USING (contest_id)
UNION ALL
SELECT s.contest_id, s.counting_level, s.area_id, s.is_now, s.at, array_agg(s.figure ORDER BY s.slot), max(s.stated_at),
       max(s.last_offset), (array_agg(s.last_event_id ORDER BY s.last_offset DESC))[1], max(s.of_sheets), max(s.on_roll),
       max(s.on_counted_roll), max(s.of_areas), bool_or(s.beside_sheets)
FROM (SELECT p.contest_id, p.counting_level, p.area_id, p.is_now, p.at, f.slot,
             coalesce(sum(f.figure) FILTER (
                 WHERE p.is_whole OR NOT (f.slot IN (1, 2, 36, 37) OR f.slot BETWEEN 11 AND 29 OR f.slot BETWEEN 45 AND 53)),
                      0)::bigint AS figure,
             max(p.stated_at) AS stated_at, max(p.last_offset) AS last_offset,
             (array_agg(p.last_event_id ORDER BY p.last_offset DESC))[1] AS last_event_id,
             coalesce(sum(p.figures[30]) FILTER (WHERE p.is_whole), 0)::bigint AS of_sheets,
             coalesce(sum(CASE WHEN p.is_sheet THEN p.figures[30] ELSE p.figures[31] END) FILTER (WHERE p.is_whole), 0)::bigint
                 AS on_roll,
             coalesce(sum(CASE WHEN p.is_sheet
                               THEN p.figures[13] + CASE WHEN p.partial_sheets_count THEN p.figures[20] ELSE 0 END
                               ELSE p.figures[31] END) FILTER (WHERE p.is_whole), 0)::bigint AS on_counted_roll,
             sum(p.figures[30]) FILTER (
                 WHERE NOT p.is_sheet
                   AND (p.contest_id, p.unit_type) IN (SELECT a.contest_id, a.type FROM :aggregate.area a))::bigint AS of_areas,
             bool_or(NOT p.is_whole AND p.figures[31] + p.figures[35] > 0) AS beside_sheets
      FROM (SELECT t.*, c.counting_level, c.partial_sheets_count, t.unit_type = ANY (c.sheet_types) AS is_sheet,
                   t.unit_type = ANY (c.sheet_types) OR NOT c.counting_types && c.sheet_types AS is_whole
            FROM (SELECT contest_id, area_id, true AS is_now, NULL::timestamptz AS at, unit_type, figures, stated_at,
                         last_offset, last_event_id
                  FROM :aggregate.area_total
                  UNION ALL
                  SELECT m.contest_id, m.area_id, false, m.at, y.type, u.*
                  FROM :checking.moment m
                  JOIN :results.contest k USING (contest_id)
                  CROSS JOIN LATERAL unnest(k.counting_types) AS y (type)
                  CROSS JOIN LATERAL :aggregate.total_up_to(m.contest_id, y.type, m.area_id, m.at) u) t
            JOIN :results.contest c USING (contest_id)
            WHERE t.unit_type = ANY (c.counting_types) AND (NOT t.is_now OR cardinality(c.counting_types) > 1)) p
      CROSS JOIN LATERAL unnest(p.figures) WITH ORDINALITY AS f (figure, slot)
      GROUP BY p.contest_id, p.counting_level, p.area_id, p.is_now, p.at, f.slot) s
GROUP BY s.contest_id, s.counting_level, s.area_id, s.is_now, s.at;
COMMENT ON VIEW :checking.summed_total IS
    'Sums by area as arrays: now, with those over all types that are added up; and of these at each moment. For programs.';

-- A figure that none of the units states is null, which is not zero. Some may state it: `not_stated` counts those that do not.
-- Nothing is known where a unit states what this release does not understand.
CREATE VIEW :checking.area_total AS
SELECT t.contest_id, t.unit_type, t.area_id, t.is_now, t.at, t.figures[30] AS units, t.figures[31] AS units_counted,
       t.figures[32] AS units_partial, t.figures[33] AS units_suppressed, t.figures[34] AS units_unknown,
       t.figures[35] AS units_annulled,
       -- without a selection that stood on none of the ballots that are counted
       (SELECT coalesce(jsonb_object_agg(selection, CASE WHEN t.is_known AND (t.figures[31] = 0
                                                         OR t.figures[51 + 4 * n] < t.figures[53 + 4 * n])
                                                         THEN coalesce(t.figures[50 + 4 * n], 0) END)
                        FILTER (WHERE NOT t.is_known OR t.figures[31] = 0 OR t.figures[53 + 4 * n] > 0), '{}')
        FROM unnest(l.selections) WITH ORDINALITY AS s (selection, n)) AS votes,
       (SELECT coalesce(jsonb_object_agg(selection, t.figures[52 + 4 * n])
                        FILTER (WHERE t.figures[52 + 4 * n] <> 0), '{}')
        FROM unnest(l.selections) WITH ORDINALITY AS s (selection, n)) AS not_counted,
       CASE WHEN t.is_known AND (t.on_roll = 0 OR t.figures[36] < t.on_roll) THEN t.figures[1] END AS registered_voters,
       CASE WHEN t.is_known AND (t.on_counted_roll = 0 OR t.figures[37] < t.on_counted_roll) THEN t.figures[2] END AS registered_voters_counted,
       CASE WHEN t.is_known AND (t.ballots = 0 OR t.figures[38] < t.ballots) THEN t.figures[3] END AS ballots_cast,
       CASE WHEN t.is_known AND (t.figures[31] = 0 OR t.figures[39] < t.figures[31]) THEN t.figures[4] END AS valid_votes,
       CASE WHEN t.is_known AND (t.figures[31] = 0 OR t.figures[40] < t.figures[31]) THEN t.figures[5] END AS blank_votes,
       CASE WHEN t.is_known AND (t.ballots = 0 OR t.figures[41] < t.ballots) THEN t.figures[6] END AS invalid_votes,
       CASE WHEN t.is_known AND (t.figures[31] = 0 OR t.figures[42] < t.figures[31]) THEN t.figures[7] END AS challenged_votes,
       CASE WHEN t.is_known AND (t.figures[31] = 0 OR t.figures[43] < t.figures[31]) THEN t.figures[8] END AS undervotes,
       CASE WHEN t.is_known AND (t.figures[31] = 0 OR t.figures[44] < t.figures[31]) THEN t.figures[9] END AS overvotes,
       CASE WHEN t.is_known THEN t.figures[10] END AS annulled_ballots,
       CASE WHEN t.is_known AND (t.of_sheets = 0 OR t.figures[45] < t.of_sheets) THEN t.figures[11] END AS total,
       CASE WHEN t.is_known AND (t.of_sheets = 0 OR t.figures[46] < t.of_sheets) THEN t.figures[12] END AS processed,
       CASE WHEN t.is_known AND (t.of_sheets = 0 OR t.figures[47] < t.of_sheets) THEN t.figures[13] END AS counted,
       CASE WHEN t.is_known AND (t.of_sheets = 0 OR t.figures[48] < t.of_sheets) THEN t.figures[14] END AS counted_normal,
       CASE WHEN t.is_known AND (t.of_sheets = 0 OR t.figures[49] < t.of_sheets) THEN t.figures[15] END AS annulled,
       CASE WHEN t.is_known AND (t.of_sheets = 0 OR t.figures[50] < t.of_sheets) THEN t.figures[16] END AS not_installed,
       CASE WHEN t.is_known AND (t.of_sheets = 0 OR t.figures[51] < t.of_sheets) THEN t.figures[17] END AS under_review,
       CASE WHEN t.is_known AND (t.of_sheets = 0 OR t.figures[52] < t.of_sheets) THEN t.figures[18] END AS to_be_processed,
       CASE WHEN t.is_known AND (t.of_sheets = 0 OR t.figures[53] < t.of_sheets) THEN t.figures[19] END AS pending,
       CASE WHEN t.is_known THEN t.figures[20] END AS in_process,
       (SELECT coalesce(jsonb_object_agg(reason, figure) FILTER (WHERE figure <> 0), '{}')
        FROM unnest(ARRAY['CHALLENGED_VOTES', 'MATERIAL_ERROR', 'NULLITY_REQUEST', 'ILLEGIBLE', 'INCOMPLETE',
                          'MISSING_SIGNATURES', 'LOST', 'DESTROYED', 'OTHER'], t.figures[21:29]) AS r (reason, figure)
       ) AS under_review_by_reason,
       (SELECT coalesce(jsonb_object_agg(name, units) FILTER (WHERE units > 0), '{}')
        FROM (SELECT * FROM unnest(ARRAY['registered_voters', 'registered_voters_counted', 'ballots_cast', 'valid_votes',
                                         'blank_votes', 'invalid_votes', 'challenged_votes', 'undervotes', 'overvotes',
                                         'total', 'processed', 'counted', 'counted_normal', 'annulled', 'not_installed',
                                         'under_review', 'to_be_processed', 'pending'], t.figures[36:53])
              UNION ALL
              SELECT 'votes.' || selection, t.figures[51 + 4 * n]
              FROM unnest(l.selections) WITH ORDINALITY AS s (selection, n)) AS f (name, units)) AS not_stated,
       t.of_areas, t.beside_sheets, t.stated_at, t.last_offset, t.last_event_id
FROM (SELECT *, figures[34] = 0 AS is_known, figures[31] + figures[35] AS ballots FROM :checking.summed_total) t
LEFT JOIN :checking.layout l ON l.contest_id = t.contest_id;
COMMENT ON VIEW :checking.area_total IS
    'Sums by area over the units of each type: now (WHERE is_now), and those of the counting level at each moment.';

-- How many tally sheets an area has, by roll and definition. `limited_to`: by either; more is a fault. `all_known`: of the
-- whole contest, the sheets of which something was stated.
CREATE VIEW :checking.expected AS
SELECT a.contest_id, a.area_id,
       CASE WHEN h.log_offset IS NOT NULL THEN coalesce(r.units, 0) END AS by_roll,
       CASE WHEN h.log_offset IS NOT NULL AND r.units IS NULL THEN 0 ELSE r.registered_voters END AS voters,
       d.by_definition,
       CASE WHEN h.log_offset IS NOT NULL THEN coalesce(r.units, 0) ELSE d.by_definition END AS limited_to,
       w.all_known
FROM :aggregate.area a
JOIN :results.contest c USING (contest_id)
CROSS JOIN LATERAL (
    SELECT coalesce(a.expected_units, CASE WHEN a.parent_id IS NULL THEN c.expected_units END) AS by_definition) d
LEFT JOIN (SELECT DISTINCT ON (contest_id) contest_id, log_offset, units FROM :aggregate.roll_area
           ORDER BY contest_id, log_offset DESC) h ON h.contest_id = a.contest_id AND h.units > 0
LEFT JOIN LATERAL (
    SELECT sum(units)::bigint AS units,
           CASE WHEN bool_and(registered_voters IS NOT NULL) THEN sum(registered_voters)::bigint END AS registered_voters
    FROM :aggregate.roll_area o
    WHERE o.contest_id = a.contest_id AND o.area_id = a.area_id AND o.log_offset = h.log_offset
      AND o.unit_type = ANY (c.sheet_types_expected)) r ON true
LEFT JOIN (
    SELECT t.contest_id,
           CASE WHEN sum(t.figures[34]) = 0 THEN
               sum(t.figures[11]) FILTER (WHERE t.unit_type = ANY (k.sheet_types)) END::bigint AS all_known
    FROM :aggregate.area_total t
    JOIN :aggregate.area o ON o.contest_id = t.contest_id AND o.area_id = t.area_id AND o.parent_id IS NULL
    JOIN :results.contest k ON k.contest_id = t.contest_id
    WHERE t.unit_type = ANY (k.counting_types)
    GROUP BY t.contest_id) w ON w.contest_id = a.contest_id;
COMMENT ON VIEW :checking.expected IS 'How many tally sheets each area has, by the roll and by the definition.';

-- The office's own statement about each area: now (is_now), and at each official time until the next.
CREATE VIEW :checking.official_total AS
SELECT u.contest_id, u.unit_id AS area_id, u.is_now, u.at, u.until,
       counts -> 'votes' AS votes,
       (counts ->> 'registered_voters')::bigint         AS registered_voters,
       (counts ->> 'registered_voters_counted')::bigint AS registered_voters_counted,
       (counts ->> 'ballots_cast')::bigint AS ballots_cast,
       coalesce((counts ->> 'valid_votes')::bigint,
                -- not stated: their sum, when the votes of every selection on the ballot are
                (SELECT CASE WHEN bool_and(votes IS NOT NULL) AND u.votes_allowed = 1 THEN sum(votes::bigint) END
                 FROM jsonb_each_text(counts -> 'votes') AS v (selection, votes)))::bigint AS valid_votes,
       (counts ->> 'blank_votes')::bigint AS blank_votes,
       (counts ->> 'invalid_votes')::bigint AS invalid_votes,
       (counts ->> 'challenged_votes')::bigint AS challenged_votes,
       (counts ->> 'undervotes')::bigint AS undervotes,
       (counts ->> 'overvotes')::bigint AS overvotes,
       (sub_units ->> 'total')::bigint           AS total,
       (sub_units ->> 'processed')::bigint       AS processed,
       (sub_units ->> 'counted')::bigint         AS counted,
       (sub_units ->> 'under_review')::bigint    AS under_review,
       (sub_units ->> 'to_be_processed')::bigint AS to_be_processed,
       (sub_units ->> 'annulled')::bigint        AS annulled,
       (sub_units ->> 'not_installed')::bigint   AS not_installed,
       (sub_units ->> 'pending')::bigint         AS pending,
       sub_units -> 'under_review_by_reason' AS under_review_by_reason,
       (SELECT bool_and(votes IS NOT NULL) FROM jsonb_each_text(counts -> 'votes') AS v (selection, votes))
           AS has_all_votes,
       is_known, suppresses,
       (SELECT coalesce(jsonb_object_agg(selection, votes::bigint) FILTER (WHERE votes::bigint > 0), '{}')
        FROM jsonb_each_text(waiting) AS w (selection, votes)) AS not_counted,
       u.stated_at, u.log_offset AS last_offset, u.event_id AS last_event_id
-- what a statement of an unknown status or kind states is no count
FROM (SELECT contest_id, unit_type, unit_id, is_now, at, until, kind, stated_at, log_offset, event_id, is_known, votes_allowed,
             CASE WHEN is_known AND adds THEN counts END AS counts,
             CASE WHEN is_known AND NOT adds AND count_status <> 'ANNULLED' THEN counts -> 'votes' END AS waiting,
             is_known AND jsonb_typeof(counts -> 'suppressed') = 'array' AS suppresses,
             CASE WHEN is_known THEN sub_units END AS sub_units
      FROM (SELECT n.*, k.votes_allowed, count_status <> 'UNKNOWN' AND kind <> 'UNKNOWN' AS is_known,
                   count_status = 'COUNTED' OR count_status = 'IN_PROCESS'
                       AND (k.partial_sheets_count OR NOT n.unit_type = ANY (k.sheet_types)) AS adds
            FROM (SELECT h.contest_id, h.unit_type, h.unit_id, h.kind, h.count_status, h.counts, h.sub_units, h.stated_at,
                         h.log_offset, h.event_id, true AS is_now, NULL::timestamptz AS at, NULL::timestamptz AS until
                  FROM :results.unit_count h
                  UNION ALL
                  SELECT h.contest_id, h.unit_type, h.unit_id, h.kind, h.count_status, h.counts, h.sub_units, h.stated_at,
                         h.log_offset, h.event_id, false, h.stated_at, h.until
                  FROM (SELECT h.*, lead(h.stated_at) OVER (
                                   PARTITION BY h.contest_id, h.unit_type, h.unit_id ORDER BY h.stated_at) AS until
                        FROM (SELECT DISTINCT ON (h.contest_id, h.unit_type, h.unit_id, h.stated_at)
                                     h.contest_id, h.unit_type, h.unit_id, h.kind, h.count_status, h.counts, h.sub_units,
                                     h.stated_at, h.log_offset, h.event_id
                              FROM :results.update_history h
                              JOIN :aggregate.area a
                                  ON a.contest_id = h.contest_id AND a.area_id = h.unit_id AND a.type = h.unit_type
                              WHERE h.accepted
                              ORDER BY h.contest_id, h.unit_type, h.unit_id, h.stated_at, h.sequence DESC) h) h) n
            JOIN :results.contest k USING (contest_id)
            WHERE NOT (cardinality(k.counting_types) > 1 AND n.unit_type = ANY (k.counting_types))) k) u
JOIN :aggregate.area a ON a.contest_id = u.contest_id AND a.area_id = u.unit_id AND a.type = u.unit_type
WHERE kind <> 'RETRACTED';
COMMENT ON VIEW :checking.official_total IS
    'The office''s own statements about areas: now (WHERE is_now), and at each official time. For programs.';

-- The count of every area on either basis: now (is_now), and at each official time at which it changed.
CREATE VIEW :checking.count_at AS
SELECT b.contest_id, b.area_id, b.is_now, b.at, b.is_count, b.basis, b.votes,
       -- of valid votes; where a ballot has several votes, of all votes for selections
       (SELECT jsonb_object_agg(v.selection, round(100.0 * v.votes::bigint / nullif(
                   CASE WHEN NOT b.has_all_votes THEN NULL WHEN k.votes_allowed > 1 THEN v.all_votes
                        WHEN NOT b.not_stated ? 'valid_votes' THEN b.valid_votes END, 0), 3))
        FROM (SELECT selection, votes, sum(votes::bigint) OVER () AS all_votes
              FROM jsonb_each_text(b.votes) AS v (selection, votes)) v) AS shares,
       b.registered_voters, b.registered_voters_counted, b.ballots_cast, b.valid_votes, b.blank_votes,
       b.invalid_votes, b.challenged_votes, b.undervotes, b.overvotes, b.total, b.expected, b.beyond_expected, b.processed,
       b.counted, b.under_review, b.to_be_processed, b.annulled, b.not_installed, b.pending, b.under_review_by_reason,
       b.units, b.units_counted, b.units_annulled, b.areas_reported, b.areas_expected, b.voters_outstanding,
       b.suppressed_units, b.unknown_units,
       b.not_counted, b.not_stated,
       b.has_all_votes,
       -- over the same units: only where all of them state it, and of what is expected
       CASE WHEN NOT b.not_stated ? 'processed' THEN
           round(100.0 * b.processed / nullif(b.expected, 0), 3) END AS processed_percent,
       CASE WHEN NOT b.not_stated ? 'counted' THEN
           round(100.0 * b.counted / nullif(b.expected, 0), 3) END AS counted_percent,
       CASE WHEN b.has_ballots AND NOT b.has_others_ballots
                 AND NOT b.not_stated ?| ARRAY['ballots_cast', 'registered_voters_counted'] THEN
           round(100.0 * b.ballots_cast / nullif(b.registered_voters_counted, 0), 3) END AS turnout_of_counted_percent,
       CASE WHEN b.has_ballots AND NOT b.not_stated ?| ARRAY['ballots_cast', 'registered_voters'] THEN
           round(100.0 * b.ballots_cast / nullif(b.registered_voters, 0), 3) END AS turnout_of_roll_percent,
       b.stated_at, k.topic, k.partition, b.last_offset, b.last_event_id, k.blocked
FROM (
    SELECT o.contest_id, o.area_id, o.is_now, o.at, 'OFFICIAL' AS basis,
           -- one basis of an area is the count: the computed one where the counting level is finer than the area
           c.counting_level = a.type OR f.area_id IS NULL OR coalesce(o.at < f.at, false) AS is_count,
           coalesce(nullif(o.votes, '{}'), (SELECT jsonb_object_agg(s.selection_id, NULL) FROM :aggregate.selection s
                              WHERE s.contest_id = o.contest_id)) AS votes,
           coalesce(o.registered_voters, CASE WHEN a.parent_id IS NULL THEN c.registered_voters END) AS registered_voters,
           o.registered_voters_counted, o.ballots_cast, o.valid_votes, o.blank_votes, o.invalid_votes,
           o.challenged_votes, o.undervotes, o.overvotes, o.total,
           coalesce(o.total, e.by_roll, e.by_definition) AS expected, greatest(o.total - e.limited_to, 0) AS beyond_expected,
           o.processed, o.counted, o.under_review, o.to_be_processed, o.annulled,
           o.not_installed, o.pending, o.under_review_by_reason, NULL::bigint AS units, NULL::bigint AS units_counted,
           NULL::bigint AS units_annulled, true AS has_ballots, false AS has_others_ballots,
           NULL::bigint AS areas_reported, NULL::bigint AS areas_expected,
           CASE WHEN num_nulls(e.voters, o.registered_voters_counted) = 0 THEN
               greatest(e.voters - o.registered_voters_counted, 0) END AS voters_outstanding,
           coalesce(o.suppresses, false)::int::bigint AS suppressed_units, (NOT o.is_known)::int::bigint AS unknown_units,
           o.not_counted, '{}'::jsonb AS not_stated, o.has_all_votes, o.stated_at, o.last_offset, o.last_event_id
    FROM :checking.official_total o
    JOIN :aggregate.area a USING (contest_id, area_id)
    JOIN :results.contest c USING (contest_id)
    JOIN :checking.expected e USING (contest_id, area_id)
    LEFT JOIN (  -- since when there is a computed one
        SELECT t.contest_id, t.area_id, true AS is_now, NULL::timestamptz AS at
        FROM :aggregate.area_total t JOIN :results.contest k ON k.contest_id = t.contest_id AND t.unit_type = ANY (k.counting_types)
        GROUP BY t.contest_id, t.area_id
        UNION ALL
        SELECT m.contest_id, m.area_id, false, m.at
        FROM (SELECT contest_id, area_id, min(at) AS at FROM :checking.moment GROUP BY contest_id, area_id) m
    ) f ON f.contest_id = o.contest_id AND f.area_id = o.area_id AND f.is_now = o.is_now
    UNION ALL
    SELECT t.contest_id, t.area_id, t.is_now, t.at, 'COMPUTED', true, t.votes,
           CASE WHEN e.by_roll IS NOT NULL THEN e.voters
                WHEN a.parent_id IS NULL AND c.registered_voters IS NOT NULL THEN c.registered_voters
                WHEN NOT x.has_sheets OR x.expected <= t.total THEN t.registered_voters END,
           t.registered_voters_counted, t.ballots_cast, t.valid_votes, t.blank_votes, t.invalid_votes,
           t.challenged_votes, t.undervotes, t.overvotes,
           CASE WHEN x.expected IS NOT NULL THEN greatest(x.expected, coalesce(t.total, 0))
                WHEN NOT x.has_sheets THEN t.total END,
           x.expected, greatest(coalesce(t.total, 0) - e.limited_to, 0),
           t.processed, t.counted, t.under_review,
           t.to_be_processed + coalesce(greatest(x.expected - t.total, 0), 0), t.annulled, t.not_installed,
           t.pending + coalesce(greatest(x.expected - t.total, 0), 0),
           t.under_review_by_reason, t.units, t.units_counted, t.units_annulled, t.units_counted + t.units_annulled > 0,
           -- by post are ballots of all voters, also of those whose sheets are not counted yet
           x.has_sheets AND t.beside_sheets,
           x.areas_reported, x.areas_expected,
           CASE WHEN e.voters IS NOT NULL AND t.units_unknown = 0 AND NOT t.not_stated ? 'registered_voters_counted' THEN
               greatest(e.voters - coalesce(t.registered_voters_counted, 0), 0) END,
           t.units_suppressed, t.units_unknown, t.not_counted,
           t.not_stated - array_remove(ARRAY[CASE WHEN x.expected IS NOT NULL THEN 'total' END,
                                             CASE WHEN e.by_roll IS NOT NULL
                                                    OR a.parent_id IS NULL AND c.registered_voters IS NOT NULL
                                                  THEN 'registered_voters' END], NULL),
           t.units_unknown = 0 AND NOT EXISTS (SELECT FROM jsonb_object_keys(t.not_stated) k WHERE k LIKE 'votes.%'),
           t.stated_at, t.last_offset, t.last_event_id
    FROM :checking.area_total t
    JOIN :aggregate.area a USING (contest_id, area_id)
    JOIN :results.contest c USING (contest_id)
    JOIN :checking.expected e USING (contest_id, area_id)
    LEFT JOIN :checking.official_total o
        ON o.contest_id = t.contest_id AND o.area_id = t.area_id AND o.is_now = t.is_now
       AND (o.is_now OR o.at <= t.at AND (o.until IS NULL OR t.at < o.until))
    CROSS JOIN LATERAL (
        SELECT c.counting_types && c.sheet_types AS has_sheets, y.*,
               CASE WHEN c.counting_types && c.sheet_types OR NOT t.not_stated ? 'total' THEN
                   coalesce(e.by_roll, e.by_definition, CASE WHEN o.total >= coalesce(t.total, 0) THEN o.total END,
                            CASE WHEN c.counting_types && c.sheet_types
                                 THEN CASE WHEN c.expected_units = CASE WHEN t.is_now THEN e.all_known ELSE (
                                     SELECT CASE WHEN sum(u.figures[34]) = 0 THEN
                                         sum(u.figures[11]) FILTER (WHERE k.type = ANY (c.sheet_types)) END
                                     FROM :aggregate.area r
                                     CROSS JOIN unnest(c.counting_types) AS k (type)
                                     CROSS JOIN LATERAL :aggregate.total_up_to(r.contest_id, k.type, r.area_id, t.at) u
                                     WHERE r.contest_id = t.contest_id AND r.parent_id IS NULL) END THEN t.total END
                                 WHEN y.areas_reported = y.areas_expected THEN t.total END)
                   ELSE coalesce(e.by_roll, e.by_definition, CASE WHEN o.total >= coalesce(t.total, 0) THEN o.total END)
                   END AS expected
        FROM (SELECT CASE WHEN bool_or(k.is_area) THEN sum(coalesce((a.within ->> k.type)::bigint, 0))
                                                           FILTER (WHERE k.is_area) END::bigint AS areas_expected,
                     -- areas that end may be among those that are reported
                     CASE WHEN bool_or(k.is_area) AND NOT a.within ? 'ended' THEN coalesce(t.of_areas, 0) END AS areas_reported
              FROM (SELECT n.type, NOT n.type = ANY (c.sheet_types)
                           AND (c.contest_id, n.type) IN (SELECT z.contest_id, z.type FROM :aggregate.area z) AS is_area
                    FROM unnest(c.counting_types) AS n (type)) k) y) x
    WHERE t.unit_type = c.counting_level AND c.counting_level <> a.type
) b
JOIN :results.contest k USING (contest_id);
COMMENT ON VIEW :checking.count_at IS
    'The counts of areas on both bases, now (WHERE is_now) and at each official time: what the views of counts are made of.';

-- The same columns four times: the count and both bases, now and over time. Area by area: OFFSET keeps PostgreSQL from
-- reading every area first, and from guessing how many rows there are.
DO $views$
DECLARE
    figures text := (SELECT string_agg('c.' || attname, ', ' ORDER BY attnum) FROM pg_attribute
                     WHERE attrelid = ':checking.count_at'::regclass AND attnum > 5);
    one record;
BEGIN
    FOR one IN
        SELECT v.*, moment.* FROM (VALUES ('count', 'c.is_now'), ('history', 'NOT c.is_now')) AS moment (name, moment),
            (VALUES (':results.area_', '', '', ' AND c.is_count'), (':checking.area_', '_by_basis', 'c.is_count, ', ''))
                AS v (prefix, suffix, is_count, filter)
    LOOP
        EXECUTE 'CREATE VIEW ' || one.prefix || one.name || one.suffix || ' AS '
            'SELECT a.contest_id, a.area_id, a.name AS area_name, a.type AS area_type, a.parent_id, a.codes, '
            || one.is_count || figures || ' FROM :aggregate.area a CROSS JOIN LATERAL (SELECT * FROM :checking.count_at c'
            ' WHERE c.contest_id = a.contest_id AND c.area_id = a.area_id AND ' || one.moment || one.filter || ' OFFSET 0) c';
    END LOOP;
END
$views$;
COMMENT ON VIEW :results.area_count IS 'The count of every area, now: one row an area.';
COMMENT ON VIEW :results.area_history IS
    'The course of every area: one row for each official time at which its count changed. Ask for one area, or a few.';
COMMENT ON VIEW :checking.area_count_by_basis IS 'The count of every area on either basis; of two rows of an area one is the count.';
COMMENT ON VIEW :checking.area_history_by_basis IS
    'The course of every area on either basis: the office''s own statements, and our sums as they were published.';

CREATE VIEW :results.selection_count AS
SELECT c.contest_id, c.area_id, c.area_name, c.area_type, c.codes, c.basis,
       s.selection_id, s.candidate, s.party, s.ballot_order, s.kind, s.withdrawn_at,
       (c.votes ->> s.selection_id)::bigint AS votes,
       coalesce(c.votes ? s.selection_id, true) AS is_on_ballot,
       (c.shares ->> s.selection_id)::numeric AS share,
       c.stated_at, c.topic, c.partition, c.last_offset, c.last_event_id, c.blocked
FROM :results.area_count c
JOIN :aggregate.selection s USING (contest_id);
COMMENT ON VIEW :results.selection_count IS 'Votes and share of votes (percent) of each selection in each area.';

CREATE VIEW :checking.reconciliation AS
SELECT t.contest_id, t.area_id, t.stated_at AS computed_stated_at, o.reported_at AS official_reported_at, c.topic, c.partition,
       o.event_id AS official_event_id, o.log_offset AS official_offset,
       CASE WHEN NOT t.not_stated ? 'counted' THEN t.counted - (o.sheets ->> 'counted')::bigint END AS counted_difference,
       CASE WHEN NOT t.not_stated ? 'processed' THEN t.processed - (o.sheets ->> 'processed')::bigint END AS processed_difference,
       CASE WHEN NOT t.not_stated ? 'ballots_cast' THEN t.ballots_cast - (o.counted ->> 'ballots_cast')::bigint END AS ballots_cast_difference,
       CASE WHEN NOT t.not_stated ? 'valid_votes' THEN t.valid_votes - (o.counted ->> 'valid_votes')::bigint END AS valid_votes_difference,
       CASE WHEN NOT t.not_stated ? 'blank_votes' THEN t.blank_votes - (o.counted ->> 'blank_votes')::bigint END AS blank_votes_difference,
       CASE WHEN NOT t.not_stated ? 'invalid_votes' THEN t.invalid_votes - (o.counted ->> 'invalid_votes')::bigint END AS invalid_votes_difference,
       (SELECT jsonb_object_agg(v.key, CASE WHEN NOT t.not_stated ? ('votes.' || v.key) THEN
                                           (t.votes ->> v.key)::bigint - v.value::bigint END)
        FROM jsonb_each_text(o.counted -> 'votes') v) AS votes_difference
FROM :checking.area_total t
JOIN :aggregate.area a USING (contest_id, area_id)
JOIN :results.contest c USING (contest_id)
CROSS JOIN LATERAL (
    -- what a statement of an unknown status or kind states is no count, nor are the votes of one that does not count
    SELECT h.*, CASE WHEN h.count_status <> 'UNKNOWN' AND h.kind <> 'UNKNOWN' THEN h.sub_units END AS sheets,
           CASE WHEN h.kind <> 'UNKNOWN'
                 AND (h.count_status = 'COUNTED' OR h.count_status = 'IN_PROCESS'
                      AND (c.partial_sheets_count OR NOT h.unit_type = ANY (c.sheet_types))) THEN h.counts END AS counted
    FROM :results.update_history h
    WHERE h.contest_id = t.contest_id AND h.unit_type = a.type AND h.unit_id = t.area_id AND h.accepted
      AND h.kind <> 'RETRACTED'
      AND NOT EXISTS (
          SELECT FROM :checking.update_row r
          WHERE r.contest_id = h.contest_id AND r.unit_type = h.unit_type AND r.unit_id = h.unit_id AND r.accepted
            AND r.kind = 'RETRACTED' AND r.details -> 'correction' ->> 'replaces_event_id' = h.event_id::text)
    ORDER BY abs(extract(epoch FROM h.stated_at - t.stated_at)), h.sequence DESC
    LIMIT 1
) o
WHERE t.is_now AND t.unit_type = c.counting_level AND NOT a.type = ANY (c.counting_types);
COMMENT ON VIEW :checking.reconciliation IS
    'Each computed total beside the office''s own statement nearest in time, with the differences.';

CREATE VIEW :checking.unit_version AS
SELECT h.*, int8range(h.log_offset, n.log_offset) AS offsets
FROM :results.update_history h
LEFT JOIN LATERAL (
    SELECT f.log_offset
    FROM :aggregate.unit_state u
    JOIN :aggregate.count_update_history f ON f.contest_id = u.contest_id AND f.unit = u.unit
    WHERE u.contest_id = h.contest_id AND u.unit_id = h.unit_id AND u.unit_type = h.unit_type AND f.is_current
      AND f.sequence > h.sequence
    ORDER BY f.sequence LIMIT 1
) n ON true
WHERE h.is_current;
COMMENT ON VIEW :checking.unit_version IS
    'Every state a reporting unit was ever in, with the offsets at which it held: WHERE offsets @> 12345.';

CREATE VIEW :checking.unit_state AS
SELECT u.contest_id, u.unit_type, u.unit_id, c.topic, c.partition, u.current_offset, u.head_offset
FROM :aggregate.unit_state u
LEFT JOIN :aggregate.contest c ON c.contest_id = u.contest_id
WHERE u.current_offset IS NOT NULL;
COMMENT ON VIEW :checking.unit_state IS 'Where the latest statement about each unit stands on the log, and the last of its chain.';

CREATE VIEW :checking.log_time AS SELECT * FROM :aggregate.log_time;
CREATE VIEW :checking.projection AS SELECT version, made_at, until_stated_at FROM :aggregate.projection;
CREATE VIEW :checking.take_over AS SELECT * FROM :aggregate.take_over;
CREATE VIEW :checking.schema_migration AS SELECT * FROM :aggregate.schema_migration;

CREATE VIEW :checking.finding AS
SELECT f.*, (SELECT k.topic FROM :aggregate.cursor k WHERE k.partition = f.partition) AS topic FROM :aggregate.finding f;
CREATE VIEW :checking.parked AS
SELECT (SELECT k.topic FROM :aggregate.cursor k WHERE k.partition = p.partition) AS topic, partition, log_offset, recorded_at, contest_id, key, headers, octet_length(value) AS bytes,
       encode(sha256(value), 'hex') AS value_sha256, reason
FROM :aggregate.parked p;
CREATE VIEW :checking.cursor AS SELECT * FROM :aggregate.cursor;

GRANT USAGE ON SCHEMA :results, :checking TO escrutinio_readers, escrutinio_writer;
GRANT SELECT ON ALL TABLES IN SCHEMA :results, :checking TO escrutinio_readers, escrutinio_writer;
