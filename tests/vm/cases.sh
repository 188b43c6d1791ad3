# shellcheck shell=bash
# Which tests there are, read from their sources.

# cases FILE: the names of a program's cases, as the program will print them
cases() {
	case $1 in
	*.sh) sed -nE 's/^test_([A-Za-z0-9_]+)\(\).*/\1/p' "$1" ;;
	*) awk -F'[(), \t]+' '
		/^FIXTURE_VARIANT_ADD\(/ { variants[$2] = variants[$2] " " $3 }
		/^TEST(_SIGNAL)?\(/ { print $2 }
		/^TEST_F(_TIMEOUT|_SIGNAL)?\(/ { fixture[++n] = $2; test[n] = $3 }
		END {
			for (i = 1; i <= n; i++) {
				count = split(variants[fixture[i]], variant, " ")
				for (v = 1; v <= count; v++)
					print fixture[i] "." variant[v] "." test[i]
				if (!count)
					print fixture[i] "." test[i]
			}
		}' "$1" ;;
	esac
}

# harness_name FILE CASE: what the program itself calls it
harness_name() {
	case $1,$2 in
	*.sh,* | *,*.*) echo "$2" ;;
	*) echo "global.$2" ;;
	esac
}

guest_tests() { find "$TREE/tests/selftest" \( -name '*.c' -o -name '*.sh' \) ! -name common.c | sort; }

# host_tests: with those that take long, where there is time for everything or TESTS may ask for them
host_tests() {
	local dirs=("$TREE/tests/host")
	[ -z "${LONG:-}${TESTS:-}" ] || dirs+=("$TREE/tests/bench")
	find "${dirs[@]}" -maxdepth 1 -name '*.sh' | sort
}

# in_short: on a slow kernel, unless there is time for everything (LONG), a test is run in one
# way only, and what is not about what the kernel finds ("vm: not on a slow kernel") not at all
in_short() { [ "$SLOW" != 1 ] && [ -z "${LONG:-}" ]; }

# modes FILE: the ways in which a test is run on the kernel of kernel_row: with each kind of
# memory, but for those that it has nothing to say about (a comment "vm: not with memory=KIND"),
# or the first of them if any will do ("vm: one kind of memory:", and unless there is time "vm:
# one kind of memory in a short run:"), and with the engine that is not
# the best if it asks for both
modes() {
	local kind first=''
	case $1 in
	*.sh) echo any ;;
	*)
		! in_short || ! grep -q 'vm: not on a slow kernel' "$1" || return 0
		for kind in ${MEMORY//,/ }; do
			! grep -q "vm: not with memory=$kind" "$1" || continue
			printf '%s ' "$kind"
			first=${first:-$kind}
			! in_short || return 0
			! grep -q 'vm: one kind of memory:' "$1" || break
			[ "${LONG:-}" ] || ! grep -q 'vm: one kind of memory in a short run:' "$1" || break
		done
		[ -z "$first" ] || ! grep -q '\* engines: both' "$1" || echo "$first,portable"
		;;
	esac
}

# test_list KERNEL: for those that TESTS asks for, lines "MODE PROGRAM ARGS...",
# ARGS being the cases if they are not all
test_list() {
	local file program mode case all chosen option
	kernel_row "$1"
	for file in $(guest_tests); do
		program=$(basename "$file" .c)
		[ "$program" = "${file##*/}" ] && option='' || option='-r '
		mapfile -t all < <(cases "$file")
		for mode in $(modes "$file"); do
			chosen=()
			for case in "${all[@]}"; do
				! selected "$1/$mode/$(case_name "$program" "$case")" || chosen+=("$option$(harness_name "$file" "$case")")
			done
			[ ${#chosen[@]} -lt ${#all[@]} ] || chosen=('')
			[ ${#chosen[@]} = 0 ] || echo "$mode $program ${chosen[*]}"
		done
	done
	if [[ $MEMORY == *private* ]] && hmm_tests_selected; then
		echo "hmm hmm-tests $(hmm_tests_options unified)"
		in_short || echo "hmm,portable hmm-tests $(hmm_tests_options portable)"
	fi
}

# The one of the kernel's hmm-tests that measures: minutes long, and it checks little
BENCHMARK=benchmark_thp_migration

# is_newest: is the kernel of kernel_row the newest that Debian ships?
is_newest() {
	[ "$SERIES $CONFIG" = "$(awk '!/^#/ && $5 == "-" { last = $3 " " $5 } END { print last }' "$VM/kernels")" ]
}

# hmm_tests_options ENGINE: what hmm-tests are told on the kernel of kernel_row
hmm_tests_options() {
	if [ "$SLOW" = 1 ] && { [ "${LONG:-}" ] || { [ "$1" = unified ] && is_newest; }; }; then
		return
	fi
	echo "-T $BENCHMARK"
}

# hmm_tests_left_out ENGINE: and what to say of it, if the hmm-tests of linux_source have that test
hmm_tests_left_out() {
	[ "$(hmm_tests_options "$1")" ] && grep -q "$BENCHMARK" "$SOURCE/hmm-tests" || return 0
	echo "$BENCHMARK: a benchmark, for a kernel at its usual speed and, in a short run, the newest and its better engine"
}

# The cases of the kernel's hmm-tests are known only when it runs.
hmm_tests_selected() {
	local glob
	[ "${TESTS:-}" ] || return 0
	for glob in "${GLOBS[@]}"; do
		# shellcheck disable=SC2053
		if [[ hmm-tests == ${glob%%.*} ]]; then
			return 0
		fi
	done
	return 1
}

# stress_engines: with which the stress is run on the kernel of kernel_row: it is those that check
# themselves on which it finds most, and, where there is time, the oldest as users have it
stress_engines() {
	if [ "${LONG:-}" ]; then
		if [ "$SLOW" != 1 ] || [ "$SERIES $CONFIG" = "$(oldest)" ]; then
			printf '%s\n' unified portable
		fi
	elif [ "$SLOW" != 1 ]; then
		echo unified
	fi
}

oldest() { awk '!/^#/ && NF { print $3 " " $5; exit }' "$VM/kernels"; }

# vm_options FILE: what the boot must be like, from a comment "vm: OPTIONS" (those of tests/vm/run)
# It is a line in any case.
vm_options() {
	sed -nE 's|^.*\bvm: (--.*[^ ]) *\*/.*|\1|p; s|^# *vm: (--.*)$|\1|p' "$1" | awk 'NR == 1; END { if (!NR) print "" }'
}
