# shellcheck shell=bash
# What the scripts in this folder share. Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv
# Big tools outlive clones: they are kept here, each in a folder named after its exact version.
# shellcheck disable=SC2034 # read by what sources this
CACHE=${XDG_CACHE_HOME:-${HOME:-$ROOT/.venv}/.cache}/dpki

say() { printf '%s\n' "$*" >&2; }
fail() {
  local status=$1
  shift
  say "$@"
  exit "$status"
}

# The environment of everything that runs after setup: tools on PATH, the compiler for py-solc-x.
enter_environment() {
  # shellcheck source=/dev/null
  . "$VENV/dpki-env"
  cd "$ROOT" || exit
}

# Run a command as a process group of its own and pass on what stops us, so that Ctrl-C (or a CI's
# SIGTERM, which pytest alone would die of without tearing anything down) ends all that it started.
run_to_the_end() {
  local child status=0
  set -m
  "$@" </dev/null &
  child=$!
  set +m
  trap 'kill -INT -- "-$child" 2>/dev/null; stopped=1' INT TERM HUP
  local stopped=
  # A trapped signal ends `wait` early; the child's own status comes from the wait after it.
  wait "$child" || status=$?
  while kill -0 "$child" 2>/dev/null; do
    status=0
    wait "$child" || status=$?
  done
  trap - INT TERM HUP
  [[ -z $stopped ]] || exit 130
  return "$status"
}
