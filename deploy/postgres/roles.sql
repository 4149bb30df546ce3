-- Bring the roles to what is declared here: logins, what each may use, and its limits. As the superuser, at each start,
-- which undoes what a role has set for itself. The names of the readers are in the setting escrutinio.readers, with
-- commas between; a caller sets the passwords. Plain SQL: roles.sh and the local stack run this file.
DO $$
DECLARE
    readers CONSTANT text[] := string_to_array(current_setting('escrutinio.readers'), ',');
    one record;
    is_ours boolean;
BEGIN
    -- Groups, with what they may do; nobody logs in as one. The guard owns access.end_old_sessions and does no more.
    FOR one IN SELECT unnest('{escrutinio_readers,escrutinio_guard}'::text[]) AS name LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = one.name) THEN
            EXECUTE format('CREATE ROLE %I', one.name);
        END IF;
        EXECUTE format('ALTER ROLE %I NOLOGIN', one.name);
    END LOOP;
    GRANT pg_signal_backend, pg_read_all_stats TO escrutinio_guard;

    FOR one IN SELECT unnest('{escrutinio_owner,escrutinio_writer}'::text[] || readers) AS name LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = one.name) THEN
            EXECUTE format('CREATE ROLE %I', one.name);
        END IF;
        EXECUTE format('ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', one.name);
    END LOOP;
    FOR one IN
        SELECT r.rolname AS name, d.datname AS database
        FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
        WHERE r.rolname = ANY ('{escrutinio_owner,escrutinio_writer}'::text[] || readers)
    LOOP
        EXECUTE format('ALTER ROLE %I', one.name) || coalesce(' IN DATABASE ' || quote_ident(one.database), '')
            || ' RESET ALL';
    END LOOP;
    -- The count goes on though readers hold every other connection; who waits for a lock can be told for whom.
    GRANT pg_use_reserved_connections TO escrutinio_owner, escrutinio_writer;
    GRANT pg_read_all_stats TO escrutinio_owner;
    -- Of a deadlock with a reader the owner's statement ends, and is tried again; autovacuum makes way as soon.
    ALTER ROLE escrutinio_owner SET deadlock_timeout = '250ms';

    FOR one IN SELECT unnest(readers) AS name LOOP
        EXECUTE format('GRANT escrutinio_readers TO %I WITH ADMIN FALSE, INHERIT TRUE, SET FALSE', one.name);
        -- escrutinio_reader is of our own commands: `verify` reads for as long as it takes.
        is_ours := one.name = 'escrutinio_reader';
        EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s', one.name, CASE WHEN is_ours THEN 20 ELSE 5 END);
        -- A role may lift these for itself; access.end_old_sessions ends what goes on for too long.
        EXECUTE format('ALTER ROLE %I SET statement_timeout = %L', one.name, CASE WHEN is_ours THEN '1h' ELSE '10min' END);
        EXECUTE format('ALTER ROLE %I SET transaction_timeout = %L', one.name, CASE WHEN is_ours THEN '1h' ELSE '30min' END);
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %L', one.name, '1min');
        EXECUTE format('ALTER ROLE %I SET lock_timeout = %L', one.name, '10s');
        -- Machine code for a view of the counts takes seconds to make, and saves none.
        EXECUTE format('ALTER ROLE %I SET jit = off', one.name);
        -- And not these. The second keeps a reader's mistakes, of any length, out of the server's log.
        EXECUTE format('ALTER ROLE %I SET temp_file_limit = %L', one.name, '1GB');
        EXECUTE format('ALTER ROLE %I SET log_min_messages = %L', one.name, 'fatal');
    END LOOP;

    REVOKE ALL ON DATABASE postgres FROM PUBLIC;

    -- A reader that is no longer declared reads no more; database.sql ends its sessions.
    FOR one IN
        SELECT r.rolname AS name FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
        WHERE m.roleid = 'escrutinio_readers'::regrole AND r.rolname <> ALL (readers)
    LOOP
        EXECUTE format('REVOKE escrutinio_readers FROM %I', one.name);
        EXECUTE format('ALTER ROLE %I NOLOGIN', one.name);
    END LOOP;
END
$$;
