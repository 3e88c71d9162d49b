#!/usr/bin/env bash
# A PostgreSQL loses a table and gets it back: data and WAL on two volumes, a group snapshot of both under load, a clone
# to look into, a rollback, and in the end every copy compared with the others.
#
#   sudo docs/examples/postgres-time-travel.sh
#
# It runs a cluster of its own (`holdfast dev`, three nodes) in a temporary folder, and takes everything away again that
# it made: processes, mounts, loop devices, the folder. What it prints is in docs/examples/README.md.
set -euo pipefail

me=${BASH_SOURCE[0]}
[[ $me == */* ]] || me=./$me
root=$(cd "${me%/*}/../.." && pwd)

# --- Is everything there? ------------------------------------------------------------------------------------------

refuse() {
  echo "${me##*/}: $1" >&2
  exit 2
}

pg_bin=
for folder in /usr/lib/postgresql/*/bin; do # the newest of 9 < 13 < 15
  [[ -x $folder/pg_amcheck && -x $folder/pgbench && ${#folder} -ge ${#pg_bin} ]] && pg_bin=$folder
done
missing=
for tool in nbdfuse mkfs.ext4 losetup mountpoint setpriv setsid; do
  command -v "$tool" >/dev/null || missing+=" $tool"
done
[[ -n $pg_bin ]] || missing+=' pg_amcheck'
[[ -z $missing ]] || refuse "not installed:$missing; \`apt-get install postgresql libnbd-bin e2fsprogs\` has them"
((EUID == 0)) || refuse 'mounting and loop devices need root; run it with sudo'
[[ -c /dev/fuse && -c /dev/loop-control ]] || refuse 'this host has no /dev/fuse or no /dev/loop-control'
as_postgres() { (cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$@"); }
temporary=${TMPDIR:-/tmp}
as_postgres test -x "$temporary" || refuse "the user postgres may not enter $temporary; set TMPDIR to a folder where it may"

# --- What it makes, and how that goes away --------------------------------------------------------------------------

work=$(mktemp -d -p "$temporary")
chmod 755 "$work" # the user postgres passes through
mkdir "$work"/{nbd,mnt,log,socket,image}
export HOLDFAST_ENDPOINT=$work/cluster PGUSER=postgres PGDATABASE=postgres
step='begin'
cluster_pid=
load_pid=
declare -A nbdfuse_pid=() loop_of=() postgres_on=()

cleanup() {
  local code=$? name
  trap - EXIT
  trap '' INT TERM HUP # asked twice, it still ends in order
  set +e
  if ((code != 0)); then
    echo "${me##*/}: failed at: $step" >&2
    tail -n 5 "$work"/log/* >&2
  fi
  stop_load
  for name in "${!postgres_on[@]}"; do stop_postgres "$name" immediate; done
  for name in "${!nbdfuse_pid[@]}"; do unplug "$name" || code=1; done
  stop_cluster
  if ((${#nbdfuse_pid[@]} > 0)); then
    echo "${me##*/}: still mounted: ${!nbdfuse_pid[*]} in $work, which is left as it is" >&2
  else
    rm -rf --one-file-system "$work"
  fi
  exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say() {
  step=$1
  printf '\n== %s\n' "$1"
}

holdfast() { "$root/holdfast" "$@"; }

# Show the command, then run it.
shown() {
  echo "\$ $*"
  "$@"
}

