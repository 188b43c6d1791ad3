#!/bin/bash
# The planted bugs of `make mutants` can be planted still, and what is to kill them is there.

. "$(dirname "$0")/../vm/lib.sh"
. "$VM/patches.sh"

test_every_patch_applies_to_the_source() {
	local name work bad=0
	need_tool patch patch
	work=$(mktemp -d)
	copy_sources "$TREE" "$work"
	for name in $(mutant_names); do
		plant "$name" "$work" --dry-run >"$work/log" 2>&1 || { sed "s/^/# $name: /" "$work/log"; bad=1; }
	done
	rm -r "$work"
	return $bad
}

# is_test GLOB: is there one of this name among $tests?
is_test() {
	local test
	for test in $tests; do
		# shellcheck disable=SC2053
		[[ $test != $1 ]] || return 0
	done
	return 1
}

# is_report PATTERN: does it begin with one of splats?
is_report() {
	local splat
	while read -r splat; do
		[[ $1 != "$splat"* ]] || return 0
	done <"$VM/splats"
	return 1
}

# complaints NAME: what is wrong with what its patch says
complaints() {
	local kernel test
	kernel=$(mutant_kernel "$1")
	kernel_names | grep -qxF -- "$kernel" || { echo "no such kernel: $kernel"; return; }
	[ "$(mutant_field "$1" killed-by)" ] || echo "nothing is to kill it"
	while read -r test; do
		is_test "$test" || echo "no such test: $test"
	done < <(mutant_tests "$1")
	while read -r test; do
		is_report "$test" || echo "not among splats: $test"
	done < <(mutant_reports "$1"; mutant_echoes "$1")
}

# kernels_of: those that the mutants are run on
kernels_of() { mutant_names | while read -r name; do mutant_kernel "$name"; done | sort -u | paste -sd' '; }

test_every_patch_names_a_test_that_there_is() {
	local name tests all
	tests=$(KERNELS=$(kernels_of) "$VM/list-tests")
	all=$(for name in $(mutant_names); do complaints "$name" | sed "s/^/# $name: /"; done)
	[ -z "$all" ] || { echo "$all"; return 1; }
}

. "$VM/ktap.sh"
