/*
 * Tries what a sandboxed program has no business doing, each attempt in a process of its own, and prints one
 * line for each: "NAME allowed", "NAME errno N" or "NAME signal N".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define X32_BIT 0x40000000L

static long x32(void) { return syscall(X32_BIT | SYS_getuid); }

/* int 0x80 enters the kernel as an i386 program would; 24 is getuid there. */
static long i386(void)
{
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "0"(24L) : "memory", "r8", "r9", "r10", "r11");
	if (result < 0) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

static long io_uring(void)
{
	char parameters[256] = {0};
	return syscall(SYS_io_uring_setup, 1, parameters);
}

static long clone3_user(void)
{
	struct { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, rest[6]; } args = {0};
	args.flags = CLONE_NEWUSER;
	args.exit_signal = SIGCHLD;
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		_exit(0);
	return pid;
}

static long clone_user(void)
{
	long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(0);
	return pid;
}

static long unshare_user(void) { return unshare(CLONE_NEWUSER); }

static long trace(void) { return ptrace(PTRACE_TRACEME, 0, 0, 0); }

static long bpf_map(void)
{
	union bpf_attr attr;
	memset(&attr, 0, sizeof attr);
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = 4;
	attr.value_size = 4;
	attr.max_entries = 1;
	return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
}

static long keyring(void) { return syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -3, 1); }

static long add_key(void) { return syscall(SYS_add_key, "user", "nucleus", "x", 1, -2); }

static long faultfd(void) { return syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */); }

static long perf(void)
{
	struct perf_event_attr attr;
	memset(&attr, 0, sizeof attr);
	attr.type = PERF_TYPE_SOFTWARE;
	attr.size = sizeof attr;
	attr.config = PERF_COUNT_SW_TASK_CLOCK;
	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static long namespace(void)
{
	int fd = open("/proc/self/ns/uts", O_RDONLY);
	return fd < 0 ? fd : setns(fd, 0);
}

static long mounts(void) { return syscall(SYS_fsopen, "tmpfs", 0); }

static long push_input(void)
{
	char byte = 'x';
	return ioctl(0, TIOCSTI, &byte);
}

static long controlling_terminal(void) { return open("/dev/tty", O_RDWR); }

static const struct { const char *name; long (*attempt)(void); } attempts[] = {
	{"x32", x32},
	{"i386", i386},
	{"io_uring_setup", io_uring},
	{"clone3-newuser", clone3_user},
	{"clone-newuser", clone_user},
	{"unshare-newuser", unshare_user},
	{"ptrace", trace},
	{"bpf", bpf_map},
	{"keyctl", keyring},
	{"add_key", add_key},
	{"userfaultfd", faultfd},
	{"perf_event_open", perf},
	{"setns", namespace},
	{"fsopen", mounts},
	{"TIOCSTI", push_input},
	{"controlling-terminal", controlling_terminal},
};

/* Not an attempt: which session keyring this is. */
static void session_keyring(void)
{
	long serial = syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -3 /* KEY_SPEC_SESSION_KEYRING */, 0);
	if (serial < 0)
		printf("session-keyring errno %d\n", errno);
	else
		printf("session-keyring %ld\n", serial);
}

static void try(const char *name, long (*attempt)(void))
{
	int status = 0;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		errno = 0;
		_exit(attempt() < 0 ? errno : 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		printf("%s untried\n", name);
		return;
	}
	if (WIFSIGNALED(status))
		printf("%s signal %d\n", name, WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		printf("%s errno %d\n", name, WEXITSTATUS(status));
	else
		printf("%s allowed\n", name);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "session-keyring") == 0) {
		session_keyring();
		return 0;
	}
	for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
		int wanted = argc == 1;
		for (int arg = 1; arg < argc; arg++)
			wanted |= strcmp(argv[arg], attempts[i].name) == 0;
		if (wanted)
			try(attempts[i].name, attempts[i].attempt);
	}
	return 0;
}
