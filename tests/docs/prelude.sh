# Read by the script of a document before its first command: what stands around the commands of a reader.
set -eEm
exec 2>&1
PS4='@${LINENO} '
beside=()
said=$(mktemp -d)

# Start a command as in another shell, and wait until it has said something. It gets its Ctrl-C when the document ends.
until_ctrl_c() {
  { set +x; } 2> /dev/null
  local its=$said/${#beside[@]}
  bash -c "$1" > "$its" 2> "$its.errors" &
  beside+=($!)
  until [ -s "$its" ]; do
    kill -0 $!
    sleep 0.05
  done
  cat "$its"
  { set -x; } 2> /dev/null
}

# Nothing is left behind; what ends badly, by itself or at its Ctrl-C, fails the document.
press_ctrl_c() {
  local each its
  for each in "${beside[@]}"; do
    kill -INT -- "-$each" 2> /dev/null # it may have ended
  done
  for each in "${!beside[@]}"; do
    wait "${beside[each]}"
    its=$?
    case $its in
      0 | 2 | 130) ;; # 2 is make's word for it
      *) echo "what runs until Ctrl-C, number $((each + 1)) of this document, ended with $its" && ((code = code ? code : its)) ;;
    esac
    ((code)) && tail -n 15 "$said/$each" "$said/$each.errors"
  done
  rm -r "$said"
  exit "$code"
}
trap '{ code=$?; set +ex; } 2> /dev/null; press_ctrl_c' EXIT
set -x
