// Shared memory, message queues and keys of a victim.
#include "attack.h"
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/shm.h>

static long shared_file(const char *victim) {
  char path[256];
  snprintf(path, sizeof path, "/dev/shm/%s", of(victim, "name"));
  return open(path, O_RDONLY);
}

static long shared_file_by_process(const char *victim) {
  char path[256];
  snprintf(path, sizeof path, "/proc/%s/root/dev/shm/%s", of(victim, "pid"), of(victim, "name"));
  return open(path, O_RDONLY);
}

static long queue(const char *victim) {
  char name[256];
  snprintf(name, sizeof name, "/%s", of(victim, "name"));
  return mq_open(name, O_RDONLY);
}

static long segment(const char *victim) {
  // One that another process has made: this one is not found by number, and would not be found by key.
  int id = atoi(of(victim, "segment"));
  struct shmid_ds told;
  if (shmctl(id, IPC_STAT, &told) < 0) return -1;
  return unless(told.shm_segsz == 4096 + 4096 * (victim[0] == 'o'), ENOENT);
}

static long key(const char *victim) {
  char secret[64];
  return syscall(SYS_keyctl, 11, atol(of(victim, "key")), secret, sizeof secret);
}

static long key_by_name(const char *victim) {
  return syscall(SYS_keyctl, 10, -4, "user", of(victim, "name"), 0);
}

void memory(const char *victim) {
  TRY_OF(victim, "shared memory", shared_file(victim));
  TRY_OF(victim, "shared memory through /proc", shared_file_by_process(victim));
  TRY_OF(victim, "message queue", queue(victim));
  TRY_OF(victim, "System V segment", segment(victim));
  TRY_OF(victim, "key by number", key(victim));
  TRY_OF(victim, "key by name", key_by_name(victim));
}
