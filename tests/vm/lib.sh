# shellcheck shell=bash disable=SC2034,SC2016
# What the scripts of this directory share: the table of kernels, Debian's archive,
# the cache, and commands run inside a root filesystem.

set -euo pipefail
shopt -s inherit_errexit

VM=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TREE=$(cd "$VM/../.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/onewalk

# The kernel's taints that tell of a bug: machine check, bad page, died, warned, soft lockup
BAD_TAINTS=$((1 << 4 | 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14))

# Packages of every root filesystem, and what a suite's own has on top:
# trixie's also builds kernels, and runs the kernel's checkers on our sources.
ROOTFS_PACKAGES=(dkms gcc libc6-dev make kmod pahole sparse busybox-static)
declare -A ROOTFS_EXTRA=(
	[bookworm]=''
	[trixie]='flex bison bc libelf-dev libssl-dev perl python3 xz-utils'
	[trixie-backports]=''
)

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 125; }

hash_of() { sha256sum | cut -c1-16; }

# need_root WHY ARGS...: continues as root; the logs stay the user's
need_root() {
	local why=$1
	shift
	if [ "$EUID" != 0 ]; then
		say "${0##*/} needs root $why"
		exec sudo env HOME="$HOME" XDG_CACHE_HOME="${CACHE%/onewalk}" KERNELS="${KERNELS:-}" TESTS="${TESTS:-}" "$0" "$@"
	elif [ "${SUDO_UID:-}" ]; then
		trap 'chown -R "$SUDO_UID:$SUDO_GID" "$TREE/build"' EXIT
	fi
}

# need_tool COMMAND PACKAGE: installs what the host lacks
need_tool() {
	command -v "$1" >/dev/null && return
	say "installing $2 on this machine, for its $1"
	local sudo=
	[ "$EUID" = 0 ] || sudo=sudo
	$sudo apt-get -q update >&2
	$sudo apt-get -q -y --no-install-recommends install "$2" >&2
}

### The table

kernel_names() { awk '!/^#/ && NF { print $1 }' "$VM/kernels"; }

# usual_kernels: those that `make check` takes
usual_kernels() { awk '!/^#/ && $7 == "check" { print $1 }' "$VM/kernels"; }

# kernel_row NAME: sets SUITE, SERIES, MEMORY, CONFIG and SLOW
kernel_row() {
	local row
	row=$(awk -v name="$1" '$1 == name { print $2, $3, $4, $5, $6 }' "$VM/kernels")
	[ "$row" ] || die "no such kernel: $1 (there are: $(kernel_names | paste -sd' '))"
	read -r SUITE SERIES MEMORY CONFIG SLOW <<<"$row"
}

### Debian's archive: one private apt per suite, so that the host's is left alone

# host_mirror: the machine's own mirror of Debian, and of Debian's security archive
host_mirror() {
	local targets main security
	# shellcheck disable=SC2016
	targets=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages')
	security=$(awk '$1 ~ /-security$/ { print $2; exit }' <<<"$targets")
	main=$(awk '$1 ~ /^(bookworm|trixie|forky|sid|stable|testing|unstable)$/ { print $2; exit }' <<<"$targets")
	[ "$main" ] || die "no Debian mirror among this machine's apt sources"
	main=${main%/}
	echo "$main ${security:-${main%/debian}/debian-security}"
}

apt_sources() {
	local suite=$1 base=${1%-backports} main security
	local signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
	read -r main security < <(host_mirror)
	echo "deb $signed $main $base main"
	echo "deb $signed $security $base-security main"
	[ "$suite" = "$base" ] || echo "deb $signed $main $suite main"
}

# apt_in SUITE COMMAND...: apt-get or apt-cache with the suite's own lists
apt_in() {
	local suite=$1
	shift
	APT_CONFIG=$CACHE/apt/$suite/apt.conf "$@"
}

