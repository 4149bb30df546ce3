-- What readers see. Views run with their owner's rights, so a reader needs no right on the tables beneath.

COMMENT ON SCHEMA :results IS 'The count, for readers. Only views.';

CREATE VIEW :results.contest AS
SELECT contest_id, topic, partition, definition_offset,
       definition ->> 'name'           AS name,
       definition ->> 'election_name'  AS election_name,
       definition ->> 'authority'      AS authority,
       definition ->> 'time_zone'      AS time_zone,
       ARRAY(SELECT jsonb_array_elements_text(definition -> 'counting_level')) AS counting_types,
       array_to_string(ARRAY(SELECT jsonb_array_elements_text(definition -> 'counting_level')), ' + ') AS counting_level,
       ARRAY(SELECT jsonb_array_elements_text(definition -> 'sheet_types')) AS sheet_types,
       -- of which areas expect a number: sheets of the level; where areas are added up, those of a later level, or all
       (SELECT t.types
        FROM (SELECT 1 AS place, ARRAY(SELECT jsonb_array_elements_text(definition -> 'counting_level')
                                       INTERSECT SELECT jsonb_array_elements_text(definition -> 'sheet_types'))
              UNION ALL
              SELECT 2, ARRAY(SELECT jsonb_array_elements_text(l) FROM jsonb_array_elements(definition -> 'later_counting_levels') l
                              INTERSECT SELECT jsonb_array_elements_text(definition -> 'sheet_types'))
              UNION ALL
              SELECT 3, ARRAY(SELECT jsonb_array_elements_text(definition -> 'sheet_types'))) AS t (place, types)
        WHERE cardinality(t.types) > 0 ORDER BY t.place LIMIT 1) AS sheet_types_expected,
       (definition ->> 'partial_sheets_count')::boolean AS partial_sheets_count,
       (definition ->> 'votes_allowed')::bigint         AS votes_allowed,
       (definition ->> 'expected_units')::bigint    AS expected_units,
       (definition ->> 'registered_voters')::bigint AS registered_voters,
       (definition ->> 'is_test')::boolean          AS is_test,
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
    FROM :aggregate.contest c) AS contest;

CREATE VIEW :results.area AS SELECT * FROM :aggregate.area;
CREATE VIEW :results.selection AS SELECT * FROM :aggregate.selection;

-- The layout of figures: the names of the selections, in the order of their places after the 53 of every contest.
-- Selection n has four: 50 + 4n its votes, 51 + 4n the units that lack them, 52 + 4n the votes that do not count,
-- 53 + 4n the units on whose ballots it stood.
-- schemas.columns.layout names the others.
CREATE VIEW :results.layout AS
SELECT contest_id, array_agg(s.selection ->> 'selection_id'
                             ORDER BY (s.selection ->> 'ballot_order')::bigint, s.place) AS selections
FROM :aggregate.contest
CROSS JOIN jsonb_array_elements(definition -> 'selections') WITH ORDINALITY AS s (selection, place)
GROUP BY contest_id;

CREATE VIEW :results.area_path AS SELECT * FROM :aggregate.area_path;
CREATE VIEW :results.roll_area AS SELECT * FROM :aggregate.roll_area;
COMMENT ON VIEW :results.roll_area IS 'Tally sheets and voters of each area by a roll, from the offset on at which it holds.';
CREATE VIEW :results.roll_history AS SELECT * FROM :aggregate.roll_history;
COMMENT ON VIEW :results.roll_history IS 'The parts of the contests'' rolls of units, as they came.';
CREATE VIEW :results.publication AS SELECT * FROM :aggregate.publication;
CREATE VIEW :results.unit_row AS SELECT * FROM :aggregate.unit_state;
CREATE VIEW :results.total_row AS SELECT * FROM :aggregate.area_total;

-- Left joins over keys: a query pays only for those whose columns it names.
CREATE VIEW :results.update_row AS
SELECT h.*, u.unit_type, u.unit_id, a.areas
FROM :aggregate.count_update_history h
LEFT JOIN :aggregate.unit_state u ON u.contest_id = h.contest_id AND u.unit = h.unit
LEFT JOIN :aggregate.area_path a ON a.contest_id = h.contest_id AND a.area_path = h.area_path;
COMMENT ON VIEW :results.update_row IS 'Every official update with its figures as arrays, for programs. People read update_history.';

