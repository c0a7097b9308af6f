#include "limit.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

void loopback_up(void) {
	int fd = check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket", "AF_INET");
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	check(ioctl(fd, SIOCSIFFLAGS, &request), "bring up", "lo");
}

#if REAL

static void drop_capabilities(void) {
	for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
		if (!(CAPABILITIES >> capability & 1))
			check(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "drop", "bounding capability");
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = (uint32_t)CAPABILITIES, .permitted = (uint32_t)CAPABILITIES},
		{.effective = CAPABILITIES >> 32, .permitted = CAPABILITIES >> 32},
	};
	check(syscall(SYS_capset, &header, data), "capset", "process");
}

static void load_filter(void) {
	static struct sock_filter filter[] = {SECCOMP_FILTER};
	struct sock_fprog program = {.len = COUNT(filter), .filter = filter};
	check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "load", "seccomp filter");
}

void confine(void) {
	const struct rlimit files = {.rlim_cur = NOFILE, .rlim_max = NOFILE};
	check(setrlimit(RLIMIT_NOFILE, &files), "setrlimit", "RLIMIT_NOFILE");
	check(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL), "join", "session keyring");
	// The raw calls: glibc's would look for other threads to signal.
	check(syscall(SYS_setgroups, 0, NULL), "setgroups", "none");
	check(syscall(SYS_setresgid, 0, 0, 0), "setresgid", "0");
	check(syscall(SYS_setresuid, 0, 0, 0), "setresuid", "0");
	drop_capabilities();
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl", "no_new_privs");
	load_filter();
}

#else

void confine(void) {}

#endif
