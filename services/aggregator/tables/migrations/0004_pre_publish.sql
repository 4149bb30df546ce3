-- What is published of the count: beside the projections, since a rebuild and a take-over are no news. The first projection
-- that is migrated makes it; the others find it.
CREATE SCHEMA IF NOT EXISTS publish;

-- Messages that are to be sent, in order; a row is deleted once the broker has it.
CREATE TABLE IF NOT EXISTS publish.outbox (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic      text   NOT NULL CHECK (topic IN ('totals', 'notices')),
    key        bytea  NOT NULL,
    value      bytea  NOT NULL,
    headers    jsonb  NOT NULL,
    partition  int    NOT NULL,
    told_to    bigint NOT NULL  -- everything below this offset of the partition is told without it
);

-- Who holds its one row sends.
CREATE TABLE IF NOT EXISTS publish.sender (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one)
);
INSERT INTO publish.sender DEFAULT VALUES ON CONFLICT DO NOTHING;

-- The contests that are published, and how far.
CREATE TABLE IF NOT EXISTS publish.contest (
    contest_id text COLLATE "C" PRIMARY KEY,
    totals_to  bigint NOT NULL DEFAULT -1,  -- the counts of all areas are told as of this offset
    outer_to   bigint NOT NULL DEFAULT -1,  -- those of the whole contest and the areas directly in it, as of this one
    version    bigint NOT NULL,             -- of the projection that they were read from
    notices    jsonb,                       -- what the next notice is compared with
    troubles   text[] NOT NULL DEFAULT '{}' -- the operational notices whose contrary has not been said
);

-- How far each partition is published, and the aggregator's last sign of life. `next_offset` is the cursor's.
CREATE TABLE IF NOT EXISTS publish.partition (
    partition      int PRIMARY KEY,
    told_to        bigint NOT NULL DEFAULT 0,  -- the totals and notices of all below are in the outbox, or were
    at             timestamptz,
    next_within_ms bigint,
    started_at     timestamptz,
    end_offset     bigint
);

-- The last sign of life of the ingest of each contest.
CREATE TABLE IF NOT EXISTS publish.ingest_status (
    contest_id      text COLLATE "C" PRIMARY KEY,
    at              timestamptz NOT NULL,
    next_within_ms  bigint NOT NULL,
    asks_within_ms  bigint NOT NULL,
    started_at      timestamptz NOT NULL,
    source          text NOT NULL,
    asked_at        timestamptz,
    answered_at     timestamptz,
    fault           text,
    spoke_at        timestamptz,
    state           text NOT NULL
);

-- The last count of each area that was published.
CREATE TABLE IF NOT EXISTS publish.area (
    contest_id text COLLATE "C" NOT NULL,
    area_id    text COLLATE "C" NOT NULL,
    event_id   uuid   NOT NULL,
    figures    jsonb  NOT NULL,
    content    bytea  NOT NULL,
    PRIMARY KEY (contest_id, area_id)
);

-- The notices that were published of each contest, in their order.
CREATE TABLE IF NOT EXISTS publish.notice (
    contest_id text COLLATE "C" NOT NULL,
    number     bigint NOT NULL,
    body       json   NOT NULL,  -- as the message has it
    PRIMARY KEY (contest_id, number)
);

GRANT USAGE ON SCHEMA publish TO escrutinio_writer;
GRANT SELECT, INSERT, DELETE ON publish.outbox TO escrutinio_writer;
GRANT SELECT, INSERT ON publish.notice TO escrutinio_writer;
GRANT SELECT, INSERT, UPDATE ON publish.contest, publish.area, publish.partition, publish.ingest_status TO escrutinio_writer;
GRANT SELECT, UPDATE ON publish.sender TO escrutinio_writer;

-- For readers without Kafka. A dead process writes nothing: whether it lives is asked of the time.
CREATE VIEW :results.count_status AS
SELECT topic, partition, at, coalesce(at > now() - 2 * next_within_ms * interval '1 ms', false) AS is_alive, next_within_ms,
       started_at, next_offset, end_offset, next_offset < end_offset AS is_behind, unreadable AS blocked
FROM :aggregate.cursor LEFT JOIN publish.partition USING (partition);

CREATE VIEW :results.ingest_status AS
SELECT contest_id, at, at > now() - 2 * next_within_ms * interval '1 ms' AS is_alive, next_within_ms, asks_within_ms,
       started_at, source, asked_at, answered_at, fault, spoke_at, state
FROM publish.ingest_status;

