#!/usr/bin/env bash
# Fuzzes the HTTP API with Schemathesis: a worker and a redis-server of its own, on free ports, and requests made of
# /openapi.json. Fails on a 5xx, and where an answer is not as the document says.
#
#   scripts/fuzz-api.sh [--max-examples N] [--seed N] [further options of `schemathesis run`]
#
# Schemathesis is installed into target/schemathesis the first time, from PyPI. Nothing leaves this machine but that:
# the worker sends through a proxy that is not there.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

version=4.32.5
venv=target/schemathesis
key=a-key-of-the-fuzzing-alone
# Past this, something hangs.
at_most_seconds=900

case ${1-} in
  -h | --help)
    sed -n '2,/^set /{/^# \{0,1\}/s///p;}' scripts/fuzz-api.sh
    exit
    ;;
esac

# Installs Schemathesis, unless this version is there.
require_schemathesis() {
  if [ "$("$venv/bin/schemathesis" --version 2>/dev/null)" = "Schemathesis $version" ] ||
    "$venv/bin/python" -c "import importlib.metadata as m; assert m.version('schemathesis') == '$version'" 2>/dev/null; then
    return
  fi
  have python3 || fail "python3 is missing: Schemathesis runs on it"
  say "installing schemathesis $version into $venv"
  python3 -m venv "$venv" || fail "cannot make $venv: is Python's venv installed (Debian: python3-venv)?"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version" ||
    fail "pip cannot install schemathesis $version: without PyPI, set PIP_INDEX_URL to a mirror, or PIP_NO_INDEX=1 and" \
      "PIP_FIND_LINKS to a directory of wheels, then run this script again"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Waits until a command succeeds.
until_works() {
  local what=$1 tries
  shift
  for ((tries = 0; tries < 200; tries++)); do
    ! "$@" >/dev/null 2>&1 || return 0
    sleep 0.05
  done
  fail "$what does not answer: see $dir"
}

answers_redis() { redis-cli -p "$redis_port" ping | grep -q PONG; }
answers_ready() {
  "$venv/bin/python" -c "import urllib.request as r; r.build_opener(r.ProxyHandler({})).open('$base/readyz', timeout=2)"
}

# Ends what was started here, and nothing else.
end_all() {
  local status=$? pid
  for pid in ${worker_pid:-} ${redis_pid:-}; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  if [ "$status" -eq 0 ]; then rm -rf -- "$dir"; else say "the logs are in $dir"; fi
}

require_tools
require_schemathesis
cargo build --locked --bin posthaste

mkdir -p target/tmp
dir=$(mktemp -d "$root/target/tmp/fuzz.XXXXXX")
trap end_all EXIT
redis_port=$(free_port)
redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --dir "$dir" >"$dir/redis.log" 2>&1 &
redis_pid=$!
until_works "redis-server" answers_redis

base=http://127.0.0.1:$(free_port)
(
  cd -- "$dir"
  # A proxy that is not there: what is sent to the hosts that are made up goes nowhere. They are permitted by name, so
  # that they are not looked for in DNS either.
  exec env -i PATH="$PATH" REDIS_URL="redis://127.0.0.1:$redis_port" ADMIN_ADDR="${base#http://}" \
    AUTHENTICATION_API_KEY="$key" HTTP_PROXY=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9 LOG_LEVEL=info \
    WEBHOOK_ALLOW_HOSTS='*' \
    "$root/target/debug/posthaste" run
) >"$dir/worker.log" 2>&1 &
worker_pid=$!
until_works "the worker" answers_ready

# Dead letters to be found: entries that are no events.
for n in 1 2 3 4 5; do
  redis-cli -p "$redis_port" XADD webhooks '*' payload "no JSON $n" >/dev/null
done
# Lines are sent as the text they are.
printf '%s\n' 'import schemathesis' 'schemathesis.serializer.alias("application/x-ndjson", "text/plain")' >"$dir/hooks.py"

# All checks but one: that all the schemas allow is taken. They cannot say which events are known.
# It keeps what it found in the directory it runs in.
status=0
(cd -- target && env -u HTTP_PROXY -u HTTPS_PROXY -u http_proxy -u https_proxy \
  SCHEMATHESIS_HOOKS="$dir/hooks.py" timeout --kill-after=5 "$at_most_seconds" \
  "$root/$venv/bin/schemathesis" run "$base/openapi.json" --header "apikey: $key" --workers 1 --max-examples 50 \
  --checks all --exclude-checks positive_data_acceptance \
  --continue-on-failure --request-timeout 40 "$@") || status=$?

kill -0 "$worker_pid" || fail "the worker has ended: see $dir/worker.log"
answers_ready || fail "the worker is not ready any more: see $dir/worker.log"
if grep -q 'a fault in posthaste' "$dir/worker.log"; then
  fail "a handler panicked: see $dir/worker.log"
fi
[ "$status" -eq 0 ] || fail "Schemathesis found something: see above"
say "nothing was found"
