#!/bin/sh
# Loading and unloading the modules, with what they are told to use.

# can_private: has this kernel device-private memory? (Only then it has this function.)
can_private() { grep -qE ' make_device_exclusive(_range)?$' /proc/kallsyms; }

# kinds: the default first
kinds() { echo "$(! can_private || echo private) system coherent"; }

# What this guest has reserved: the parameters that say so, and the addresses in them
coherent=$(cat /vm/coherent)
first_reserved=$(echo "$coherent" | sed 's/.*dev0=\([^ ]*\).*/\1/')
last_reserved=${coherent##*=}

# load_kind KIND PARAMETER...
load_kind() {
	kind=$1
	shift
	# shellcheck disable=SC2086
	[ "$kind" != coherent ] || set -- $coherent "$@"
	modprobe onewalk_dummy memory="$kind" "$@"
}

loaded() { [ -e "/sys/module/$1" ]; }

unload() {
	for module in onewalk_dummy onewalk; do
		! loaded $module || rmmod $module
	done
}

# What the kernel's log says from mark on
mark() {
	mark=$(cat /proc/sys/kernel/random/uuid)
	echo "$mark" >/dev/kmsg
}
log() { dmesg | sed "1,/$mark/d"; }
log_says() { log | grep -qiE "$1" || fail "the kernel's log does not say '$1' but: $(log)"; }

# refused WHAT COMMAND...: the command fails, and leaves no module behind
refused() {
	what=$1
	shift
	! "$@" 2>/dev/null || fail "$* was not refused"
	! loaded "$what" || fail "$what is loaded after $*"
}

memory_free() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	# KASAN holds back what was freed, until its cache is told to shrink
	for cache in /sys/kernel/slab/*/shrink; do
		echo 1 >"$cache"
	done
	sleep 1
	# what the CPUs keep in lists of their own, up to some MiB, is free as well
	awk '/^MemFree:/ { free = $2 } $1 == "count:" { free += 4 * $2 } END { print free }' /proc/meminfo /proc/zoneinfo
}

gone() {
	for left in /dev/hmm_dmirror* /sys/module/onewalk /sys/module/onewalk_dummy; do
		[ ! -e "$left" ] || fail "$left is left behind"
	done
	! grep hmm_dmirror /proc/iomem || fail "physical addresses are left behind"
}

test_modules_load_and_unload_again_and_again_without_a_leak() {
	times=5
	[ "${ONEWALK_LONG:-}" != 1 ] || times=100
	for kind in $(kinds); do
		round=0
		while [ $round -le $times ]; do
			load_kind "$kind"
			[ -c /dev/hmm_dmirror0 ]
			[ -c /dev/hmm_dmirror1 ]
			[ "$(cat /sys/module/onewalk_dummy/parameters/memory)" = "$kind" ]
			unload
			gone
			# the first time also pays for what the kernel keeps
			[ $round != 0 ] || before=$(memory_free)
			round=$((round + 1))
		done
		lost=$((before - $(memory_free)))
		# the page structures of one device's memory alone are 1 MiB
		[ $lost -lt $((times * 768)) ] || fail "memory=$kind: $times rounds lost $lost kB"
	done
}

test_default_memory_is_private_where_the_kernel_can() {
	modprobe onewalk_dummy
	kind=$(cat /sys/module/onewalk_dummy/parameters/memory)
	unload
	[ "$kind" = "$(kinds | xargs | cut -d' ' -f1)" ]
}

test_private_memory_is_refused_with_advice_where_the_kernel_cannot() {
	! can_private || skip "this kernel has device-private memory"
	mark
	refused onewalk_dummy modprobe onewalk_dummy memory=private
	log_says CONFIG_DEVICE_PRIVATE
	log_says 'memory=system'
	unload
}

test_unknown_memory_is_refused_and_the_choices_are_named() {
	mark
	refused onewalk_dummy modprobe onewalk_dummy memory=nonsense
	log_says 'nonsense'
	log_says 'private, coherent or system'
	unload
}

# As the kernel's own test_hmm does it
test_coherent_memory_beside_another_kind_is_on_devices_of_its_own() {
	for kind in private system; do
		[ $kind = system ] || can_private || continue
		# shellcheck disable=SC2086
		modprobe onewalk_dummy memory=$kind $coherent
		for id in 0 1 2 3; do
			[ -c /dev/hmm_dmirror$id ]
		done
		grep -i "$(printf %x $((last_reserved)))-.*hmm_dmirror3" /proc/iomem
		unload
		gone
	done
}

test_coherent_memory_is_refused_where_none_is_reserved_and_the_log_says_how() {
	mark
	refused onewalk_dummy modprobe onewalk_dummy memory=coherent
	log_says 'memory=coherent: .*boot with memmap=.*and load with spm_addr_dev0=.*spm_addr_dev1='
	unload
	gone
}

# refused_at LOG PARAMETER...: with these parameters, and a line of the log, like LOG, that says all
refused_at() {
	pattern=$1
	shift
	mark
	refused onewalk_dummy modprobe onewalk_dummy memory=system "$@"
	log_says "onewalk_dummy: $pattern"
	# an older modprobe tries twice
	[ "$(log | sed -n 's/.*onewalk_dummy: //p' | sort -u | wc -l)" = 1 ] || fail "more than one line: $(log)"
	! grep hmm_dmirror /proc/iomem || fail "physical addresses are left behind"
}

test_coherent_memory_at_an_address_that_makes_no_sense_is_refused() {
	first=$((first_reserved)) last=$((last_reserved))
	refused_at 'spm_addr_dev0= and spm_addr_dev1= belong together' spm_addr_dev0=$first
	refused_at 'spm_addr_dev0= and spm_addr_dev1= belong together' spm_addr_dev1=$first
	refused_at '.*overlap: .*256 MiB apart' spm_addr_dev0=$first spm_addr_dev1=$first
	refused_at '.*overlap: .*256 MiB apart' spm_addr_dev0=$last spm_addr_dev1=$((last - 0x200000))
	refused_at 'spm_addr_dev1=.* not a multiple of 2 MiB' spm_addr_dev0=$first spm_addr_dev1=$((last + 4096))
	refused_at 'spm_addr_dev0=.* not a multiple of 2 MiB' spm_addr_dev0=18446744073707454464 spm_addr_dev1=$first
	# memory that the kernel has; memory of which it has the end
	refused_at 'spm_addr_dev0=.* not all reserved .*memmap=256M' spm_addr_dev0=0x10000000 spm_addr_dev1=$first
	refused_at 'spm_addr_dev1=.* not all reserved .*memmap=256M' spm_addr_dev0=$first spm_addr_dev1=$((last + 0x2000000))
	refused_at 'spm_addr_dev0=.* not all reserved .*memmap=512M' spm_addr_dev0=$last spm_addr_dev1=$((last * 2)) spm_size=512
	unload
	gone
}

test_coherent_memory_where_the_machine_has_none_is_refused() {
	# shellcheck disable=SC2046
	set -- $(awk -F'[- ]' '/ : Reserved/ { print "0x" $1, "0x" $2 }' /proc/iomem | tail -n 1)
	[ $(($1)) -gt $((0x1000000000)) ] || skip "nothing is reserved beyond the memory of this guest"
	refused_at 'spm_addr_dev1=.* has no memory' spm_addr_dev0=$((last_reserved)) spm_addr_dev1="$1" spm_size=64
	unload
	gone
}

test_coherent_memory_of_a_size_that_makes_no_sense_is_refused_with_the_limits() {
	for size in 0 1 63 32 32768; do
		# shellcheck disable=SC2086
		refused_at "spm_size=$size is not a multiple of 2 from 64 to 16384 MiB" $coherent spm_size=$size
	done
	unload
}

# Each chunk has memory of its own, and what finds no chunk stays where it is.
test_coherent_memory_ends_where_its_range_does() {
	load_kind coherent size=2 spm_size=8
	moved=$(ONEWALK_MEMORY=coherent "$(dirname "$0")/dying" --fill-device 3000)
	[ "$moved" = 2048 ] || fail "$moved pages moved to 2048"
	[ "$(grep -c '^ *[0-9a-f]*-[0-9a-f]* : hmm_dmirror0$' /proc/iomem)" = 5 ]
	unload
	gone
}

test_size_that_makes_no_sense_is_refused_with_the_limits() {
	for size in 0 1 3 4294967295; do
		mark
		refused onewalk_dummy modprobe onewalk_dummy memory=system size=$size
		log_says 'MiB'
	done
	unload
}

test_engine_auto_takes_one_and_says_which_and_why() {
	mark
	modprobe onewalk engine=auto
	engine=$(cat /sys/module/onewalk/parameters/engine)
	lines=$(log | grep -c 'onewalk: engine ')
	log_says "onewalk: engine $engine: .+"
	unload
	[ "$engine" = portable ] || [ "$engine" = unified ] || fail "engine is '$engine'"
	[ "$lines" = 1 ] || fail "$lines lines instead of one"
}

test_engine_is_auto_unless_told_otherwise() {
	modprobe onewalk engine=auto
	auto=$(cat /sys/module/onewalk/parameters/engine)
	unload
	modprobe onewalk
	default=$(cat /sys/module/onewalk/parameters/engine)
	unload
	[ "$auto" = "$default" ]
}

test_engine_portable_can_be_asked_for() {
	modprobe onewalk engine=portable
	engine=$(cat /sys/module/onewalk/parameters/engine)
	unload
	[ "$engine" = portable ]
}

test_engine_unified_can_be_asked_for() {
	modprobe onewalk engine=unified
	engine=$(cat /sys/module/onewalk/parameters/engine)
	unload
	[ "$engine" = unified ]
}

# Debian's kernels have BTF; without it nobody can vouch for what is called
test_engine_auto_is_unified_if_the_kernel_tells_its_prototypes() {
	mark
	modprobe onewalk
	engine=$(cat /sys/module/onewalk/parameters/engine)
	unload
	if [ -e /sys/kernel/btf/vmlinux ]; then
		[ "$engine" = unified ] || fail "engine is $engine: $(log)"
	else
		[ "$engine" = portable ] || fail "engine is $engine: $(log)"
		log_says 'engine portable: .*BTF'
	fi
}

# Every function of the table, as if this kernel did not have it: a debug build can be told so
test_engine_without_one_of_its_functions_falls_back_or_names_it() {
	modprobe onewalk
	debug=$([ ! -e /sys/module/onewalk/parameters/ksym_hide ] || echo yes)
	names=$(sed -n 's/.* __SCT__ksym_\([^[:space:]]*\)[[:space:]]*\[onewalk\]$/\1/p' /proc/kallsyms)
	unload
	[ "$debug" ] || skip "not a debug build"
	[ "$(echo "$names" | wc -w)" -ge 12 ] || fail "the table is '$names'"
	for name in $names swap_migration_ad_supported; do
		mark
		modprobe onewalk ksym_hide="$name"
		engine=$(cat /sys/module/onewalk/parameters/engine)
		unload
		[ "$engine" = portable ] || fail "engine is $engine without $name"
		log_says "engine portable: this kernel has no $name\$"
		mark
		refused onewalk modprobe onewalk engine=unified ksym_hide="$name"
		log_says "engine=unified cannot be had: this kernel has no $name; "
	done
}

test_unknown_engine_is_refused_and_the_choices_are_named() {
	mark
	refused onewalk modprobe onewalk engine=nonsense
	log_says 'nonsense'
	log_says 'auto.*unified.*portable'
}

test_engine_cannot_be_changed_while_loaded() {
	modprobe onewalk
	! echo portable 2>/dev/null >/sys/module/onewalk/parameters/engine || fail "it can be written"
	unload
}

test_onewalk_stays_while_a_driver_uses_it() {
	modprobe onewalk_dummy memory=system
	! rmmod onewalk 2>/dev/null || fail "onewalk was unloaded"
	loaded onewalk
	unload
	gone
}

test_driver_does_not_load_without_onewalk_and_the_log_names_the_abi() {
	mark
	refused onewalk_dummy insmod "$(modinfo -n onewalk_dummy)"
	log_says 'Unknown symbol onewalk_abi_[0-9]+'
}

test_dummy_stays_while_it_is_open() {
	modprobe onewalk_dummy memory=system
	exec 3</dev/hmm_dmirror1
	! rmmod onewalk_dummy 2>/dev/null || fail "the dummy was unloaded"
	loaded onewalk_dummy
	exec 3<&-
	unload
	gone
}

# Four times as much as the device may have, and then two processes that each want so much
test_device_with_a_limit_evicts_and_no_byte_is_lost() {
	for kind in $(kinds); do
		[ "$kind" != system ] || continue
		for engine in unified portable; do
			modprobe onewalk engine=$engine
			load_kind "$kind" size=2 limit=4
			ONEWALK_MEMORY=$kind "$(dirname "$0")/evict" --oversubscribe 4 || fail "memory=$kind engine=$engine"
			unload
			gone
		done
	done
}

test_limit_can_be_changed_and_ends_what_is_added() {
	load_kind coherent size=2 limit=2
	[ "$(ONEWALK_MEMORY=coherent "$(dirname "$0")/dying" --fill-device 600)" = 512 ] || fail "not 512 pages at first"
	echo 6 >/sys/module/onewalk_dummy/parameters/limit
	[ "$(ONEWALK_MEMORY=coherent "$(dirname "$0")/dying" --fill-device 3000)" = 1536 ] || fail "not 1536 pages then"
	[ "$(grep -c '^ *[0-9a-f]*-[0-9a-f]* : hmm_dmirror0$' /proc/iomem)" = 4 ]
	unload
	gone
}

# A process that has its memory on the device and has closed it: the pages come back
test_unloading_brings_back_the_pages_of_a_process() {
	for kind in $(kinds); do
		load_kind "$kind"
		rm -f /tmp/there /tmp/unloaded
		ONEWALK_MEMORY=$kind "$(dirname "$0")/dying" --leave-pages /tmp/there /tmp/unloaded &
		while [ ! -e /tmp/there ]; do
			kill -0 $! || fail "the process could not leave its pages on the device"
			sleep 0.1
		done
		rmmod onewalk_dummy
		rmmod onewalk
		touch /tmp/unloaded
		wait $! || fail "memory=$kind: the process lost a page or found a wrong byte"
		gone
	done
}

. /vm/ktap.sh
