#!/bin/bash
# What compilers and the kernel's own checkers say of the sources.

. "$(dirname "$0")/../vm/lib.sh"
read -ra kernels <<<"${KERNELS_TO_TEST:-$(usual_kernels | paste -sd' ')}"

# checked_build ARGS...: on each kernel
checked_build() {
	local name work
	for name in "${kernels[@]}"; do
		kernel "$name"
		work=$(mktemp -d)
		copy_sources "$TREE" "$work/source"
		echo "# $name"
		in_rootfs "$KERNEL:$ROOTFS" "$work:/out" "$VM:/vm" -- /vm/chroot/checked-build "$KVER" "$@" 2>&1
		rm -r "$work"
	done
}

# c_sources: ours, relative to the tree
c_sources() { sources "$TREE" | tr '\0' '\n' | grep '\.[ch]$'; }

# in_kernel_source COMMAND...: in a copy of the tree, with what is kept of the newest linux-source at /kernel
in_kernel_source() {
	local work
	work=$(mktemp -d)
	copy_sources "$TREE" "$work"
	linux_source 7.3 trixie-backports
	in_rootfs "$ROOTFS" "$work:/tree" "$SOURCE:/kernel" -- env -C /tree PYTHONDONTWRITEBYTECODE=1 "$@"
	rm -r "$work"
}

test_w1_and_sparse_are_clean_on_every_kernel() { checked_build W=1 C=2; }

test_checkpatch_strict_is_clean_but_for_listed_exceptions() {
	local files line type file excepted bad=0
	mapfile -t files < <(c_sources)
	mkdir -p "$TREE/build/logs"
	# its exit status only tells that it has said something
	in_kernel_source sh -c 'perl /kernel/scripts/checkpatch.pl --no-tree --strict --terse --show-types --no-summary \
		-f "$@" || [ $? = 1 ]' sh "${files[@]}" >"$TREE/build/logs/checkpatch.log" 2>&1
	while read -r line; do
		[[ $line =~ ^([^:]+):[0-9]+:\ (ERROR|WARNING|CHECK):([A-Z0-9_]+): ]] || { echo "# $line"; bad=1; continue; }
		file=${BASH_REMATCH[1]} type=${BASH_REMATCH[3]}
		excepted=
		while read -r except glob _; do
			# shellcheck disable=SC2053
			[[ $type != "$except" || $file != $glob ]] || excepted=1
		done < <(grep -v '^#' "$(dirname "$0")/checkpatch.exceptions")
		[ "$excepted" ] || { echo "# $line"; bad=1; }
	done <"$TREE/build/logs/checkpatch.log"
	return $bad
}

test_kernel_doc_is_clean() {
	local files
	mapfile -t files < <(c_sources | grep -E '^(include|src)/')
	in_kernel_source python3 /kernel/tools/docs/kernel-doc -none -Werror "${files[@]}"
}

test_sources_know_no_kernel_version() {
	! grep -rn 'LINUX_VERSION_CODE\|KERNEL_VERSION' "$TREE/src" "$TREE/include"
}

test_shell_scripts_pass_shellcheck() {
	need_tool shellcheck shellcheck
	cd "$TREE"
	git ls-files -z --cached --others --exclude-standard | xargs -0 grep -lE '^#!/bin/(ba)?sh' |
		xargs shellcheck
}

. "$VM/ktap.sh"
