#!/usr/bin/env bash
# Checks config/alerts.yml and runs its unit tests, with promtool (Debian and Ubuntu: in the package `prometheus`).
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

have promtool || fail "promtool is missing: install Prometheus (Debian: 'apt-get install prometheus'), then run this again"

promtool check rules config/alerts.yml
promtool test rules config/alerts_test.yml
