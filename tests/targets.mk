# SPDX-License-Identifier: GPL-2.0
# Tests on the kernels that Debian ships: see tests/vm/README.md.
#
#   make demo [KERNEL=7.3]            a process's pages go to a device
#   make check                        every test on every kernel but 6.12-debug
#     KERNELS="7.3 6.12-private"      on some kernels
#     TESTS="bad_input* 7.3/*/load.*" some tests: globs on a program, PROGRAM.CASE or the full name
#   make check-all                    with the tests that take long, on every kernel, and the mutants
#   make mutants [MUTANTS="NAME..."]  plant bugs in copies of our source, and see that the tests kill them
#   make hmm-tests [KERNEL=7.3] [ENGINE=portable]  the kernel's own tests of device memory
#   make stress [DURATION=600] [KERNEL=7.3-debug] [ENGINE=unified] [SEED=...]
#     WITHOUT="OPERATION..."          everything at random, at once, from a seed that is printed
#   make bench [KERNEL=7.3] [SCENARIO="present holes..."]  what it costs, in instructions
#   make shell [KERNEL=7.3]           an interactive guest
#   make list-tests, make list-kernels

stress_kernel := $(or $(KERNEL),7.3-debug)
KERNEL ?= 7.3
DURATION ?= 600
export KERNELS TESTS WITHOUT

.PHONY: demo check check-all mutants hmm-tests stress bench shell list-tests list-kernels
demo:
	@tests/vm/demo $(KERNEL)

check:
	@tests/vm/check

check-all:
	@tests/vm/check --all

mutants:
	@tests/vm/mutants $(MUTANTS)

hmm-tests:
	@tests/vm/build $(KERNEL) >/dev/null
	@tests/vm/hmm-tests $(KERNEL) $(ENGINE)

stress:
	@tests/vm/stress $(stress_kernel) $(DURATION) $(or $(ENGINE),unified) $(SEED)

bench:
	@tests/vm/bench $(KERNEL) $(SCENARIO)

shell:
	@tests/vm/build $(KERNEL) >/dev/null
	@tests/vm/shell $(KERNEL)

list-tests:
	@tests/vm/list-tests

list-kernels:
	@grep -v '^#' tests/vm/kernels | cut -d' ' -f1
