#!/usr/bin/env bash
# The whole system on one terminal: installs what is missing, builds, and runs `posthaste dev`.
#
#   scripts/dev.sh           stays until Ctrl-C
#   scripts/dev.sh --once    leaves when everything is settled
#   scripts/dev.sh --help    every option (all arguments go to `posthaste dev`)
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"
# shellcheck source=scripts/lib.sh
source scripts/lib.sh

# Where cargo puts what it builds: CARGO_TARGET_DIR, `build.target-dir` of a cargo configuration, or target/.
target_directory() {
  cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

require_tools
say "cargo build --release --locked --bin posthaste"
cargo build --release --locked --bin posthaste
posthaste="$(target_directory)/release/posthaste"
exec "$posthaste" dev "$@"
