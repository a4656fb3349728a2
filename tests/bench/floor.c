/*
 * The floor: the container of the benchmark, made by the fewest and cheapest system calls known, in a straight line.
 *
 * It makes the same container that the runtimes make from config.json (container.rs writes both sides): namespaces,
 * cgroup with its pids limit and device rules, mounts, device nodes, links, masked and read-only paths, read-only root,
 * hostname, loopback, session keyring, rlimit, capabilities, no_new_privs. `--check` compares what a process
 * sees inside with what it sees under the other runtimes.
 *
 * Left out, because it is a runtime's own work and not the container: reading and checking config.json, the state
 * directory with its locks, the seal of the binary (CVE-2019-5736), the log, the validation of paths against a hostile
 * rootfs, error messages, signal forwarding, hooks, the report of a failed execve by `start`.
 *
 *   floor run    LAYOUT ROOTFS CGROUP STATE PROGRAM [ARG...]
 *   floor create LAYOUT ROOTFS CGROUP STATE PROGRAM [ARG...]
 *   floor start  STATE
 *   floor exec   LAYOUT CGROUP PID PROGRAM [ARG...]
 *   floor kill   PID
 *   floor delete LAYOUT CGROUP STATE
 *   floor usage  PROGRAM [ARG...]       run it, print its peak resident set in KiB and its page faults on stderr (from a
 *                                       tiny parent: the kernel counts the memory and the faults of the process that
 *                                       spawned, too)
 *
 * LAYOUT is `v2`, `v2+pids`, or the directories of the v1 hierarchies below /sys/fs/cgroup, joined by ':'.
 * CGROUP is the path below the root of the hierarchy; its parent exists. STATE is a prefix for the FIFO and the pid file.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* musl-gcc does not see the kernel's headers. */
#define NR_bpf SYS_bpf
#define NR_move_mount 429
#define NR_open_tree 428
#define NR_pidfd_open 434
#define NR_clone3 435
#define NR_close_range 436
#define NR_mount_setattr 442
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
#define CLONE_INTO_CGROUP_ 0x200000000ULL
#define OPEN_TREE_CLONE_ 1
#define AT_EMPTY_PATH_ 0x1000
#define MOVE_MOUNT_F_EMPTY_PATH_ 4
#define MOUNT_ATTR_RDONLY_ 1
#define KEYCTL_JOIN_SESSION_KEYRING_ 1
#define CLOSE_RANGE_CLOEXEC_ 4
#define PIDS_MAX "1024"

