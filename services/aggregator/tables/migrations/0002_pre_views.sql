-- What readers see. Views run with their owner's rights, so a reader needs no right on the tables beneath.

COMMENT ON SCHEMA :results IS 'The count, for readers. Only views.';

CREATE VIEW :results.contest AS
SELECT contest_id, topic, partition, definition_offset,
       definition ->> 'name'           AS name,
       definition ->> 'election_name'  AS election_name,
       definition ->> 'authority'      AS authority,
       definition ->> 'time_zone'      AS time_zone,
       definition ->> 'counting_level' AS counting_level,
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

-- The layout of figures: the names of the selections, in the order of their places after the 45 of every contest. Selection n
-- has two: 44 + 2n its votes, 45 + 2n the units that lack them. schemas.columns.layout names the others.
CREATE VIEW :results.layout AS
SELECT contest_id, array_agg(s.selection ->> 'selection_id'
                             ORDER BY (s.selection ->> 'ballot_order')::bigint, s.place) AS selections
FROM :aggregate.contest
CROSS JOIN jsonb_array_elements(definition -> 'selections') WITH ORDINALITY AS s (selection, place)
GROUP BY contest_id;

CREATE VIEW :results.area_path AS SELECT * FROM :aggregate.area_path;
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
       CASE WHEN h.unit_type IN ('precinct', 'polling-place') THEN h.areas
            ELSE h.areas[:cardinality(h.areas) - 1] END AS area_path,
       h.sequence, h.previous_event_id, h.kind, (h.details -> 'correction')::jsonb AS correction,
       h.reported_at, h.observed_at, h.stated_at, h.count_status, h.source_status, h.review_reason, h.result_stage,
       h.details ->> 'office_note' AS office_note,
       CASE
           WHEN h.details -> 'counts' IS NOT NULL THEN (h.details -> 'counts')::jsonb
           WHEN num_nonnulls(VARIADIC h.figures[1:7] || h.figures[46:]) > 0 THEN jsonb_build_object(
               'registered_voters', h.figures[1], 'registered_voters_counted', h.figures[2], 'ballots_cast', h.figures[3],
               'valid_votes', h.figures[4], 'blank_votes', h.figures[5], 'invalid_votes', h.figures[6],
               'challenged_votes', h.figures[7],
               'votes', (SELECT coalesce(jsonb_object_agg(selection, figure), '{}')
                         FROM unnest(l.selections) WITH ORDINALITY AS s (selection, n)
                         CROSS JOIN LATERAL (SELECT h.figures[44 + 2 * n] AS figure) v
                         WHERE 44 + 2 * n <= cardinality(h.figures)))
       END AS counts,
       CASE
           WHEN h.details -> 'sub_units' IS NOT NULL THEN (h.details -> 'sub_units')::jsonb
           WHEN num_nonnulls(VARIADIC h.figures[9:17] || h.figures[19:27]) > 0 THEN jsonb_build_object(
               'total', h.figures[9], 'processed', h.figures[10], 'counted', h.figures[11], 'counted_normal', h.figures[12],
               'annulled', h.figures[13], 'not_installed', h.figures[14], 'under_review', h.figures[15],
               'to_be_processed', h.figures[16], 'pending', h.figures[17],
               'under_review_by_reason', jsonb_build_object(
                   'CHALLENGED_VOTES', h.figures[19], 'MATERIAL_ERROR', h.figures[20], 'NULLITY_REQUEST', h.figures[21],
                   'ILLEGIBLE', h.figures[22], 'INCOMPLETE', h.figures[23], 'MISSING_SIGNATURES', h.figures[24],
                   'LOST', h.figures[25], 'DESTROYED', h.figures[26], 'OTHER', h.figures[27]))
       END AS sub_units,
       (h.details -> 'published_percentages')::jsonb AS published_percentages,
       jsonb_build_object('name', p.name, 'snapshot_id', p.snapshot_id, 'part', h.part, 'parts', p.parts, 'documents',
           (SELECT coalesce(jsonb_agg(d.document::jsonb || jsonb_build_object('place', w.place) ORDER BY d.place), '[]')
            FROM json_array_elements(p.documents) WITH ORDINALITY AS d (document, place)
            JOIN unnest(h.places) WITH ORDINALITY AS w (place, at) ON w.at = d.place)) AS source,
       h.is_test, h.accepted, h.is_current,
       CASE WHEN h.change IS NULL THEN '{}' ELSE
           (SELECT coalesce(jsonb_object_agg(name, figure) FILTER (WHERE figure IS NOT NULL), '{}')
            FROM unnest(ARRAY[
                'registered_voters', 'registered_voters_counted', 'ballots_cast', 'valid_votes', 'blank_votes',
                'invalid_votes', 'challenged_votes', 'annulled_ballots', 'total', 'processed', 'counted', 'counted_normal',
                'annulled', 'not_installed', 'under_review', 'to_be_processed', 'pending', 'in_process',
                'under_review.CHALLENGED_VOTES', 'under_review.MATERIAL_ERROR', 'under_review.NULLITY_REQUEST',
                'under_review.ILLEGIBLE', 'under_review.INCOMPLETE', 'under_review.MISSING_SIGNATURES',
                'under_review.LOST', 'under_review.DESTROYED', 'under_review.OTHER', 'units', 'units_counted',
                'not_stated.registered_voters', 'not_stated.registered_voters_counted', 'not_stated.ballots_cast',
                'not_stated.valid_votes', 'not_stated.blank_votes', 'not_stated.invalid_votes',
                'not_stated.challenged_votes', 'not_stated.total', 'not_stated.processed', 'not_stated.counted',
                'not_stated.counted_normal', 'not_stated.annulled', 'not_stated.not_installed', 'not_stated.under_review',
                'not_stated.to_be_processed', 'not_stated.pending']
                || (SELECT array_agg(prefix || selection ORDER BY n, prefix DESC)
                    FROM unnest(l.selections) WITH ORDINALITY AS s (selection, n),
                         unnest(ARRAY['votes.', 'not_stated.votes.']) AS p (prefix)), h.change) AS c (name, figure))
       END AS change,
       h.superseded_at, h.is_moved, h.last_reported_at