CREATE VIEW :results.update_history AS
SELECT c.partition, h.log_offset, h.recorded_at, h.event_id, h.contest_id, h.unit_type, h.unit_id, h.unit_name,
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
           (SELECT coalesce(jsonb_object_agg(name, figure) FILTER (WHERE figure IS NOT NULL), '{}')
            FROM unnest(ARRAY[
                'registered_voters', 'registered_voters_counted', 'ballots_cast', 'valid_votes', 'blank_votes',
                'invalid_votes', 'challenged_votes', 'undervotes', 'overvotes', 'annulled_ballots', 'total', 'processed',
                'counted', 'counted_normal', 'annulled', 'not_installed', 'under_review', 'to_be_processed', 'pending',
                'in_process',
                'under_review.CHALLENGED_VOTES', 'under_review.MATERIAL_ERROR', 'under_review.NULLITY_REQUEST',
                'under_review.ILLEGIBLE', 'under_review.INCOMPLETE', 'under_review.MISSING_SIGNATURES',
                'under_review.LOST', 'under_review.DESTROYED', 'under_review.OTHER', 'units', 'units_counted',
                'units_partial', 'units_suppressed', 'units_unknown', 'units_annulled',
                'not_stated.registered_voters', 'not_stated.registered_voters_counted', 'not_stated.ballots_cast',
                'not_stated.valid_votes', 'not_stated.blank_votes', 'not_stated.invalid_votes',
                'not_stated.challenged_votes', 'not_stated.undervotes', 'not_stated.overvotes', 'not_stated.total',
                'not_stated.processed', 'not_stated.counted', 'not_stated.counted_normal', 'not_stated.annulled',
                'not_stated.not_installed', 'not_stated.under_review', 'not_stated.to_be_processed', 'not_stated.pending']
                || (SELECT array_agg(prefix || selection ORDER BY n, place)
                    FROM unnest(l.selections) WITH ORDINALITY AS s (selection, n),
                         unnest(ARRAY['votes.', 'not_stated.votes.', 'not_counted.votes.', 'on_ballot.votes.'])
                             WITH ORDINALITY AS p (prefix, place)), h.change) AS c (name, figure))
       END AS change,
       h.superseded_at, h.is_moved, h.last_reported_at
FROM :results.update_row h
LEFT JOIN :aggregate.contest c ON c.contest_id = h.contest_id
LEFT JOIN :aggregate.publication p ON p.contest_id = h.contest_id AND p.publication = h.publication
LEFT JOIN :results.layout l ON l.contest_id = h.contest_id
LEFT JOIN :aggregate.area r ON r.contest_id = h.contest_id AND r.area_id = h.unit_id AND r.type = h.unit_type;
COMMENT ON VIEW :results.update_history IS 'Every official update, with what the count gained or lost by it.';

CREATE VIEW :results.definition_history AS SELECT * FROM :aggregate.contest_history;
COMMENT ON VIEW :results.definition_history IS 'Every definition of a contest, as it came.';

CREATE VIEW :results.unit_count AS
SELECT h.*, s.head_offset
FROM :aggregate.unit_state s
JOIN :results.update_history h ON h.contest_id = s.contest_id AND h.log_offset = s.current_offset;
COMMENT ON VIEW :results.unit_count IS 'The latest official statement about each reporting unit.';

-- Sums by area over the units of each type; and, where units of several types are added up, over all of them. Beside
-- sheets the others only add votes and ballots: what they lack of sheets and voters is nobody's. `on_roll`: the units
-- whose rolls are added up, of sheets all that are known, of areas the counted.
CREATE VIEW :results.summed_total AS
SELECT t.contest_id, t.unit_type, t.area_id, t.figures, t.stated_at, t.last_offset, t.last_event_id, t.since, t.kept_at,
       t.figures[30] AS of_sheets,
       CASE WHEN t.unit_type = ANY (c.sheet_types) THEN t.figures[30] ELSE t.figures[31] END AS on_roll,
       CASE WHEN t.unit_type = ANY (c.sheet_types)
            THEN t.figures[13] + CASE WHEN c.partial_sheets_count THEN t.figures[20] ELSE 0 END
            ELSE t.figures[31] END AS on_counted_roll
