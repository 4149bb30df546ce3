#!/usr/bin/env bash
# Start a replica of another PostgreSQL (PRIMARY). On an empty data folder, copy the primary's first. A crash during the
# copy leaves a folder without the file `copied`: the next start empties it and copies again.
set -euo pipefail
PGPASSWORD=$(cat /run/secrets/postgres_replication_password)
export PGPASSWORD  # the WAL receiver reads it too, so the password is in no command line
if [ ! -e "$PGDATA/copied" ]; then
    find "$PGDATA" -mindepth 1 -delete
    pg_basebackup --dbname "$PRIMARY" --pgdata "$PGDATA" --wal-method stream --checkpoint fast
    touch "$PGDATA/standby.signal"
    chmod 700 "$PGDATA"
    touch "$PGDATA/copied"
fi
# Feedback: the primary keeps rows for as long as a query here reads them, so that no query is cancelled.
exec postgres -c "primary_conninfo=$PRIMARY" -c hot_standby_feedback=on -c hba_file=/replication/pg_hba.conf
