-- Hold back what readers change of roles and rights, until this transaction ends. As the superuser, before roles.sql and
-- before database.sql, in one transaction with it. A reader may change its own password and settings, and write the
-- rights of its group again (DROP OWNED): left open, such a transaction would keep a start waiting for as long as the
-- reader likes; again and again, it would end it. One that only reads is not concerned.
DO $$
DECLARE
    is_alone boolean := false;
BEGIN
    SET LOCAL lock_timeout = '2s';
    FOR attempt IN 1..30 LOOP
        BEGIN
            LOCK TABLE pg_catalog.pg_authid, pg_catalog.pg_auth_members, pg_catalog.pg_db_role_setting,
                pg_catalog.pg_default_acl, pg_catalog.pg_shdepend IN SHARE ROW EXCLUSIVE MODE;
            is_alone := true;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            NULL;  -- by one of those that are ended now, or by another one
        END;
        PERFORM pg_catalog.pg_stat_clear_snapshot();
        PERFORM pg_catalog.pg_terminate_backend(a.pid, 5000)
        FROM pg_catalog.pg_stat_activity a
        JOIN pg_catalog.pg_auth_members m ON m.member = a.usesysid
        JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
        WHERE r.rolname = 'escrutinio_readers' AND a.backend_xid IS NOT NULL;  -- a number: it writes
        PERFORM pg_catalog.pg_stat_clear_snapshot();
        IF is_alone THEN
            RETURN;
        END IF;
    END LOOP;
    RAISE 'a session that is no reader''s changes roles: pg_locks has it, for pg_authid or pg_shdepend; end it';
END
$$;