FROM :aggregate.area_total t
LEFT JOIN :results.contest c USING (contest_id)
UNION ALL
SELECT t.contest_id, c.counting_level, t.area_id,
       (SELECT array_agg(s.figure ORDER BY s.slot)
        FROM (SELECT f.slot, coalesce(sum(f.figure) FILTER (
                         WHERE NOT (f.slot IN (1, 2, 36, 37) OR f.slot BETWEEN 11 AND 29 OR f.slot BETWEEN 45 AND 53)
                            OR o.unit_type = ANY (c.sheet_types) OR NOT c.counting_types && c.sheet_types), 0)::bigint
                         AS figure
              FROM :aggregate.area_total o
              CROSS JOIN LATERAL unnest(o.figures) WITH ORDINALITY AS f (figure, slot)
              WHERE o.contest_id = t.contest_id AND o.area_id = t.area_id AND o.unit_type = ANY (c.counting_types)
              GROUP BY f.slot) s),
       max(t.stated_at), max(t.last_offset), (array_agg(t.last_event_id ORDER BY t.last_offset DESC))[1], NULL, NULL,
       coalesce(sum(t.figures[30]) FILTER (WHERE t.unit_type = ANY (c.sheet_types)
                                           OR NOT c.counting_types && c.sheet_types), 0)::bigint,
       coalesce(sum(CASE WHEN t.unit_type = ANY (c.sheet_types) THEN t.figures[30]
                         WHEN NOT c.counting_types && c.sheet_types THEN t.figures[31] END), 0)::bigint,
       coalesce(sum(CASE WHEN t.unit_type = ANY (c.sheet_types)
                         THEN t.figures[13] + CASE WHEN c.partial_sheets_count THEN t.figures[20] ELSE 0 END
                         WHEN NOT c.counting_types && c.sheet_types THEN t.figures[31] END), 0)::bigint
FROM :aggregate.area_total t
JOIN :results.contest c USING (contest_id)
WHERE cardinality(c.counting_types) > 1 AND t.unit_type = ANY (c.counting_types)
GROUP BY t.contest_id, t.area_id, c.counting_level, c.counting_types, c.sheet_types, c.partial_sheets_count;

-- A figure that none of the units states is null, which is not zero. Some may state it: `not_stated` counts those that do not.
-- Nothing is known where a unit states what this release does not understand.
CREATE VIEW :results.area_total AS
SELECT t.contest_id, t.unit_type, t.area_id, t.figures[30] AS units, t.figures[31] AS units_counted,
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
       t.stated_at, t.last_offset, t.last_event_id, t.since, t.kept_at
FROM (SELECT *, figures[34] = 0 AS is_known, figures[31] + figures[35] AS ballots FROM :results.summed_total) t
LEFT JOIN :results.layout l ON l.contest_id = t.contest_id;
COMMENT ON VIEW :results.area_total IS
    'Sums by area over the units of each type, with every figure; those of the counting level are the count.';

-- How many tally sheets an area has, by roll and definition. `limited_to`: by either; more is a fault. `all_known`: of the
-- whole contest, the sheets of which something was stated.
CREATE VIEW :results.expected AS
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
COMMENT ON VIEW :results.expected IS 'How many tally sheets each area has, by the roll and by the definition.';

