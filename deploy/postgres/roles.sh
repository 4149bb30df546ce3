#!/usr/bin/env bash
# Create the database and its roles, with the passwords of the secrets. Runs at every start, so that a changed password
# becomes effective. None of the roles is a superuser. The owner migrates; the migrations grant the writer INSERT into
# history and the reader SELECT on views, and no more.
set -euo pipefail
PGPASSWORD=$(cat /run/secrets/postgres_admin_password)
export PGPASSWORD
# The passwords go through psql's variables, which quote them, and never through a command line.
psql -v ON_ERROR_STOP=1 --quiet --no-psqlrc --username postgres --dbname postgres <<'SQL'
\set owner_password `cat /run/secrets/postgres_owner_password`
\set writer_password `cat /run/secrets/postgres_writer_password`
\set reader_password `cat /run/secrets/postgres_reader_password`
SET log_min_error_statement = panic;  -- no statement with a password reaches a log
SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest('{escrutinio_owner,escrutinio_writer,escrutinio_reader}'::text[]) name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE escrutinio_owner PASSWORD :'owner_password';
ALTER ROLE escrutinio_writer PASSWORD :'writer_password';
ALTER ROLE escrutinio_reader PASSWORD :'reader_password';
SELECT 'CREATE DATABASE escrutinio OWNER escrutinio_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'escrutinio') \gexec
REVOKE ALL ON DATABASE escrutinio FROM PUBLIC;
GRANT CONNECT ON DATABASE escrutinio TO escrutinio_writer, escrutinio_reader;
\connect escrutinio
REVOKE ALL ON SCHEMA public FROM PUBLIC;
SQL
