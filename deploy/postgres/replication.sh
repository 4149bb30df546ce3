#!/usr/bin/env bash
# Create the replica's role: it may copy everything and change nothing. Runs at every start, so that a changed password
# becomes effective.
set -euo pipefail
PGPASSWORD=$(cat /run/secrets/postgres_admin_password)
export PGPASSWORD
psql -v ON_ERROR_STOP=1 --quiet --no-psqlrc --username postgres --dbname postgres <<'SQL'
\set password `cat /run/secrets/postgres_replication_password`
SET log_min_error_statement = panic;  -- no statement with a password reaches a log
SELECT 'CREATE ROLE escrutinio_replica LOGIN REPLICATION' WHERE to_regrole('escrutinio_replica') IS NULL \gexec
ALTER ROLE escrutinio_replica PASSWORD :'password';
SQL
