# Stands beside a server and outlives its owner by a moment: $1 is the signal that stops the server, the other
# arguments are folders to remove afterwards. The owner holds the other end of our stdin and tells us
# "pid N" (this is the server now), "pid" (there is none now) and "done" (go away). When the owner dies,
# however it dies, the kernel closes that end; then the server is stopped and the folder removed.
signal=$1
shift
pid=
while read -r word value; do
  case $word in
    pid) pid=$value ;;
    done) exit 0 ;;
  esac
done

alive() {
  kill -0 "$pid" 2>/dev/null || return 1
  # a container's process 1 may never reap what it inherits: a zombie is as good as gone
  case $(cat "/proc/$pid/stat" 2>/dev/null) in *") Z "*) return 1 ;; esac
}

if [ -n "$pid" ]; then
  # it may have been paused by a test, and its children with it
  children=$(cat /proc/"$pid"/task/*/children 2>/dev/null || pgrep -P "$pid" 2>/dev/null)
  kill -s CONT "$pid" $children 2>/dev/null
  kill -s "$signal" "$pid" 2>/dev/null
  turns=0
  while alive && [ $turns -lt 200 ]; do
    sleep 0.05 2>/dev/null || sleep 1
    turns=$((turns + 1))
  done
  if alive; then kill -s KILL "$pid"; fi
fi
[ $# -eq 0 ] || rm -rf "$@" || { sleep 1; rm -rf "$@"; }
