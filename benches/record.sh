#!/bin/sh
# Measures everything and writes the record: results.md beside this script and the README's chart.
#
#   benches/record.sh [PEERS]
#
# PEERS is a directory with the binaries that peers.sh makes (default target/peers, made if missing). As root,
# on a machine that does nothing else: about seven minutes, and several more when peers have to be built first.
# ROUNDS=N sets the samples of each runtime (25); SEQUENCE=N the containers in a row (500).
set -eu

cd "$(dirname "$0")/.."
peers=${1:-target/peers}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/x86_64-unknown-linux-gnu/release
out=benches

[ "$(id -u)" = 0 ] || { echo "record.sh: needs root" >&2; exit 1; }
if [ ! -e "$peers/crun-static" ] && [ ! -e "$peers/crun-new" ] || [ ! -e "$peers/nucleus-container" ]; then
    benches/peers.sh "$peers"
fi
cargo build --release -p nucleus-runtime -p nucleus -p nucleus-benches

set -- --runtime "nucleus=$target/nucleus-runtime" --runtime "nucleus run=$target/nucleus"
for name in crun-new crun-static nucleus-container; do
    if [ -x "$peers/$name" ]; then
        set -- "$@" --runtime "$name=$peers/$name"
    else
        echo "record.sh: no $name: the record will be without it" >&2
    fi
done

# The build itself leaves a load behind, which decays within minutes.
waited=0
while awk '{ exit !($1 > 0.3) }' /proc/loadavg && [ "$waited" -lt 180 ]; do
    [ "$waited" -gt 0 ] || echo "record.sh: waiting for the machine to come to rest" >&2
    sleep 5
    waited=$((waited + 5))
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$target/nucleus-benches" measure run lifecycle exec syscalls rss throughput sequence sandbox "$@" \
    --base limit,crun-static,crun --rounds "${ROUNDS:-25}" --sequence "${SEQUENCE:-500}" \
    --markdown "$scratch/results.md" --json "$target/results.json" --svg "$scratch/chart.svg"
"$target/nucleus-benches" attest --nucleus "$target/nucleus" >>"$scratch/results.md"
"$target/nucleus-benches" network --nucleus "$target/nucleus" >>"$scratch/results.md"

# In place only when all went well: a record is whole or as it was.
cp "$scratch/results.md" "$out/results.md"
cp "$scratch/chart.svg" "$out/cold-start.svg"
echo "record.sh: wrote $out/results.md and $out/cold-start.svg"