CREATE VIEW :results.notice AS
SELECT contest_id, number, (body ->> 'event_id')::uuid AS event_id, body ->> 'kind' AS kind,
       (body ->> 'is_operational')::boolean AS is_operational, (body ->> 'is_test')::boolean AS is_test,
       body ->> 'area_id' AS area_id, (SELECT c.topic FROM :aggregate.contest c WHERE c.contest_id = n.contest_id) AS topic,
       (SELECT c.partition FROM :aggregate.contest c WHERE c.contest_id = n.contest_id) AS partition,
       (body ->> 'as_of_offset')::bigint AS as_of_offset,
       (body ->> 'recorded_at')::timestamptz AS recorded_at, (body ->> 'stated_at')::timestamptz AS stated_at,
       body ->> 'sentence' AS sentence, body
FROM publish.notice n;

GRANT SELECT ON :results.count_status, :results.ingest_status, :results.notice TO escrutinio_readers, escrutinio_writer;

COMMENT ON VIEW :results.count_status IS 'Whether the aggregator lives and is up to date, by partition of the log.';
COMMENT ON COLUMN :results.count_status.topic IS 'The log.';
COMMENT ON COLUMN :results.count_status.partition IS 'The partition of the log.';
COMMENT ON COLUMN :results.count_status.at IS 'When the aggregator last said that it lives; null: never.';
COMMENT ON COLUMN :results.count_status.is_alive IS 'Whether that is less than twice next_within_ms ago.';
COMMENT ON COLUMN :results.count_status.next_within_ms IS 'It says so again within this time, while it lives.';
COMMENT ON COLUMN :results.count_status.started_at IS 'When that aggregator began, by its own clock.';
COMMENT ON COLUMN :results.count_status.next_offset IS 'Every event below this offset is counted.';
COMMENT ON COLUMN :results.count_status.end_offset IS 'The end of the log at that time; null where the broker did not say.';
COMMENT ON COLUMN :results.count_status.is_behind IS 'Whether events are not counted that were on the log then.';
COMMENT ON COLUMN :results.count_status.blocked IS 'Why the partition cannot be read any further; null where it can.';
COMMENT ON VIEW :results.ingest_status IS 'The last sign of life of the ingest of each contest, by its own clock; of an aggregator that publishes.';
COMMENT ON COLUMN :results.ingest_status.contest_id IS 'The contest.';
COMMENT ON COLUMN :results.ingest_status.at IS 'When it said that it lives.';
COMMENT ON COLUMN :results.ingest_status.is_alive IS 'Whether that is less than twice next_within_ms ago.';
COMMENT ON COLUMN :results.ingest_status.next_within_ms IS 'It says so again within this time, while it lives.';
COMMENT ON COLUMN :results.ingest_status.asks_within_ms IS 'It asks the source again within this time, while nothing keeps it busy.';
COMMENT ON COLUMN :results.ingest_status.started_at IS 'When that ingest began.';
COMMENT ON COLUMN :results.ingest_status.source IS 'What it asks for news.';
COMMENT ON COLUMN :results.ingest_status.asked_at IS 'When it asked last.';
COMMENT ON COLUMN :results.ingest_status.answered_at IS 'When the source answered last.';
COMMENT ON COLUMN :results.ingest_status.fault IS 'Why the source did not answer when it was asked last; null where it did.';
COMMENT ON COLUMN :results.ingest_status.spoke_at IS 'When the source last said something, new or again.';
COMMENT ON COLUMN :results.ingest_status.state IS 'SPEAKING; SILENT: nothing came for a while; CLOSED: the office says that nothing more will come.';
COMMENT ON VIEW :results.notice IS 'What a newsroom would report, in the order in which it was published on results.notices.';
COMMENT ON COLUMN :results.notice.contest_id IS 'The contest.';
COMMENT ON COLUMN :results.notice.number IS 'Its place among the notices of the contest, from 1, without gaps.';
COMMENT ON COLUMN :results.notice.event_id IS 'The id of the notice, as on the topic.';
COMMENT ON COLUMN :results.notice.kind IS 'FIRST_RESULTS, LEAD_CHANGED, FELL, CORRECTED, RETRACTED and others: docs/newsrooms.md has all.';
COMMENT ON COLUMN :results.notice.is_operational IS 'Whether it is about us, not about the count: a replay does not make it.';
COMMENT ON COLUMN :results.notice.is_test IS 'Whether the contest is a rehearsal or made up.';
COMMENT ON COLUMN :results.notice.area_id IS 'The area that it is about; null: the whole contest.';
COMMENT ON COLUMN :results.notice.topic IS 'The topic of the log, on which as_of_offset and the events behind it stand.';
COMMENT ON COLUMN :results.notice.partition IS 'The partition of the log.';
COMMENT ON COLUMN :results.notice.as_of_offset IS 'The last event on the log that it looks at.';
COMMENT ON COLUMN :results.notice.recorded_at IS 'The broker''s time of that event.';
COMMENT ON COLUMN :results.notice.stated_at IS 'The official time of the publication; null where none is behind it.';
COMMENT ON COLUMN :results.notice.sentence IS 'What happened, in a sentence.';
COMMENT ON COLUMN :results.notice.body IS 'The whole notice as JSON, with the events behind it.';
