# Sourced by callload's bench.sh and by ws.sh: our whole platform on one core, where calls to the user `bench` and
# sockets of /ws/bench are answered, played a tone and recorded in stereo. RINGFLEET is the program (see bench/run).
PEER_PORT=${RINGFLEET_BENCH_PORT:-5064}
PEER_WS_PORT=${RINGFLEET_BENCH_WS_PORT:-8094}
peer_start() {
  local d=$1 a=$2 r=$3
  ulimit -n "$(ulimit -Hn)"
  # callload's own media is at 40000 and above.
  $PRE taskset -c "$PEER_CPU" "${RINGFLEET:?path of the built ringfleet}" up --json --log warn \
    --data "$d/data" --models "$d/no-models" --http 127.0.0.1:0 --sip "127.0.0.1:$PEER_PORT" \
    --ws "127.0.0.1:$PEER_WS_PORT" --rtp-ports "${RINGFLEET_BENCH_RTP_PORTS:-20000-39999}" --max-calls 5000 --set fleet.media_threads=1 \
    --set "fleet.bench_wav=$a/tone1k.wav" --set "fleet.bench_folder=$r" > "$d/out.log" 2> "$d/err.log" &
  PEER_PIDS=$!
}
