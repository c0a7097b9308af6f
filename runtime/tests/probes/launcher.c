/*
 * A front-end that looks at a container before its program's first instruction: starts the command with
 * descriptor 3 for --info-fd and 4 for --block-fd, seizes the process that it is told of, lets it go on, and at
 * the exec stop prints its /proc/PID/status and what its exe is. Ends as the command does.
 *
 * With --seize PID it only tries to seize that process, and prints the errno, 0 for none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(99);
}

static void show(int pid)
{
	char path[64], line[256], target[256];
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	FILE *status = fopen(path, "r");
	if (status == NULL)
		fail("open status");
	while (fgets(line, sizeof line, status) != NULL)
		fputs(line, stdout);
	fclose(status);
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	ssize_t length = readlink(path, target, sizeof target - 1);
	if (length < 0)
		fail("readlink exe");
	target[length] = 0;
	printf("exe %s\n", target);
}

int main(int argc, char **argv)
{
	int info[2], block[2], pid = 0, status;
	if (argc == 3 && strcmp(argv[1], "--seize") == 0) {
		long result = ptrace(PTRACE_SEIZE, atoi(argv[2]), 0, 0);
		printf("seize %d\n", result == 0 ? 0 : errno);
		return 0;
	}
	if (argc < 2 || pipe(info) != 0 || pipe(block) != 0)
		fail("pipe");
	pid_t runtime = fork();
	if (runtime == 0) {
		/* The pipes are 3 to 6: out of the way first. */
		int write_end = dup2(info[1], 10), read_end = dup2(block[0], 11);
		for (int fd = 3; fd < 10; fd++)
			close(fd);
		dup2(write_end, 3);
		dup2(read_end, 4);
		close(write_end);
		close(read_end);
		execv(argv[1], argv + 1);
		_exit(98);
	}
	close(info[1]);
	close(block[0]);
	FILE *told = fdopen(info[0], "r");
	if (fscanf(told, "{\"pid\":%d}", &pid) != 1 || fgetc(told) != '\n')
		fail("read the line");
	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL) != 0)
		fail("seize");
	if (write(block[1], "x", 1) != 1)
		fail("write the byte");
	do {
		if (waitpid(pid, &status, __WALL) != pid)
			fail("wait for the exec");
	} while (WIFSTOPPED(status) && status >> 8 != (SIGTRAP | PTRACE_EVENT_EXEC << 8)
		 && ptrace(PTRACE_CONT, pid, 0, WSTOPSIG(status)) == 0);
	if (!WIFSTOPPED(status))
		fail("no exec");
	show(pid);
	fflush(stdout);
	if (ptrace(PTRACE_DETACH, pid, 0, 0) != 0)
		fail("detach");
	if (waitpid(runtime, &status, 0) != runtime)
		fail("wait");
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	int told_code;
	if (fscanf(told, "{\"exit-code\":%d,", &told_code) != 1 || told_code != code)
		fail("read how it ended");
	return code;
}