# apt_refresh SUITE: the lists of today, or, offline, those of last time
apt_refresh() {
	local dir=$CACHE/apt/$1
	mkdir -p "$dir"/etc/{apt.conf.d,preferences.d,sources.list.d,trusted.gpg.d} \
		"$dir"/state/lists/partial "$dir"/cache/archives/partial
	touch "$dir/state/status"
	apt_sources "$1" >"$dir/etc/sources.list"
	cat >"$dir/apt.conf" <<-EOF
		Dir::Etc "$dir/etc";
		Dir::State "$dir/state";
		Dir::State::status "$dir/state/status";
		Dir::Cache "$dir/cache";
		APT::Sandbox::User "root";
		APT::Architecture "amd64";
	EOF
	if apt_in "$1" apt-get -q --error-on=any update >"$dir/log" 2>&1; then
		candidates "$1" >"$dir/candidates.new"
		mv "$dir/candidates.new" "$dir/candidates"
	elif [ -e "$dir/candidates" ]; then
		say "$1: the archive does not answer; going on with the package lists of $(date -r "$dir/candidates" +%F)"
	else
		cat "$dir/log" >&2
		die "$1: apt-get update failed"
	fi
}

# candidates SUITE: lines "package=version" of the packages that concern us
candidates() {
	{
		tr ' ' '\n' <<<"${ROOTFS_PACKAGES[*]} ${ROOTFS_EXTRA[$1]}"
		apt_in "$1" apt-cache pkgnames linux- | grep -E -- '-amd64$|^linux-source-'
	} | apt_in "$1" xargs apt-cache policy |
		awk '/^[^ ]/ { sub(":$", ""); name = $1 } /Candidate:/ && $2 != "(none)" { print name "=" $2 }'
}

# apt_ready SUITE: it is known which version of a package is the newest
apt_ready() {
	[ -e "$CACHE/apt/$1/candidates" ] || locked "apt/$1" apt_refresh "$1"
}

# versions SUITE PACKAGE...: the candidates of these names
versions() {
	local suite=$1
	shift
	awk -F= 'NR == FNR { wanted[$1] = 1; next } $1 in wanted' \
		<(printf '%s\n' "$@") "$CACHE/apt/$suite/candidates"
}

has_package() { [ "$(versions "$@")" ]; }

# release SUITE SERIES: the newest release that has both headers and an image
release() {
	local release pattern="${2//./\\.}\.[0-9.]+(\+deb[0-9.]+|-[0-9]+)-amd64"
	while read -r release; do
		if [ "$(image_packages "$1" "$release")" ]; then
			echo "$release"
			return
		fi
	done < <(sed -nE "s/^linux-headers-($pattern)=.*/\1/p" "$CACHE/apt/$1/candidates" | sort -rV)
	die "$1 has no kernel of the series $2"
}

# image_packages SUITE RELEASE: those that hold the kernel and its modules.
# Since 6.19 linux-image is a metapackage of linux-binary, linux-modules and linux-base;
# the signed linux-binary comes later than the unsigned one.
image_packages() {
	local package
	for package in "linux-binary-$2" "linux-binary-unsigned-$2" "linux-image-$2"; do
		if has_package "$1" "$package"; then
			versions "$1" "$package" "linux-modules-$2" "linux-base-$2"
			return
		fi
	done
}

# download SUITE DIR PACKAGE...
download() {
	local suite=$1 dir=$2
	shift 2
	(cd "$dir" && apt_in "$suite" apt-get -q download "$@" >log 2>&1) ||
		{ cat "$dir/log" >&2; die "download failed"; }
}

