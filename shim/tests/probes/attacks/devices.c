// Devices that are there, that are made, and the caller's terminal.
#include "attack.h"
#include <linux/tiocl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <termios.h>

static long node(const char *name, mode_t kind, int major, int minor) {
  const char *path = at(name);
  return mknod(path, kind | 0600, makedev(major, minor)) < 0 ? -1 : unlink(path);
}

static long in_volume(void) {
  char path[4096];
  snprintf(path, sizeof path, "%s/device", argument("volume"));
  return open(path, O_RDONLY);
}

void devices(void) {
  TRY("make a disk", node("/tmp/disk", S_IFBLK, 8, 0));
  TRY("make a device", node("/tmp/kmsg", S_IFCHR, 1, 11));
  TRY("make a device in /dev", node("/dev/kmsg", S_IFCHR, 1, 11));
  TRY("open a device in a volume", in_volume());
  TRY("type into the caller's terminal", ioctl(0, TIOCSTI, "x"));
}
