#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# install.sh LINUX: the tests of ../test as tools/testing/selftests/tmem of a kernel's source. Afterwards:
#
#   make -C LINUX/tools/testing/selftests TARGETS=tmem [KDIR=BUILD] [run_tests]
set -e
here=$(cd "$(dirname "$0")" && pwd)
test=$here/../test
to=${1:?install.sh LINUX}/tools/testing/selftests
[ -e "$to/lib.mk" ] || { echo "$1 is not a kernel's source"; exit 1; }
mkdir -p "$to/tmem/torture" "$to/tmem/test_modules"
cp "$here/Makefile" "$here/config" "$here/settings" "$here/selftest.sh" "$to/tmem"
cp "$test"/*.sh "$test/../../test/complaints.sh" "$test/edges.c" "$test/stale.c" "$to/tmem"
cp "$test"/coherency/* "$to/tmem/torture"
cp "$test/fakestore.c" "$to/tmem/test_modules"
cat >"$to/tmem/test_modules/Makefile" <<'MAKE'
# SPDX-License-Identifier: GPL-2.0-only
TESTMODS_DIR := $(realpath $(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
KDIR ?= /lib/modules/$(shell uname -r)/build

obj-m += fakestore.o

modules:
	$(Q)$(MAKE) -C $(KDIR) modules KBUILD_EXTMOD=$(TESTMODS_DIR)

clean:
	$(Q)$(MAKE) -C $(KDIR) clean KBUILD_EXTMOD=$(TESTMODS_DIR)
MAKE
chmod +x "$to/tmem"/*.sh
grep -q '^TARGETS += tmem$' "$to/Makefile" || sed -i '/^TARGETS += timers$/a TARGETS += tmem' "$to/Makefile"
