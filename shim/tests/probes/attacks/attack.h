// Attempts at what a workload must not reach. Each prints its name and 0 where it got through, or the errno.
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// The value of an argument KEY=VALUE; without it the program ends.
const char *argument(const char *key);
long number(const char *key);
// The same of a victim's, KEY being behind its name and a dot.
const char *of(const char *victim, const char *key);
// A path with what comes before it: nothing inside of a sandbox, a directory outside.
const char *at(const char *path);
// Whether this is the control outside of any sandbox.
int outside(void);

// 0 where it got through, or this errno.
long unless(int through, int errno_else);
// In user, mount, network and control group namespaces of its own; outside, where nothing would be kept from root,
// not.
int in_own_namespaces(void);

// Makes a mount writable; what outside is none yet, becomes one.
long remount_writable(const char *path);

void tell(const char *name, long result);

// Each in a child, because success changes the process; one that hangs prints nothing.
#define TRY(name, expression)                                                                     \
  do {                                                                                            \
    fflush(stdout);                                                                               \
    pid_t child_ = fork();                                                                        \
    if (child_ == 0) {                                                                            \
      alarm(5);                                                                                   \
      errno = 0;                                                                                  \
      tell(name, (long)(expression));                                                             \
      fflush(stdout);                                                                             \
      _exit(0);                                                                                   \
    }                                                                                             \
    waitpid(child_, NULL, 0);                                                                     \
  } while (0)
#define TRY_OF(victim, name, expression)                                                          \
  do {                                                                                            \
    char whole_[256];                                                                             \
    snprintf(whole_, sizeof whole_, "%s: %s", victim, name);                                      \
    TRY(whole_, expression);                                                                      \
  } while (0)

// Opens for writing, and writes nothing.
int writable(const char *path);
// The first process of the sandbox; outside, where that is the host's, a victim.
int first(void);

void files(void);
void namespaces(void);
void processes(const char *victim);
void itself(void);
void machine(void);
void memory(const char *victim);
void sockets(const char *victim);
void network(void);
void devices(void);
int be_victim(void);