FROM :results.update_row h
LEFT JOIN :aggregate.contest c ON c.contest_id = h.contest_id
LEFT JOIN :aggregate.publication p ON p.contest_id = h.contest_id AND p.publication = h.publication
LEFT JOIN :results.layout l ON l.contest_id = h.contest_id;
COMMENT ON VIEW :results.update_history IS 'Every official update, with what the count gained or lost by it.';

CREATE VIEW :results.definition_history AS SELECT * FROM :aggregate.contest_history;
COMMENT ON VIEW :results.definition_history IS 'Every definition of a contest, as it came.';

CREATE VIEW :results.unit_count AS
SELECT h.*, s.head_offset
FROM :aggregate.unit_state s
JOIN :results.update_history h ON h.contest_id = s.contest_id AND h.log_offset = s.current_offset;
COMMENT ON VIEW :results.unit_count IS 'The latest official statement about each reporting unit.';

-- A figure that none of the units states is null, which is not zero. Some may state it: `not_stated` counts those that do not.
CREATE VIEW :results.area_total AS
SELECT t.contest_id, t.unit_type, t.area_id, t.figures[28] AS units, t.figures[29] AS units_counted,
       (SELECT coalesce(jsonb_object_agg(selection, CASE WHEN t.figures[29] = 0
                                                         OR coalesce(t.figures[45 + 2 * n], 0) < t.figures[29]
                                                         THEN coalesce(t.figures[44 + 2 * n], 0) END), '{}')
        FROM unnest(l.selections) WITH ORDINALITY AS s (selection, n)) AS votes,
       CASE WHEN b.on_roll = 0 OR t.figures[30] < b.on_roll THEN t.figures[1] END AS registered_voters,
       CASE WHEN b.on_counted_roll = 0 OR t.figures[31] < b.on_counted_roll THEN t.figures[2] END AS registered_voters_counted,
       CASE WHEN t.figures[29] = 0 OR t.figures[32] < t.figures[29] THEN t.figures[3] END AS ballots_cast,
       CASE WHEN t.figures[29] = 0 OR t.figures[33] < t.figures[29] THEN t.figures[4] END AS valid_votes,
       CASE WHEN t.figures[29] = 0 OR t.figures[34] < t.figures[29] THEN t.figures[5] END AS blank_votes,
       CASE WHEN t.figures[29] = 0 OR t.figures[35] < t.figures[29] THEN t.figures[6] END AS invalid_votes,
       CASE WHEN t.figures[29] = 0 OR t.figures[36] < t.figures[29] THEN t.figures[7] END AS challenged_votes,
       t.figures[8] AS annulled_ballots,
       CASE WHEN t.figures[28] = 0 OR t.figures[37] < t.figures[28] THEN t.figures[9] END AS total,
       CASE WHEN t.figures[28] = 0 OR t.figures[38] < t.figures[28] THEN t.figures[10] END AS processed,
       CASE WHEN t.figures[28] = 0 OR t.figures[39] < t.figures[28] THEN t.figures[11] END AS counted,
       CASE WHEN t.figures[28] = 0 OR t.figures[40] < t.figures[28] THEN t.figures[12] END AS counted_normal,
       CASE WHEN t.figures[28] = 0 OR t.figures[41] < t.figures[28] THEN t.figures[13] END AS annulled,
       CASE WHEN t.figures[28] = 0 OR t.figures[42] < t.figures[28] THEN t.figures[14] END AS not_installed,
       CASE WHEN t.figures[28] = 0 OR t.figures[43] < t.figures[28] THEN t.figures[15] END AS under_review,
       CASE WHEN t.figures[28] = 0 OR t.figures[44] < t.figures[28] THEN t.figures[16] END AS to_be_processed,
       CASE WHEN t.figures[28] = 0 OR t.figures[45] < t.figures[28] THEN t.figures[17] END AS pending,
       t.figures[18] AS in_process,
       (SELECT coalesce(jsonb_object_agg(reason, figure) FILTER (WHERE figure <> 0), '{}')
        FROM unnest(ARRAY['CHALLENGED_VOTES', 'MATERIAL_ERROR', 'NULLITY_REQUEST', 'ILLEGIBLE', 'INCOMPLETE',
                          'MISSING_SIGNATURES', 'LOST', 'DESTROYED', 'OTHER'], t.figures[19:27]) AS r (reason, figure)
       ) AS under_review_by_reason,
       (SELECT coalesce(jsonb_object_agg(name, units) FILTER (WHERE units > 0), '{}')
        FROM (SELECT * FROM unnest(ARRAY['registered_voters', 'registered_voters_counted', 'ballots_cast', 'valid_votes',
                                         'blank_votes', 'invalid_votes', 'challenged_votes', 'total', 'processed',
                                         'counted', 'counted_normal', 'annulled', 'not_installed', 'under_review',
                                         'to_be_processed', 'pending'], t.figures[30:45])
              UNION ALL
              SELECT 'votes.' || selection, t.figures[45 + 2 * n]
              FROM unnest(l.selections) WITH ORDINALITY AS s (selection, n)) AS f (name, units)) AS not_stated,
       t.stated_at, t.last_offset, t.last_event_id, t.since, t.kept_at
