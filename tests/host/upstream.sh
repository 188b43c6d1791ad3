#!/bin/bash
# A driver that is written for "Migrate on fault for device pages" (v9), not for us: the kernel's
# own test_hmm, changed to call as that series has it.

# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../vm/lib.sh"
. "$VM/cases.sh"

offered='hmm_range_fault|hmm_range_fault_unlocked_timeout|migrate_vma_setup|migrate_vma_pages|migrate_vma_finalize|migrate_hmm_range_setup'

# driver KERNEL DIR: leaves the driver, and the symbols that it wants, in DIR
driver() {
	linux_source 7.3 trixie-backports
	modules "$1"
	in_rootfs "$KERNEL:$ROOTFS" "$2:/out" "$VM:/vm" "$SOURCE:/source" "$MODULES:/onewalk" \
		"$TREE/include:/include" "$TREE:/tree" -- \
		env NATIVE="${NATIVE:-}" /vm/chroot/upstream "$KVER" >"$2/build.log" 2>&1 ||
		{ tail -30 "$2/build.log"; fail 'it does not build'; }
}

# in_guest KERNEL DIR NAME OPTIONS -- COMMAND: with the driver loaded; what is printed are no results of this test's
in_guest() {
	local kernel=$1 dir=$2 name=$3 options=()
	shift 3
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	"$VM/run" "$kernel" --name "$name" --timeout 1200 ${options[@]+"${options[@]}"} \
		--add "$dir/driver/test_hmm.ko:/test_hmm.ko" --add "$SOURCE/hmm-tests:/hmm-tests" -- \
		"echo 8 >/proc/sys/vm/nr_hugepages && modprobe onewalk && insmod /test_hmm.ko && { $2; }
		status=\$?; rmmod test_hmm onewalk && exit \$status" 2>&1 | sed 's/^/# /'
	return "${PIPESTATUS[0]}"
}

# passes KERNEL: every call that we offer goes through us, and all of the kernel's tests pass
passes() {
	local dir status=0
	among "$1"
	dir=$(mktemp -d)
	driver "$1" "$dir"
	if grep -xE "$offered" "$dir/symbols"; then
		fail 'it calls the kernel for the above'
	fi
	[ "$(grep -cE '^onewalk_(range_fault|range_fault_unlocked|migrate_range_setup|migrate_setup|migrate_pages|migrate_finalize)$' "$dir/symbols")" = 6 ]
	# migrate_mixed wants what another device has to stay there: it is not to be faulted in
	in_guest "$1" "$dir" upstream -- "/hmm-tests -T $BENCHMARK -T migrate_mixed &&
		echo 0 >/sys/module/test_hmm/parameters/fault && /hmm-tests -t migrate_mixed" || status=$?
	[ "$status" = 0 ] && is_counted "$1" "$dir" || status=1
	rm -r "$dir"
	return "$status"
}

# is_counted KERNEL DIR: each of our calls does happen, and the kernel's way to do the same does not
is_counted() {
	local probes=/sys/kernel/tracing counts
	counts=$(in_guest "$1" "$2" upstream-calls --in-turn -- "for call in range_fault migrate_range_setup migrate_setup migrate_pages migrate_finalize; do
			echo p:our_\$call onewalk_\$call
		done >$probes/kprobe_events
		for call in hmm_range_fault migrate_vma_setup; do
			echo p:kernel_\$call \$call
		done >>$probes/kprobe_events
		echo 1 >$probes/events/kprobes/enable
		/hmm-tests -t migrate -t migrate_fault -t migrate_anon_huge_fault || exit
		echo 0 >$probes/events/kprobes/enable
		cat $probes/kprobe_profile
		echo >$probes/kprobe_events") || return
	echo "$counts"
	awk '$2 ~ /^our_/ { n++; if (!$3) bad = 1 } $2 ~ /^kernel_/ { n++; if ($3) bad = 1 }
		END { exit bad || n != 7 }' <<<"$counts"
}

test_driver_for_upstream_passes_the_hmm_tests_of_the_kernel_on_7_2() { passes 7.2; }

test_driver_for_upstream_passes_the_hmm_tests_of_the_kernel_on_7_3() { passes 7.3; }

# The same source, where the kernel itself has what we offer, wants nothing of ours.
test_driver_for_upstream_builds_on_a_kernel_that_has_it() {
	local dir
	among 7.3
	dir=$(mktemp -d)
	NATIVE=1 driver 7.3 "$dir"
	! grep onewalk "$dir/symbols" || fail 'it wants the above of ours'
	grep -x migrate_hmm_range_setup "$dir/symbols"
	rm -r "$dir"
}

. "$VM/ktap.sh"
