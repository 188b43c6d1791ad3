#!/bin/bash
# The life of the package under each distribution's own dkms.

# cycle KERNEL DKMS-VERSION
cycle() {
	among "$1"
	(
		. "$(dirname "$0")/../vm/lib.sh"
		kernel "$1"
		version=$(chroot "$ROOTFS" dkms --version)
		[[ $version == *$2* ]] || die "dkms is $version, not $2"
		work=$(mktemp -d)
		package=$(dkms_field "$TREE" PACKAGE_NAME) release=$(dkms_field "$TREE" PACKAGE_VERSION)
		copy_sources "$TREE" "$work/source/$package-$release"
		in_rootfs "$KERNEL:$ROOTFS" "$work:/out" "$VM:/vm" -- /vm/chroot/dkms-cycle "$package" "$release" "$KVER"
		cat "$work/left"
		[ ! -s "$work/left" ] || die "dkms remove left the above behind"
		rm -r "$work"
	)
}

test_dkms_3_0_10_of_bookworm_removes_all_that_it_installed() { cycle 6.1 3.0.10; }

test_dkms_3_2_of_trixie_removes_all_that_it_installed() { cycle 6.12 3.2; }

test_dkms_3_2_removes_all_that_it_installed_for_7_3() { cycle 7.3 3.2; }

. "$(dirname "$0")/../vm/ktap.sh"