FROM :aggregate.area_total t
LEFT JOIN :results.layout l ON l.contest_id = t.contest_id
-- whose rolls are added up: of sheets all that are known, and those that count; of areas the counted
CROSS JOIN LATERAL (
    SELECT CASE WHEN t.unit_type IN ('precinct', 'polling-place') THEN t.figures[28] ELSE t.figures[29] END AS on_roll,
           CASE WHEN t.unit_type IN ('precinct', 'polling-place') THEN t.figures[11] ELSE t.figures[29] END
               AS on_counted_roll) b;
COMMENT ON VIEW :results.area_total IS
    'Sums by area over the units of each type, with every figure; those of the counting level are the count.';

CREATE VIEW :results.area_count AS
WITH official AS (
    SELECT contest_id, unit_id AS area_id, unit_type,
           counts -> 'votes' AS votes,
           (counts ->> 'registered_voters')::bigint         AS registered_voters,
           (counts ->> 'registered_voters_counted')::bigint AS registered_voters_counted,
           (counts ->> 'ballots_cast')::bigint     AS ballots_cast,
           coalesce((counts ->> 'valid_votes')::bigint,
                    -- not stated: their sum, when the votes of every selection on the ballot are
                    (SELECT CASE WHEN bool_and(votes IS NOT NULL) THEN sum(votes::bigint) END
                     FROM jsonb_each_text(counts -> 'votes') AS v (selection, votes)))::bigint AS valid_votes,
           (counts ->> 'blank_votes')::bigint      AS blank_votes,
           (counts ->> 'invalid_votes')::bigint    AS invalid_votes,
           (counts ->> 'challenged_votes')::bigint AS challenged_votes,
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
           stated_at, log_offset AS last_offset, event_id AS last_event_id
    FROM :results.unit_count u
    WHERE unit_type IN ('country', 'state', 'county', 'municipality') AND kind <> 'RETRACTED'
), both_bases AS (
    SELECT o.contest_id, o.area_id, 'OFFICIAL' AS basis, o.votes,
           coalesce(o.registered_voters, CASE WHEN a.parent_id IS NULL THEN c.registered_voters END) AS registered_voters,
           o.registered_voters_counted, o.ballots_cast, o.valid_votes, o.blank_votes, o.invalid_votes,
           o.challenged_votes, o.total, o.processed, o.counted, o.under_review, o.to_be_processed, o.annulled,
           o.not_installed, o.pending, o.under_review_by_reason, NULL::bigint AS units, NULL::bigint AS units_counted,
           '{}'::jsonb AS not_stated, o.has_all_votes, o.stated_at, o.last_offset, o.last_event_id
    FROM official o
    JOIN :aggregate.area a USING (contest_id, area_id)
    JOIN :results.contest c USING (contest_id)
    UNION ALL
    SELECT t.contest_id, t.area_id, 'COMPUTED', t.votes,
           CASE WHEN a.parent_id IS NULL THEN coalesce(c.registered_voters, t.registered_voters)
                ELSE t.registered_voters END,
           t.registered_voters_counted, t.ballots_cast, t.valid_votes, t.blank_votes, t.invalid_votes,
           t.challenged_votes, CASE WHEN t.total IS NOT NULL OR u.missing > 0 THEN coalesce(t.total, 0) + u.missing END,
           t.processed, t.counted, t.under_review,
           t.to_be_processed + CASE WHEN t.total IS NULL THEN 0 ELSE u.missing END, t.annulled, t.not_installed,
           t.pending + CASE WHEN t.total IS NULL THEN 0 ELSE u.missing END,
           t.under_review_by_reason, t.units, t.units_counted, t.not_stated - u.given_by_contest,
           NOT EXISTS (SELECT FROM jsonb_object_keys(t.not_stated) k WHERE k LIKE 'votes.%'),
           t.stated_at, t.last_offset, t.last_event_id
    FROM :results.area_total t
    JOIN :aggregate.area a USING (contest_id, area_id)
    JOIN :results.contest c USING (contest_id)
    -- of the whole contest: sheets that nobody has stated yet
    CROSS JOIN LATERAL (
        SELECT missing, array_remove(ARRAY[CASE WHEN missing > 0 THEN 'total' END,
                                           CASE WHEN a.parent_id IS NULL AND c.registered_voters IS NOT NULL
                                                THEN 'registered_voters' END], NULL) AS given_by_contest
        FROM (SELECT CASE WHEN a.parent_id IS NULL THEN greatest(c.expected_units - coalesce(t.total, 0), 0)
                          ELSE 0 END AS missing) m) u
    WHERE t.unit_type = c.counting_level AND c.counting_level <> a.type
)
SELECT b.contest_id, b.area_id, a.name AS area_name, a.type AS area_type, a.parent_id, b.basis,
       -- one basis of an area is the count: the computed one where the counting level is finer than the area
       b.basis = 'COMPUTED' OR NOT EXISTS (
           SELECT FROM both_bases o
           WHERE o.contest_id = b.contest_id AND o.area_id = b.area_id AND o.basis = 'COMPUTED') AS is_count,
       b.votes, b.registered_voters, b.registered_voters_counted, b.ballots_cast, b.valid_votes, b.blank_votes,
       b.invalid_votes, b.challenged_votes, b.total, b.processed, b.counted, b.under_review, b.to_be_processed,
       b.annulled, b.not_installed, b.pending, b.under_review_by_reason, b.units, b.units_counted, b.not_stated,
       b.has_all_votes,
       -- over the same units: only where all of them state both
       CASE WHEN NOT b.not_stated ?| ARRAY['processed', 'total'] THEN
           round(100.0 * b.processed / nullif(b.total, 0), 3) END AS processed_percent,
       CASE WHEN NOT b.not_stated ?| ARRAY['counted', 'total'] THEN
           round(100.0 * b.counted / nullif(b.total, 0), 3) END AS counted_percent,
       CASE WHEN NOT b.not_stated ?| ARRAY['ballots_cast', 'registered_voters_counted'] THEN
           round(100.0 * b.ballots_cast / nullif(b.registered_voters_counted, 0), 3) END AS turnout_of_counted_percent,
       CASE WHEN NOT b.not_stated ?| ARRAY['ballots_cast', 'registered_voters'] THEN
           round(100.0 * b.ballots_cast / nullif(b.registered_voters, 0), 3) END AS turnout_of_roll_percent,
       b.stated_at, b.last_offset, b.last_event_id, k.blocked
