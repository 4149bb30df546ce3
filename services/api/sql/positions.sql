-- positions --
-- One statement sees one projection: a take-over waits for the readers of any of its views.
SELECT c.contest_id, c.topic, c.partition, c.last_offset AS "offset", k.next_offset, c.is_test, c.digest,
       concat_ws('.', p.version, c.definition_offset, (
           SELECT max(r.log_offset) FROM checking.roll_history r WHERE r.contest_id = c.contest_id AND r.accepted)) AS layout,
       c.last_recorded_at AS recorded_at, c.last_reported_at AS reported_at,
       CASE WHEN c.blocked THEN format('offset %%s: %%s', c.blocked_offset, c.blocked_reason) END AS blocked,
       (SELECT coalesce(max(n.number), 0) FROM results.notice n WHERE n.contest_id = c.contest_id) AS notices,
       CASE WHEN NOT s.is_alive AND s.at IS NOT NULL THEN 'DEAD' WHEN c.blocked THEN 'BLOCKED'
            WHEN s.is_behind THEN 'BEHIND' WHEN s.is_alive THEN 'CURRENT' END AS count_state,
       CASE WHEN NOT i.is_alive AND i.state <> 'CLOSED' THEN 'DEAD' WHEN i.fault IS NOT NULL THEN 'UNREADABLE'
            ELSE i.state END AS source_state
FROM results.contest c
JOIN checking.cursor k USING (topic, partition)
CROSS JOIN checking.projection p
LEFT JOIN results.count_status s USING (topic, partition)
LEFT JOIN results.ingest_status i USING (contest_id)
WHERE c.definition_offset IS NOT NULL
ORDER BY c.contest_id

-- listen --
LISTEN escrutinio_counted

-- make_room --
-- A queue of notifications that was full stays so until somebody looks.
SELECT pg_notification_queue_usage()
