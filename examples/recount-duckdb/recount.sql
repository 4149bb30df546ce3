-- The totals of every area of a contest, counted from the events.jsonl of a bundle. What counts is said by
-- docs/contract.md, "State"; each rule of it that decides a figure stands here beside the line that applies it.
--
-- Set before: events (the file), contest; and where not all is to be counted one of
--   to_offset  the last message that counts
--   to_time    as of this time of the log (the broker's), as '2021-06-08T02:40:00Z'
--   to_stated  only what the office had stated by this time of its own
--
-- Not judged again: ids, chains and the rules F301 to F309, which refuse a statement. `escrutinio-audit check` does.

CREATE OR REPLACE TEMP TABLE log AS
SELECT "offset", recorded_at, event_type, unnest(event)
FROM read_json(getvariable('events'), format = 'newline_delimited', maximum_object_size = 100_000_000, columns = {
    "offset": 'BIGINT', recorded_at: 'TIMESTAMPTZ', event_type: 'VARCHAR', event: 'STRUCT(
        contest_id VARCHAR, kind VARCHAR, sequence BIGINT, stated_at TIMESTAMPTZ, count_status VARCHAR,
        reporting_unit STRUCT(type VARCHAR, id VARCHAR, area_path VARCHAR[], counted_with VARCHAR),
        counts STRUCT(votes MAP(VARCHAR, BIGINT), ballots_cast BIGINT, valid_votes BIGINT, blank_votes BIGINT,
            invalid_votes BIGINT, registered_voters BIGINT, registered_voters_counted BIGINT),
        sub_units STRUCT(total BIGINT, processed BIGINT, counted BIGINT, annulled BIGINT, not_installed BIGINT,
            under_review BIGINT, pending BIGINT),
        areas STRUCT(area_id VARCHAR, name VARCHAR, type VARCHAR)[], selections STRUCT(selection_id VARCHAR)[],
        counting_level VARCHAR[], sheet_types VARCHAR[], partial_sheets_count BOOLEAN, votes_allowed BIGINT,
        effective_at TIMESTAMPTZ)'})
WHERE event.contest_id = getvariable('contest') AND ("offset" <= getvariable('to_offset')::BIGINT) IS NOT FALSE;

-- As of a time of the log is the state before the first message of the contest that was recorded later.
DELETE FROM log WHERE "offset" >=
    (SELECT min("offset") FROM log WHERE recorded_at > getvariable('to_time')::TIMESTAMPTZ);

-- The definition in force is the last one. As of a time of the office's, the level is that of the last which had effect
-- by then, or else of the first.
CREATE OR REPLACE TEMP VIEW contest AS
SELECT areas, selections, sheet_types, partial_sheets_count, votes_allowed, (
    SELECT counting_level FROM log WHERE event_type = 'ContestDefined' AND (
        (effective_at <= getvariable('to_stated')::TIMESTAMPTZ) IS NOT FALSE
        OR "offset" = (SELECT min("offset") FROM log WHERE event_type = 'ContestDefined'))
    ORDER BY "offset" DESC LIMIT 1) AS counting_level
FROM log WHERE event_type = 'ContestDefined' ORDER BY "offset" DESC LIMIT 1;

-- A statement is accepted whose sequence is above every one of its unit before: anything else is old, or stands twice.
CREATE OR REPLACE TEMP VIEW accepted AS
SELECT * FROM log WHERE event_type = 'CountUpdate'
QUALIFY sequence > coalesce(max(sequence) OVER (
    PARTITION BY reporting_unit.type, reporting_unit.id ORDER BY "offset"
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0);

-- A unit's state is its accepted statement with the latest official time, the highest sequence breaking ties. It adds
-- only where its type is in the counting level: what the office states about larger areas is never mixed in.
CREATE OR REPLACE TEMP TABLE state AS
SELECT a.kind, a.count_status, a.reporting_unit, a.counts, a.sub_units,
    list_contains(c.sheet_types, reporting_unit.type) AS is_sheet,
    -- Where sheets are added up, the numbers of sheets and their voters are theirs alone: who votes by post is on the
    -- roll of a precinct. Else they are those that areas state.
    is_sheet OR NOT list_has_any(c.counting_level, c.sheet_types) AS of_sheets,
    -- Its votes and ballots count: COUNTED; IN_PROCESS of what is no sheet, or where the contest says so. Not of a unit
    -- that is counted together with another, whose statement has its votes.
    (count_status = 'COUNTED' OR (count_status = 'IN_PROCESS' AND (c.partial_sheets_count OR NOT is_sheet)))
        AND reporting_unit.counted_with IS NULL AS adds,
    -- An annulled unit adds its ballots cast, as ballots and as null votes.
    count_status = 'ANNULLED' AND reporting_unit.counted_with IS NULL AS is_annulled,
    -- A sheet's voters are those of its roll, once it is counted or annulled, or was not installed. Of one that is
    -- counted with another nobody says whether its voters' ballots are counted.
    of_sheets AND (adds OR (is_sheet AND count_status IN ('COUNTED', 'ANNULLED', 'NOT_INSTALLED'))) AS has_voters,
    CASE WHEN reporting_unit.counted_with IS NOT NULL THEN NULL
        WHEN is_sheet THEN counts.registered_voters ELSE counts.registered_voters_counted END AS voters,
    -- Valid votes that are not stated are the sum of the votes, where all of these are and a ballot has one.
    coalesce(counts.valid_votes, CASE
        WHEN c.votes_allowed = 1 AND list_count(map_values(counts.votes)) = len(map_values(counts.votes))
        THEN list_sum(map_values(counts.votes)) END) AS valid_votes
FROM accepted a, contest c
WHERE (stated_at <= getvariable('to_stated')::TIMESTAMPTZ) IS NOT FALSE
QUALIFY row_number() OVER (
    PARTITION BY reporting_unit.type, reporting_unit.id ORDER BY stated_at DESC, sequence DESC) = 1
    AND list_contains(c.counting_level, reporting_unit.type)
    -- A retracted unit adds nothing: the event repeats the figures that it takes back.
    AND a.kind <> 'RETRACTED';

-- It adds to every area of its path, and an area of the contest to itself as well.
CREATE OR REPLACE TEMP VIEW in_area AS
SELECT area.area_id, area.name AS area_name, area.type AS area_type, s.*
FROM (SELECT unnest(areas) AS area FROM contest) JOIN
    (SELECT *, unnest(list_append(reporting_unit.area_path, reporting_unit.id)) AS within FROM state) s
    ON area.area_id = s.within
        AND (list_contains(reporting_unit.area_path, s.within) OR area.type = reporting_unit.type);

-- Not stated is not zero: sum() leaves out what is null, and is null where nobody states it. Of no units it is 0.
CREATE OR REPLACE TEMP MACRO added(figure, who) AS CASE WHEN bool_or(who) THEN sum(figure) FILTER (who) ELSE 0 END;

CREATE OR REPLACE TEMP TABLE totals AS
SELECT area_id, area_name, area_type,
    added(counts.ballots_cast, adds OR is_annulled) AS ballots_cast,
    added(valid_votes, adds) AS valid_votes,
    added(counts.blank_votes, adds) AS blank_votes,
    added(if(is_annulled, counts.ballots_cast, counts.invalid_votes), adds OR is_annulled) AS invalid_votes,
    added(voters, has_voters) AS registered_voters_counted,
    -- A sheet is one in its state; an area has the numbers that it states of its sheets.
    added(if(is_sheet, 1, sub_units.total), of_sheets) AS sheets,
    added(if(is_sheet, (count_status NOT IN ('PENDING', 'IN_PROCESS'))::INT, sub_units.processed), of_sheets)
        AS processed,
    added(if(is_sheet, (count_status IN ('COUNTED', 'ANNULLED', 'NOT_INSTALLED'))::INT, sub_units.counted), of_sheets)
        AS counted,
    added(if(is_sheet, (count_status = 'ANNULLED')::INT, sub_units.annulled), of_sheets) AS annulled,
    added(if(is_sheet, (count_status = 'NOT_INSTALLED')::INT, sub_units.not_installed), of_sheets) AS not_installed,
    added(if(is_sheet, (count_status IN ('UNDER_REVIEW', 'LOST'))::INT, sub_units.under_review), of_sheets)
        AS under_review,
    added(if(is_sheet, (count_status = 'PENDING')::INT, sub_units.pending), of_sheets) AS pending,
    added(if(is_sheet, (count_status = 'IN_PROCESS')::INT, 0), of_sheets) AS in_process,
    -- Where it is not 0, some unit states what this contract does not know, and no figure holds.
    count(*) FILTER (kind = 'UNKNOWN' OR count_status = 'UNKNOWN') AS unknown_units
FROM in_area GROUP BY ALL;

-- A selection that a statement does not name was not on its ballots: it has no votes there, and lacks none.
CREATE OR REPLACE TEMP TABLE votes AS
SELECT area_id, selection_id, added(counts.votes[selection_id], adds) AS votes
FROM in_area, (SELECT unnest(selections).selection_id AS selection_id FROM contest)
GROUP BY ALL;

SELECT * FROM totals JOIN (PIVOT votes ON selection_id USING sum(votes)) USING (area_id)
ORDER BY area_type, area_id;
