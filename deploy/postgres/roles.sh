#!/usr/bin/env bash
# Run once by the postgres image, on an empty data folder: the two roles beside the owner. They may do nothing yet;
# the migrations grant the writer INSERT into history and the reader SELECT on views.
set -euo pipefail
# The passwords go through psql's variables, which quote them, and never through a command line.
psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv writer_password WRITER_PASSWORD
\getenv reader_password READER_PASSWORD
CREATE ROLE escrutinio_writer LOGIN PASSWORD :'writer_password';
CREATE ROLE escrutinio_reader LOGIN PASSWORD :'reader_password';
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO escrutinio_writer, escrutinio_reader;
SQL
