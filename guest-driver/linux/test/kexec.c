// SPDX-License-Identifier: GPL-2.0-only
/*
 * Boots another kernel from this one; the host sees no reset.
 *
 *   kexec KERNEL INITRD COMMAND_LINE
 *
 * Nothing is unmounted, swapped off or unloaded first. Returns only if it cannot be done.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

/* LINUX_REBOOT_CMD_KEXEC (include/uapi/linux/reboot.h), which glibc does not name. */
#define BOOT_THE_OTHER 0x45584543

int main(int argc, char **argv)
{
	int kernel, initrd;

	if (argc != 4) {
		fprintf(stderr, "usage: kexec KERNEL INITRD COMMAND_LINE\n");
		return 2;
	}
	kernel = open(argv[1], O_RDONLY | O_CLOEXEC);
	initrd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (kernel < 0 || initrd < 0) {
		perror(kernel < 0 ? argv[1] : argv[2]);
		return 1;
	}
	/* The length counts the 0 at the end (kexec_file_load(2)). */
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3], 0UL)) {
		perror("kexec_file_load");
		return 1;
	}
	reboot(BOOT_THE_OTHER);
	perror("reboot");
	return 1;
}
