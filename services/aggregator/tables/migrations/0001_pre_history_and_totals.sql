-- History, state, totals and the cursor. All of it can be deleted and rebuilt from the log.
-- Keys of all tables have one collation: an index answers a join only in its own.
-- :aggregate, :results and :checking are the schemas of one projection (psql -v aggregate=aggregate -v results=results …).

COMMENT ON SCHEMA :aggregate IS 'What the aggregator writes. Readers use the views.';

CREATE TABLE :aggregate.projection (
    version         int    NOT NULL,
    made_at         timestamptz NOT NULL DEFAULT now(),
    until_stated_at timestamptz,             -- of a replay by the office's own time: then it is no prefix of the log
    one_row         boolean PRIMARY KEY DEFAULT true CHECK (one_row)
);

CREATE TABLE :aggregate.take_over (
    taken_at     timestamptz NOT NULL DEFAULT now(),
    from_version int    NOT NULL,
    to_version   int    NOT NULL,
    next_offsets jsonb  NOT NULL,            -- by partition
    from_digests jsonb  NOT NULL,
    to_digests   jsonb  NOT NULL,
    reason       text,                       -- why it was done though the digests differ
    operator     text   NOT NULL DEFAULT session_user
);
COMMENT ON TABLE :aggregate.take_over IS 'When another projection became the live one. The record is copied to the new live projection.';

CREATE TABLE :aggregate.cursor (
    topic       text   NOT NULL,
    partition   int    NOT NULL,
    topic_id    uuid   NOT NULL,             -- a topic deleted and made again under the same name is another log
    next_offset bigint NOT NULL,
    epoch       bigint NOT NULL,             -- of the writer that holds the partition; a replaced writer has a lower one
    digest      text   NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    unreadable  text,                        -- why the messages from next_offset on cannot be read; null while they can
    PRIMARY KEY (topic, partition)
);

CREATE TABLE :aggregate.contest_history (
    partition   int    NOT NULL,
    log_offset  bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    event_id    uuid   NOT NULL,
    contest_id  text COLLATE "C" NOT NULL,
    accepted    boolean NOT NULL,
    definition  jsonb  NOT NULL,
    PRIMARY KEY (contest_id, log_offset)
);

-- The parts of a contest's rolls of units, as they came.
CREATE TABLE :aggregate.roll_history (
    partition   int    NOT NULL,
    log_offset  bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    event_id    uuid   NOT NULL,
    contest_id  text COLLATE "C" NOT NULL,
    accepted    boolean NOT NULL,
    roll        jsonb  NOT NULL,
    PRIMARY KEY (contest_id, log_offset)
);

-- What was said of the contest's source: that it is silent, speaks again, or has ended.
CREATE TABLE :aggregate.source_history (
    partition   int    NOT NULL,
    log_offset  bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    event_id    uuid   NOT NULL,
    contest_id  text COLLATE "C" NOT NULL,
    accepted    boolean NOT NULL,
    source      jsonb  NOT NULL,
    PRIMARY KEY (contest_id, log_offset)
);

-- What a roll has of each area, from the offset on at which it holds: that of its last part.
CREATE TABLE :aggregate.roll_area (
    contest_id        text COLLATE "C" NOT NULL,
    log_offset        bigint NOT NULL,
    revision          bigint NOT NULL,
    unit_type         text COLLATE "C" NOT NULL,
    area_id           text COLLATE "C" NOT NULL,
    units             bigint NOT NULL,       -- 0, of no area: the roll was taken back
    registered_voters bigint,                -- null where it does not say so of every unit
    PRIMARY KEY (contest_id, area_id, log_offset, unit_type)
);

-- The units of a contest, by a number within the contest that only tables use. Those on its roll are among them.
CREATE TABLE :aggregate.unit_state (
    contest_id     text   COLLATE "C" NOT NULL,
    unit           int    NOT NULL,
    unit_type      text   COLLATE "C" NOT NULL,
    unit_id        text   COLLATE "C" NOT NULL,
    current_offset bigint,                   -- the statement that is the unit's state; null while none is accepted
    head_offset    bigint,                   -- the last of its chain; another where a statement came late
    PRIMARY KEY (contest_id, unit),
    UNIQUE (contest_id, unit_id, unit_type)
) WITH (fillfactor = 60);

-- Unit type and areas of a statement, by a number within the contest: few of them stand behind many statements.
CREATE TABLE :aggregate.area_path (
    contest_id text   COLLATE "C" NOT NULL,
    area_path  int    NOT NULL,
    unit_type  text   COLLATE "C" NOT NULL,
    areas      text[] NOT NULL,              -- those that a statement counts in, outermost first; of an area itself the last
    PRIMARY KEY (contest_id, area_path)
);