FROM both_bases b
JOIN :aggregate.area a USING (contest_id, area_id)
JOIN :results.contest k USING (contest_id);
COMMENT ON VIEW :results.area_count IS 'The count of every area, on either basis. WHERE is_count gives one row an area.';

CREATE VIEW :results.selection_count AS
SELECT c.contest_id, c.area_id, c.area_name, c.area_type, c.basis, c.is_count,
       s.selection_id, s.candidate, s.party, s.ballot_order,
       (c.votes ->> s.selection_id)::bigint AS votes,
       CASE WHEN c.has_all_votes AND NOT c.not_stated ? 'valid_votes' THEN
           round(100.0 * (c.votes ->> s.selection_id)::bigint / nullif(c.valid_votes, 0), 3) END AS share,
       c.stated_at, c.last_offset, c.last_event_id, c.blocked
FROM :results.area_count c
JOIN :aggregate.selection s USING (contest_id);
COMMENT ON VIEW :results.selection_count IS 'Votes and share of valid votes (percent) of each selection in each area.';

CREATE VIEW :results.reconciliation AS
SELECT t.contest_id, t.area_id, t.stated_at AS computed_stated_at, o.reported_at AS official_reported_at,
       o.event_id AS official_event_id, o.log_offset AS official_offset,
       CASE WHEN NOT t.not_stated ? 'counted' THEN t.counted - (o.sub_units ->> 'counted')::bigint END AS counted_difference,
       CASE WHEN NOT t.not_stated ? 'processed' THEN t.processed - (o.sub_units ->> 'processed')::bigint END AS processed_difference,
       CASE WHEN NOT t.not_stated ? 'ballots_cast' THEN t.ballots_cast - (o.counts ->> 'ballots_cast')::bigint END AS ballots_cast_difference,
       CASE WHEN NOT t.not_stated ? 'valid_votes' THEN t.valid_votes - (o.counts ->> 'valid_votes')::bigint END AS valid_votes_difference,
       CASE WHEN NOT t.not_stated ? 'blank_votes' THEN t.blank_votes - (o.counts ->> 'blank_votes')::bigint END AS blank_votes_difference,
       CASE WHEN NOT t.not_stated ? 'invalid_votes' THEN t.invalid_votes - (o.counts ->> 'invalid_votes')::bigint END AS invalid_votes_difference,
       (SELECT jsonb_object_agg(v.key, CASE WHEN NOT t.not_stated ? ('votes.' || v.key) THEN
                                           (t.votes ->> v.key)::bigint - v.value::bigint END)
        FROM jsonb_each_text(o.counts -> 'votes') v) AS votes_difference
FROM :results.area_total t
JOIN :aggregate.area a USING (contest_id, area_id)
JOIN :results.contest c USING (contest_id)
CROSS JOIN LATERAL (
    SELECT * FROM :results.update_history h
    WHERE h.contest_id = t.contest_id AND h.unit_type = a.type AND h.unit_id = t.area_id AND h.accepted
      AND h.kind <> 'RETRACTED'
      AND NOT EXISTS (
          SELECT FROM :results.update_row r
          WHERE r.contest_id = h.contest_id AND r.unit_type = h.unit_type AND r.unit_id = h.unit_id AND r.accepted
            AND r.kind = 'RETRACTED' AND r.details -> 'correction' ->> 'replaces_event_id' = h.event_id::text)
    ORDER BY abs(extract(epoch FROM h.stated_at - t.stated_at)), h.sequence DESC
    LIMIT 1
) o
WHERE t.unit_type = c.counting_level AND c.counting_level <> a.type;
COMMENT ON VIEW :results.reconciliation IS
    'Each computed total beside the official statement nearest in time; differences are computed - official. Null where a side does not state the whole figure.';

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
