# shellcheck shell=bash
# The planted bugs: tests/mutants/NAME.patch, headed by lines that say what is to be made of it:
#
#   # WHAT IS PLANTED, in one line or several
#   # kernel: KERNEL             where it is run
#   # killed-by: TEST            a test, or a glob on tests, of which one has to fail by an expectation
#   # killed-by: KERNEL-LOG: ... what the kernel has to report: a pattern of splats, and perhaps more
#   # run: TEST                  what is run besides, for the kernel to report it
#   # may-report: PATTERN        what the kernel may report when it is dead already

MUTANTS_DIR=$TREE/tests/mutants

mutant_names() { find "$MUTANTS_DIR" -name '*.patch' -printf '%f\n' | sed 's/\.patch$//' | sort; }

# mutant_field NAME FIELD: the values, one per line
mutant_field() { sed -nE "/^---/q; s/^# $2: (.*)/\1/p" "$MUTANTS_DIR/$1.patch"; }

mutant_kernel() { mutant_field "$1" kernel; }

# mutant_killers NAME: the tests that kill it
mutant_killers() { mutant_field "$1" killed-by | awk '!/^KERNEL-LOG:/'; }

# mutant_reports NAME: and what the kernel says of it
mutant_reports() { mutant_field "$1" killed-by | sed -nE 's/^KERNEL-LOG: //p'; }

# mutant_echoes NAME: and what it may say, one pattern
mutant_echoes() { mutant_field "$1" may-report; }

# mutant_tests NAME: all that is run
mutant_tests() { mutant_killers "$1"; mutant_field "$1" run; }

# plant NAME DIR [OPTION]...: applies it to the sources in DIR, if there is no doubt where
plant() { patch --directory "$2" --strip 1 --fuzz 0 --forward --no-backup-if-mismatch "${@:3}" <"$MUTANTS_DIR/$1.patch"; }
