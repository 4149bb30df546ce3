-- in_the_way --
-- The sessions that a session waits for, and the readers that write: a reader's transaction has a number only then, for
-- a setting of its own, rights, a notification.
WITH blocking AS MATERIALIZED (SELECT pg_blocking_pids(%(pid)s) AS pids)
SELECT a.pid = ANY (b.pids) AS holds_lock, a.pid, coalesce(a.usename, '') AS role,
       coalesce(a.application_name, '') AS application, host(a.client_addr) AS address,
       a.xact_start AS transaction_since, a.query_start AS statement_since,
       left(regexp_replace(a.query, '[[:space:][:cntrl:]]+', ' ', 'g'), %(most)s) AS statement,
       a.backend_xid IS NOT NULL AND EXISTS (
           SELECT FROM pg_auth_members m
           WHERE m.member = a.usesysid AND m.roleid = to_regrole('escrutinio_readers')) AS is_writing_reader
FROM pg_stat_activity a CROSS JOIN blocking b
WHERE a.pid = ANY (b.pids) OR a.backend_xid IS NOT NULL
ORDER BY a.xact_start
