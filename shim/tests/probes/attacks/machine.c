// What belongs to the whole machine: settings, clocks, limits, logs, control groups, and calls that need nobody.
#include "attack.h"
#include <grp.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sys/resource.h>
#include <sys/time.h>

static long reads(const char *path) {
  char byte;
  int file = open(path, O_RDONLY | O_NONBLOCK);
  if (file < 0) return -1;
  ssize_t got = read(file, &byte, 1);
  return got == 1 ? 0 : got == 0 ? unless(0, ENODATA) : -1;
}

// The zone that is set: a change for nobody, and yet only for who may set the time.
static long set_time(void) {
  struct timezone zone;
  struct timeval now;
  gettimeofday(&now, &zone);
  return settimeofday(NULL, &zone);
}

static long raise_limit(void) {
  struct rlimit low = {1, 1}, high = {2, 2};
  if (setrlimit(RLIMIT_CORE, &low) < 0) return -1;
  return setrlimit(RLIMIT_CORE, &high);
}

static long be_root(void) {
  if (outside()) return setuid(0);
  return setuid(getuid() == 0 ? 12345 : 0);
}

static long join_groups(void) {
  gid_t group = 0;
  return setgroups(1, &group);
}

static long keep_capability(void) {
  // CAP_SYS_ADMIN in all three sets.
  unsigned int header[2] = {0x20080522, 0}, sets[6] = {1 << 21, 1 << 21, 0, 0, 0, 0};
  return syscall(SYS_capset, header, sets);
}

void machine(void) {
  TRY("become another user", be_root());
  TRY("join groups", join_groups());
  TRY("take a capability", keep_capability());
  TRY("name the host", sethostname("attacked", 8));
  TRY("set the time", set_time());
  TRY("raise a limit", raise_limit());
  TRY("raise the own priority", setpriority(PRIO_PROCESS, 0, -5));
  TRY("kernel settings: hostname", writable("/proc/sys/kernel/hostname"));
  TRY("kernel settings: core_pattern", writable("/proc/sys/kernel/core_pattern"));
  TRY("kernel settings: forwarding", writable("/proc/sys/net/ipv4/ip_forward"));
  TRY("sysrq", writable("/proc/sysrq-trigger"));
  TRY("list of keys", reads("/proc/keys"));
  TRY("interrupts", reads("/proc/interrupts"));
  TRY("kernel memory", reads("/proc/kcore"));
  TRY("kernel log", open("/dev/kmsg", O_RDONLY));
  TRY("console's log level", syscall(SYS_syslog, 8, NULL, 0) < 0 && errno != EINVAL ? -1 : 0);
  TRY("control group: release_agent", writable(argument("release")));
  TRY("control group: limit", writable(argument("limit")));
  TRY("control group: leave", writable(argument("procs")));
  struct io_uring_params ring = {0};
  TRY("io_uring", syscall(SYS_io_uring_setup, 1, &ring));
  TRY("userfaultfd", syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY));
  // Who may do this is looked at before what was asked for.
  TRY("reboot", syscall(SYS_reboot, 0, 0, 0, NULL) < 0 && errno != EINVAL ? -1 : 0);
  TRY("swap", syscall(SYS_swapoff, "/no/where") < 0 && errno != ENOENT ? -1 : 0);
}
