# shellcheck shell=bash
# Running listed tests in guests, with results.sh and cases.sh.

# put_tests DIR LIST: what the guest gets as /tests
put_tests() {
	local file
	cp "$SELFTESTS"/* "$1/"
	cp "$VM/guest/selftests" "$1/run"
	! grep -q ' hmm-tests' "$2" || cp "$SOURCE/hmm-tests" "$1/"
	for file in $(guest_tests); do
		[[ $file != *.sh ]] || cp "$file" "$1/"
	done
	cp "$2" "$1/list"
}

# guest_results KERNEL BEGUN: reads what guest/selftests prints; lists in BEGUN what has begun
guest_results() {
	local kernel=$1 begun=$2 line inside='' mode program
	while IFS= read -r line; do
		line=${line%$'\r'}
		case $line in
		'onewalk-test: begin '*)
			read -r _ _ mode program <<<"$line"
			echo "$mode $program" >>"$begun"
			inside=1
			case $mode in
			hmm) ktap_begin "$kernel" "$program" ;;
			*) ktap_begin "$kernel/${mode#hmm,}" "$program" ;;
			esac
			;;
		'onewalk-test: end '*)
			inside=
			program_end "$line"
			;;
		*)
			[ -z "$inside" ] || ktap_line "$line"
			;;
		esac
	done
	[ -z "$inside" ] || program_fails 'the guest ended while it ran'
}

program_fails() { result 'not ok' "$KTAP_PREFIX/${KTAP_PROGRAM%.sh}" "$1"; }

program_end() {
	[[ $1 =~ load=([0-9]+)\ exit=([0-9]+)\ unload=([0-9]+)\ taint=([0-9]+) ]]
	local load=${BASH_REMATCH[1]} exit=${BASH_REMATCH[2]} unload=${BASH_REMATCH[3]} taint=${BASH_REMATCH[4]}
	if [ "$load" = 0 ]; then
		ktap_end "$exit"
	else
		ktap_notes
		program_fails 'the modules did not load'
	fi
	[ "$unload" = 0 ] || program_fails 'the modules did not unload'
	((!(taint & BAD_TAINTS))) || program_fails "the kernel is tainted: $taint"
}

# boot_tests KERNEL NAME LIST OPTIONS: runs the listed programs; boots again for those
# that are left if a guest dies
boot_tests() {
	local kernel=$1 name=$2 list=$3 options=$4 work status count
	work=$(mktemp -d)
	while [ -s "$list" ]; do
		rm -rf "${work:?}"/*
		mkdir "$work/tests"
		put_tests "$work/tests" "$list"
		touch "$work/begun"
		count=$(wc -l <"$list")
		set +e
		eval "set -- $options"
		"$VM/run" "$kernel" --name "$name" --timeout $((600 + 300 * count)) --coherent "$@" \
			--add "$work/tests:/tests" -- "ONEWALK_LONG=$LONG sh /tests/run" |
			guest_results "$kernel" "$work/begun"
		status=${PIPESTATUS[0]}
		set -e
		[ "$status" = 0 ] || result 'not ok' "$kernel/$name" "tests/vm/run: exit status $status, logs in build/logs/$kernel/$name"
		count=$(wc -l <"$work/begun")
		[ "$count" -gt 0 ] || break
		sed -i "1,${count}d" "$list"
		name=$name+
	done
	while read -r mode program _; do
		result 'not ok' "$kernel/$mode/$program" 'did not run'
	done <"$list"
	rm -r "$work"
}

# boot_by_options KERNEL NAME [OPTIONS [FIRST]]: runs the tests that are listed on its input, in a boot for
# each set of options that they ask for, with OPTIONS beside; FIRST is a list of what each of these begins with
boot_by_options() {
	local all list options mode program args n=0
	all=$(cat)
	list=$(mktemp)
	while read -r options; do
		{
			[ ! "${4:-}" ] || echo "$4"
			while read -r mode program args; do
				[ "$(options_of "$program")" != "$options" ] || echo "$mode $program $args"
			done <<<"$all"
		} >"$list"
		boot_tests "$1" "$2$n" "$list" "$options ${3:-}"
		n=$((n + 1))
	done < <(while read -r _ program _; do options_of "$program"; done <<<"$all" | sort -u)
	rm "$list"
}

# options_of PROGRAM: what its boot has to be like; a line, if an empty one
options_of() {
	local file=$TREE/tests/selftest/$1
	case $1 in
	hmm-tests) echo ;;
	*.sh) vm_options "$file" ;;
	*) vm_options "$file.c" ;;
	esac
}
