#!/usr/bin/env bash
# Every test and check of this repository; installs what is missing first. Exit status 0 only if all passed.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

if [ $# -gt 0 ]; then
  printf 'usage: scripts/test.sh (no arguments; one test alone: cargo test --locked NAME)\n' >&2
  exit 2
fi

current="installing what is missing"
report() {
  local status=$?
  if [ "$status" -eq 0 ]; then
    say "all checks passed in $SECONDS s"
  else
    say "FAILED after $SECONDS s: $current"
  fi
}
trap report EXIT

announce() {
  current=$*
  say "$*"
}

step() {
  announce "$@"
  "$@"
}

# rustup's `cargo fmt` and `cargo clippy` exist, and fail, where the component behind them is missing.
require_component() {
  if cargo "$2" --version >/dev/null 2>&1; then
    return
  fi
  have rustup || fail "cargo $2 is missing: install the package of your system that holds $1," \
    "or Rust as https://rustup.rs says"
  step rustup component add "$1"
}

require_tools
require_component rustfmt fmt
require_component clippy clippy

step cargo fmt --check
step cargo clippy --locked --all-targets -- -D warnings
# Unit, integration and documentation tests; builds the examples too.
step cargo test --locked
announce 'RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps'
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

if cargo deny --version >/dev/null 2>&1; then
  step cargo deny check
else
  announce "cargo deny check: skipped, cargo-deny is not installed"
fi

if have promtool; then
  step scripts/check-alerts.sh
else
  announce "scripts/check-alerts.sh: skipped, promtool is not installed"
fi

if have shellcheck; then
  step shellcheck --external-sources scripts/*.sh .ci/run
else
  announce "shellcheck: skipped, it is not installed"
fi
