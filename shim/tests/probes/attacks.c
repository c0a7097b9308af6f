// Tries what a workload must not reach; prints a name and 0 where it got through, or the errno.
// Arguments: what comes before the paths that it writes to, a host process, a TCP port, an abstract socket's name, and
// host paths.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *name, long result) { printf("%s %d\n", name, result < 0 ? errno : 0); }

// In a child, because success changes the process.
#define TRY(name, expression)                                                  \
  do {                                                                         \
    fflush(stdout);                                                            \
    pid_t child = fork();                                                      \
    if (child == 0) {                                                          \
      errno = 0;                                                               \
      tell(name, (long)(expression));                                          \
      exit(0);                                                                 \
    }                                                                          \
    waitpid(child, NULL, 0);                                                   \
  } while (0)

static int tcp(int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&to, sizeof to);
}

static int local(const char *name, int abstract) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  strncpy(to.sun_path + abstract, name, sizeof to.sun_path - 2);
  socklen_t length = offsetof(struct sockaddr_un, sun_path) + abstract + strlen(name);
  return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&to, length);
}

static const char *before;

static const char *at(const char *path) {
  static char whole[4096];
  snprintf(whole, sizeof whole, "%s%s", before, path);
  return whole;
}

static int create(const char *path) {
  int made = open(path, O_CREAT | O_WRONLY, 0600);
  if (made >= 0) unlink(path);
  return made;
}

static pid_t sleeper(void) {
  pid_t child = fork();
  if (child == 0) {
    sleep(5);
    _exit(0);
  }
  return child;
}

static long attach(void) {
  pid_t child = sleeper();
  long result = ptrace(PTRACE_SEIZE, child, 0, 0);
  kill(child, SIGKILL);
  return result;
}

static long peek(void) {
  pid_t child = sleeper();
  char byte;
  struct iovec here = {&byte, 1}, there = {&child, 1};
  long result = process_vm_readv(child, &here, 1, &there, 1, 0);
  int saved = errno;
  kill(child, SIGKILL);
  errno = saved;
  return result;
}

int main(int count, char **argument) {
  if (count < 6) return 2;
  before = argument[1];
  int host = atoi(argument[2]);
  gid_t group = 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  TRY("write a system directory", create(at("/usr/attacked")));
  TRY("write the root directory", create(at("/attacked")));
  TRY("write /etc", create(at("/etc/attacked")));
  TRY("remount writable", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
  TRY("mount", mount("none", at("/tmp"), "tmpfs", 0, NULL));
  TRY("unshare mounts", unshare(CLONE_NEWNS));
  TRY("unshare users", unshare(CLONE_NEWUSER));
  TRY("enter a namespace", setns(open("/proc/self/ns/net", O_RDONLY), CLONE_NEWNET));
  TRY("chroot", chroot("/"));
  TRY("trace", attach());
  TRY("read memory", peek());
  TRY("signal a host process", kill(host, 0));
  TRY("become root", setuid(0) < 0 ? -1 : getuid() == 0 ? 0 : (errno = EPERM, -1));
  TRY("join groups", setgroups(1, &group));
  TRY("name the host", sethostname("attacked", 8));
  TRY("make a disk", mknod(at("/tmp/disk"), S_IFBLK | 0600, makedev(8, 0)));
  TRY("make a device", mknod(at("/tmp/kmsg"), S_IFCHR | 0600, makedev(1, 11)));
  TRY("raw socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
  TRY("packet socket", socket(AF_PACKET, SOCK_RAW, 0));
  TRY("connect to the host", tcp(atoi(argument[3])));
  TRY("abstract socket of the host", local(argument[4], 1));
  TRY("session keyring", syscall(SYS_keyctl, 0, -3, 1));
  TRY("kernel settings", open("/proc/sys/kernel/hostname", O_WRONLY));
  TRY("kernel log", open("/dev/kmsg", O_RDONLY));
  for (int index = 5; index < count; index++) {
    char name[4200];
    snprintf(name, sizeof name, "host path %d", index - 4);
    struct stat seen;
    TRY(name, strstr(argument[index], ".sock") ? local(argument[index], 0) : stat(argument[index], &seen));
  }
  TRY("unmount", umount2("/proc", MNT_DETACH));
  return 0;
}
