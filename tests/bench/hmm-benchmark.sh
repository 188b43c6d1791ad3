#!/bin/bash
# The kernel's own benchmark of huge pages that migrate: our dummy device with the unified engine takes
# no more instructions than the kernel's test_hmm, either way, with huge pages or without.

# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/../vm/lib.sh"
. "$VM/cases.sh"

# What interrupts the guest now and then is not the same in both runs.
tolerance=1.01

# measured KERNEL NAME ADD... -- COMMAND: lines "SIZE WAY PAGES TIME", in millions of instructions
measured() {
	local kernel=$1 name=$2 add=()
	shift 2
	while [ "$1" != -- ]; do
		add+=(--add "$1")
		shift
	done
	"$VM/run" "$kernel" --name "$name" --icount --cpus 1 --timeout 1500 \
		--add "$SOURCE/hmm-tests:/hmm-tests" ${add[@]+"${add[@]}"} -- \
		"$2 && /hmm-tests -v hmm_device_private -t $BENCHMARK" |
		awk -F'[|(]' '/^=== / { size = $2; sub(/ .*/, "", size) }
			/^(Sys->Dev|Dev->Sys) Migration/ {
				split($0, way, " "); split($2, huge, " "); split($3, small, " ")
				print size, way[1], "huge", huge[1]; print size, way[1], "small", small[1]
			}'
}

# not_slower KERNEL
not_slower() {
	local dir
	among "$1"
	linux_source 7.3 trixie-backports
	kernel "$1"
	dir=$(mktemp -d)
	in_rootfs "$KERNEL:$ROOTFS" "$dir:/out" "$VM:/vm" "$SOURCE:/source" -- \
		env UNCHANGED=1 /vm/chroot/upstream "$KVER" >"$dir/log" 2>&1 || { tail -30 "$dir/log"; return 1; }
	modules "$1"
	measured "$1" benchmark-kernel "$dir/driver/test_hmm.ko:/test_hmm.ko" -- 'insmod /test_hmm.ko' >"$dir/theirs" &
	measured "$1" benchmark-ours -- 'modprobe onewalk engine=unified && modprobe onewalk_dummy' >"$dir/ours"
	wait
	echo "# MiB, way, pages; million instructions: the kernel's, ours"
	paste -d' ' "$dir/theirs" "$dir/ours" | awk -v tolerance="$tolerance" '
		{ slower = $8 > $4 * tolerance
		  printf "# %s %s %s: %s %s%s\n", $1, $2, $3, $4, $8, slower ? " slower" : ""
		  bad += slower }
		$1 != $5 || $2 != $6 || $3 != $7 { bad++ }
		END { exit bad || NR != 28 }' || fail 'slower than the kernel, see above'
	rm -r "$dir"
}

test_huge_pages_migrate_in_no_more_instructions_than_the_kernel_takes_on_7_3() { not_slower 7.3; }

. "$VM/ktap.sh"
