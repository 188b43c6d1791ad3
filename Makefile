# SPDX-License-Identifier: GPL-2.0
#
#   make                    build the modules for the running kernel
#   make KVER=... KDIR=...  build them for another one
#   make install            install them and the headers that drivers build with
#   make dkms-install       hand the source to dkms, for this and future kernels
#   make demo, make check   see README.md

KVER	?= $(shell uname -r)
KDIR	?= /lib/modules/$(KVER)/build
DESTDIR	?=
VERSION	:= $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)
DKMS_SRC := $(DESTDIR)/usr/src/onewalk-$(VERSION)

# A kernel built by clang wants its modules built by clang.
kconfig	:= $(firstword $(wildcard $(KDIR)/include/config/auto.conf $(KDIR)/.config))
ifneq ($(if $(kconfig),$(shell grep -x CONFIG_CC_IS_CLANG=y $(kconfig))),)
export LLVM := 1
endif

kbuild	= $(MAKE) -C $(KDIR) M=$(CURDIR)

.PHONY: modules features install dkms-install dkms-remove clean
modules: features
	+$(kbuild) modules

# What this kernel has: see compat/probe.
features:
	+@compat/probe/run $(KDIR) compat/generated/onewalk/features.h

install: modules
	$(kbuild) INSTALL_MOD_PATH=$(DESTDIR) INSTALL_MOD_DIR=updates modules_install
	packaging/dkms-save save $(KVER) $(CURDIR) $(DESTDIR)

dkms-install:
	install -d $(DKMS_SRC)
	cp -a Kbuild Makefile dkms.conf LICENSE compat include packaging src $(DKMS_SRC)
	rm -rf $(DKMS_SRC)/compat/generated
	dkms add onewalk/$(VERSION)
	dkms install onewalk/$(VERSION) -k $(KVER)

dkms-remove:
	dkms remove onewalk/$(VERSION) --all
	rm -rf $(DKMS_SRC)

clean:
	find src compat -name '*.o' -delete -o -name '.*.cmd' -delete -o -name '.*.d' -delete
	rm -f *.o *.ko *.mod *.mod.c .*.cmd Module.symvers modules.order
	rm -rf .tmp_versions compat/generated build/probe

-include tests/targets.mk