CREATE VIEW :results.area_count AS
WITH official AS (
    SELECT u.contest_id, u.unit_id AS area_id, u.unit_type,
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
    FROM (SELECT contest_id, unit_id, unit_type, kind, stated_at, log_offset, event_id, is_known, votes_allowed,
                 CASE WHEN is_known AND adds THEN counts END AS counts,
                 CASE WHEN is_known AND NOT adds AND count_status <> 'ANNULLED' THEN counts -> 'votes' END AS waiting,
                 is_known AND jsonb_typeof(counts -> 'suppressed') = 'array' AS suppresses,
                 CASE WHEN is_known THEN sub_units END AS sub_units
          FROM (SELECT n.*, k.votes_allowed, count_status <> 'UNKNOWN' AND kind <> 'UNKNOWN' AS is_known,
                       count_status = 'COUNTED' OR count_status = 'IN_PROCESS'
                           AND (k.partial_sheets_count OR NOT n.unit_type = ANY (k.sheet_types)) AS adds
                FROM :results.unit_count n
                JOIN :results.contest k USING (contest_id)
                WHERE NOT (cardinality(k.counting_types) > 1 AND n.unit_type = ANY (k.counting_types))) k) u
    JOIN :aggregate.area a ON a.contest_id = u.contest_id AND a.area_id = u.unit_id AND a.type = u.unit_type
    WHERE kind <> 'RETRACTED'
), both_bases AS (
    SELECT o.contest_id, o.area_id, 'OFFICIAL' AS basis,
           coalesce(o.votes, (SELECT jsonb_object_agg(s.selection_id, NULL) FROM :aggregate.selection s
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
    FROM official o
    JOIN :aggregate.area a USING (contest_id, area_id)
    JOIN :results.contest c USING (contest_id)
    JOIN :results.expected e USING (contest_id, area_id)
    UNION ALL
    SELECT t.contest_id, t.area_id, 'COMPUTED', t.votes,
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
           x.has_sheets AND EXISTS (
               SELECT FROM :aggregate.area_total p
               WHERE p.contest_id = t.contest_id AND p.area_id = t.area_id AND p.unit_type = ANY (c.counting_types)
                 AND NOT p.unit_type = ANY (c.sheet_types) AND p.figures[31] + p.figures[35] > 0),
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
    FROM :results.area_total t
    JOIN :aggregate.area a USING (contest_id, area_id)
    JOIN :results.contest c USING (contest_id)
    JOIN :results.expected e USING (contest_id, area_id)
    LEFT JOIN official o USING (contest_id, area_id)
    CROSS JOIN LATERAL (
        SELECT c.counting_types && c.sheet_types AS has_sheets, y.*,
               CASE WHEN c.counting_types && c.sheet_types OR NOT t.not_stated ? 'total' THEN
                   coalesce(e.by_roll, e.by_definition, CASE WHEN o.total >= coalesce(t.total, 0) THEN o.total END,
                            CASE WHEN c.counting_types && c.sheet_types AND c.expected_units = e.all_known
                                   OR NOT c.counting_types && c.sheet_types AND y.areas_reported = y.areas_expected
                                 THEN t.total END)
                   ELSE coalesce(e.by_roll, e.by_definition, CASE WHEN o.total >= coalesce(t.total, 0) THEN o.total END)
                   END AS expected
        FROM (SELECT CASE WHEN bool_or(k.is_area) THEN sum(coalesce((a.within ->> k.type)::bigint, 0))
                                                           FILTER (WHERE k.is_area) END::bigint AS areas_expected,
                     -- areas that end may be among those that are reported
                     CASE WHEN bool_or(k.is_area) AND NOT a.within ? 'ended' THEN
                         coalesce(sum(p.figures[30]) FILTER (WHERE k.is_area), 0) END::bigint AS areas_reported
              FROM (SELECT type, NOT type = ANY (c.sheet_types)
                           AND EXISTS (SELECT FROM :aggregate.area z WHERE z.contest_id = c.contest_id AND z.type = n.type)
                               AS is_area
                    FROM unnest(c.counting_types) AS n (type)) k
              LEFT JOIN :aggregate.area_total p
                  ON p.contest_id = t.contest_id AND p.area_id = t.area_id AND p.unit_type = k.type) y) x
    WHERE t.unit_type = c.counting_level AND c.counting_level <> a.type
)
SELECT b.contest_id, b.area_id, a.name AS area_name, a.type AS area_type, a.parent_id, b.basis,
       -- one basis of an area is the count: the computed one where the counting level is finer than the area
       b.basis = 'COMPUTED' OR NOT EXISTS (
           SELECT FROM both_bases o
           WHERE o.contest_id = b.contest_id AND o.area_id = b.area_id AND o.basis = 'COMPUTED') AS is_count,
       b.votes, b.registered_voters, b.registered_voters_counted, b.ballots_cast, b.valid_votes, b.blank_votes,
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
       b.stated_at, b.last_offset, b.last_event_id, k.blocked
FROM both_bases b
JOIN :aggregate.area a USING (contest_id, area_id)
JOIN :results.contest k USING (contest_id);
COMMENT ON VIEW :results.area_count IS 'The count of every area, on either basis. WHERE is_count gives one row an area.';

CREATE VIEW :results.selection_count AS
SELECT c.contest_id, c.area_id, c.area_name, c.area_type, c.basis, c.is_count,
       s.selection_id, s.candidate, s.party, s.ballot_order, s.kind, s.withdrawn_at,
       (c.votes ->> s.selection_id)::bigint AS votes,
       coalesce(c.votes ? s.selection_id, true) AS is_on_ballot,
       -- of valid votes; where a ballot has several votes, of all votes for selections
       CASE WHEN c.has_all_votes AND k.votes_allowed > 1 THEN
                round(100.0 * (c.votes ->> s.selection_id)::bigint / nullif(
                    (SELECT sum(v.votes::bigint) FROM jsonb_each_text(c.votes) AS v (selection, votes)), 0), 3)
            WHEN c.has_all_votes AND NOT c.not_stated ? 'valid_votes' THEN
                round(100.0 * (c.votes ->> s.selection_id)::bigint / nullif(c.valid_votes, 0), 3) END AS share,
       c.stated_at, c.last_offset, c.last_event_id, c.blocked
FROM :results.area_count c
JOIN :aggregate.selection s USING (contest_id)
JOIN :results.contest k USING (contest_id);
COMMENT ON VIEW :results.selection_count IS 'Votes and share of votes (percent) of each selection in each area.';

CREATE VIEW :results.reconciliation AS
SELECT t.contest_id, t.area_id, t.stated_at AS computed_stated_at, o.reported_at AS official_reported_at,
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
FROM :results.area_total t
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
          SELECT FROM :results.update_row r
          WHERE r.contest_id = h.contest_id AND r.unit_type = h.unit_type AND r.unit_id = h.unit_id AND r.accepted
            AND r.kind = 'RETRACTED' AND r.details -> 'correction' ->> 'replaces_event_id' = h.event_id::text)
    ORDER BY abs(extract(epoch FROM h.stated_at - t.stated_at)), h.sequence DESC
    LIMIT 1
) o
WHERE t.unit_type = c.counting_level AND NOT a.type = ANY (c.counting_types);
COMMENT ON VIEW :results.reconciliation IS
    'Each computed total beside the office''s own statement nearest in time, with the differences.';

