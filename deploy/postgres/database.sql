-- Close a database to everybody, so that what is not granted is refused. As the superuser, at each start, in the
-- database of the count and in template1, whose copies have it then. Rights on functions are a database's own.
SET search_path = pg_catalog;  -- nothing that a role has made in the database runs as the superuser
DO $$
DECLARE
    one record;
BEGIN
    PERFORM pg_terminate_backend(a.pid)  -- of a reader that may not log in any more: roles.sql is committed
    FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
    WHERE r.rolname LIKE 'reader-%' AND NOT r.rolcanlogin;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    IF current_database() <> 'template1' THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO escrutinio_writer, escrutinio_readers', current_database());
    END IF;
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
    GRANT USAGE ON LANGUAGE plpgsql TO escrutinio_owner;
    -- What writes to the server's disk, burns its transaction numbers or stands in the way of others, without any table.
    FOR one IN
        SELECT oid::regprocedure AS name, proname ~ 'advisory|export_snapshot' AS of_owner FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND (
            proname ~ '^(lo_.*|loread|lowrite|pg_(try_)?advisory_.*)$' OR proname IN (
                'pg_notify', 'pg_logical_emit_message', 'pg_export_snapshot', 'pg_current_xact_id', 'txid_current'
            ))
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', one.name);
        IF one.of_owner THEN  -- `migrate` takes an advisory lock; pg_dump exports a snapshot
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO escrutinio_owner', one.name);
        END IF;
    END LOOP;
END
$$;

-- A role may lift its own timeouts, and PostgreSQL has none that it may not. Who may end a session of another role may
-- end any but a superuser's, so the writer has this function and not that right: it ends readers' sessions, and no
-- others.
CREATE SCHEMA IF NOT EXISTS access;
CREATE OR REPLACE FUNCTION access.end_old_sessions(older_than interval)
RETURNS TABLE (pid int, role name, since timestamptz)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH old AS MATERIALIZED (  -- a function beside the conditions would be called for sessions of others too
        SELECT a.pid, a.usename, a.backend_start FROM pg_stat_activity a
        JOIN pg_auth_members m ON m.member = a.usesysid JOIN pg_roles r ON r.oid = m.roleid
        WHERE r.rolname = 'escrutinio_readers' AND (
            a.backend_start < clock_timestamp() - older_than
            -- A reader's transaction has a number only when it writes: a setting of its own, rights. Open, it stops the
            -- job `roles`, and each of its savepoints holds a lock in the table that all sessions share.
            OR a.backend_xid IS NOT NULL AND a.xact_start < clock_timestamp() - older_than / 60
        )
    )
    SELECT o.pid, o.usename, o.backend_start FROM old o WHERE pg_terminate_backend(o.pid);
END;
GRANT CREATE ON SCHEMA access TO escrutinio_guard;
ALTER FUNCTION access.end_old_sessions OWNER TO escrutinio_guard;
REVOKE CREATE ON SCHEMA access FROM escrutinio_guard;
REVOKE ALL ON FUNCTION access.end_old_sessions FROM PUBLIC;
GRANT USAGE ON SCHEMA access TO escrutinio_writer;
GRANT EXECUTE ON FUNCTION access.end_old_sessions TO escrutinio_writer;