-- The documents of a publication. The same content may stand under two numbers: a restart gives a new one.
CREATE TABLE :aggregate.publication (
    contest_id  text   COLLATE "C" NOT NULL,
    publication bigint NOT NULL,             -- offset of the first statement that names it
    name        text   NOT NULL,
    snapshot_id text   NOT NULL,
    parts       bigint NOT NULL,
    is_complete boolean NOT NULL,            -- whether it names every unit that is known so far
    documents   json   NOT NULL,             -- [{"name": …, "uri": …, "sha256": …}, …]
    PRIMARY KEY (contest_id, publication)
);

-- Every official update. Figures stand in the order of the contest's layout (schemas.columns.layout): 20 figures, 9 reasons of
-- review, 6 numbers of units, the units that lack each of 18 figures, then for each selection in ballot order its votes, the
-- units that lack them, the votes that do not count, and the units on whose ballots it stood. A later definition may add selections at the end: older rows are
-- shorter.
CREATE TABLE :aggregate.count_update_history (
    contest_id        text   COLLATE "C" NOT NULL,
    log_offset        bigint NOT NULL,
    recorded_at       timestamptz NOT NULL,  -- the broker's time
    event_id          uuid   NOT NULL,
    leaf              bytea  NOT NULL,       -- SHA-256 of the event's canonical text
    unit              int    NOT NULL,       -- of unit_state
    area_path         int    NOT NULL,       -- of area_path
    sequence          bigint NOT NULL,
    previous_event_id uuid,
    kind              text   COLLATE "C" NOT NULL,
    reported_at       timestamptz,           -- the office's time; null where it states none
    observed_at       timestamptz NOT NULL,
    stated_at         timestamptz NOT NULL,  -- reported_at, else that of publication
    count_status      text   COLLATE "C" NOT NULL,
    source_status     text,
    review_reason     text   COLLATE "C",
    result_stage      text   COLLATE "C" NOT NULL,
    unit_name         text,
    is_test           boolean NOT NULL,
    figures           bigint[] NOT NULL,     -- as stated; null: not stated, which is not zero; votes of -2: not on that ballot
    change            bigint[],              -- what the count gained or lost by it; a null is unchanged, null: nothing changed
    -- What few statements have, each key only where needed: correction, published_percentages, office_note, signed_at and
    -- others (schemas.columns.decode_general: RARE); and counts or sub_units in full where `figures` cannot say them exactly: other votes than the contest's selections, other reasons
    -- than the nine, or a group without any figure. Without them a group is null exactly when none of its figures is stated.
    details           json,
    publication       bigint NOT NULL,
    part              bigint NOT NULL,
    places            text[] NOT NULL,       -- where in each of the publication's documents, in their order
    accepted          boolean NOT NULL,      -- false: a duplicate, a fork, or against a rule; it changed nothing
    is_current        boolean NOT NULL,      -- whether it became its unit's state; false too for one that came late
    is_moved          boolean NOT NULL,      -- of other areas than its unit's state was
    superseded_at     timestamptz,           -- came late: the official time of the one that stayed its unit's state
    last_reported_at  timestamptz,           -- the latest time that the office had stated by then
    PRIMARY KEY (contest_id, log_offset)     -- a contest lives in one partition
);
CREATE INDEX count_update_history_unit ON :aggregate.count_update_history (contest_id, unit, sequence);
CREATE INDEX count_update_history_reported
    ON :aggregate.count_update_history (contest_id, reported_at) WHERE accepted AND reported_at IS NOT NULL;
CREATE INDEX count_update_history_superseded
    ON :aggregate.count_update_history (contest_id, superseded_at) WHERE superseded_at IS NOT NULL;
CREATE INDEX count_update_history_moved ON :aggregate.count_update_history (contest_id) WHERE is_moved;
-- What was stated by a time and came after an offset: few rows, close together, since the table is in the log's order.
-- What was stated between two times is as soon found by it as by a tree of its own.
-- `+ 0`: with the plain column the planner would use this index for a list of offsets too, and scan it once for each of them.
CREATE INDEX count_update_history_late ON :aggregate.count_update_history
    USING brin (stated_at, (log_offset + 0)) WITH (pages_per_range = 16, autosummarize = on);

-- Log time to offset. The broker's clock may be set back; an offset belongs to a time when none before it was later.
CREATE TABLE :aggregate.log_time (
    contest_id  text COLLATE "C" NOT NULL,
    recorded_at timestamptz NOT NULL,
    log_offset  bigint      NOT NULL,
    PRIMARY KEY (contest_id, recorded_at)
);

CREATE TABLE :aggregate.contest (
    contest_id        text COLLATE "C" PRIMARY KEY,
    topic             text   NOT NULL,
    partition         int    NOT NULL,
    definition_offset bigint,
    definition        jsonb,
    -- without what makes it long: a view that reads a rule of it for each area would unpack the whole as often
    rules             jsonb GENERATED ALWAYS AS (definition - ARRAY['areas', 'selections']) STORED,
    digest            text   NOT NULL,
    last_offset       bigint NOT NULL,
    last_recorded_at  timestamptz NOT NULL,
    last_reported_at  timestamptz,
    blocked_offset    bigint,
    blocked_reason    text
);

