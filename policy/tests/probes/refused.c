/* Makes calls that the default profile refuses, and some of the same calls that it allows. One line each:
   a name, and what came of it: "ok", the number of the error, or "signal N". Each call is made by a child, as
   some end it. No arguments. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define X32 0x40000000L
#define HIGH (1L << 32)

static long call(long number, long a, long b, long c, long d, long e)
{
    return syscall(number, a, b, c, d, e, 0L);
}

/* getpid by i386's number through the i386 gate. */
static long i386(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
    return result > 0 ? 0 : (errno = (int)-result, -1);
}

static long clone_with(long flags)
{
    long pid = call(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid((pid_t)pid, NULL, 0);
    return pid;
}

static long clone3(void)
{
    struct { uint64_t words[11]; } arguments = {{0}};
    arguments.words[4] = SIGCHLD;
    long pid = call(SYS_clone3, (long)&arguments, sizeof arguments, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return pid;
}

static char nothing[256];
#define AT ((long)(intptr_t)nothing)

#define TRY(name, expression)                                                                                  \
    do {                                                                                                       \
        fflush(stdout);                                                                                        \
        pid_t child = fork();                                                                                  \
        if (child == 0) {                                                                                      \
            errno = 0;                                                                                         \
            long result = (expression);                                                                        \
            _exit(result == -1 ? errno : 0);                                                                   \
        }                                                                                                      \
        int status = 0;                                                                                        \
        waitpid(child, &status, 0);                                                                            \
        if (WIFSIGNALED(status))                                                                               \
            printf("%s signal %d\n", name, WTERMSIG(status));                                                  \
        else if (WEXITSTATUS(status))                                                                          \
            printf("%s %d\n", name, WEXITSTATUS(status));                                                      \
        else                                                                                                   \
            printf("%s ok\n", name);                                                                           \
    } while (0)

int main(void)
{
    TRY("x32", call(SYS_getpid | X32, 0, 0, 0, 0, 0));
    TRY("i386", i386());
    TRY("io_uring_setup", call(SYS_io_uring_setup, 1, AT, 0, 0, 0));
    TRY("clone", clone_with(0));
    TRY("clone_newuser", clone_with(CLONE_NEWUSER));
    TRY("clone_newns", clone_with(CLONE_NEWNS));
    TRY("clone_newnet_newuser", clone_with(CLONE_NEWNET | CLONE_NEWUSER));
    TRY("clone_newuser_high_bit", clone_with(CLONE_NEWUSER | HIGH));
    TRY("clone3", clone3());
    TRY("unshare", call(SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0));
    TRY("setns", call(SYS_setns, -1, 0, 0, 0, 0));
    TRY("bpf", call(SYS_bpf, 0, AT, 32, 0, 0));
    TRY("ptrace", call(SYS_ptrace, 0, 0, 0, 0, 0));
    TRY("keyctl", call(SYS_keyctl, 0, -3, 0, 0, 0));
    TRY("userfaultfd", call(SYS_userfaultfd, 1, 0, 0, 0, 0));
    TRY("perf_event_open", call(SYS_perf_event_open, 0, 0, -1, -1, 0));
    TRY("process_vm_readv", call(SYS_process_vm_readv, getpid(), 0, 0, 0, 0));
    TRY("mount", call(SYS_mount, AT, AT, AT, 0, 0));
    TRY("fsopen", call(SYS_fsopen, AT, 0, 0, 0, 0));
    TRY("open_by_handle_at", call(SYS_open_by_handle_at, -1, AT, 0, 0, 0));
    TRY("mknod_fifo", call(SYS_mknod, (long)"/tmp/fifo", 010600, 0, 0, 0));
    TRY("mknod_device", call(SYS_mknod, (long)"/tmp/device", 020600, 0x103, 0, 0));
    /* Without a terminal the call itself fails, with another error: only the filter's is EPERM. */
    TRY("tiocsti", call(SYS_ioctl, -1, 0x5412, AT, 0, 0));
    TRY("tiocsti_high_bit", call(SYS_ioctl, -1, 0x5412 | HIGH, AT, 0, 0));
    TRY("tioclinux", call(SYS_ioctl, -1, 0x541c, AT, 0, 0));
    TRY("tcgets", call(SYS_ioctl, -1, 0x5401, AT, 0, 0));
    TRY("fionread", call(SYS_ioctl, -1, 0x541b, AT, 0, 0));
    TRY("fioclex", call(SYS_ioctl, -1, 0x5451, AT, 0, 0));
    TRY("ficlone", call(SYS_ioctl, -1, 0x40049409, AT, 0, 0));
    TRY("socket_unix", call(SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0, 0));
    TRY("socket_inet", call(SYS_socket, AF_INET, SOCK_DGRAM, 17, 0, 0));
    TRY("socket_mptcp", call(SYS_socket, AF_INET, SOCK_STREAM, 262, 0, 0));
    TRY("socket_inet6", call(SYS_socket, AF_INET6, SOCK_STREAM, 0, 0, 0));
    TRY("socket_netlink_route", call(SYS_socket, AF_NETLINK, SOCK_RAW, 0, 0, 0));
    TRY("socket_netlink_audit", call(SYS_socket, AF_NETLINK, SOCK_RAW, 9, 0, 0));
    TRY("socket_netlink_netfilter", call(SYS_socket, AF_NETLINK, SOCK_RAW, 12, 0, 0));
    TRY("socket_packet", call(SYS_socket, AF_PACKET, SOCK_DGRAM, 0, 0, 0));
    TRY("socket_vsock", call(SYS_socket, AF_VSOCK, SOCK_STREAM, 0, 0, 0));
    TRY("socket_alg", call(SYS_socket, AF_ALG, SOCK_SEQPACKET, 0, 0, 0));
    TRY("personality_query", call(SYS_personality, 0xffffffffL, 0, 0, 0, 0) == -1 ? -1 : 0);
    TRY("personality_no_randomize", call(SYS_personality, 0x40000, 0, 0, 0, 0));
    TRY("personality_high_bit", call(SYS_personality, 0x40000 | HIGH, 0, 0, 0, 0));
    TRY("setuid", call(SYS_setuid, 0, 0, 0, 0, 0));
    TRY("unknown", call(999, 0, 0, 0, 0, 0));
    return 0;
}
