# shellcheck shell=sh disable=SC2317
# Sourced at the end of a shell test, in a guest or on the host: runs each of the
# script's functions test_NAME() in a shell of its own, as the KTAP case NAME.
#   a command that fails fails the case;  skip "why" skips it;  fail "why" fails it
#   among KERNEL skips it, on the host, unless this is one of the kernels to test
# Helpers and fixtures are the script's other functions.

ktap_reason=$(mktemp)

skip() { echo "$*" >"$ktap_reason"; exit 4; }
fail() { echo "# $*"; exit 1; }

among() {
	case " ${KERNELS_TO_TEST:-$1} " in
	*" $1 "*) ;;
	*) skip "not among the kernels to test: $1" ;;
	esac
}

ktap_main() {
	set +e
	count=0 failed=0
	echo "TAP version 13"
	echo "1..$#"
	for case; do
		count=$((count + 1))
		(set -e; "test_$case") 2>&1
		case $? in
		0) echo "ok $count $case" ;;
		4) echo "ok $count $case # SKIP $(cat "$ktap_reason")" ;;
		*) echo "not ok $count $case"; failed=1 ;;
		esac
	done
	rm "$ktap_reason"
	return $failed
}

# The cases named by the script's arguments; all, if there are none
if [ $# -gt 0 ]; then
	ktap_main "$@"
else
	# shellcheck disable=SC2046
	ktap_main $(sed -nE 's/^test_([A-Za-z0-9_]+)\(\).*/\1/p' "$0")
fi
exit