struct clone_args_ {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
struct mount_attr_ {
	uint64_t attr_set, attr_clr, propagation, userns_fd;
};

#ifdef STAMPS
static struct { const char *what; struct timespec at; } stamps[200];
static int nstamps;
#define STAMP(w) (stamps[nstamps].what = (w), clock_gettime(CLOCK_MONOTONIC, &stamps[nstamps++].at))
static void print_stamps(void)
{
	for (int i = 1; i < nstamps; i++)
		fprintf(stderr, "%8.1f  %s\n", (stamps[i].at.tv_sec - stamps[i - 1].at.tv_sec) * 1e6 +
			(stamps[i].at.tv_nsec - stamps[i - 1].at.tv_nsec) / 1e3, stamps[i].what);
}
#else
#define STAMP(w) ((void)0)
#define print_stamps() ((void)0)
#endif

static _Noreturn void die(const char *what)
{
	dprintf(2, "floor: %s: %s\n", what, strerror(errno));
	_exit(125);
}
#define TRY(call) do { if ((long)(call) < 0) die(#call); STAMP(#call); } while (0)

/* --- cgroup ------------------------------------------------------------------------------------------------------ */

static int v2(const char *layout) { return !strncmp(layout, "v2", 2); }

static void put(int dir, const char *file, const char *value)
{
	int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		die(file);
	close(fd);
	STAMP(file);
}

static void copy_from_parent(int dir, const char *file)
{
	char path[64] = "../", value[256];
	int fd = openat(dir, strcat(path, file), O_RDONLY | O_CLOEXEC);
	long n = fd < 0 ? -1 : read(fd, value, sizeof value - 1);
	if (n < 0)
		die(path);
	close(fd);
	value[n] = 0;
	put(dir, file, value);
}

/* Every v1 hierarchy of the layout in turn; returns the rest. */
static const char *next(const char *rest, char *name)
{
	size_t n = strcspn(rest, ":");
	if (!n)
		return NULL;
	memcpy(name, rest, n);
	name[n] = 0;
	return rest[n] ? rest + n + 1 : rest + n;
}

static int has(const char *name, const char *controller)
{
	size_t n = strlen(controller);
	for (const char *p = name; (p = strstr(p, controller)); p += n)
		if ((p == name || p[-1] == ',') && (!p[n] || p[n] == ','))
			return 1;
	return 0;
}

/* The devices every runtime allows: mknod of anything, and the default nodes, terminals and /dev/net/tun. */
struct bpf_insn_ { uint8_t code, regs; int16_t off; int32_t imm; };
#define I(code, dst, src, off, imm) { (code), (uint8_t)((src) << 4 | (dst)), (off), (imm) }
#define JEQ(reg, value, off) I(0x15, reg, 0, off, value)
#define DEVICE(major, minor) ((major) << 20 | (minor))
/* One comparison per device and one exit for all: the verifier follows every branch to the exit, so that a block with
   its own comparisons of type, major and minor, and its own exit, for each rule costs four times as much to load. */
static const struct bpf_insn_ devices[] = {
	I(0x61, 2, 1, 0, 0), I(0x61, 4, 1, 4, 0), I(0x61, 5, 1, 8, 0),	/* 0: r2 = access << 16 | type, r4, r5 = device */
	I(0xb7, 0, 0, 0, 1),						/* 3: r0 = allow */
	I(0xbf, 3, 2, 0, 0), I(0x77, 3, 0, 0, 16), JEQ(3, 1, 14),	/* 4: mknod alone: exit */
	I(0x57, 2, 0, 0, 0xffff), I(0x55, 2, 0, 11, 2),			/* 7: not a character device: deny */
	JEQ(4, 136, 11),						/* 9 */
	I(0x67, 4, 0, 0, 20), I(0x4f, 4, 5, 0, 0),			/* 10: r4 = DEVICE */
	JEQ(4, DEVICE(1, 3), 8), JEQ(4, DEVICE(1, 5), 7), JEQ(4, DEVICE(1, 7), 6), JEQ(4, DEVICE(1, 8), 5),
	JEQ(4, DEVICE(1, 9), 4), JEQ(4, DEVICE(5, 0), 3), JEQ(4, DEVICE(5, 2), 2), JEQ(4, DEVICE(10, 200), 1),
	I(0xb7, 0, 0, 0, 0),						/* 20: deny */
	I(0x95, 0, 0, 0, 0),						/* 21: exit */
};
static const char *const v1_devices[] = {
	"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm",
	"c 136:* rwm", "c 10:200 rwm",
};

static void attach_devices(int dir)
{
	struct {
		uint32_t type, count; uint64_t insns, license; uint32_t log_level, log_size; uint64_t log; uint32_t kern_version, flags;
	} load = { .type = 15, .count = sizeof devices / sizeof *devices, .insns = (uintptr_t)devices,
		   .license = (uintptr_t)"Apache" };
	struct { uint32_t target, prog, type, flags; } attach = { .target = dir, .type = 6, .flags = 2 };
	int prog = syscall(NR_bpf, 5, &load, sizeof load);
	if (prog < 0)
		die("bpf load");
	STAMP("bpf load");
	attach.prog = prog;
	TRY(syscall(NR_bpf, 8, &attach, sizeof attach));
	close(prog);
}

/* Makes the cgroup; on v2 returns its directory, for clone3. */
static int make_cgroup(const char *layout, const char *cgroup)
{
	char path[4096], name[256];
	int dir = -1;
	if (v2(layout)) {
		snprintf(path, sizeof path, "/sys/fs/cgroup/%s", cgroup);
		TRY(mkdir(path, 0755));
		TRY(dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
		if (layout[2])
			put(dir, "pids.max", PIDS_MAX);
		attach_devices(dir);
		return dir;
	}
	for (const char *rest = layout; (rest = next(rest, name));) {
		snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", name, cgroup);
		TRY(mkdir(path, 0755));
		int cpuset = has(name, "cpuset"), pids = has(name, "pids"), dev = has(name, "devices");
		if (!cpuset && !pids && !dev)
			continue;
		TRY(dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
		if (cpuset) {
			copy_from_parent(dir, "cpuset.cpus");
			copy_from_parent(dir, "cpuset.mems");
		}
		if (pids)
			put(dir, "pids.max", PIDS_MAX);
		if (dev) {
			put(dir, "devices.deny", "a");
			int fd = openat(dir, "devices.allow", O_WRONLY | O_CLOEXEC);
			for (size_t i = 0; i < sizeof v1_devices / sizeof *v1_devices; i++)
				if (write(fd, v1_devices[i], strlen(v1_devices[i])) < 0)
					die("devices.allow");
			close(fd);
			STAMP("devices.allow");
		}
		close(dir);
	}
	return -1;
}

/* v1: a task that moves itself through `tasks` skips the lock, and thereby the RCU grace period, of a move through
   `cgroup.procs`. */
static void join_v1(const char *layout, const char *cgroup)
{
	char path[4096], name[256];
	for (const char *rest = layout; (rest = next(rest, name));) {
		snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s/tasks", name, cgroup);
		put(AT_FDCWD, path, "0");
	}
}

static void remove_cgroup(const char *layout, const char *cgroup)
{
	char path[4096], name[256];
	if (v2(layout)) {
		snprintf(path, sizeof path, "/sys/fs/cgroup/%s", cgroup);
		TRY(rmdir(path));
		return;
	}
	for (const char *rest = layout; (rest = next(rest, name));) {
		snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", name, cgroup);
		TRY(rmdir(path));
	}
}

/* --- the inside -------------------------------------------------------------------------------------------------- */

#define NSE (MS_NOSUID | MS_NOEXEC)
#define NSED (NSE | MS_NODEV)

static void mount_cgroups(const char *layout)
{
	char path[4096], name[256];
	if (v2(layout)) {
		TRY(mount("cgroup", "sys/fs/cgroup", "cgroup2", NSED | MS_RELATIME | MS_RDONLY, NULL));
		return;
	}
	TRY(mount("tmpfs", "sys/fs/cgroup", "tmpfs", NSED, "mode=755"));
	for (const char *rest = layout; (rest = next(rest, name));) {
		snprintf(path, sizeof path, "sys/fs/cgroup/%s", name);
		TRY(mkdir(path, 0755));
		TRY(mount("cgroup", path, "cgroup", NSED | MS_RELATIME | MS_RDONLY,
			  strcmp(name, "systemd") ? name : "none,name=systemd"));
	}
	TRY(mount(NULL, "sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | NSED, NULL));
}

static void make_rootfs(const char *layout, const char *rootfs)
{
	struct mount_attr_ ro = { .attr_set = MOUNT_ATTR_RDONLY_ };

	TRY(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL));
	TRY(mount(rootfs, rootfs, NULL, MS_BIND, NULL));
	TRY(chdir(rootfs));
	TRY(mount("proc", "proc", "proc", 0, NULL));
	TRY(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
	TRY(mkdir("dev/pts", 0755));
	TRY(mount("devpts", "dev/pts", "devpts", NSE, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
	TRY(mkdir("dev/shm", 01777));
	TRY(mount("shm", "dev/shm", "tmpfs", NSED, "mode=1777,size=65536k"));
	TRY(mkdir("dev/mqueue", 01777));
	TRY(mount("mqueue", "dev/mqueue", "mqueue", NSED, NULL));
	TRY(mount("sysfs", "sys", "sysfs", NSED | MS_RDONLY, NULL));
	mount_cgroups(layout);

	static const struct { const char *path; int major, minor; } nodes[] = {
		{ "dev/null", 1, 3 }, { "dev/zero", 1, 5 }, { "dev/full", 1, 7 },
		{ "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 },
	};
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
		TRY(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
	static const char *const links[][2] = {
		{ "/proc/self/fd", "dev/fd" }, { "/proc/self/fd/0", "dev/stdin" }, { "/proc/self/fd/1", "dev/stdout" },
		{ "/proc/self/fd/2", "dev/stderr" }, { "/proc/kcore", "dev/core" }, { "pts/ptmx", "dev/ptmx" },
	};
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		TRY(symlink(links[i][0], links[i][1]));

	TRY(syscall(SYS_pivot_root, ".", "."));
	TRY(umount2(".", MNT_DETACH));
	TRY(chdir("/"));

	static const char *const readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };
	for (size_t i = 0; i < sizeof readonly / sizeof *readonly; i++) {
		if (mount(readonly[i], readonly[i], NULL, MS_BIND, NULL) < 0) {
			if (errno == ENOENT)
				continue;
			die(readonly[i]);
		}
		TRY(syscall(NR_mount_setattr, -1, readonly[i], 0, &ro, sizeof ro));
	}
	/* One read-only tmpfs for every masked directory; whether a path is a file or a directory is asked by trying. */
	static const char *const masked[] = {
		"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
	};
	const char *empty = NULL;
	for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
		if (mount("/dev/null", masked[i], NULL, MS_BIND, NULL) == 0) {
			STAMP(masked[i]);
			continue;
		}
		if (errno == ENOENT)
			continue;
		if (errno != ENOTDIR)
			die(masked[i]);
		if (empty)
			TRY(mount(empty, masked[i], NULL, MS_BIND, NULL));
		else
			TRY(mount("tmpfs", empty = masked[i], "tmpfs", MS_RDONLY, NULL));
	}
	TRY(syscall(NR_mount_setattr, -1, "/", 0, &ro, sizeof ro));
}


static void confine(void)
{
	static const int kept[] = { 5, 10, 29 };	/* KILL, NET_BIND_SERVICE, AUDIT_WRITE */
	uint32_t mask = 0;
	struct { uint32_t version; int pid; } head = { 0x20080522, 0 };
	struct rlimit files = { 1024, 1024 };

	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		mask |= 1u << kept[i];
	TRY(syscall(NR_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC_));
	TRY(setrlimit(RLIMIT_NOFILE, &files));
	TRY(syscall(SYS_setgroups, 0, NULL));
	for (int cap = 0; cap < 64 && (cap < 32 && mask >> cap & 1 || !prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)); cap++)
		;
	STAMP("capbset");
	uint32_t data[6] = { mask, mask, 0, 0, 0, 0 };
	TRY(syscall(SYS_capset, &head, data));
	TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static char *const env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", NULL };

struct plan {
	const char *layout, *rootfs, *cgroup, *state;
	char **argv;
	int ready;	/* closed when the container is made; -1 for run */
};

static _Noreturn void container(const struct plan *p)
{
	STAMP("clone3");
	umask(0);
	if (!v2(p->layout)) {
		join_v1(p->layout, p->cgroup);
		TRY(unshare(CLONE_NEWCGROUP));
	}
	int gate = -1;
	if (p->ready >= 0) {
		char fifo[4096];
		snprintf(fifo, sizeof fifo, "%s.fifo", p->state);
		TRY(gate = open(fifo, O_PATH | O_CLOEXEC));
	}
	TRY(setsid());
	TRY(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING_, "_ses.floor", 0, 0, 0));
	TRY(sethostname("runc", 4));
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int s;
	TRY(s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	TRY(ioctl(s, SIOCSIFFLAGS, &lo));
	TRY(close(s));
	make_rootfs(p->layout, p->rootfs);
	confine();
	umask(022);
	if (gate >= 0) {
		char self[64];
		if (write(p->ready, "", 1) != 1)
			die("ready");
		snprintf(self, sizeof self, "/proc/self/fd/%d", gate);
		if (open(self, O_RDONLY | O_CLOEXEC) < 0)
			die("gate");
	}
	print_stamps();
	execve(p->argv[0], p->argv, env);
	die(p->argv[0]);
}

/* clone3 without a C library's wrapper around it: with CLONE_VM the child runs on the parent's stack, below its frame,
   so it must not return from the function that cloned. */
static inline __attribute__((always_inline)) long clone3(struct clone_args_ *a)
{
#if defined(__x86_64__)
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "0"((long)NR_clone3), "D"(a), "S"(sizeof *a) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = NR_clone3, r __asm__("x0") = (long)a, x1 __asm__("x1") = sizeof *a;
	__asm__ volatile("svc 0" : "+r"(r) : "r"(x8), "r"(x1) : "memory");
#else
#error "clone3: no such machine"
#endif
	if (r < 0) {
		errno = -r;
		return -1;
	}
	return r;
}

static int reap(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static __attribute__((noinline)) pid_t spawn(const struct plan *p, uint64_t flags, int dir)
{
	struct clone_args_ a = { .flags = flags, .exit_signal = SIGCHLD };
	if (dir >= 0) {
		a.flags |= CLONE_INTO_CGROUP_;
		a.cgroup = dir;
	}
	if (v2(p->layout))
		a.flags |= CLONE_NEWCGROUP;
	long pid = clone3(&a);
	if (pid < 0)
		die("clone3");
	if (!pid)
		container(p);
	return pid;
}

#define NAMESPACES (CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS)

static int run(struct plan *p)
{
	p->ready = -1;
	STAMP("start");
	int dir = make_cgroup(p->layout, p->cgroup);
	int status = reap(spawn(p, NAMESPACES | CLONE_VM | CLONE_VFORK, dir));
	remove_cgroup(p->layout, p->cgroup);
	return status;
}

static int create(struct plan *p)
{
	char path[4096], text[16];
	int ready[2];
	snprintf(path, sizeof path, "%s.fifo", p->state);
	TRY(mkfifo(path, 0600));
	TRY(pipe2(ready, O_CLOEXEC));
	p->ready = ready[1];
	int dir = make_cgroup(p->layout, p->cgroup);
	pid_t pid = spawn(p, NAMESPACES, dir);
	close(ready[1]);
	if (read(ready[0], text, 1) != 1)
		return reap(pid);
	int n = snprintf(text, sizeof text, "%d", pid);
	snprintf(path, sizeof path, "%s.pid", p->state);
	int fd;
	TRY(fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	TRY(write(fd, text, n));
	return 0;
}

static int start(const char *state)
{
	char path[4096];
	snprintf(path, sizeof path, "%s.fifo", state);
	TRY(open(path, O_WRONLY | O_CLOEXEC));
	return 0;
}

static __attribute__((noinline)) int tenant(const char *layout, const char *cgroup, pid_t init, char **argv)
{
	char path[4096];
	struct clone_args_ a = { .flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD };
	int pidfd;
	TRY(pidfd = syscall(NR_pidfd_open, init, 0));
	TRY(setns(pidfd, CLONE_NEWPID));
	if (v2(layout)) {
		snprintf(path, sizeof path, "/sys/fs/cgroup/%s", cgroup);
		a.flags |= CLONE_INTO_CGROUP_;
		TRY(a.cgroup = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	}
	long pid = clone3(&a);
	if (pid < 0)
		die("clone3");
	if (pid)
		return reap(pid);
	if (!v2(layout))
		join_v1(layout, cgroup);
	TRY(setsid());
	TRY(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING_, "_ses.floor", 0, 0, 0));
	TRY(setns(pidfd, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP));
	confine();
	execve(argv[0], argv, env);
	die(argv[0]);
}

static int delete(const char *layout, const char *cgroup, const char *state)
{
	char path[4096];
	remove_cgroup(layout, cgroup);
	snprintf(path, sizeof path, "%s.fifo", state);
	TRY(unlink(path));
	snprintf(path, sizeof path, "%s.pid", state);
	TRY(unlink(path));
	return 0;
}

static int usage(char **argv)
{
	struct rusage used;
	int status;
	pid_t pid = vfork();
	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &used) < 0)
		die("usage");
	dprintf(2, "rss %ld\nfaults %ld\n", used.ru_maxrss, used.ru_minflt);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";
	if (argc > 6 && (!strcmp(verb, "run") || !strcmp(verb, "create"))) {
		struct plan p = { argv[2], argv[3], argv[4], argv[5], argv + 6, -1 };
		return *verb == 'r' ? run(&p) : create(&p);
	}
	if (!strcmp(verb, "start"))
		return start(argv[2]);
	if (argc > 5 && !strcmp(verb, "exec"))
		return tenant(argv[2], argv[3], atoi(argv[4]), argv + 5);
	if (!strcmp(verb, "kill")) {
		TRY(kill(atoi(argv[2]), SIGKILL));
		return 0;
	}
	if (argc == 5 && !strcmp(verb, "delete"))
		return delete(argv[2], argv[3], argv[4]);
	if (!strcmp(verb, "usage"))
		return usage(argv + 2);
	dprintf(2, "usage: see the head of floor.c\n");
	return 125;
}
