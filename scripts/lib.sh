# shellcheck shell=bash
# What dev.sh and test.sh need on the machine, and how it gets there. Sourced, never run.
# Works with bash 3.2, which is what macOS ships.

say() { printf '==> %s\n' "$*" >&2; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Everything both scripts need. Runs in the repository's root; quick when nothing is missing.
require_tools() {
  require_cargo
  local missing=()
  have redis-server || missing+=(redis-server)
  have_c_compiler || missing+=(cc)
  [ ${#missing[@]} -eq 0 ] || install_tools "${missing[@]}"
}

require_cargo() {
  local installed_in="${CARGO_HOME:-${HOME:-}/.cargo}/bin"
  # A shell that was open while Rust was installed does not have it on its PATH yet.
  if ! have cargo && [ -x "$installed_in/cargo" ]; then
    export PATH="$installed_in:$PATH"
  fi
  have cargo || fail "cargo is missing: install Rust as https://rustup.rs says, then run this script again"

  local wanted found
  wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' Cargo.toml)
  found=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
  if is_older "$found" "$wanted"; then
    fail "Rust $found is too old, $wanted or newer is needed: run 'rustup update stable', then this script again"
  fi
}

is_older() { [ "$1" != "$2" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | sed -n 1p)" = "$1" ]; }

# rustc links with `cc`, and the TLS library compiles C. On macOS `cc` is there before the compiler behind it is.
have_c_compiler() {
  have cc || return 1
  ! have xcode-select || xcode-select -p >/dev/null 2>&1
}

# Installs the packages that hold the given tools (redis-server, cc).
install_tools() {
  local tools="$*" manager tool packages=() install
  manager=$(package_manager) ||
    fail "missing: $tools; none of apt-get, dnf, apk and brew is here to install it." \
      "Install Redis 7.0 or newer and a C compiler (Arch Linux: 'pacman -S redis gcc'), then run this script again"
  for tool in "$@"; do
    packages+=("$(package_for "$manager" "$tool")")
  done

  case $manager in
    # RUNLEVEL=1: see apt_install.
    apt-get) install=(env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends) ;;
    dnf) install=(dnf install -y) ;;
    apk) install=(apk add --no-cache) ;;
    brew) install=(brew install) ;;
  esac
  install+=("${packages[@]}")
  # Homebrew refuses to run as root; the others need to.
  if [ "$manager" != brew ] && [ "$(id -u)" -ne 0 ]; then
    have sudo || fail "missing: $tools; installing needs root, and sudo is missing." \
      "Run '${install[*]}' as root, then this script again"
    install=(sudo "${install[@]}")
  fi

  say "installing ${packages[*]} with: ${install[*]}"
  if [ "$manager" = apt-get ]; then
    apt_install "${install[@]}"
  else
    "${install[@]}"
  fi || fail "could not install ${packages[*]}: see above, and run '${install[*]}' yourself"

  hash -r
  for tool in "$@"; do
    have "$tool" || fail "${packages[*]} is installed, and $tool is still not on PATH"
  done
}

package_manager() {
  local candidate
  for candidate in apt-get dnf apk brew; do
    if have "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

package_for() {
  case "$1 $2" in
    "apt-get redis-server") echo redis-server ;;
    *" redis-server") echo redis ;;
    "apt-get cc") echo build-essential ;;
    "apk cc") echo build-base ;;
    "brew cc")
      [ "$(uname -s)" != Darwin ] || fail "no C compiler: run 'xcode-select --install', then this script again"
      echo gcc
      ;;
    *" cc") echo gcc ;;
  esac
}

# Debian's redis-server package starts a service on port 6379. Only the program is wanted, so the start is held
# back: RUNLEVEL=1 does that with init scripts; with systemd the unit is masked while the package is set up.
apt_install() {
  local sudo=() status=0 unit=""
  [ "$1" != sudo ] || sudo=(sudo)
  case " $* " in
    *" redis-server "*) [ ! -d /run/systemd/system ] || unit=redis-server.service ;;
  esac

  [ -z "$unit" ] || ${sudo[@]+"${sudo[@]}"} systemctl mask --runtime "$unit" >/dev/null 2>&1 || unit=""
  # In containers there are no package lists, and old ones name files that are gone.
  if ! { "$@" --simulate >/dev/null 2>&1 && "$@"; }; then
    say "fetching the package lists first: ${sudo[*]+sudo }apt-get update"
    { ${sudo[@]+"${sudo[@]}"} apt-get update && "$@"; } || status=$?
  fi
  if [ -n "$unit" ]; then
    ${sudo[@]+"${sudo[@]}"} systemctl unmask --runtime "$unit" >/dev/null 2>&1 || true
    ${sudo[@]+"${sudo[@]}"} systemctl disable "$unit" >/dev/null 2>&1 || true
    say "the system's redis-server service is left disabled: 'systemctl enable --now redis-server' starts it"
  fi
  return "$status"
}
