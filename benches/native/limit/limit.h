// The parts of the limit program. The bundle's facts (paths, limits, capability mask, filter) come from
// facts.h, which the bundle generator writes from the same constants as config.json.
#ifndef LIMIT_H
#define LIMIT_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include FACTS

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

_Noreturn void die(const char *step, const char *object);
static inline int check(long result, const char *step, const char *object) {
	if (result < 0)
		die(step, object);
	return (int)result;
}

// The container's cgroups as the parent prepared them: one descriptor on v2, one `tasks` file for each
// hierarchy on v1.
struct cgroups {
	int count;
	int fds[16];
};

void cgroups_create(struct cgroups *cgroups, const char *slot);
void cgroups_open(struct cgroups *cgroups, const char *slot);
void cgroups_enter(const struct cgroups *cgroups);
void cgroups_mount(void);
void cgroups_remove(const char *slot);

int attach_new(const char *type, const char *const *options, unsigned attributes, const char *target);
void rootfs_enter(const char *bundle);

void loopback_up(void);
void confine(void);

#endif
