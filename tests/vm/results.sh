# shellcheck shell=bash
# Counted results: one line per case as it comes, and the sum at the end.

RESULTS=$TREE/build/logs/results

results_begin() {
	mkdir -p "${RESULTS%/*}"
	: >"$RESULTS"
}

# result ok|skip|"not ok" NAME [REASON]
result() {
	echo "$1 $2${3:+ # $3}"
	printf '%s\t%s\t%s\n' "$1" "$2" "${3:-}" >>"$RESULTS"
}

count() { awk -F'\t' -v status="$1" '$1 == status { n++ } END { print n + 0 }' "$RESULTS"; }

# results_end: the last line; fails if a result has failed, or there is none
results_end() {
	local failed
	failed=$(count 'not ok')
	if [ "$failed" -gt 0 ]; then
		echo "failed:"
		awk -F'\t' '$1 == "not ok" { print "  " $2 ($3 ? "  # " $3 : "") }' "$RESULTS"
	fi
	echo "$(count ok) passed, $failed failed, $(count skip) skipped"
	[ "$failed" = 0 ] && [ -s "$RESULTS" ]
}

# never_ran: the tests skipped wherever they were run, whatever their variant, and the variants
# of which all tests were skipped. The kernel's own hmm-tests skip what its own test_hmm would
# need, too.
never_ran() {
	awk -F'\t' '
		function note(test) {
			if ($1 == "skip")
				skipped[test] = $3
			else
				ran[test] = 1
		}
		{ sub(".*/", "", $2); n = split($2, part, ".") }
		part[1] == "hmm-tests" { next }
		n < 3 { note($2); next }
		{
			note(part[1] ".*." part[n])
			sub("[^.]*$", "*", $2)
			note($2)
		}
		END { for (test in skipped) if (!(test in ran)) print test "\t" skipped[test] }' "$RESULTS"
}

# selected NAME: does TESTS ask for KERNEL/MODE/PROGRAM.CASE, by that name, without
# its directories, or by its program?
selected() {
	local glob last=${1##*/}
	[ "${TESTS:-}" ] || return 0
	for glob in "${GLOBS[@]}"; do
		# shellcheck disable=SC2053
		if [[ $1 == $glob || $last == $glob || ${last%%.*} == $glob ]]; then
			return 0
		fi
	done
	return 1
}
read -ra GLOBS <<<"${TESTS:-}"

# case_name PROGRAM NAME: without what says the program's name again
case_name() {
	local name=${2#global.}
	echo "${1%.sh}.${name#"${1%.sh}".}"
}

# ktap_begin PREFIX PROGRAM, ktap_line LINE..., ktap_end [EXIT STATUS]: the KTAP of one program
ktap_begin() { KTAP_PREFIX=$1 KTAP_PROGRAM=$2 KTAP_PLAN='' KTAP_COUNT=0 KTAP_FAILED=0 KTAP_NOTES=(); }

ktap_notes() { [ ${#KTAP_NOTES[@]} = 0 ] || printf '    %s\n' "${KTAP_NOTES[@]}" | tail -n 40; }

# ktap_reason: why the case failed: it did not come to its end, or the first expectation that was not met
ktap_reason() {
	local note ended='# [^ ]+: (Test (terminated by timeout|terminated unexpectedly|ended in some other way).*)'
	local reason=''
	for note in ${KTAP_NOTES[@]+"${KTAP_NOTES[@]}"}; do
		if [[ $note =~ $ended ]]; then
			reason=${BASH_REMATCH[1]}
			break
		elif [ -z "$reason" ] && [[ $note =~ ^#\ ([a-z0-9_]+\.c:[0-9]+):[^:]*:(Expected\ .*) ]]; then
			reason="${BASH_REMATCH[1]}: ${BASH_REMATCH[2]}"
		fi
	done
	echo "$reason"
}

ktap_line() {
	local name reason
	if [[ $1 =~ ^1\.\.([0-9]+) ]]; then
		KTAP_PLAN=${BASH_REMATCH[1]}
	elif [[ $1 =~ ^(ok|not\ ok)\ [0-9]+\ (-\ )?([^ #]+)(\ +#\ *(SKIP|XFAIL)?\ *(.*))?$ ]]; then
		KTAP_COUNT=$((KTAP_COUNT + 1))
		name=$KTAP_PREFIX/$(case_name "$KTAP_PROGRAM" "${BASH_REMATCH[3]}")
		reason=${BASH_REMATCH[6]}
		if ! selected "$name"; then
			:
		elif [ "${BASH_REMATCH[5]}" = SKIP ]; then
			result skip "$name" "$reason"
		elif [[ $1 == ok* ]]; then
			result ok "$name"
		else
			KTAP_FAILED=$((KTAP_FAILED + 1))
			ktap_notes
			result 'not ok' "$name" "${reason:-$(ktap_reason)}"
		fi
		KTAP_NOTES=()
	else
		KTAP_NOTES+=("$1")
	fi
}

ktap_end() {
	local exit=${1:-0} wrong=
	if [ -z "$KTAP_PLAN" ]; then
		wrong="printed no plan (exit status $exit)"
	elif [ "$KTAP_COUNT" != "$KTAP_PLAN" ]; then
		wrong="printed $KTAP_COUNT results of $KTAP_PLAN (exit status $exit)"
	elif [ "$exit" != 0 ] && [ "$exit" != 4 ] && [ "$KTAP_FAILED" = 0 ]; then
		wrong="exit status $exit, though no case failed"
	fi
	if [ "$wrong" ]; then
		ktap_notes
		result 'not ok' "$KTAP_PREFIX/${KTAP_PROGRAM%.sh}" "$wrong"
	fi
}
