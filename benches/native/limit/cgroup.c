#include "limit.h"

#include <linux/bpf.h>

static void path_of(char *path, size_t size, const char *mount, const char *slot, const char *file) {
	snprintf(path, size, "%s/" CGROUP_PREFIX "%s%s%s", mount, slot, file ? "/" : "", file ? file : "");
}

__attribute__((unused)) static void write_file(const char *mount, const char *slot, const char *file,
					       const char *value) {
	char path[256];
	path_of(path, sizeof path, mount, slot, file);
	int fd = check(open(path, O_WRONLY | O_CLOEXEC), "open", path);
	check(write(fd, value, strlen(value)), "write", path);
	close(fd);
}

#if CGROUP_V2

#if REAL
static const uint64_t device_program[] = {DEVICE_PROGRAM};

static void attach_device_program(int cgroup) {
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insns = (uintptr_t)device_program,
		.insn_cnt = COUNT(device_program),
		.license = (uintptr_t) "",
	};
	int program = check(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load), "load", "device program");
	union bpf_attr attach = {
		.target_fd = cgroup,
		.attach_bpf_fd = program,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI,
	};
	check(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach), "attach", "device program");
	close(program);
}
#endif

void cgroups_open(struct cgroups *cgroups, const char *slot) {
	char path[256];
	path_of(path, sizeof path, CGROUP2_MOUNT, slot, NULL);
	cgroups->count = 1;
	cgroups->fds[0] = check(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open", path);
}

void cgroups_create(struct cgroups *cgroups, const char *slot) {
	char path[256];
	path_of(path, sizeof path, CGROUP2_MOUNT, slot, NULL);
	check(mkdir(path, 0755), "mkdir", path);
#if REAL
#ifdef MEMORY_LIMIT
	write_file(CGROUP2_MOUNT, slot, "memory.max", MEMORY_LIMIT);
#endif
#ifdef PIDS_LIMIT
	write_file(CGROUP2_MOUNT, slot, "pids.max", PIDS_LIMIT);
#endif
#ifdef CPU_QUOTA
	write_file(CGROUP2_MOUNT, slot, "cpu.max", CPU_QUOTA " " CPU_PERIOD);
#endif
#endif
	cgroups_open(cgroups, slot);
#if REAL
	attach_device_program(cgroups->fds[0]);
#endif
}

// CLONE_INTO_CGROUP has done it.
void cgroups_enter(const struct cgroups *cgroups) { (void)cgroups; }

void cgroups_mount(void) {
	attach_new("cgroup2", NULL, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
		   "sys/fs/cgroup");
}

#else

struct hierarchy {
	const char *mount;
	const char *directory;
	const char *option;
	const char *name;
};
static const struct hierarchy hierarchies[] = {V1_HIERARCHIES};

static int is(const struct hierarchy *hierarchy, const char *controller) {
	return hierarchy->option && strcmp(hierarchy->option, controller) == 0;
}

// A new cpuset is empty and lets no process in: it takes over its parent's.
static void inherit_cpuset(const char *mount, const char *slot, const char *file) {
	char path[256], value[256];
	snprintf(path, sizeof path, "%s/%s", mount, file);
	int fd = check(open(path, O_RDONLY | O_CLOEXEC), "open", path);
	int length = check(read(fd, value, sizeof value - 1), "read", path);
	value[length] = 0;
	close(fd);
	write_file(mount, slot, file, value);
}

static void set_limits(const struct hierarchy *hierarchy, const char *slot) {
	const char *mount = hierarchy->mount;
	if (is(hierarchy, "cpuset")) {
		inherit_cpuset(mount, slot, "cpuset.cpus");
		inherit_cpuset(mount, slot, "cpuset.mems");
	}
#if REAL
#ifdef MEMORY_LIMIT
	if (is(hierarchy, "memory"))
		write_file(mount, slot, "memory.limit_in_bytes", MEMORY_LIMIT);
#endif
#ifdef PIDS_LIMIT
	if (is(hierarchy, "pids"))
		write_file(mount, slot, "pids.max", PIDS_LIMIT);
#endif
#ifdef CPU_QUOTA
	if (is(hierarchy, "cpu")) {
		write_file(mount, slot, "cpu.cfs_period_us", CPU_PERIOD);
		write_file(mount, slot, "cpu.cfs_quota_us", CPU_QUOTA);
	}
#endif
	if (is(hierarchy, "devices")) {
		static const char *allowed[] = {DEVICE_RULES};
		write_file(mount, slot, "devices.deny", "a");
		char path[256];
		path_of(path, sizeof path, mount, slot, "devices.allow");
		int fd = check(open(path, O_WRONLY | O_CLOEXEC), "open", path);
		for (size_t i = 0; i < COUNT(allowed); i++)
			check(write(fd, allowed[i], strlen(allowed[i])), "write", path);
		close(fd);
	}
#endif
}

void cgroups_open(struct cgroups *cgroups, const char *slot) {
	char path[256];
	cgroups->count = COUNT(hierarchies);
	for (size_t i = 0; i < COUNT(hierarchies); i++) {
		path_of(path, sizeof path, hierarchies[i].mount, slot, "tasks");
		cgroups->fds[i] = check(open(path, O_WRONLY | O_CLOEXEC), "open", path);
	}
}

void cgroups_create(struct cgroups *cgroups, const char *slot) {
	char path[256];
	for (size_t i = 0; i < COUNT(hierarchies); i++) {
		path_of(path, sizeof path, hierarchies[i].mount, slot, NULL);
		check(mkdir(path, 0755), "mkdir", path);
		set_limits(&hierarchies[i], slot);
	}
	cgroups_open(cgroups, slot);
}

// A process with one thread moves itself through `tasks` without the RCU grace period that a write to
// `cgroup.procs` waits for.
void cgroups_enter(const struct cgroups *cgroups) {
	for (int i = 0; i < cgroups->count; i++)
		check(write(cgroups->fds[i], "0", 1), "write", "tasks");
}

void cgroups_mount(void) {
	const unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	const char *tmpfs[] = {"mode", "755", NULL};
	int top = attach_new("tmpfs", tmpfs, attributes, "sys/fs/cgroup");
	for (size_t i = 0; i < COUNT(hierarchies); i++) {
		const struct hierarchy *hierarchy = &hierarchies[i];
		check(mkdirat(top, hierarchy->directory, 0755), "mkdir", hierarchy->directory);
		char target[256];
		snprintf(target, sizeof target, "sys/fs/cgroup/%s", hierarchy->directory);
		const char *controller[] = {hierarchy->option, NULL, NULL};
		const char *named[] = {"none", NULL, "name", hierarchy->name, NULL};
		attach_new("cgroup", hierarchy->option ? controller : named, attributes | MOUNT_ATTR_RDONLY, target);
	}
	struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
	check(mount_setattr(top, "", AT_EMPTY_PATH, &read_only, sizeof read_only), "mount_setattr", "sys/fs/cgroup");
}

#endif

void cgroups_remove(const char *slot) {
	char path[256];
#if CGROUP_V2
	path_of(path, sizeof path, CGROUP2_MOUNT, slot, NULL);
	check(rmdir(path), "rmdir", path);
#else
	for (size_t i = 0; i < COUNT(hierarchies); i++) {
		path_of(path, sizeof path, hierarchies[i].mount, slot, NULL);
		check(rmdir(path), "rmdir", path);
	}
#endif
}
