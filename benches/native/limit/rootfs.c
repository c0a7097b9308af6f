#include "limit.h"

// Options are pairs of key and value up to a NULL key; a NULL value makes the key a flag. The container's
// process closes no descriptor by itself: execve closes all of them.
int attach_new(const char *type, const char *const *options, unsigned attributes, const char *target) {
	int context = check(fsopen(type, FSOPEN_CLOEXEC), "fsopen", type);
	for (; options && options[0]; options += 2)
		check(fsconfig(context, options[1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, options[0], options[1], 0),
		      "fsconfig", options[0]);
	check(fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "create", type);
	int tree = check(fsmount(context, FSMOUNT_CLOEXEC, attributes), "fsmount", type);
	if (target)
		check(move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH), "move_mount", target);
	return tree;
}

#if REAL

static const unsigned SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

static void fill_dev(int dev) {
	static const struct {
		const char *name;
		int major, minor;
	} nodes[] = {{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
	for (size_t i = 0; i < COUNT(nodes); i++)
		check(mknodat(dev, nodes[i].name, S_IFCHR | 0666, (dev_t)(nodes[i].major << 8 | nodes[i].minor)), "mknod",
		      nodes[i].name);
	static const char *links[][2] = {{"/proc/self/fd", "fd"},
					 {"/proc/self/fd/0", "stdin"},
					 {"/proc/self/fd/1", "stdout"},
					 {"/proc/self/fd/2", "stderr"},
					 {"pts/ptmx", "ptmx"}};
	for (size_t i = 0; i < COUNT(links); i++)
		check(symlinkat(links[i][0], dev, links[i][1]), "symlink", links[i][1]);
	static const char *directories[] = {"pts", "shm", "mqueue"};
	for (size_t i = 0; i < COUNT(directories); i++)
		check(mkdirat(dev, directories[i], 0755), "mkdir", directories[i]);
}

static void mount_dev(void) {
	const char *dev_options[] = {"mode", "755", "size", "65536k", NULL};
	int dev = attach_new("tmpfs", dev_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME, "dev");
	fill_dev(dev);
	const char *pts_options[] = {"newinstance", NULL, "ptmxmode", "0666", "mode", "0620", "gid", "5", NULL};
	attach_new("devpts", pts_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, "dev/pts");
	const char *shm_options[] = {"mode", "1777", "size", "65536k", NULL};
	attach_new("tmpfs", shm_options, SAFE, "dev/shm");
	attach_new("mqueue", NULL, SAFE, "dev/mqueue");
}

// Which path is a directory is found by trying: a file cannot be mounted on a directory. All masked
// directories share one empty tmpfs.
static void mask_paths(void) {
	static const char *masked[] = {MASKED_PATHS};
	int null = -1, empty = -1;
	for (size_t i = 0; i < COUNT(masked); i++) {
		if (null < 0)
			null = check(open_tree(AT_FDCWD, "dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), "open_tree", "dev/null");
		if (move_mount(null, "", AT_FDCWD, masked[i], MOVE_MOUNT_F_EMPTY_PATH) == 0) {
			null = -1;
			continue;
		}
		if (errno == ENOENT)
			continue;
		if (errno != ENOTDIR && errno != EINVAL)
			die("mask", masked[i]);
		if (empty < 0) {
			const char *options[] = {"mode", "555", "nr_inodes", "1", NULL};
			empty = attach_new("tmpfs", options, SAFE | MOUNT_ATTR_RDONLY, masked[i]);
			continue;
		}
		int copy = check(open_tree(empty, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH), "open_tree", "tmpfs");
		check(move_mount(copy, "", AT_FDCWD, masked[i], MOVE_MOUNT_F_EMPTY_PATH), "mask", masked[i]);
	}
}

static void protect_paths(void) {
	static const char *paths[] = {READONLY_PATHS};
	struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
	for (size_t i = 0; i < COUNT(paths); i++) {
		int copy = open_tree(AT_FDCWD, paths[i], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
		if (copy < 0 && errno == ENOENT)
			continue;
		check(copy, "open_tree", paths[i]);
		check(mount_setattr(copy, "", AT_EMPTY_PATH | AT_RECURSIVE, &read_only, sizeof read_only), "mount_setattr",
		      paths[i]);
		check(move_mount(copy, "", AT_FDCWD, paths[i], MOVE_MOUNT_F_EMPTY_PATH), "move_mount", paths[i]);
	}
}

#endif

void rootfs_enter(const char *bundle) {
	char path[512];
	snprintf(path, sizeof path, "%s/" ROOTFS, bundle);
	check(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "make slave", "/");
	int root = check(open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), "open_tree", path);
	check(move_mount(root, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH), "move_mount", path);
	check(fchdir(root), "fchdir", path);
#if REAL
	attach_new("proc", NULL, SAFE, "proc");
	mount_dev();
	attach_new("sysfs", NULL, SAFE | MOUNT_ATTR_RDONLY, "sys");
	cgroups_mount();
	mask_paths();
	protect_paths();
	struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
	check(mount_setattr(root, "", AT_EMPTY_PATH, &read_only, sizeof read_only), "mount_setattr", "rootfs");
#else
	attach_new("proc", NULL, 0, "proc");
#endif
	// Both "." name the new root: the old one ends up mounted on top of it and is detached there.
	check(syscall(SYS_pivot_root, ".", "."), "pivot_root", path);
	check(umount2(".", MNT_DETACH), "detach", "old root");
	check(chdir("/"), "chdir", "/");
}
