# For the scripts beside it: what they print, how they fail, and Debian's packages.
# shellcheck shell=bash

say() { printf '== %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# A command that fails unforeseen is named in one line.
trap 'die "line $LINENO: \"$BASH_COMMAND\" failed"' ERR

# run LOG-LINE COMMAND...: a command whose output is of interest only when it fails.
run() {
  say "$1"
  shift
  local output
  if ! output=$("$@" 2>&1); then
    printf '%s\n' "$output" | tail -n 20 >&2
    die "\"$*\" failed, see above"
  fi
}

# packages NAME...: installs those of Debian's packages that are missing.
packages() {
  local missing=() name
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    say "Debian packages: all there"
    return
  fi
  [ "$(id -u)" = 0 ] || die "not root, so these packages cannot be installed: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  run "apt-get update" apt-get update -q
  run "apt-get install ${missing[*]}" apt-get install -qy --no-install-recommends "${missing[@]}"
}

# What pyrunc needs to be built (python-prctl and init.c are compiled) and to run.
PACKAGES=(
  python3 python3-venv python3-pip python3-dev gcc libc6-dev libcap-dev
  python3-seccomp busybox-static
)

command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
  die "this script installs Debian packages, and there is no apt-get here: see \"Installation\" in README.md"
