// Starts and times programs for the harness, from an address space of a few pages: what a start costs must
// not depend on the harness's own size, and a child's peak RSS begins with its parent's.
//
//   launch host|v1|v2
//
// It runs as process 1 of its own pid, mount and ipc namespaces with a private /proc, /run and view of the
// cgroups, so that whatever a runtime leaves behind ends with it. Each request on standard input is one
// line:
//
//   chain|parallel TAB command [TAB ; TAB command]...
//
// where a command is its TAB separated arguments, one of which may be `@open:FILE`, a descriptor of it, or `@wait TAB PIDFILE`, which waits for the process named
// in PIDFILE to exit and reaps it. The answer is one line: total nanoseconds, then for each command
// nanoseconds:exit status:user microseconds:system microseconds:peak RSS in KiB.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_COMMANDS = 64, MAX_ARGS = 1024, LINE = 1 << 16 };

#define OPEN "@open:"

struct command {
	char **argv;
	pid_t pid;
	int status;
	int64_t started, ended;
	struct rusage usage;
};

static char line[LINE];
static char *args[MAX_ARGS];
static struct command commands[MAX_COMMANDS];
static char *const environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
				    "XDG_RUNTIME_DIR=/run", NULL};

static void die(const char *step) {
	dprintf(2, "launch: %s: %s\n", step, strerror(errno));
	_exit(1);
}

static int64_t now(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

// An argument `@open:FILE` becomes the number of a descriptor of that file, opened anew for each start.
static int open_argument(char **argument) {
	static char number[16];
	int fd = open(*argument + strlen(OPEN), O_RDONLY);
	if (fd < 0)
		die("open a file for a command");
	snprintf(number, sizeof number, "%d", fd);
	*argument = number;
	return fd;
}

static void spawn(struct command *command) {
	int opened = -1;
	for (char **argument = command->argv; *argument && opened < 0; argument++)
		if (strncmp(*argument, OPEN, strlen(OPEN)) == 0)
			opened = open_argument(argument);
	command->started = now();
	command->pid = vfork();
	if (command->pid == 0) {
		execve(command->argv[0], command->argv, environment);
		_exit(127);
	}
	if (command->pid < 0)
		die("vfork");
	if (opened >= 0)
		close(opened);
}

static int exit_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

static void finish(struct command *command, pid_t pid) {
	int status = 0;
	while (wait4(pid, &status, 0, &command->usage) < 0)
		if (errno != EINTR) {
			status = 125 << 8;
			break;
		}
	command->ended = now();
	command->status = exit_status(status);
}

static void wait_for_pidfile(struct command *command) {
	char text[32] = {0};
	command->started = now();
	int fd = open(command->argv[1], O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!read(fd, text, sizeof text - 1);
		close(fd);
	}
	pid_t pid = atoi(text);
	if (pid > 0)
		finish(command, pid);
	else
		command->ended = now();
}

// A command whose predecessor failed is not started and keeps the status that parse() gave it.
static void run_chain(int count) {
	for (int i = 0; i < count && (i == 0 || commands[i - 1].status == 0); i++) {
		if (strcmp(commands[i].argv[0], "@wait") == 0) {
			wait_for_pidfile(&commands[i]);
		} else {
			spawn(&commands[i]);
			finish(&commands[i], commands[i].pid);
		}
	}
}

static void run_parallel(int count) {
	for (int i = 0; i < count; i++)
		spawn(&commands[i]);
	for (int left = count; left > 0;) {
		struct rusage usage;
		int status;
		pid_t pid = wait4(-1, &status, 0, &usage);
		if (pid < 0)
			die("wait4");
		for (int i = 0; i < count; i++) {
			if (commands[i].pid != pid)
				continue;
			commands[i].ended = now();
			commands[i].usage = usage;
			commands[i].status = exit_status(status);
			left--;
		}
	}
}

static int parse(void) {
	int count = 0, arg = 0;
	memset(commands, 0, sizeof commands);
	for (char *word = strtok(NULL, "\t\n"); word; word = strtok(NULL, "\t\n")) {
		if (count == MAX_COMMANDS || arg + 2 >= MAX_ARGS)
			return -1;
		if (strcmp(word, ";") == 0) {
			args[arg++] = NULL;
			count++;
			continue;
		}
		if (!commands[count].argv)
			commands[count].argv = &args[arg];
		args[arg++] = word;
	}
	args[arg] = NULL;
	for (int i = 0; i <= count; i++)
		commands[i].status = 125;
	return commands[count].argv ? count + 1 : -1;
}

static int64_t micros(struct timeval time) { return (int64_t)time.tv_sec * 1000000 + time.tv_usec; }

static void answer(int64_t total, int count) {
	printf("%lld", (long long)total);
	for (int i = 0; i < count; i++)
		printf(" %lld:%d:%lld:%lld:%ld", (long long)(commands[i].ended - commands[i].started), commands[i].status,
		       (long long)micros(commands[i].usage.ru_utime), (long long)micros(commands[i].usage.ru_stime),
		       commands[i].usage.ru_maxrss);
	printf("\n");
	fflush(stdout);
}

static void serve(void) {
	while (fgets(line, sizeof line, stdin)) {
		char *mode = strtok(line, "\t\n");
		int count = mode ? parse() : -1;
		if (count < 0) {
			dprintf(2, "launch: bad request\n");
			_exit(2);
		}
		int64_t started = now();
		if (strcmp(mode, "parallel") == 0)
			run_parallel(count);
		else
			run_chain(count);
		answer(now() - started, count);
		// Process 1 inherits what runtimes orphan.
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

static void view_cgroups(const char *view) {
	if (strcmp(view, "v1") == 0 && umount2("/sys/fs/cgroup/unified", MNT_DETACH) < 0 && errno != EINVAL &&
	    errno != ENOENT)
		die("umount the cgroup2 hierarchy");
	if (strcmp(view, "v2") == 0) {
		if (umount2("/sys/fs/cgroup", MNT_DETACH) < 0)
			die("umount /sys/fs/cgroup");
		if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
			die("mount cgroup2");
	}
}

int main(int argc, char **argv) {
	if (argc != 2)
		return 2;
	if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC) < 0)
		die("unshare");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid > 0) {
		int status;
		// The requests are the child's: its end is ours.
		waitpid(pid, &status, 0);
		return exit_status(status);
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		die("make / private");
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		die("mount /proc");
	if (mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") < 0)
		die("mount /run");
	view_cgroups(argv[1]);
	// Programs inherit standard input and output: neither may be the harness's pipes.
	int requests = dup(0), answers = dup(1), null = open("/dev/null", O_RDWR);
	if (requests < 0 || answers < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
		die("redirect");
	fcntl(requests, F_SETFD, FD_CLOEXEC);
	fcntl(answers, F_SETFD, FD_CLOEXEC);
	fcntl(null, F_SETFD, FD_CLOEXEC);
	stdin = fdopen(requests, "r");
	stdout = fdopen(answers, "w");
	serve();
	return 0;
}