CREATE TABLE :aggregate.selection (
    contest_id   text COLLATE "C" NOT NULL,
    selection_id text COLLATE "C" NOT NULL,
    candidate    text NOT NULL,
    party        text NOT NULL,
    ballot_order int  NOT NULL,
    kind         text NOT NULL,
    list_id      text COLLATE "C",           -- the selection that is the list of a candidate
    withdrawn_at timestamptz,
    PRIMARY KEY (contest_id, selection_id)
);

CREATE TABLE :aggregate.area (
    contest_id text COLLATE "C" NOT NULL,
    area_id    text COLLATE "C" NOT NULL,
    name       text NOT NULL,
    type       text NOT NULL,
    parent_id  text COLLATE "C",
    expected_units bigint,                   -- tally sheets; null where the definition does not say
    ends_at    timestamptz,
    replaced_by text[] NOT NULL,
    codes      jsonb  NOT NULL,              -- its ids in other registers
    within     jsonb  NOT NULL,              -- how many areas of each type are within it, itself included
    PRIMARY KEY (contest_id, area_id)
);

CREATE TABLE :aggregate.area_total (
    contest_id    text COLLATE "C" NOT NULL,
    unit_type     text COLLATE "C" NOT NULL, -- of the units that are added up
    area_id       text COLLATE "C" NOT NULL,
    figures       bigint[] NOT NULL,         -- in the order of the contest's layout, as in the history
    stated_at     timestamptz NOT NULL,
    last_offset   bigint   NOT NULL,
    last_event_id uuid     NOT NULL,
    since         bigint[] NOT NULL,         -- offsets of the updates since its last block
    kept_at       bigint   NOT NULL,         -- where its last block ends
    PRIMARY KEY (contest_id, unit_type, area_id)
) WITH (fillfactor = 50);

-- A total as it was at the end of `span`, and the updates in it. A past total is that of the block before, and the recorded
-- changes of the few updates of its own block up to there.
CREATE TABLE :aggregate.area_total_block (
    contest_id    text COLLATE "C" NOT NULL,
    unit_type     text COLLATE "C" NOT NULL,
    area_id       text COLLATE "C" NOT NULL,
    span          int8range NOT NULL         -- offsets; the spans of an area's blocks follow each other without a gap
        CHECK (lower(span) IS NOT NULL AND upper(span) IS NOT NULL),
    offsets       bigint[]  NOT NULL,
    figures       bigint[]  NOT NULL,        -- in the order of the contest's layout, as in the history
    stated_at     timestamptz NOT NULL,
    last_offset   bigint    NOT NULL,
    last_event_id uuid      NOT NULL,
    PRIMARY KEY (contest_id, unit_type, area_id, span)
);
CREATE INDEX area_total_block_stated ON :aggregate.area_total_block (contest_id, unit_type, area_id, stated_at, span);

CREATE TABLE :aggregate.finding (
    partition  int    NOT NULL,
    log_offset bigint NOT NULL,
    ordinal    int    NOT NULL,
    contest_id text COLLATE "C" NOT NULL,
    unit_type  text COLLATE "C",
    unit_id    text COLLATE "C",
    code       text   NOT NULL,
    rule       text   NOT NULL,
    message    text   NOT NULL,
    PRIMARY KEY (partition, log_offset, ordinal)
);

CREATE TABLE :aggregate.parked (
    partition   int    NOT NULL,
    log_offset  bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    contest_id  text COLLATE "C" NOT NULL,
    key         bytea,
    value       bytea,
    headers     jsonb  NOT NULL,
    reason      text   NOT NULL,
    PRIMARY KEY (partition, log_offset)
);
COMMENT ON TABLE :aggregate.parked IS 'Messages of a blocked contest: the one that cannot be read and all that follow it.';

-- Append-only is a grant, not a promise: the writer cannot change or delete history.
GRANT USAGE ON SCHEMA :aggregate TO escrutinio_writer;
GRANT SELECT ON ALL TABLES IN SCHEMA :aggregate TO escrutinio_writer;
GRANT INSERT ON :aggregate.count_update_history, :aggregate.area_path, :aggregate.publication, :aggregate.contest_history,
    :aggregate.roll_history, :aggregate.source_history, :aggregate.roll_area, :aggregate.finding, :aggregate.parked, :aggregate.log_time, :aggregate.area_total_block TO escrutinio_writer;
GRANT INSERT, UPDATE ON :aggregate.cursor, :aggregate.unit_state, :aggregate.contest, :aggregate.selection,
    :aggregate.area, :aggregate.area_total TO escrutinio_writer;

-- For ANALYZE: without statistics of a table that was just filled, a reader's query may take minutes. It goes with a right
-- to lock these tables, which who changes totals and units has of those anyway.
GRANT MAINTAIN ON :aggregate.count_update_history, :aggregate.unit_state, :aggregate.area_path, :aggregate.publication,
    :aggregate.area_total, :aggregate.area_total_block TO escrutinio_writer;

-- Nobody but the owner makes tables here, temporary ones included.
DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$;
