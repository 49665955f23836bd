#!/usr/bin/env bash
# Measures a release build against a redis-server and receivers of its own, all on this machine, and prints figures.
#
#   scripts/bench.sh drain [events] [runs]    one worker, a backlog, one receiver (20000, 5)
#   scripts/bench.sh isolation                healthy receivers beside dead, slow and flooded ones
#     --seconds N  each measurement (12)   --rounds N  (2)   --flood N  events (50000)   --only TEXT  of its name
#   scripts/bench.sh outage                   a receiver that comes back to a long queue
#     --events N  waiting (20000)   --seconds N  it is down (60)   --down 503|hang|drop  how
#   scripts/bench.sh media                    large events to a slow receiver
#     --events N  (300)   --megabytes N  each (5)   --takes-ms N  the receiver (1000)   --aof yes|no
#     --small N  small events before them (0)
#   scripts/bench.sh parked                   what very many parked deliveries cost
#     --deliveries N  (1000000)   --seconds N  idle (15)   --singles N  events timed (50)
#   scripts/bench.sh ingest                   events over HTTP, next to redis-benchmark
#     --seconds N  each measurement (4)   --rounds N  (3)
#
# --quick makes any but drain short, to see that it works. BENCH_LOG_LEVEL=debug makes the worker log each attempt;
# its logs are target/tmp/*.log. BENCH_POSTHASTE=<path> measures another build of the program (not with drain).
# Figures of a busy machine vary: compare those of one run.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

# The comment above, without its marks.
usage() { sed -n '2,/^set /{/^# \{0,1\}/s///p;}' scripts/bench.sh; }

case ${1-} in
  drain | isolation | outage | media | parked | ingest) ;;
  -h | --help)
    usage
    exit
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac
for argument in "$@"; do
  case $argument in
    -h | --help)
      usage
      exit
      ;;
  esac
done

name=$1
shift
require_tools
[ -d /proc/self ] || fail "the benchmarks read CPU and memory from /proc, which this system does not have"
cargo bench --locked --bench "$name" --no-run

printf '$ cargo bench --bench %s -- %s\n' "$name" "$*"
# Each is bounded in itself; past this, something hangs, and all that was started is in timeout's process group.
exec timeout --kill-after=5 900 cargo bench --quiet --locked --bench "$name" -- "$@"
