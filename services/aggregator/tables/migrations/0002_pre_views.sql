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
       blocked_offset IS NOT NULL AS blocked, blocked_offset, blocked_reason,
       definition
FROM :aggregate.contest;

CREATE VIEW :results.area AS SELECT * FROM :aggregate.area;
CREATE VIEW :results.selection AS SELECT * FROM :aggregate.selection;

CREATE VIEW :results.update_history AS SELECT * FROM :aggregate.count_update_history;
COMMENT ON VIEW :results.update_history IS 'Every official update, with what the count gained or lost by it.';

CREATE VIEW :results.definition_history AS SELECT * FROM :aggregate.contest_history;
COMMENT ON VIEW :results.definition_history IS 'Every definition of a contest, as it came.';

CREATE VIEW :results.unit_count AS
SELECT h.*, s.head_offset
FROM :aggregate.unit_state s
JOIN :aggregate.count_update_history h
    ON h.contest_id = s.contest_id AND h.log_offset = s.current_offset AND h.unit_type = s.unit_type AND h.unit_id = s.unit_id;
COMMENT ON VIEW :results.unit_count IS 'The latest official statement about each reporting unit.';

CREATE VIEW :results.area_count AS
WITH official AS (
    SELECT contest_id, unit_id AS area_id, unit_type,
           counts -> 'votes' AS votes,
           (counts ->> 'registered_voters')::bigint         AS registered_voters,
           (counts ->> 'registered_voters_counted')::bigint AS registered_voters_counted,
           (counts ->> 'ballots_cast')::bigint     AS ballots_cast,
           coalesce((counts ->> 'valid_votes')::bigint,
                    -- not stated: their sum, when every selection's votes are
                    (SELECT CASE WHEN bool_and(v.value IS NOT NULL) THEN sum(v.value::bigint) END
                     FROM jsonb_each_text(counts -> 'votes') v))::bigint AS valid_votes,
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
           stated_at, log_offset AS last_offset, event_id AS last_event_id
    FROM :results.unit_count
    WHERE unit_type IN ('country', 'state', 'county', 'municipality') AND kind <> 'RETRACTED'
), both_bases AS (
    SELECT o.contest_id, o.area_id, 'OFFICIAL' AS basis, o.votes,
           coalesce(o.registered_voters, CASE WHEN a.parent_id IS NULL THEN c.registered_voters END) AS registered_voters,
           o.registered_voters_counted, o.ballots_cast, o.valid_votes, o.blank_votes, o.invalid_votes,
           o.challenged_votes, o.total, o.processed, o.counted, o.under_review, o.to_be_processed, o.annulled,
           o.not_installed, o.pending, o.under_review_by_reason, o.stated_at, o.last_offset, o.last_event_id
    FROM official o
    JOIN :aggregate.area a USING (contest_id, area_id)
    JOIN :results.contest c USING (contest_id)
    UNION ALL
    SELECT t.contest_id, t.area_id, 'COMPUTED', t.votes,
           CASE WHEN a.parent_id IS NULL THEN coalesce(c.registered_voters, t.registered_voters)
                ELSE t.registered_voters END,
           t.registered_voters_counted, t.ballots_cast, t.valid_votes, t.blank_votes, t.invalid_votes,
           t.challenged_votes, t.total + u.missing, t.processed, t.counted, t.under_review,
           t.to_be_processed + u.missing, t.annulled, t.not_installed, t.pending + u.missing,
           t.under_review_by_reason, t.stated_at, t.last_offset, t.last_event_id
    FROM :aggregate.area_total t
    JOIN :aggregate.area a USING (contest_id, area_id)
    JOIN :results.contest c USING (contest_id)
    -- of the whole contest: sheets that nobody has stated yet
    CROSS JOIN LATERAL (
        SELECT CASE WHEN a.parent_id IS NULL THEN greatest(c.expected_units - t.total, 0) ELSE 0 END AS missing) u
    WHERE t.unit_type = c.counting_level AND c.counting_level <> a.type
)
SELECT b.contest_id, b.area_id, a.name AS area_name, a.type AS area_type, a.parent_id, b.basis,
       -- one basis of an area is the count: the computed one where the counting level is finer than the area
       b.basis = 'COMPUTED' OR NOT EXISTS (
           SELECT FROM both_bases o
           WHERE o.contest_id = b.contest_id AND o.area_id = b.area_id AND o.basis = 'COMPUTED') AS is_count,
       b.votes, b.registered_voters, b.registered_voters_counted, b.ballots_cast, b.valid_votes, b.blank_votes,
       b.invalid_votes, b.challenged_votes, b.total, b.processed, b.counted, b.under_review, b.to_be_processed,
       b.annulled, b.not_installed, b.pending, b.under_review_by_reason,
       round(100.0 * b.processed / nullif(b.total, 0), 3)    AS processed_percent,
       round(100.0 * b.counted / nullif(b.total, 0), 3)      AS counted_percent,
       round(100.0 * b.ballots_cast / nullif(b.registered_voters_counted, 0), 3) AS turnout_of_counted_percent,
       round(100.0 * b.ballots_cast / nullif(b.registered_voters, 0), 3)         AS turnout_of_roll_percent,
       b.stated_at, b.last_offset, b.last_event_id, k.blocked
