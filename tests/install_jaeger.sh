#!/usr/bin/env sh
# Builds a Jaeger for the tests that ask a real one, once, into a cache outside of the tree; it needs Go, and 5 to 25 minutes.
# Where one is on PATH or in the cache it does nothing. Without Go, and when it cannot be built, it says so and exits with 1.
set -eu
bin="$HOME/.cache/sluiceway/bin"
jaeger="$bin/jaeger"

if command -v jaeger >/dev/null; then echo "a Jaeger is on PATH: $(command -v jaeger)"; exit 0; fi
if [ -x "$jaeger" ]; then echo "a Jaeger is there already: $jaeger"; exit 0; fi
if ! command -v go >/dev/null; then echo "no Jaeger, and no Go to build one with (https://go.dev/dl)" >&2; exit 1; fi

mkdir -p "$bin"
work="$bin/building"
if ! mkdir "$work" 2>/dev/null; then
  if [ -n "$(find "$work" -maxdepth 0 -mmin -60)" ]; then echo "it is being built: see $work/log"; exit 0; fi
  rm -rf "$work"  # of a build that was killed
  mkdir "$work"
fi
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
export CGO_ENABLED=0 GOFLAGS="-p=2 -buildvcs=false"

# 2.20.0 by its commit, since Go takes no version of 2 under this path. The module proxy may not have it; the last release
# that Go knows by a name is 1.76.0, the same program as 2.13. That one is built in a copy of its own module, which
# keeps its checksums and its `replace`, of which `go install` of a version allows none.
module=github.com/jaegertracing/jaeger
echo "building Jaeger; the log is $work/log"
if ! GOBIN="$work" go install "$module/cmd/jaeger@v1.76.1-0.20260720033334-798e4b0fcf22" >"$work/log" 2>&1; then
  cd "$work"
  go mod download -json "$module@v1.76.0" >module.json 2>>log || { tail -n 5 log >&2; exit 1; }
  cp -r "$(sed -n 's/^[[:space:]]*"Dir": "\(.*\)".*/\1/p' module.json)" source
  chmod -R u+w source
  (cd source && go build -ldflags="-s -w" -o "$work/jaeger" ./cmd/jaeger) >>log 2>&1 || { tail -n 5 log >&2; exit 1; }
fi
mv "$work/jaeger" "$jaeger"
echo "built: $jaeger"
