#!/usr/bin/env bash
# Run by bench/run: calls by WebSocket to the bench's path, the server on one core and ws_load on the other, a fresh server
# for each number of calls. Writes what bench.sh writes: ringfleet-ws-media-N.json and ringfleet-ws-wavs-N.json.
set -euo pipefail
sizes=$1
: "${HARNESS:?}" "${RUN:?}" "${OUT:?}" "${RINGFLEET:?}" "${WSLOAD:?}"
PEER_CPU=${PEER_CPU:-0}; LOAD_CPU=${LOAD_CPU:-1}; HOLD=${HOLD:-20}; RAMP=${RAMP:-40}
PRE=; if [ "${RT:-0}" = 1 ]; then PRE="chrt -r 10"; fi; export PRE
PEER_PIDS=
. "$HARNESS/peers/ringfleet.sh"
stop() { [ -z "$PEER_PIDS" ] || { kill "$PEER_PIDS" 2> /dev/null || true; wait "$PEER_PIDS" 2> /dev/null || true; }; PEER_PIDS=; }
trap stop EXIT
ulimit -n "$(ulimit -Hn)"
[ -f "$RUN/audio/tone1k.wav" ] || python3 "$HARNESS/tools/make_audio.py" "$RUN/audio" 120
for n in $sizes; do
  stop
  rm -rf "$RUN/ws" "$RUN/rec"; mkdir -p "$RUN/ws" "$RUN/rec"
  peer_start "$RUN/ws" "$RUN/audio" "$RUN/rec"
  up=
  for _ in $(seq 120); do
    if (: > "/dev/tcp/127.0.0.1/$PEER_WS_PORT") 2> /dev/null; then up=1; break; fi
    sleep 0.5
  done
  [ -n "$up" ] || { echo "the server did not come up:" >&2; cat "$RUN/ws/err.log" >&2; exit 1; }
  sleep 2
  $PRE taskset -c "$LOAD_CPU" "$WSLOAD" --url "ws://127.0.0.1:$PEER_WS_PORT/ws/bench" --calls "$n" --rate "$RAMP" --hold "$HOLD" \
    --pids "$PEER_PIDS" --label ringfleet-ws --out "$OUT/ringfleet-ws-media-$n.json" > /dev/null
  sleep 3
  python3 "$HARNESS/tools/check_wavs.py" "$RUN/rec" "$n" "$HOLD" 20 | tee "$OUT/ringfleet-ws-wavs-$n.json"
  if [ -s "$RUN/ws/err.log" ]; then echo "--- it said:"; tail -n 20 "$RUN/ws/err.log"; fi
done
