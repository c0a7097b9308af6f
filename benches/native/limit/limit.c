// The lower limit of a container start: what any OCI runtime must ask of the kernel for the generated
// bundles, and nothing else. No config.json is read: the facts are compiled in. It trusts the bundle and is
// no sandbox; it exists to be measured against.
//
//   limit run    BUNDLE SLOT
//   limit create BUNDLE SLOT STATE [ARGV...]    STATE.pid and STATE.fifo are made
//   limit start  SLOT STATE
//   limit exec   SLOT STATE ARGV...
//   limit delete SLOT STATE
#include "limit.h"

#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>

static char *const environment[] = {"PATH=/bin", NULL};
static char *default_argv[] = {PAYLOAD, NULL};

_Noreturn void die(const char *step, const char *object) {
	dprintf(2, "limit: %s %s: %s\n", step, object, strerror(errno));
	_exit(125);
}

static pid_t clone_into(uint64_t namespaces, const struct cgroups *cgroups) {
	struct clone_args args = {.flags = namespaces, .exit_signal = SIGCHLD};
#if CGROUP_V2
	args.flags |= CLONE_INTO_CGROUP;
	args.cgroup = (uint64_t)cgroups->fds[0];
#else
	(void)cgroups;
#endif
	return check(syscall(SYS_clone3, &args, sizeof args), "clone3", "container process");
}

_Noreturn static void run_program(char *const *argv) {
	check(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC), "close_range", "3-");
	execve(argv[0], argv, environment);
	die("execve", argv[0]);
}

static int wait_for(pid_t pid) {
	int status;
	check(waitpid(pid, &status, 0), "wait", "container process");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static pid_t spawn_container(const char *bundle, const char *slot, char *const *argv, int ready, int proceed) {
	struct cgroups cgroups;
	cgroups_create(&cgroups, slot);
	pid_t pid = clone_into(NAMESPACES, &cgroups);
	if (pid != 0)
		return pid;
	cgroups_enter(&cgroups);
	umask(0);
	check(setsid(), "setsid", "container process");
#if REAL
	// A cgroup namespace is rooted where its maker is, so it cannot come with clone3.
	check(unshare(CLONE_NEWCGROUP), "unshare", "cgroup namespace");
	check(sethostname(HOSTNAME, strlen(HOSTNAME)), "sethostname", HOSTNAME);
	loopback_up();
#endif
	rootfs_enter(bundle);
	umask(022);
	confine();
	char byte = 0;
	if (ready >= 0) {
		check(write(ready, &byte, 1), "write", "ready pipe");
		check(read(proceed, &byte, 1), "read", "start fifo");
	}
	run_program(argv);
}

static int run(const char *bundle, const char *slot) {
	int status = wait_for(spawn_container(bundle, slot, default_argv, -1, -1));
	cgroups_remove(slot);
	return status;
}

static const char *state_path(const char *state, const char *suffix) {
	static char path[512];
	snprintf(path, sizeof path, "%s.%s", state, suffix);
	return path;
}

static pid_t read_pid(const char *state) {
	char text[32] = {0};
	const char *path = state_path(state, "pid");
	int fd = check(open(path, O_RDONLY | O_CLOEXEC), "open", path);
	check(read(fd, text, sizeof text - 1), "read", path);
	close(fd);
	return atoi(text);
}

static int create(const char *bundle, const char *slot, const char *state, char *const *argv) {
	const char *fifo = state_path(state, "fifo");
	check(mkfifo(fifo, 0600), "mkfifo", fifo);
	// Open for both, so that the child's read waits for `start` and not for a writer.
	int proceed = check(open(fifo, O_RDWR | O_CLOEXEC), "open", fifo);
	int ready[2];
	check(pipe2(ready, O_CLOEXEC), "pipe", "ready");
	pid_t pid = spawn_container(bundle, slot, argv, ready[1], proceed);
	close(ready[1]);
	char byte;
	if (read(ready[0], &byte, 1) != 1)
		return 125;
	char text[32];
	int length = snprintf(text, sizeof text, "%d", pid);
	const char *path = state_path(state, "pid");
	int fd = check(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), "open", path);
	check(write(fd, text, (size_t)length), "write", path);
	return 0;
}

static int start(const char *state) {
	const char *fifo = state_path(state, "fifo");
	int fd = check(open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC), "open", fifo);
	check(write(fd, "", 1), "write", fifo);
	return 0;
}

static int exec(const char *slot, const char *state, char *const *argv) {
	struct cgroups cgroups;
	cgroups_open(&cgroups, slot);
	int container = check(syscall(SYS_pidfd_open, read_pid(state), 0), "pidfd_open", "container process");
	check(setns(container, NAMESPACES | (REAL ? CLONE_NEWCGROUP : 0)), "setns", "container");
	pid_t pid = clone_into(0, &cgroups);
	if (pid == 0) {
		cgroups_enter(&cgroups);
		check(setsid(), "setsid", "process");
		confine();
		run_program(argv);
	}
	return wait_for(pid);
}

static int delete(const char *slot, const char *state) {
	pid_t pid = read_pid(state);
	int process = (int)syscall(SYS_pidfd_open, pid, 0);
	if (process >= 0) {
		// A dead process no longer holds its cgroup, reaped or not; the descriptor is readable from then on.
		struct pollfd death = {.fd = process, .events = POLLIN};
		kill(pid, SIGKILL);
		check(poll(&death, 1, -1), "poll", "container process");
	}
	cgroups_remove(slot);
	const char *fifo = state_path(state, "fifo");
	check(unlink(fifo), "unlink", fifo);
	const char *path = state_path(state, "pid");
	check(unlink(path), "unlink", path);
	return 0;
}

int main(int argc, char **argv) {
	const char *command = argc > 1 ? argv[1] : "";
	if (strcmp(command, "run") == 0 && argc == 4)
		return run(argv[2], argv[3]);
	if (strcmp(command, "create") == 0 && argc >= 5)
		return create(argv[2], argv[3], argv[4], argc > 5 ? argv + 5 : default_argv);
	if (strcmp(command, "start") == 0 && argc == 4)
		return start(argv[3]);
	if (strcmp(command, "exec") == 0 && argc >= 5)
		return exec(argv[2], argv[3], argv + 4);
	if (strcmp(command, "delete") == 0 && argc == 4)
		return delete(argv[2], argv[3]);
	dprintf(2, "usage: limit run|create|start|exec|delete ...\n");
	return 2;
}
