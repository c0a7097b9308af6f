// Writing where only reading is allowed: by the owner, so that no file's mode is what refuses it.
#include "attack.h"
#include <sys/xattr.h>

static int create(const char *path) {
  int made = open(path, O_CREAT | O_WRONLY, 0600);
  if (made >= 0) unlink(path);
  return made;
}

static const char *in(const char *name) {
  static char whole[2][4096];
  static int turn;
  turn ^= 1;
  snprintf(whole[turn], sizeof *whole, "%s/%s", argument("volume"), name);
  return whole[turn];
}

// How this program ends when it is executed there to tell whether it is root: 0 if so, 1 if not, or the errno.
static int ending(const char *path) {
  pid_t child = fork();
  if (child == 0) {
    execl(path, path, "root", NULL);
    _exit(errno);
  }
  int status;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

static long run(const char *path) {
  int ended = ending(path);
  return unless(ended <= 1, ended);
}

static long run_copy(const char *path) {
  int from = open("/proc/self/exe", O_RDONLY), to = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0700);
  if (from < 0 || to < 0) return -1;
  char bytes[65536];
  for (ssize_t got; (got = read(from, bytes, sizeof bytes)) > 0;)
    if (write(to, bytes, got) != got) return -1;
  close(to);
  long result = run(path);
  int kept = errno;
  unlink(path);
  errno = kept;
  return result;
}

// A file of root's with the set-user-ID bit, which is no way to become root.
static long set_user_id(const char *path) {
  if (outside() && setuid(65534) < 0) return -1;
  int ended = ending(path);
  return unless(ended == 0, ended);
}

void files(void) {
  TRY("create in /usr", create(at("/usr/attacked")));
  TRY("create in /", create(at("/attacked")));
  TRY("create in /etc", create(at("/etc/attacked")));
  TRY("create in a read-only volume", create(in("made")));
  TRY("write in a read-only volume", writable(in("file")));
  TRY("truncate in a read-only volume", truncate(in("file"), 1));
  TRY("rename in a read-only volume", rename(in("file"), in("renamed")));
  TRY("rename in a read-only volume back", rename(in("renamed"), in("file")));
  TRY("mkdir in a read-only volume", mkdir(in("directory"), 0700));
  TRY("rmdir in a read-only volume", rmdir(in("directory")));
  TRY("chmod in a read-only volume", chmod(in("own"), 0666));
  TRY("set times in a read-only volume", utimensat(AT_FDCWD, in("own"), NULL, 0));
  TRY("set attributes in a read-only volume", setxattr(in("own"), "user.attacked", "x", 1, 0));
  TRY("symlink in a read-only volume", symlink("x", in("link")));
  TRY("unlink in a read-only volume", unlink(in("link")));
  TRY("link in a read-only volume", link(in("own"), in("hard")) < 0 ? -1 : unlink(in("hard")));
  TRY("write below a read-only volume", create(in("below/made")));
  TRY("remount a volume writable", remount_writable(argument("volume")));
  TRY("run what was written to /dev/shm", run_copy(at("/dev/shm/copy")));
  TRY("a setuid file", set_user_id(argument("setuid")));
  TRY("the program of a process, for writing", writable(argument("program")));
  const char *hidden[] = {"store", "victims-bundle", "frontend", "shadow", NULL};
  for (const char **one = hidden; *one; one++) {
    struct stat seen;
    char name[64];
    snprintf(name, sizeof name, "host path: %s", *one);
    TRY(name, stat(argument(*one), &seen));
    char through[4200];
    snprintf(name, sizeof name, "host path by the first process's root: %s", *one);
    snprintf(through, sizeof through, "/proc/%d/root%s", first(), argument(*one));
    TRY(name, stat(through, &seen));
  }
}