# Wait until the command succeeds, as long as that process lives, or 60 s.
wait_until() {
  local pid=$1 deadline=$((SECONDS + 60))
  shift
  until "$@"; do
    kill -0 "$pid" && ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# In a session of its own, here and below: Ctrl-C is for this script, which stops things in order.
start_cluster() {
  : >"$work/log/cluster"
  setsid "$root/holdfast" dev --dir "$work/cluster" --size 1Gi --no-demo "$@" >>"$work/log/cluster" 2>&1 </dev/null &
  cluster_pid=$!
  wait_until "$cluster_pid" grep -q '^holdfast ready' "$work/log/cluster"
  grep '^volume' "$work/log/cluster"
}

stop_cluster() {
  [[ -n $cluster_pid ]] || return 0
  kill -TERM "$cluster_pid"
  wait "$cluster_pid" || return 1
  cluster_pid=
}

# A volume as a block device and a mounted file system: NBD -> a file (nbdfuse) -> /dev/loopN -> ext4.
plug() {
  local name=$1 uri="nbd+unix:///$1?socket=$work/cluster/n1/nbd.sock"
  mkdir -p "$work/nbd/$name" "$work/mnt/$name"
  setsid nbdfuse -P "$work/nbd/$name.pid" "$work/nbd/$name" "$uri" >"$work/log/nbdfuse-$name" 2>&1 </dev/null &
  nbdfuse_pid[$name]=$!
  wait_until "${nbdfuse_pid[$name]}" test -s "$work/nbd/$name.pid"
  loop_of[$name]=$(losetup --find --show --direct-io=on "$work/nbd/$name/nbd")
  if [[ ${2:-} == new ]]; then mkfs.ext4 -q "${loop_of[$name]}"; fi
  mount "${loop_of[$name]}" "$work/mnt/$name"
}

# Everything is written back and the connection is gone when this returns.
unplug() {
  local name=$1
  local pid=${nbdfuse_pid[$name]}
  if mountpoint -q "$work/mnt/$name"; then umount "$work/mnt/$name" || return 1; fi
  if [[ -n ${loop_of[$name]:-} ]]; then losetup --detach "${loop_of[$name]}" || return 1; fi
  unset "loop_of[$name]"
  # Whoever looks at new block devices (udev) may have the loop device open for a moment.
  wait_until "$pid" let_go "$name" || return 1
  wait "$pid" || true
  rm -f "$work/nbd/$name.pid"
  unset "nbdfuse_pid[$name]"
}

let_go() { ! mountpoint -q "$work/nbd/$1" || umount "$work/nbd/$1" 2>>"$work/log/umount"; }

# The cluster hears of a connection that has ended a moment later.
is_unused() { holdfast volume inspect "$1" -o json | grep -q '"frontends": \[\]'; }

is_healthy() { holdfast volume inspect "$1" -o json | grep -q '"health": "healthy"'; }

start_postgres() {
  local name=$1
  postgres_on[$name]=yes
  install -d -o postgres "$work/socket/$name"
  install -o postgres /dev/null "$work/log/postgres-$name"
  as_postgres "$pg_bin/pg_ctl" --pgdata="$work/mnt/$name/pgdata" --log="$work/log/postgres-$name" --silent \
    --wait --timeout=60 --options="-k $work/socket/$name" start
  # What PostgreSQL says of a start that is none after a clean stop.
  grep -oE 'database system was not properly shut down.*|redo (starts|done) at [^ ]*' "$work/log/postgres-$name" |
    sed 's/^/  postgres: /' || true
}

stop_postgres() {
  as_postgres "$pg_bin/pg_ctl" --pgdata="$work/mnt/$1/pgdata" --silent --mode="${2:-fast}" stop
  unset "postgres_on[$1]"
}

sql() { "$pg_bin/psql" -X -h "$work/socket/$1" -Atqc "$2"; }

start_load() {
  setsid "$pg_bin/pgbench" -h "$work/socket/data" -n -c 4 -T 3600 >"$work/log/pgbench" 2>&1 </dev/null &
  load_pid=$!
}

stop_load() {
  [[ -n $load_pid ]] || return 0
  kill -TERM "$load_pid"
  wait "$load_pid" || true
  load_pid=
}

payments() { sql "$1" 'select count(*) from pgbench_history'; }
more_payments_than() { (($(payments data) > $1)); }

# One number that three other tables have to agree with, after each transaction and after none in part.
books() {
  sql "$1" "select case when h = a and h = t and h = b then n || ' payments, the books balance at ' || h
                   else 'THE BOOKS DO NOT BALANCE' end
    from (select count(*) n, coalesce(sum(delta), 0) h from pgbench_history) history,
      (select sum(abalance) a from pgbench_accounts) accounts, (select sum(tbalance) t from pgbench_tellers) tellers,
      (select sum(bbalance) b from pgbench_branches) branches"
}

orders() { sql "$1" "select count(*) || ' orders, md5 ' || md5(string_agg(o::text, '' order by id)) from orders o"; }

expect() {
  [[ $1 == "$2" ]] && return
  echo "expected: $2; there is: $1" >&2
  return 1
}

# --- The story ------------------------------------------------------------------------------------------------------

say 'Three nodes, two volumes in three copies each, a file system on both'
start_cluster --volume data:128Mi --volume wal:64Mi
plug data new
plug wal new
chown postgres "$work"/mnt/{data,wal}

say 'PostgreSQL, with its data on one and its write-ahead log on the other'
as_postgres "$pg_bin/initdb" --pgdata="$work/mnt/data/pgdata" --waldir="$work/mnt/wal/pg_wal" --no-sync --wal-segsize=1 \
  --data-checksums --auth=trust --username=postgres --locale=C --encoding=UTF8 >"$work/log/initdb"
cat >>"$work/mnt/data/pgdata/postgresql.conf" <<'CONF'
listen_addresses = ''
shared_buffers = 32MB
max_wal_size = 32MB
checkpoint_timeout = 30s
CONF
sync --file-system "$work/mnt/data" && sync --file-system "$work/mnt/wal"
start_postgres data
sql data "create table orders (id int primary key, item text, price int);
  insert into orders select id, 'item ' || md5(id::text), id % 100 from generate_series(1, 20000) id"
"$pg_bin/pgbench" -h "$work/socket/data" -i -q >"$work/log/pgbench-init" 2>&1
sql data checkpoint # what is before it need not be done again on a clone
orders_then=$(orders data)
echo "$orders_then"

say 'Under load, a snapshot of both volumes at one instant'
start_load
wait_until "$load_pid" more_payments_than 100
payments_before=$(payments data)
shown holdfast snapshot create monday --group data,wal
payments_after=$(payments data)
echo "payments: $payments_before before, $payments_after after"
wait_until "$load_pid" more_payments_than $((payments_after + 100))

say 'A mistake, while payments go on'
sql data 'drop table orders'
echo 'dropped: orders'
wait_until "$load_pid" more_payments_than "$(payments data)"

say 'Clones of the snapshot, and a second PostgreSQL on them'
shown holdfast volume clone data@monday data-then | head -2
shown holdfast volume clone wal@monday wal-then | head -2
plug data-then
plug wal-then
# A data folder knows where its log is and who runs on it. In the clone both are those of the original.
ln -sfn "$work/mnt/wal-then/pg_wal" "$work/mnt/data-then/pgdata/pg_wal"
rm "$work/mnt/data-then/pgdata/postmaster.pid"
start_postgres data-then
expect "$(orders data-then)" "$orders_then"
echo "$orders_then"
books_then=$(books data-then)
echo "$books_then"
[[ $books_then == *'the books balance'* ]]
payments_then=$(payments data-then)
# What was answered before the command is in it, what was asked for after it is not.
((payments_before <= payments_then && payments_then <= payments_after))
sql data-then "update orders set item = 'only in the clone' where id = 1"

say 'Back to the snapshot, in place'
kill -0 "$load_pid" # no client of it has failed until now
stop_load
expect "$(grep -ciE 'error|abort' "$work/log/pgbench" || true)" 0
books data
stop_postgres data
unplug data
unplug wal
for name in data wal; do wait_until "$cluster_pid" is_unused "$name"; done
shown holdfast volume rollback data --to monday --keep-as mistake-data
shown holdfast volume rollback wal --to monday --keep-as mistake-wal
plug data
plug wal
rm "$work/mnt/data/pgdata/postmaster.pid" # of the server of then
start_postgres data
expect "$(orders data)" "$orders_then"
echo "$orders_then"
expect "$(books data)" "$books_then"
echo "$books_then"

say 'Tables and indexes are whole'
for name in data data-then; do
  "$pg_bin/pg_amcheck" -h "$work/socket/$name" --all --install-missing --heapallindexed --parent-check
  echo "pg_amcheck of $name: no complaints"
done

say 'The nodes are stopped, and what lies on their disks is compared'
for name in data data-then; do stop_postgres "$name"; done
for name in data wal data-then wal-then; do unplug "$name"; done
for name in data wal data-then wal-then; do wait_until "$cluster_pid" is_healthy "$name"; done
stop_cluster
for name in data wal data-then wal-then; do
  for node in n1 n2 n3; do
    holdfast salvage "$work/cluster/$node/disk0" --volume "$name" --to "$work/image/$node-$name" >>"$work/log/salvage"
  done
  cmp "$work/image/n1-$name" "$work/image/n2-$name"
  cmp "$work/image/n1-$name" "$work/image/n3-$name"
  echo "$name: the copies on n1, n2 and n3 are the same"
  rm "$work"/image/*
done
say 'All of it is true'
