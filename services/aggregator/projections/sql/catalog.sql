-- projections --
SELECT substr(n.nspname, 11) AS name, pg_get_userbyid(n.nspowner) AS owner,
       (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
        WHERE c.relnamespace = n.oid AND c.relkind = 'r') AS bytes
FROM pg_namespace n
WHERE n.nspname ~ '^aggregate(_|$)'
  -- not one whose creation was interrupted: the next rebuild goes on with it
  AND EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'projection')
ORDER BY n.nspname

-- made --
SELECT version, made_at, until_stated_at FROM projection

-- cursors --
SELECT topic, topic_id, partition, next_offset, epoch, digest FROM cursor ORDER BY topic, partition

-- hold_cursors --
SELECT topic, topic_id, partition, next_offset, epoch, digest FROM cursor ORDER BY topic, partition FOR UPDATE

-- contest_digests --
SELECT contest_id, digest FROM contest ORDER BY contest_id

-- limit_to --
UPDATE projection SET until_stated_at = %(stated_at)s

-- fence --
UPDATE cursor SET epoch = greatest(epoch, %(epoch)s) + 1

-- record --
INSERT INTO take_over (from_version, to_version, next_offsets, from_digests, to_digests, reason)
VALUES (%(from_version)s, %(to_version)s, %(next_offsets)s, %(from_digests)s, %(to_digests)s, %(reason)s)
RETURNING taken_at

-- former_versions --
SELECT DISTINCT from_version FROM take_over

-- views --
SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind = 'v' ORDER BY c.relname

-- grants --
SELECT c.relname AS name, coalesce(r.rolname, 'public') AS grantee
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL aclexplode(c.relacl) a
LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE n.nspname = %(schema)s AND c.relkind = 'v' AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
ORDER BY c.relname, grantee

-- latest_version --
SELECT coalesce(max(greatest(from_version, to_version)), 0) AS version FROM take_over

-- third_party_views --
SELECT DISTINCT format('%%I.%%I', n.nspname, v.relname) AS name
FROM pg_depend d
JOIN pg_rewrite r ON r.oid = d.objid
JOIN pg_class v ON v.oid = r.ev_class
JOIN pg_namespace n ON n.oid = v.relnamespace
JOIN pg_class t ON t.oid = d.refobjid
JOIN pg_namespace o ON o.oid = t.relnamespace
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
  AND o.nspname = ANY (%(schemas)s) AND n.nspname <> ALL (%(schemas)s)
ORDER BY name

-- make_note_of_indexes --
CREATE TABLE index_put_off (name text PRIMARY KEY, definition text NOT NULL)

-- note_indexes --
INSERT INTO index_put_off
SELECT i.indexname, i.indexdef FROM pg_indexes i
WHERE i.schemaname = %(schema)s AND i.tablename IN ('count_update_history', 'area_total_block')
  AND NOT EXISTS (SELECT FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
                  WHERE n.nspname = i.schemaname AND c.conname = i.indexname)
RETURNING name

-- has_note_of_indexes --
SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relname = 'index_put_off'

-- noted_indexes --
SELECT name, definition FROM index_put_off ORDER BY name

-- forget_index --
DELETE FROM index_put_off WHERE name = %(name)s

-- drop_note_of_indexes --
DROP TABLE index_put_off
