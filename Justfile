# Every argument arrives as it was typed, spaces included.
set positional-arguments

# show the recipes
default:
    @just --list

# the whole system on one terminal; arguments go to `posthaste dev`
dev *args:
    @scripts/dev.sh "$@"

# every test and check
test:
    @scripts/test.sh

# format the sources
fmt:
    cargo fmt

# formatting and clippy, warnings as errors
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# the worker, with the settings of the environment and .env
run *args:
    @cargo run --release --locked --bin posthaste -- run "$@"

# check these settings and the Redis server, without starting the worker
check *args:
    @cargo run --release --locked --bin posthaste -- check "$@"
