/*
 * What libseccomp makes of a profile. Commands come in line by line:
 *
 *   filter DEFAULT ARCH...        a new filter, for these architectures alone
 *   optimize LEVEL
 *   rule ACTION NAME N [ARG OP A B]...
 *   number ARCH NAME              answers with a number, or `none`
 *   export                        answers with the program, or why there is none
 *
 * A program is `program NANOSECONDS COUNT` and a line `CODE JT JF K` for each
 * instruction, in the byte order of the first architecture. The time is all that
 * the library needed since `filter`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static scmp_filter_ctx ctx;
static int failed;
static long long spent;

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static unsigned long long word(void)
{
	char *text = strtok(NULL, " \n");
	return text ? strtoull(text, NULL, 0) : 0;
}

static void filter(void)
{
	uint32_t action = word();
	char *name;
	long long start = now();
	int native = 0;

	if (ctx)
		seccomp_release(ctx);
	failed = 0;
	ctx = seccomp_init(action);
	/* The first architecture of another byte order can't join the native one. */
	if ((name = strtok(NULL, " \n"))) {
		uint32_t first = seccomp_arch_resolve_name(name);
		if (first != seccomp_arch_native()) {
			seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
			failed |= seccomp_arch_add(ctx, first) < 0;
		} else {
			native = 1;
		}
	}
	while ((name = strtok(NULL, " \n"))) {
		uint32_t arch = seccomp_arch_resolve_name(name);
		if (native && arch == seccomp_arch_native())
			continue;
		failed |= seccomp_arch_add(ctx, arch) < 0;
	}
	spent = now() - start;
}

static void rule(void)
{
	uint32_t action = word();
	int nr = seccomp_syscall_resolve_name(strtok(NULL, " \n"));
	unsigned int count = word();
	struct scmp_arg_cmp args[6];
	long long start;
	int rc;

	memset(args, 0, sizeof args);
	for (unsigned int i = 0; i < count && i < 6; i++) {
		args[i].arg = word();
		args[i].op = word();
		args[i].datum_a = word();
		args[i].datum_b = word();
	}
	if (nr == __NR_SCMP_ERROR)
		return;
	start = now();
	rc = seccomp_rule_add_array(ctx, action, nr, count, args);
	spent += now() - start;
	if (rc < 0 && !failed)
		failed = rc;
}

static void export(void)
{
	struct { unsigned short code; unsigned char jt, jf; unsigned int k; } insn;
	int fd = memfd_create("program", 0);
	long long start = now();
	int rc = failed ? failed : seccomp_export_bpf(ctx, fd);

	spent += now() - start;
	if (rc < 0) {
		printf("refused %d\n", rc);
	} else {
		long size = lseek(fd, 0, SEEK_END);
		lseek(fd, 0, SEEK_SET);
		printf("program %lld %ld\n", spent, size / 8);
		while (read(fd, &insn, 8) == 8)
			printf("%u %u %u %u\n", insn.code, insn.jt, insn.jf, insn.k);
	}
	close(fd);
}

int main(void)
{
	static char line[1 << 16];

	while (fgets(line, sizeof line, stdin)) {
		char *command = strtok(line, " \n");
		if (!command)
			continue;
		if (!strcmp(command, "filter")) {
			filter();
		} else if (!strcmp(command, "optimize")) {
			seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, word());
		} else if (!strcmp(command, "rule")) {
			rule();
		} else if (!strcmp(command, "number")) {
			uint32_t arch = seccomp_arch_resolve_name(strtok(NULL, " \n"));
			int nr = seccomp_syscall_resolve_name_arch(arch, strtok(NULL, " \n"));
			if (arch == 0)
				printf("none\n");
			else if (nr == __NR_SCMP_ERROR)
				printf("unknown\n");
			else
				printf("%d\n", nr);
		} else if (!strcmp(command, "export")) {
			export();
		}
		fflush(stdout);
	}
	return 0;
}