FROM both_bases b
JOIN :aggregate.area a USING (contest_id, area_id)
JOIN :results.contest k USING (contest_id);
COMMENT ON VIEW :results.area_count IS 'The count of every area, on either basis. WHERE is_count gives one row an area.';

CREATE VIEW :results.selection_count AS
SELECT c.contest_id, c.area_id, c.area_name, c.area_type, c.basis, c.is_count,
       s.selection_id, s.candidate, s.party, s.ballot_order,
       (c.votes ->> s.selection_id)::bigint AS votes,
       round(100.0 * (c.votes ->> s.selection_id)::bigint / nullif(c.valid_votes, 0), 3) AS share,
       c.stated_at, c.last_offset, c.last_event_id, c.blocked
FROM :results.area_count c
JOIN :aggregate.selection s USING (contest_id);
COMMENT ON VIEW :results.selection_count IS 'Votes and share of valid votes (percent) of each selection in each area.';

CREATE VIEW :results.reconciliation AS
SELECT t.contest_id, t.area_id, t.stated_at AS computed_stated_at, o.reported_at AS official_reported_at,
       o.event_id AS official_event_id, o.log_offset AS official_offset,
       t.counted - (o.sub_units ->> 'counted')::bigint           AS counted_difference,
       t.processed - (o.sub_units ->> 'processed')::bigint       AS processed_difference,
       t.ballots_cast - (o.counts ->> 'ballots_cast')::bigint    AS ballots_cast_difference,
       t.valid_votes - (o.counts ->> 'valid_votes')::bigint      AS valid_votes_difference,
       t.blank_votes - (o.counts ->> 'blank_votes')::bigint      AS blank_votes_difference,
       t.invalid_votes - (o.counts ->> 'invalid_votes')::bigint  AS invalid_votes_difference,
       (SELECT jsonb_object_agg(v.key, (t.votes ->> v.key)::bigint - v.value::bigint)
        FROM jsonb_each_text(o.counts -> 'votes') v)             AS votes_difference
FROM :aggregate.area_total t
JOIN :aggregate.area a USING (contest_id, area_id)
JOIN :results.contest c USING (contest_id)
CROSS JOIN LATERAL (
    SELECT * FROM :aggregate.count_update_history h
    WHERE h.contest_id = t.contest_id AND h.unit_type = a.type AND h.unit_id = t.area_id AND h.accepted
      AND h.kind <> 'RETRACTED'
      AND NOT EXISTS (
          SELECT FROM :aggregate.count_update_history r
          WHERE r.contest_id = h.contest_id AND r.unit_type = h.unit_type AND r.unit_id = h.unit_id AND r.accepted
            AND r.kind = 'RETRACTED' AND r.correction ->> 'replaces_event_id' = h.event_id::text)
    ORDER BY abs(extract(epoch FROM h.stated_at - t.stated_at)), h.sequence DESC
    LIMIT 1
) o
WHERE t.unit_type = c.counting_level AND c.counting_level <> a.type;
COMMENT ON VIEW :results.reconciliation IS
    'Each computed total beside the official statement nearest in time; differences are computed - official.';

CREATE VIEW :results.area_total AS SELECT * FROM :aggregate.area_total;
COMMENT ON VIEW :results.area_total IS
    'Sums by area over the units of each type, with every figure; those of the counting level are the count.';

CREATE VIEW :results.area_total_block AS SELECT * FROM :aggregate.area_total_block;
COMMENT ON VIEW :results.area_total_block IS 'Past totals by area, at the end of each span of offsets.';

CREATE VIEW :results.unit_version AS
SELECT h.*, int8range(h.log_offset, n.log_offset) AS offsets
FROM :aggregate.count_update_history h
LEFT JOIN LATERAL (
    SELECT f.log_offset FROM :aggregate.count_update_history f
    WHERE f.contest_id = h.contest_id AND f.unit_type = h.unit_type AND f.unit_id = h.unit_id AND f.is_current
      AND f.sequence > h.sequence
    ORDER BY f.sequence LIMIT 1
) n ON true
WHERE h.is_current;
COMMENT ON VIEW :results.unit_version IS
    'Every state a reporting unit was ever in, with the offsets at which it held: WHERE offsets @> 12345.';

CREATE VIEW :results.unit_state AS SELECT * FROM :aggregate.unit_state;
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

GRANT USAGE ON SCHEMA :results TO escrutinio_reader, escrutinio_writer;
GRANT SELECT ON ALL TABLES IN SCHEMA :results TO escrutinio_reader, escrutinio_writer;
