#!/usr/bin/env bash
# Starts a PostgreSQL that follows another (PRIMARY): on an empty data folder, first copies the other's. A crash
# in the middle of the copy leaves a folder without the mark of a whole one: the next start empties it and copies again.
set -euo pipefail
PGPASSWORD=$(cat /run/secrets/postgres_replication_password)
export PGPASSWORD  # also read by the process that follows, so it need not stand in a command line
if [ ! -e "$PGDATA/copied" ]; then
    find "$PGDATA" -mindepth 1 -delete
    pg_basebackup --dbname "$PRIMARY" --pgdata "$PGDATA" --wal-method stream --checkpoint fast
    touch "$PGDATA/standby.signal"
    chmod 700 "$PGDATA"
    touch "$PGDATA/copied"
fi
# Feedback: the first keeps rows for as long as a reader here looks at them, so that no reader is cut off.
exec postgres -c "primary_conninfo=$PRIMARY" -c hot_standby_feedback=on -c hba_file=/replication/pg_hba.conf
