#!/usr/bin/env bash
# Create the database and its roles, with the passwords of the secrets, and take back whatever is not declared. Runs at
# every start, so that a changed password becomes effective, and what a role has set for itself is undone. None of the
# roles is a superuser. The owner migrates; the migrations grant the writer INSERT into history and the readers SELECT on
# views, and no more. Every file /readers/NAME.url is a reader: an address with its password.
set -euo pipefail
secrets=${SECRETS:-/run/secrets}
PGPASSWORD=$(cat "$secrets/postgres_admin_password")
export PGPASSWORD PGOPTIONS='-c client_min_messages=warning'
here=$(dirname "$0")
readers=escrutinio_reader passwords=
for role in owner writer reader; do
    passwords+="
\set password \`cat $secrets/postgres_${role}_password\`
ALTER ROLE escrutinio_$role PASSWORD :'password';"
done
for file in "${READERS:-/readers}"/*.url; do
    [ -e "$file" ] || continue
    name=$(basename "$file" .url)
    if ! [[ $name =~ ^reader-[a-z0-9]+(-[a-z0-9]+)*$ ]] || ((${#name} > 63)); then  # PostgreSQL cuts a longer one off
        echo "$file: $name is not a reader's name: reader- and then small letters, digits and single dashes, at most 63" >&2
        exit 1
    fi
    readers+=,$name
    passwords+="
\set password \`sed 's|^[^:]*://[^:]*:||; s|@[^@]*\$||' $file\`
ALTER ROLE \"$name\" PASSWORD :'password';"
done
# The passwords go through psql's variables, which quote them, and never through a command line.
psql -v ON_ERROR_STOP=1 --quiet --no-psqlrc --output=/dev/null --username postgres --dbname postgres <<SQL
SET log_min_error_statement = panic;  -- no statement with a password reaches a log
SET escrutinio.readers = '$readers';
BEGIN;
\i $here/alone.sql
\i $here/roles.sql
$passwords
COMMIT;
SELECT 'CREATE DATABASE escrutinio OWNER escrutinio_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'escrutinio') \gexec
\connect escrutinio
BEGIN;
\i $here/alone.sql
\i $here/database.sql
COMMIT;
\connect template1
BEGIN;
\i $here/alone.sql
\i $here/database.sql
COMMIT;
SQL
