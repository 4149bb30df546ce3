#!/usr/bin/env bash
# Run once by the postgres image, on an empty data folder: the database and its three roles. None is a superuser. The
# owner migrates; the migrations grant the writer INSERT into history and the reader SELECT on views, and no more.
set -euo pipefail
# The passwords go through psql's variables, which quote them, and never through a command line.
psql -v ON_ERROR_STOP=1 --no-psqlrc --username postgres --dbname postgres <<'SQL'
\getenv owner_password OWNER_PASSWORD
\getenv writer_password WRITER_PASSWORD
\getenv reader_password READER_PASSWORD
CREATE ROLE escrutinio_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE escrutinio_writer LOGIN PASSWORD :'writer_password';
CREATE ROLE escrutinio_reader LOGIN PASSWORD :'reader_password';
CREATE DATABASE escrutinio OWNER escrutinio_owner;
\connect escrutinio
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO escrutinio_owner;
GRANT USAGE ON SCHEMA public TO escrutinio_writer, escrutinio_reader;
SQL
