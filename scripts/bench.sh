#!/usr/bin/env bash
# Measures a release build against a redis-server and receivers of its own, all on this machine, and prints figures.
#
#   scripts/bench.sh drain                    one worker and a backlog, beside two baselines
#     --events N  (20000)   --rounds N  (5)   --backlog N  events, 0 for none (1000000)   --instances N  (100000)
#     --only NAME,NAME  rows whose names begin so: posthaste, afternoon, floor (the baselines), retry (each is refused
#     once; of many instances) and "no retry" (the same without), fan-out (two destinations), instances N (a webhook
#     each; 1, 1000 and --instances), size N, backlog
#   scripts/bench.sh latency                  from a push to its receiver, beside two baselines
#     --rates N,N  events a second (50,1000)   --seconds N  each measurement (20)   --rounds N  (5)
#   scripts/bench.sh waiting                  how punctual retries are among very many that wait
#     --deliveries N  (1000000)   --per-second N  fall due (200)   --seconds N  (20)
#   scripts/bench.sh idle                     a worker with nothing to do, before and after very many events
#     --seconds N  idle (30)   --soak N  events, 0 for none (1000000)
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
#   scripts/bench.sh micro [part of a name]   the pure parts of a delivery, each by itself
#     and what else criterion understands: --save-baseline NAME, --baseline NAME
#
# --quick makes each short, to see that it works. For all but micro BENCH_POSTHASTE=<path> measures another build of the
# program, BENCH_ENV="NAME=value NAME=value" sets more of the worker's settings, BENCH_WRAPPER="taskset -c 0" is a
# command that becomes the worker, and BENCH_LOG_LEVEL=debug makes it log each attempt; its logs are target/tmp/*.log.
# Figures of a busy machine vary: compare those of one run.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

# The comment above, without its marks.
usage() { sed -n '2,/^set /{/^# \{0,1\}/s///p;}' scripts/bench.sh; }

case ${1-} in
  drain | latency | waiting | idle | isolation | outage | media | parked | ingest | micro) ;;
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