# fetch SUITE DIR PACKAGE...: downloads, not while the lists are refreshed, and unpacks
fetch() {
	local suite=$1 dir=$2 package
	shift 2
	mkdir "$dir/debs"
	say "  downloading $*"
	locked "apt/$suite" download "$suite" "$dir/debs" "$@"
	for package in "$dir"/debs/*.deb; do
		dpkg-deb -x "$package" "$dir"
	done
	rm -r "$dir/debs"
}

### The cache: CACHE/item/key/, whole or not there

locked() {
	local name=$1 lock
	shift
	mkdir -p "$CACHE/$name"
	exec {lock}>"$CACHE/$name/.lock"
	flock -n "$lock" || { say "waiting for another run that makes $name"; flock "$lock"; }
	"$@"
	exec {lock}>&-
}

manifest() { (cd "$1" && find . -type f ! -path ./.manifest -printf '%s %p\n' | LC_ALL=C sort); }

intact() { [ -e "$1/.manifest" ] && manifest "$1" | cmp -s - "$1/.manifest"; }

# cached ITEM KEY MAKER ARGS...: sets ITEM_DIR to a directory that MAKER has filled.
# The key also covers the maker's own text and arguments.
cached() {
	local item=$1 key=$2
	shift 2
	key=$({ echo "$key" "$@"; declare -f "$1"; } | hash_of)
	ITEM_DIR=$CACHE/$item/$key
	intact "$ITEM_DIR" || locked "$item" make_item "$item" "$ITEM_DIR" "$@"
}

make_item() {
	local item=$1 dir=$2 start=$SECONDS
	shift 2
	if intact "$dir"; then
		return
	elif [ -e "$dir" ]; then
		say "$item: damaged in the cache, making it again"
	else
		say "$item: making it"
	fi
	[ "$EUID" = 0 ] || die "$item is not in the cache, and only root can make it: sudo tests/vm/prepare"
	rm -rf "${CACHE:?}/$item"/*
	mkdir "$dir.partial"
	"$@" "$dir.partial"
	manifest "$dir.partial" >"$dir.manifest"
	mv "$dir.manifest" "$dir.partial/.manifest"
	mv "$dir.partial" "$dir"
	say "$item: done in $((SECONDS - start)) s"
}

### Root filesystems

# in_rootfs LAYERS [HOST:INSIDE]... -- COMMAND...: runs a command in a root filesystem,
# in which only what it writes to a bound directory stays
in_rootfs() {
	local layers=$1 binds=()
	shift
	while [ "$1" != -- ]; do
		binds+=("$1")
		shift
	done
	shift
	unshare --mount --pid --net --fork --kill-child bash -euc '
		layers=$1 count=$2
		shift 2
		top=${layers##*:}/mnt
		mount -t tmpfs -o size=80% onewalk "$top"
		mkdir "$top"/{upper,work,root}
		mount -t overlay -o "lowerdir=$layers,upperdir=$top/upper,workdir=$top/work" onewalk "$top/root"
		mount -t proc proc "$top/root/proc"
		mount --rbind /dev "$top/root/dev"
		for bind in "${@:1:count}"; do
			inside=$top/root${bind#*:}
			mkdir -p "$inside"
			mount --bind "${bind%%:*}" "$inside"
		done
		shift "$count"
		exec chroot "$top/root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
			HOME=/root LC_ALL=C.UTF-8 "$@"
	' in_rootfs "$layers" "${#binds[@]}" "${binds[@]}" "$@" </dev/null
}

# rootfs SUITE: sets ROOTFS
rootfs() {
	local suite=$1 name row_suite series config packages
	apt_ready "$suite"
	read -ra packages <<<"${ROOTFS_PACKAGES[*]} ${ROOTFS_EXTRA[$suite]}"
	while read -r name row_suite series _ config _; do
		if [ "$row_suite" = "$suite" ] && [ "$config" = - ]; then
			packages+=("linux-headers-$(release "$suite" "$series")")
		fi
	done < <(grep -v '^#' "$VM/kernels")
	cached "rootfs/$suite" "$(versions "$suite" "${packages[@]}")" make_rootfs "$suite" "${packages[@]}"
	ROOTFS=$ITEM_DIR
}

make_rootfs() {
	local suite=$1 dir=${*: -1}
	local packages=("${@:2:$#-2}")
	# headers of 6.12 bring the image along, whose initramfs takes minutes and boots nothing
	# shellcheck disable=SC2016  # mmdebstrap's
	local no_initramfs='chroot "$1" dpkg-divert --quiet --local --no-rename --divert /usr/sbin/update-initramfs.real \
		--add /usr/sbin/update-initramfs && ln -s /bin/true "$1/usr/sbin/update-initramfs"'
	need_tool mmdebstrap mmdebstrap
	say "  mmdebstrap of ${suite%-backports} with ${packages[*]}"
	mmdebstrap --quiet --mode=root --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--essential-hook="$no_initramfs" \
		"${suite%-backports}" "$dir" "$CACHE/apt/$suite/etc/sources.list" >&2
}

### Kernels

# kernel NAME: sets KERNEL (its files), KVER (its release), ROOTFS, and the table's columns
kernel() {
	kernel_row "$1"
	rootfs "$SUITE"
	if [ "$CONFIG" = - ]; then
		local release
		release=$(release "$SUITE" "$SERIES")
		cached "kernel/$1" "$(image_packages "$SUITE" "$release")" make_debian_kernel "$ROOTFS" "$SUITE" "$release"
	else
		local fragments
		fragments=$(sed -E "s|([^,]+),?|$VM/kconfig/\1.config |g" <<<"$CONFIG")
		# shellcheck disable=SC2086  # several files
		cached "kernel/$1" "$(versions "$SUITE" "linux-source-$SERIES" gcc
			cat "$VM/chroot/kernel" $fragments)" make_own_kernel "$SUITE" "$SERIES" "$CONFIG"
	fi
	KERNEL=$ITEM_DIR
	KVER=$(ls "$KERNEL/usr/lib/modules")
}

# A kernel's directory is a layer to be put over its suite's root filesystem:
# usr/lib/modules/RELEASE/, as if its package were installed, and the image on top.
make_debian_kernel() {
	local rootfs=$1 suite=$2 release=$3 dir=$4 packages
	mapfile -t packages < <(image_packages "$suite" "$release")
	fetch "$suite" "$dir" "${packages[@]}"
	if [ -d "$dir/lib/modules" ]; then
		mkdir -p "$dir/usr/lib"
		mv "$dir/lib/modules" "$dir/usr/lib/"
		rmdir "$dir/lib"
	fi
	mv "$(find "$dir" -name 'vmlinuz*')" "$dir/vmlinuz"
	rm -rf "${dir:?}"/{boot,usr/share}
	in_rootfs "$rootfs" "$dir/usr/lib/modules:/usr/lib/modules" -- depmod "$release"
}

make_own_kernel() {
	local suite=$1 series=$2 config=$3 dir=$4
	# trixie's has what kernels are built with; the caller's own stay as they are
	local ROOTFS ITEM_DIR
	rootfs trixie
	mkdir "$dir/source"
	fetch "$suite" "$dir/source" "linux-source-$series"
	say "  building linux-source-$series with $config (some minutes; log: $dir/log)"
	in_rootfs "$ROOTFS" "$dir:/out" "$VM:/vm" -- /vm/chroot/kernel "$series" "$config" 2>&1 | tee "$dir/log" |
		awk '/^  (CC|LD|AS|AR) / && ++n % 400 == 0 { print "  " n " files"; fflush() }' >&2 ||
		{ tail -30 "$dir/log" >&2; die "the build of linux-source-$series failed"; }
	rm -r "$dir/source" "$dir/log"
}

### The kernel's own tests and checkers

# linux_source SERIES SUITE: sets SOURCE to what is kept of the suite's linux-source
linux_source() {
	rootfs trixie
	apt_ready "$2"
	cached "source/$1" "$ROOTFS $(versions "$2" "linux-source-$1"; cat "$VM/chroot/source")" make_source "$1" "$2"
	SOURCE=$ITEM_DIR
}

make_source() {
	local series=$1 suite=$2 dir=$3
	mkdir "$dir/package"
	fetch "$suite" "$dir/package" "linux-source-$series"
	in_rootfs "$ROOTFS" "$dir:/out" "$VM:/vm" -- /vm/chroot/source "$series" >"$dir/log" 2>&1 ||
		{ tail -30 "$dir/log" >&2; die "hmm-tests of linux-source-$series does not build"; }
	rm -r "$dir/package" "$dir/log"
}

# selftests: sets SELFTESTS to the directory of tests/selftest's compiled programs
selftests() {
	rootfs trixie
	local rootfs=$ROOTFS
	linux_source 7.3 trixie-backports
	cached selftests "$SOURCE $(cat "$VM/chroot/selftests"
		cd "$TREE" && find tests/selftest include -type f -exec sha256sum {} + | sort)" make_selftests "$rootfs"
	SELFTESTS=$ITEM_DIR
}

make_selftests() {
	in_rootfs "$1" "$2:/out" "$TREE:/tree" "$SOURCE/tools/testing/selftests:/harness" "$VM:/vm" -- \
		/vm/chroot/selftests >&2 || die "tests/selftest does not compile"
}

# guest_program NAME FILE...: one program for a guest, of these C files (and the headers among them), relative
# to the tree; sets PROGRAM to where it is
guest_program() {
	rootfs trixie
	cached "program/$1" "$ROOTFS $(cd "$TREE" && cat "${@:2}" include/onewalk/status.h include/uapi/onewalk/*)" \
		make_program "$@"
	PROGRAM=$ITEM_DIR/$1
}

make_program() {
	local name=$1 dir=${*: -1} files=("${@:2:$#-2}") file sources=()
	for file in "${files[@]}"; do
		[[ $file != *.c ]] || sources+=("$file")
	done
	in_rootfs "$ROOTFS" "$dir:/out" "$TREE:/tree" -- env -C /tree gcc -static -O2 -Wall -Wextra -Werror \
		-D_GNU_SOURCE= -Iinclude -Iinclude/uapi "${sources[@]}" -o "/out/$name" -lpthread >&2 ||
		die "$name does not compile"
}

### Our modules, built as on a user's machine

# sources TREE: the files that a build may depend on, NUL-separated
sources() {
	git -C "$1" ls-files -z --cached --others --exclude-standard -- . \
		':!tests' ':!docs' ':!.*' ':!*.md' | (cd "$1" && xargs -0 ls -d --zero 2>/dev/null)
}

# copy_sources TREE DIR
copy_sources() {
	mkdir -p "$2"
	sources "$1" | tar -C "$1" --null -T - -c | tar -C "$2" -x --no-same-owner
}

dkms_field() { sed -nE "s/^$2=\"?([^\"]*)\"?\$/\1/p" "$1/dkms.conf"; }

# modules NAME [TREE [ITEM]]: builds the DKMS package in a source tree; sets MODULES.
# An ITEM of its own in the cache leaves there what is known by the package's name.
modules() {
	local tree=${2:-$TREE} package
	kernel "$1"
	[ -e "$tree/dkms.conf" ] || die "$tree has no dkms.conf"
	package=$(dkms_field "$tree" PACKAGE_NAME)
	cached "build/${3:-$package}/$1" "$KERNEL $(cat "$VM/chroot/dkms"; sources "$tree" | (cd "$tree" && xargs -0 sha256sum))" \
		make_modules "$1" "$tree" "$package" "$(dkms_field "$tree" PACKAGE_VERSION)"
	MODULES=$ITEM_DIR
}

make_modules() {
	local name=$1 tree=$2 package=$3 version=$4 dir=$5 log debug=
	[[ ,$CONFIG, != *,debug,* ]] || debug=1
	log=$TREE/build/logs/$name/build-$package.log
	mkdir -p "${log%/*}"
	copy_sources "$tree" "$dir/source/$package-$version"
	if ! in_rootfs "$KERNEL:$ROOTFS" "$dir:/out" "$VM:/vm" -- \
		env ONEWALK_DEBUG=$debug /vm/chroot/dkms "$package" "$version" "$KVER" >"$log" 2>&1; then
		tail -40 "$log" >&2
		die "$package does not build for $KVER (log: $log)"
	fi
	rm -r "$dir/source"
}

### The guest

# guest NAME: sets GUEST to the initramfs that every boot of this kernel starts from
guest() {
	kernel "$1"
	cached "guest/$1" "$KERNEL $(cat "$VM/chroot/guest" "$VM/guest/modules")" make_guest
	GUEST=$ITEM_DIR/base.cpio
}

make_guest() {
	local dir=$1
	need_tool cpio cpio
	in_rootfs "$KERNEL:$ROOTFS" "$dir:/out" "$VM:/vm" -- /vm/chroot/guest "$KVER" >&2
	pack "$dir/root" >"$dir/base.cpio"
	rm -r "$dir/root"
}

# pack DIR: its files as an initramfs; several of them may follow one another
pack() { (cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet); }
