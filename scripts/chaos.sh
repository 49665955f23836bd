#!/usr/bin/env bash
# Breaks workers, Redis and the network at random while events are pushed, and proves that nothing was lost:
# tests/chaos, for longer and faster than `cargo test` runs it.
#
#   scripts/chaos.sh --minutes 10 --seed 1      both may be left out: 10 minutes, any seed (it is printed)
#   scripts/chaos.sh --minutes 1 --rate 1000    events per second (450), --workers N (3)
#   scripts/chaos.sh --debug                    workers log every attempt; a violation then comes with them
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

usage() {
  printf 'usage: scripts/chaos.sh [--minutes N] [--seed S] [--rate N] [--workers N] [--debug]\n' >&2
  exit 2
}

minutes=10
export CHAOS_RATE=450
while [ $# -gt 0 ]; do
  case $1 in
    --debug)
      export CHAOS_LOG_LEVEL=debug
      shift
      continue
      ;;
    --minutes | --seed | --rate | --workers) ;;
    *) usage ;;
  esac
  case ${2-} in
    '' | *[!0-9]*) usage ;;
  esac
  case $1 in
    --minutes) minutes=$2 ;;
    --seed) export CHAOS_SEED=$2 ;;
    --rate) export CHAOS_RATE=$2 ;;
    --workers) export CHAOS_WORKERS=$2 ;;
  esac
  shift 2
done
[ "$((10#$minutes))" -gt 0 ] || usage
export CHAOS_SECONDS=$((10#$minutes * 60))

require_tools
exec cargo test --release --locked --test chaos -- --exact --nocapture \
  nothing_acknowledged_is_lost_whatever_breaks
