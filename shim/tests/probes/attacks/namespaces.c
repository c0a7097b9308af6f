// Ways around what is mounted, and into other namespaces.
#include "attack.h"
#include <sys/mount.h>

long remount_writable(const char *path) {
  if (outside() && mount(path, path, NULL, MS_BIND, NULL) < 0) return -1;
  return mount(NULL, path, NULL, MS_REMOUNT | MS_BIND, NULL);
}

static int pivot(void) {
  if (outside() && (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)) return -1;
  const char *here = at("/run");
  if (mount(here, here, NULL, MS_BIND, NULL) < 0 || chdir(here) < 0) return -1;
  return syscall(SYS_pivot_root, ".", ".");
}

static long by_handle(const char *path) {
  struct {
    struct file_handle head;
    char rest[MAX_HANDLE_SZ];
  } handle = {.head.handle_bytes = MAX_HANDLE_SZ};
  int mount_id, directory = open(path, O_RDONLY | O_DIRECTORY);
  if (name_to_handle_at(AT_FDCWD, path, &handle.head, &mount_id, 0) < 0) return -1;
  return open_by_handle_at(directory, &handle.head, O_RDONLY);
}

static int own(void) { return in_own_namespaces(); }

static int own_mount(const char *type, unsigned long flags, const char *options) {
  if (own() < 0) return -1;
  return mount(type, at("/run"), type, flags, options);
}

static long own_release_agent(void) {
  if (own() < 0) return -1;
  const char *here = at("/run");
  char file[4200];
  snprintf(file, sizeof file, "%s/release_agent", here);
  if (outside()) return writable(argument("release"));
  if (mount("cgroup", here, "cgroup", 0, "memory") < 0) return -1;
  return writable(file);
}

static long own_below_a_mask(void) {
  if (own() < 0) return -1;
  return umount2(outside() ? "/proc" : "/proc/keys", MNT_DETACH);
}

void namespaces(void) {
  TRY("remount the root writable", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
  TRY("mount a tmpfs", mount("none", at("/run"), "tmpfs", 0, NULL));
  TRY("bind mount", mount("/usr", at("/run"), NULL, MS_BIND, NULL));
  TRY("mount a proc", mount("proc", at("/run"), "proc", 0, NULL));
  TRY("open a file system", syscall(SYS_fsopen, "tmpfs", 0));
  TRY("clone a mount", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
  TRY("unmount", outside() && unshare(CLONE_NEWNS) < 0 ? -1 : umount2("/proc", MNT_DETACH));
  TRY("pivot the root", pivot());
  TRY("chroot", chroot("/"));
  TRY("open by handle", by_handle("/dev/shm"));
  TRY("unshare mounts", unshare(CLONE_NEWNS));
  TRY("unshare the network", unshare(CLONE_NEWNET));
  TRY("unshare users", unshare(CLONE_NEWUSER));
  TRY("clone3 with a user namespace", syscall(SYS_clone3, &(unsigned long[11]){CLONE_NEWUSER, 0, 0, 0, SIGCHLD}, 88));
  TRY("enter a namespace", setns(open("/proc/self/ns/net", O_RDONLY), CLONE_NEWNET));
  TRY("own namespaces: remount the root writable", own() < 0 ? -1 : mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
  TRY("own namespaces: remount a volume writable",
      own() < 0 ? -1 : remount_writable(argument("volume")));
  TRY("own namespaces: mount a proc without masks", own_mount("proc", 0, NULL));
  TRY("own namespaces: look below a mask", own_below_a_mask());
  TRY("own namespaces: release_agent", own_release_agent());
  TRY("own namespaces: kernel settings of the network",
      own() < 0 ? -1 : writable("/proc/sys/net/ipv4/ip_forward"));
}
