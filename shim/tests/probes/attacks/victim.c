// Has what the attacks are after, tells where, and waits.
#include "attack.h"
#include <arpa/inet.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

int be_victim(void) {
  const char *name = argument("name");
  char path[256];
  snprintf(path, sizeof path, "/dev/shm/%s", name);
  int file = open(path, O_CREAT | O_WRONLY, 0666);
  fchmod(file, 0666);
  snprintf(path, sizeof path, "/%s", name);
  mqd_t queue = mq_open(path, O_CREAT | O_RDWR, 0666, NULL);
  int segment = shmget(IPC_PRIVATE, 4096 * number("pages"), 0666);
  // It goes with this process.
  if (shmat(segment, NULL, 0) != (void *)-1) shmctl(segment, IPC_RMID, NULL);
  long key = syscall(SYS_add_key, "user", name, "secret", 6, -3);
  // Everything, for every process of this user.
  long opened = syscall(SYS_keyctl, 5, key, 0x3f3f0000) || syscall(SYS_keyctl, 8, key, -4);
  struct sockaddr_un local = {.sun_family = AF_UNIX};
  strcpy(local.sun_path + 1, name);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof here;
  int failed = file < 0 ? 1 : queue == (mqd_t)-1 ? 2 : segment < 0 ? 3 : key < 0 || opened ? 4
      : bind(listener, (void *)&local, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)) ? 5
      : listen(listener, 64) ? 6 : bind(tcp, (void *)&here, sizeof here) ? 7 : listen(tcp, 64) ? 8 : 0;
  if (failed) {
    fprintf(stderr, "victim: %d\n", failed);
    return failed;
  }
  getsockname(tcp, (void *)&here, &length);
  printf("port=%d segment=%d key=%ld\n", ntohs(here.sin_port), segment, key);
  fflush(stdout);
  if (!strcmp(argument("until"), "signal")) pause();
  // Or until its caller lets go of the pipe.
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
  mq_unlink(path);
  snprintf(path, sizeof path, "/dev/shm/%s", name);
  unlink(path);
  syscall(SYS_keyctl, 9, key, -3);
  syscall(SYS_keyctl, 9, key, -4);
  return 0;
}
