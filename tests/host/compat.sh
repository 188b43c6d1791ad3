#!/bin/bash
# The probes tell the truth, and each of them is needed.

. "$(dirname "$0")/../vm/lib.sh"
read -ra kernels <<<"${KERNELS_TO_TEST:-$(usual_kernels | paste -sd' ')}"

# asked: the features that the sources ask for
asked() { grep -rhoE 'ONEWALK_(HAVE|EXPORTS)_[A-Z0-9_]+' "$TREE"/{src,include,compat}/ --include='*.[ch]' --exclude-dir={probe,generated} | sort -u; }

# answerable: the features that a probe, or the list of exports, gives
answerable() {
	local probe
	for probe in "$TREE"/compat/probe/*.c; do
		probe=$(basename "$probe" .c)
		[[ $probe == always_* ]] || echo "ONEWALK_HAVE_${probe^^}"
	done
	grep -vE '^(#|$)' "$TREE/compat/probe/exports" | tr '[:lower:]' '[:upper:]' | sed 's/^/ONEWALK_EXPORTS_/'
}

# in_probes KERNEL COMMAND: in a copy of the tree, with $kdir and $header set
in_probes() {
	local work status=0
	kernel "$1"
	work=$(mktemp -d)
	copy_sources "$TREE" "$work/source"
	in_rootfs "$KERNEL:$ROOTFS" "$work:/out" -- sh -c "cd /out/source
		kdir=/lib/modules/$KVER/build header=/out/features.h; $2" || status=$?
	[ ! -e "$work/features.h" ] || cat "$work/features.h"
	rm -r "$work"
	return $status
}

test_every_probe_is_used_and_every_question_has_a_probe() {
	diff <(asked) <(answerable | sort -u) || fail "< asked without a probe, > probe that nobody asks"
}

# A probe whose answer is the same everywhere may be one that outlived its kernel.
test_probes_run_on_every_kernel_and_constant_ones_are_listed() {
	local name answers all
	answers=$(mktemp -d)
	for name in "${kernels[@]}"; do
		in_probes "$name" 'compat/probe/run $kdir $header' | awk '/ONEWALK_(HAVE|EXPORTS)/ { print $2 }' >"$answers/$name"
		echo "# $name: $(wc -l <"$answers/$name") of $(answerable | wc -l)"
	done
	all=${#kernels[@]}
	answerable | while read -r name; do
		case $(cat "$answers"/* | grep -cx "$name") in
		0) echo "# constant on these kernels: $name is never there" ;;
		"$all") echo "# constant on these kernels: $name is always there" ;;
		esac
	done
	rm -r "$answers"
}

test_exported_is_read_from_the_symbol_table_of_the_target() {
	local name answer symbol
	for name in "${kernels[@]}"; do
		answer=$(in_probes "$name" 'compat/probe/run $kdir $header; cut -f2 $kdir/Module.symvers')
		while read -r symbol; do
			diff <(grep -cx "$symbol" <<<"$answer") <(grep -cx "#define ONEWALK_EXPORTS_${symbol^^} 1" <<<"$answer") ||
				fail "$symbol on $name"
		done < <(grep -vE '^(#|$)' "$TREE/compat/probe/exports")
	done
}

# refuses COMMAND SAYING: it fails, says why, and writes no header
refuses() {
	local said status=0
	said=$(in_probes "${kernels[0]}" "$1" 2>&1) || status=$?
	[ $status != 0 ] || fail "it went through: $said"
	grep -q "$2" <<<"$said" || fail "it said: $said"
	! grep -q _ONEWALK_FEATURES_H <<<"$said"
}

test_a_broken_compiler_is_an_error_and_not_an_absent_feature() {
	refuses 'MAKE="make CC=/bin/false" compat/probe/run $kdir $header' 'cannot compile for the kernel in'
}

test_missing_headers_are_an_error() {
	refuses 'compat/probe/run /nowhere $header' 'no kernel headers in /nowhere'
}

test_probes_that_pass_no_matter_what_are_an_error() {
	refuses 'cp compat/probe/always_pass.c compat/probe/always_fail.c; compat/probe/run $kdir $header' \
		'must fail compiled'
}

. "$VM/ktap.sh"
