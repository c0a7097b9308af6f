// Processes of the host and of another sandbox, and the first one of one's own.
#include "attack.h"
#include <sys/resource.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static long attach(pid_t to) {
  long result = ptrace(PTRACE_SEIZE, to, 0, 0);
  return result;
}

static long peek(pid_t at) {
  char byte;
  // Any address: what is refused is refused before it is looked at.
  struct iovec here = {&byte, 1}, there = {(void *)1, 1};
  long result = process_vm_readv(at, &here, 1, &there, 1, 0);
  return result < 0 && errno == EFAULT ? 0 : result;
}

static long in_proc(const char *victim, const char *what, int flags) {
  char path[128];
  snprintf(path, sizeof path, "/proc/%s/%s", of(victim, "pid"), what);
  return open(path, flags | O_CLOEXEC);
}

static int pidfd_of(const char *victim) { return syscall(SYS_pidfd_open, atoi(of(victim, "pid")), 0); }

// A descriptor of the victim that somebody hands in through a socket in a volume.
static int handed(const char *victim) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  strncpy(to.sun_path, of(victim, "hand"), sizeof to.sun_path - 1);
  int from = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(from, (struct sockaddr *)&to, sizeof to) < 0) return -1;
  char byte, control[CMSG_SPACE(sizeof(int))];
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  if (recvmsg(from, &message, 0) < 0) return -1;
  struct cmsghdr *first = CMSG_FIRSTHDR(&message);
  return first ? *(int *)CMSG_DATA(first) : unless(0, EPROTO);
}

static long with_handed(const char *victim, long (*use)(int)) {
  int pidfd = handed(victim);
  if (pidfd < 0) {
    // Not what was to be tried.
    errno = EPROTO;
    return -1;
  }
  return use(pidfd);
}

static long enter_network(int pidfd) { return setns(pidfd, CLONE_NEWNET); }
static long enter_mounts(int pidfd) { return setns(pidfd, CLONE_NEWNS); }
static long signal_by(int pidfd) { return syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0); }
static long take_descriptor(int pidfd) { return syscall(SYS_pidfd_getfd, pidfd, 0, 0); }

void processes(const char *victim) {
  pid_t pid = atoi(of(victim, "pid"));
  TRY_OF(victim, "signal", kill(pid, 0));
  TRY_OF(victim, "trace", attach(pid));
  TRY_OF(victim, "read memory", peek(pid));
  TRY_OF(victim, "root directory", in_proc(victim, "root", O_PATH));
  TRY_OF(victim, "memory as a file", in_proc(victim, "mem", O_RDWR));
  TRY_OF(victim, "environment", in_proc(victim, "environ", O_RDONLY));
  TRY_OF(victim, "namespace as a file", in_proc(victim, "ns/net", O_RDONLY));
  TRY_OF(victim, "process descriptor", pidfd_of(victim));
  TRY_OF(victim, "lower its priority", setpriority(0, pid, 10));
  TRY_OF(victim, "read its limits", syscall(SYS_prlimit64, pid, 7, NULL, (long[2]){0, 0}));
  TRY_OF(victim, "enter its network by a handed descriptor", with_handed(victim, enter_network));
  TRY_OF(victim, "enter its mounts by a handed descriptor", with_handed(victim, enter_mounts));
  TRY_OF(victim, "signal by a handed descriptor", with_handed(victim, signal_by));
  TRY_OF(victim, "take a descriptor by a handed descriptor", with_handed(victim, take_descriptor));
}

static pid_t sleeper(void) {
  pid_t child = fork();
  if (child == 0) {
    alarm(2);
    pause();
    _exit(0);
  }
  return child;
}

static long with_sleeper(long (*attempt)(pid_t)) {
  pid_t child = sleeper();
  long result = attempt(child);
  int kept = errno;
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  errno = kept;
  return result;
}

static long first_memory(void) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/mem", first());
  return open(path, O_RDWR | O_CLOEXEC);
}

static int descriptors(void) {
  int found = 0;
  for (int number = 3; number < 1024; number++) found += fcntl(number, F_GETFD) >= 0;
  return found;
}

void itself(void) {
  // First of all: nothing has been opened yet.
  int leaked = descriptors();
  TRY("a descriptor of the caller's", unless(leaked, EBADF));
  TRY("trace a child", with_sleeper(attach));
  TRY("read a child's memory", with_sleeper(peek));
  TRY("trace the first process", attach(first()));
  TRY("write the first process's memory", first_memory());
}
