-- say --
-- Only of partitions that are still held: the cursor says whose they are.
INSERT INTO publish.partition (partition, at, next_within_ms, started_at, end_offset)
SELECT partition, now(), %(next_within_ms)s, %(started_at)s, end_offset
FROM unnest(%(partitions)s::int[], %(epochs)s::bigint[], %(ends)s::bigint[]) AS held (partition, epoch, end_offset)
JOIN cursor USING (partition, epoch)
ON CONFLICT (partition) DO UPDATE
SET at = excluded.at, next_within_ms = excluded.next_within_ms, started_at = excluded.started_at, end_offset = excluded.end_offset

-- put_signs --
INSERT INTO publish.ingest_status
SELECT s.* FROM jsonb_populate_recordset(NULL::publish.ingest_status, %(signs)s) s JOIN contest USING (contest_id)
ORDER BY contest_id
ON CONFLICT (contest_id) DO UPDATE
SET at = excluded.at, next_within_ms = excluded.next_within_ms, asks_within_ms = excluded.asks_within_ms,
    started_at = excluded.started_at, source = excluded.source, asked_at = excluded.asked_at,
    answered_at = excluded.answered_at, fault = excluded.fault, spoke_at = excluded.spoke_at, state = excluded.state
WHERE excluded.at >= ingest_status.at

-- contests --
SELECT contest_id, partition, is_test, last_offset, last_recorded_at, blocked_reason, k.next_offset, i.at AS ingest_at,
       i.next_within_ms * interval '1 ms' AS ingest_within,
       'CLOSED' IN (i.state, (SELECT state FROM source_history s WHERE s.contest_id = c.contest_id AND accepted
                              ORDER BY log_offset DESC LIMIT 1)) AS is_closed,
       least(k.next_offset, coalesce(p.told_to, 0), (SELECT min(o.told_to) FROM publish.outbox o
                                                     WHERE o.partition = k.partition)) AS told_to,
       (SELECT count(*) FROM publish.outbox) AS unsent
FROM unnest(%(partitions)s::int[], %(epochs)s::bigint[]) AS held (partition, epoch)
JOIN cursor k USING (partition, epoch)
JOIN contest c USING (topic, partition)
LEFT JOIN publish.partition p USING (partition)
LEFT JOIN publish.ingest_status i USING (contest_id)
WHERE c.definition IS NOT NULL
ORDER BY contest_id

-- change_trouble --
-- Of a contest whose notices have begun; nothing where it was said before.
UPDATE publish.contest
SET troubles = CASE WHEN %(is_on)s THEN array_append(troubles, %(trouble)s) ELSE array_remove(troubles, %(trouble)s) END
WHERE contest_id = %(contest_id)s AND notices IS NOT NULL AND (%(trouble)s = ANY (troubles)) <> %(is_on)s
