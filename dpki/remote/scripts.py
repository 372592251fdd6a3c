"""The shell scripts that set a host up; each can be run again, and then does what is left.

What they need to know are their arguments; a host's own words never become a part of them.
"""

from __future__ import annotations

from datetime import timedelta

SHORT = timedelta(minutes=3)
LONG = timedelta(minutes=20)
"""For what downloads libraries, on a small board and a slow line."""

INSTALL = r"""
set -eu; umask 022; python=$1; target=$2; source=$3
[ -x "$target/bin/python" ] || "$python" -m venv "$target" >&2
if [ "$source" = - ]; then
  folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
  source=$folder/$4; cat >"$source"
fi
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --upgrade \
  -- "$source" >&2
"""
"""Arguments: Python, the folder, what pip takes (`-`: standard input), that file's name."""

SET_UP = r"""
set -eu; umask 077; program=$1; directory=$2; given=$3; shift 3
if [ ! -e "$directory/device.toml" ]; then
  if [ "$given" = key ]; then
    key=$(mktemp); trap 'rm -f "$key"' EXIT; cat >"$key"
    set -- "$@" --break-glass "$key"
  fi
  "$program" device init --dir "$directory" "$@" >&2
else
  "$program" device request --dir "$directory" --if-expired >&2
fi
cat "$directory/enroll.request"
"""
"""Arguments: dpki, the device's folder, `key` where standard input is the break-glass key, then
options of `dpki device init`. Prints the request."""

FINISH = r"""
set -eu; umask 022; program=$1; directory=$2
# Before the service, which has the folder to itself from then on.
if [ -z "$3" ]; then "$program" agent once --dir "$directory" >&2; exit; fi
if ! systemctl is-active --quiet dpki-agent.service; then
  "$program" agent once --dir "$directory" >&2
fi
"$program" agent install --dir "$directory" >&2
"""
"""Arguments: dpki, the device's folder, and anything where the agent becomes a service."""
