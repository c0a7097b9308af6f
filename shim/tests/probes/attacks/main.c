// Arguments: `attack` or `victim`, and what the tests of `attacks/` tell as KEY=VALUE.
#include "attack.h"

static char **arguments;

const char *argument(const char *key) {
  size_t length = strlen(key);
  for (char **one = arguments; *one; one++)
    if (!strncmp(*one, key, length) && (*one)[length] == '=') return *one + length + 1;
  fprintf(stderr, "no %s\n", key);
  _exit(2);
}

long number(const char *key) { return atol(argument(key)); }

const char *of(const char *victim, const char *key) {
  char whole[64];
  snprintf(whole, sizeof whole, "%s.%s", victim, key);
  return argument(whole);
}

const char *at(const char *path) {
  static char whole[2][4096];
  static int turn;
  turn ^= 1;
  snprintf(whole[turn], sizeof *whole, "%s%s", argument("before"), path);
  return whole[turn];
}

int outside(void) { return *argument("before"); }

void tell(const char *name, long result) { printf("%s %d\n", name, result < 0 ? errno : 0); }

long unless(int through, int errno_else) {
  errno = errno_else;
  return through ? 0 : -1;
}

int first(void) { return outside() ? atoi(of("host", "pid")) : 1; }

int writable(const char *path) { return open(path, O_WRONLY | O_CLOEXEC); }

static void put(const char *path, const char *text) {
  int file = open(path, O_WRONLY);
  if (file >= 0 && write(file, text, strlen(text)) < 0) errno = 0;
  close(file);
}

int in_own_namespaces(void) {
  if (outside()) return unshare(CLONE_NEWNS | CLONE_NEWNET);
  char map[64];
  snprintf(map, sizeof map, "0 %d 1", getuid());
  if (unshare(CLONE_NEWUSER) < 0) return -1;
  put("/proc/self/uid_map", map);
  return unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWUTS);
}

int main(int count, char **given) {
  if (count < 2) return 2;
  if (!strcmp(given[1], "root")) return geteuid() != 0;
  arguments = given + 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (!strcmp(given[1], "victim")) return be_victim();
  itself();
  files();
  namespaces();
  machine();
  devices();
  network();
  for (char **victim = (char *[]){"host", "other", NULL}; *victim; victim++) {
    processes(*victim);
    memory(*victim);
    sockets(*victim);
  }
  return 0;
}
