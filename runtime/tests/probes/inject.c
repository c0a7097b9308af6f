/*
 * inject WHO N ERRNO REPORT PROGRAM [ARGUMENT...]
 *
 * Runs PROGRAM and, at the Nth system call (from 1) of WHO ("parent": PROGRAM itself, "child": the first
 * process that it makes, "second": the next one that it or the first one makes, or the id of a process that is
 * there already and waits in a system call), either lets the call fail with ERRNO instead of being made, or with ERRNO 0 kills
 * the caller before the call. Counting starts when PROGRAM has been exec'ed,
 * and ends when a WHO that is not PROGRAM executes another program.
 *
 * Writes one line to REPORT: number of the call, or -1 when there was no Nth call, and the first byte string
 * that it is about (the path of open and the like), if it has one. Ends with PROGRAM's status as soon as
 * PROGRAM has ended; what it has left running goes on untraced. 128 + signal when it was killed.
 *
 * The tracing is ptrace(2)'s; a count over all system calls of one process is what strace cannot inject at.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

struct tracee {
	pid_t pid;
	long calls;
	int inside;  /* between entry and exit of a call */
	int failing; /* this call is being failed */
};

enum { MOST = 64 };
enum {
	OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
		  PTRACE_O_TRACEEXEC
};
static struct tracee tracees[MOST];
static int count;
static pid_t parent, child;
static long wanted, failure;
static const char *report_path;
static int armed, reported;
static int skipped; /* processes made before WHO */

static struct tracee *find(pid_t pid)
{
	for (int i = 0; i < count; i++)
		if (tracees[i].pid == pid)
			return &tracees[i];
	if (count == MOST)
		exit(99);
	tracees[count] = (struct tracee){.pid = pid};
	return &tracees[count++];
}

static void report(long call, const char *object)
{
	FILE *file = fopen(report_path, "w");
	if (!file)
		exit(99);
	fprintf(file, "%ld %s\n", call, object);
	fclose(file);
	reported = 1;
}

/* The first of the first two arguments that is a printable string. */
static void object_of(pid_t pid, const struct user_regs_struct *regs, char *text, size_t size)
{
	const unsigned long long arguments[] = {regs->rdi, regs->rsi};
	for (int i = 0; i < 2; i++) {
		union { long word; char bytes[sizeof(long)]; } chunk;
		size_t length = 0;
		int printable = 1;
		while (length + 1 < size && printable) {
			errno = 0;
			chunk.word = ptrace(PTRACE_PEEKDATA, pid, arguments[i] + length, 0);
			if (errno)
				break;
			for (size_t j = 0; j < sizeof chunk && length + 1 < size; j++) {
				text[length] = chunk.bytes[j];
				if (!text[length])
					goto end;
				if (text[length] < ' ' || text[length] > '~') {
					printable = 0;
					break;
				}
				length++;
			}
		}
	end:
		text[length] = 0;
		if (printable && length > 1)
			return;
	}
	text[0] = 0;
}

/* Calls that the kernel never fails: their callers rightly do not look. They count, but are left alone. */
static int may_fail(long call)
{
	static const long never[] = {SYS_umask, SYS_uname, SYS_getpid, SYS_getppid, SYS_gettid, SYS_getuid,
				     SYS_geteuid, SYS_getgid, SYS_getegid, SYS_rt_sigprocmask, SYS_exit_group,
				     /* closes whatever it returns; a descriptor that stays open would be another fault */
				     SYS_close};
	for (size_t i = 0; i < sizeof never / sizeof *never; i++)
		if (call == never[i])
			return 0;
	return 1;
}

static void entry(struct tracee *tracee, struct user_regs_struct *regs)
{
	pid_t who = child == -1 ? parent : child;
	if (!armed || tracee->pid != who || tracee->calls++ + 1 != wanted)
		return;
	char object[200];
	object_of(tracee->pid, regs, object, sizeof object);
	report((long)regs->orig_rax, object);
	if (failure == 0) {
		kill(tracee->pid, SIGKILL);
		return;
	}
	if (!may_fail((long)regs->orig_rax))
		return;
	regs->orig_rax = (unsigned long long)-1;
	ptrace(PTRACE_SETREGS, tracee->pid, 0, regs);
	tracee->failing = 1;
}

static void system_call(struct tracee *tracee)
{
	struct user_regs_struct regs;
	if (ptrace(PTRACE_GETREGS, tracee->pid, 0, &regs) != 0)
		return;
	tracee->inside = !tracee->inside;
	if (tracee->inside) {
		entry(tracee, &regs);
	} else if (tracee->failing) {
		tracee->failing = 0;
		regs.rax = (unsigned long long)-failure;
		ptrace(PTRACE_SETREGS, tracee->pid, 0, &regs);
	}
}

/* Handles a stop and returns the signal to pass on. */
static int stopped(pid_t pid, int status)
{
	struct tracee *tracee = find(pid);
	int signal = WSTOPSIG(status), event = status >> 16;
	unsigned long made;
	if (signal == (SIGTRAP | 0x80)) {
		system_call(tracee);
		return 0;
	}
	switch (event) {
	case PTRACE_EVENT_EXEC:
		/* The exit of this call is still to come: `inside` stays as it is. */
		armed = 1;
		if (pid == child)
			child = -2;
		return 0;
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
	case PTRACE_EVENT_CLONE:
		if (ptrace(PTRACE_GETEVENTMSG, pid, 0, &made) == 0 && child == 0 && skipped-- == 0)
			child = (pid_t)made;
		return 0;
	}
	return event || signal == SIGTRAP ? 0 : signal;
}

/*
 * Seizes the waiting process and lets it go until it is in its system call again: that call is not one of those
 * that are counted.
 */
static int follow_waiting(void)
{
	int status;
	if (ptrace(PTRACE_SEIZE, child, 0, OPTIONS) != 0 || ptrace(PTRACE_INTERRUPT, child, 0, 0) != 0)
		return 0;
	do {
		if (waitpid(child, &status, __WALL) != child || !WIFSTOPPED(status))
			return 0;
		ptrace(PTRACE_SYSCALL, child, 0, 0);
	} while (WSTOPSIG(status) != (SIGTRAP | 0x80));
	find(child)->inside = 1;
	return 1;
}

int main(int argc, char **argv)
{
	int status;
	if (argc < 6)
		return 99;
	child = strcmp(argv[1], "parent") == 0 ? -1 : atoi(argv[1]);
	skipped = strcmp(argv[1], "second") == 0;
	wanted = atol(argv[2]);
	failure = atol(argv[3]);
	report_path = argv[4];
	parent = fork();
	if (parent == 0) {
		raise(SIGSTOP);
		execv(argv[5], argv + 5);
		_exit(99);
	}
	/* Seized, not attached: what the program leaves running then goes on when we end, without a stray stop. */
	if (waitpid(parent, &status, WUNTRACED) != parent || ptrace(PTRACE_SEIZE, parent, 0, OPTIONS) != 0)
		return 99;
	find(parent);
	if (child > 0 && !follow_waiting())
		return 99;
	kill(parent, SIGCONT);
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		if (pid < 0)
			return 99;
		if (WIFSTOPPED(status)) {
			ptrace(PTRACE_SYSCALL, pid, 0, stopped(pid, status));
			continue;
		}
		if (pid != parent)
			continue;
		if (!reported)
			report(-1, "");
		return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	}
}
