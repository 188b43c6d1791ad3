#!/bin/bash
# What the harness is there for: a guest that is not well must make a run fail, each
# in its own way, and a damaged cache must not be trusted.

vm=$(cd "$(dirname "$0")/../vm" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
read -r kernel _ <<<"${KERNELS_TO_TEST:-6.12-private}"
# one that checks itself
debug=$(tr ' ' '\n' <<<"${KERNELS_TO_TEST:-7.3-debug}" | grep -e '-debug$' | tail -n 1)

# expect STATUS OPTION...: runs a command in a guest, which must end so
expect() {
	local wanted=$1 status=0
	shift
	"$vm/run" "$kernel" --name harness "$@" 2>&1 || status=$?
	[ "$status" = "$wanted" ] || fail "exit status $status, not $wanted"
}

test_a_commands_exit_status_is_the_runs() { expect 3 --no-modules -- 'exit 3'; }

test_a_planted_warn_fails_the_run() {
	local modules
	modules=$("$vm/build" "$kernel" "$here/planted")
	expect 0 --modules "$modules" -- 'modprobe planted'
	expect 121 --modules "$modules" -- 'modprobe planted misdeed=warn'
}

# on_debug_kernel STATUS MISDEED: what the planted module does ends the run so
on_debug_kernel() {
	local kernel=$debug modules
	[ "$kernel" ] || skip "no debug kernel among those to test"
	modules=$("$vm/build" "$kernel" "$here/planted")
	expect "$1" --memory 1G --modules "$modules" -- "modprobe planted misdeed=$2"
}

# caught MISDEED REPORT: and the kernel's report is in the log, with the module's name
caught() {
	on_debug_kernel 121 "$1"
	grep -A 60 "$2" "$vm/../../build/logs/$debug/harness/console.log" | grep -q 'planted'
}

test_a_module_that_does_nothing_passes_on_a_debug_kernel() { on_debug_kernel 0 none; }

test_a_lock_order_that_may_deadlock_fails_the_run() { caught cycle 'possible circular locking dependency'; }

test_a_sleep_under_a_spinlock_fails_the_run() { caught sleep 'BUG: sleeping function called'; }

test_leaked_objects_fail_the_run() { caught leak 'unreferenced object'; }

test_a_read_of_a_freed_object_fails_the_run() { caught reuse 'BUG: KASAN'; }

test_kmemleak_that_has_turned_itself_off_fails_the_run() {
	local kernel=$debug
	[ "$kernel" ] || skip "no debug kernel among those to test"
	expect 121 --memory 1G --no-modules -- 'echo off >/sys/kernel/debug/kmemleak'
}

test_an_oops_fails_the_run() { expect 121 --no-modules -- 'echo c >/proc/sysrq-trigger'; }

test_a_taint_without_a_report_fails_the_run() {
	expect 121 --no-modules -- 'echo 512 >/proc/sys/kernel/tainted'
}

test_a_hang_fails_the_run() { expect 122 --no-modules --timeout 20 -- 'sleep 100000'; }

test_a_guest_that_says_nothing_fails_the_run() { expect 123 --no-modules -- 'poweroff -f'; }

test_a_cut_off_log_fails_the_run() {
	expect 124 --no-modules -- 'echo "onewalk-vm: exit=0 taint=0"; poweroff -f'
}

test_files_go_in_and_come_back() {
	local file
	file=$(mktemp)
	echo onewalk >"$file"
	expect 0 --no-modules --add "$file:/in/here" --collect /tmp/back -- 'cp /in/here /tmp/back'
	cmp "$file" "$vm/../../build/logs/$kernel/harness/tmp/back"
	rm "$file"
}

test_a_warning_in_the_build_log_fails_the_build() {
	local tree status=0
	tree=$(mktemp -d)
	git init -q "$tree"
	cp "$here"/planted/* "$tree/"
	echo '#warning planted' >>"$tree/planted.c"
	sed -i 's/="planted"/="planted_warning"/; s/BUILT_MODULE_NAME\[0\]=.*/BUILT_MODULE_NAME[0]="planted"/' "$tree/dkms.conf"
	"$vm/build" "$kernel" "$tree" >/dev/null 2>&1 || status=$?
	rm -r "$tree"
	[ "$status" = 125 ] || fail "exit status $status"
}

test_a_damaged_cache_heals() {
	(
		XDG_CACHE_HOME=$(mktemp -d)
		export XDG_CACHE_HOME
		. "$vm/lib.sh"
		make_image() { echo made >>"$XDG_CACHE_HOME/count"; seq 1000 >"$1/image"; }
		made() { wc -l <"$XDG_CACHE_HOME/count"; }
		cached item key make_image
		cached item key make_image
		[ "$(made)" = 1 ]
		truncate -s 100 "$ITEM_DIR/image"
		cached item key make_image
		[ "$(made)" = 2 ]
		rm "$ITEM_DIR/image"
		cached item key make_image
		[ "$(made)" = 3 ]
		mv "$ITEM_DIR" "$ITEM_DIR.partial"
		cached item key make_image
		[ "$(made)" = 4 ]
		cached item another_key make_image
		[ "$(find "$CACHE/item" -name image | wc -l)" = 1 ]
		rm -r "$XDG_CACHE_HOME"
	)
}

. "$vm/ktap.sh"