CREATE VIEW :results.area_total_block AS SELECT * FROM :aggregate.area_total_block;
COMMENT ON VIEW :results.area_total_block IS 'Past totals by area, at the end of each span of offsets.';

CREATE VIEW :results.unit_version AS
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
COMMENT ON VIEW :results.unit_version IS
    'Every state a reporting unit was ever in, with the offsets at which it held: WHERE offsets @> 12345.';

CREATE VIEW :results.unit_state AS
SELECT contest_id, unit_type, unit_id, current_offset, head_offset
FROM :aggregate.unit_state WHERE current_offset IS NOT NULL;
COMMENT ON VIEW :results.unit_state IS 'Where the latest statement about each unit stands on the log, and the last of its chain.';

CREATE VIEW :results.log_time AS SELECT * FROM :aggregate.log_time;
CREATE VIEW :results.projection AS SELECT version, made_at, until_stated_at FROM :aggregate.projection;
CREATE VIEW :results.take_over AS SELECT * FROM :aggregate.take_over;
CREATE VIEW :results.schema_migration AS SELECT * FROM :aggregate.schema_migration;

CREATE VIEW :results.finding AS SELECT * FROM :aggregate.finding;
CREATE VIEW :results.parked AS
SELECT partition, log_offset, recorded_at, contest_id, key, headers, octet_length(value) AS bytes,
       encode(sha256(value), 'hex') AS value_sha256, reason
FROM :aggregate.parked;
CREATE VIEW :results.cursor AS SELECT * FROM :aggregate.cursor;

GRANT USAGE ON SCHEMA :results TO escrutinio_readers, escrutinio_writer;
GRANT SELECT ON ALL TABLES IN SCHEMA :results TO escrutinio_readers, escrutinio_writer;
