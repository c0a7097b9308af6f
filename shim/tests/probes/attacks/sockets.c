// What listens on the host or in another sandbox, and sockets below the usual protocols.
#include "attack.h"
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static long tcp(const char *victim, int family) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(of(victim, "port")))};
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = to.sin_port};
  inet_pton(AF_INET6, "::ffff:127.0.0.1", &six.sin6_addr);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int from = socket(family, SOCK_STREAM, 0);
  return family == AF_INET ? connect(from, (struct sockaddr *)&to, sizeof to)
                           : connect(from, (struct sockaddr *)&six, sizeof six);
}

static long local(const char *name, int abstract) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  strncpy(to.sun_path + abstract, name, sizeof to.sun_path - 2);
  socklen_t length = offsetof(struct sockaddr_un, sun_path) + abstract + strlen(name);
  return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&to, length);
}

static long set_up(void) {
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  return ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &request);
}

void sockets(const char *victim) {
  TRY_OF(victim, "TCP", tcp(victim, AF_INET));
  TRY_OF(victim, "TCP by a mapped address", tcp(victim, AF_INET6));
  TRY_OF(victim, "abstract socket", local(of(victim, "name"), 1));
}

void network(void) {
  TRY("socket of the host in a directory", local(argument("socket"), 0));
  TRY("raw socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
  TRY("raw IPv6 socket", socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
  TRY("packet socket", socket(AF_PACKET, SOCK_RAW, 0));
  TRY("netfilter socket", socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER));
  TRY("audit socket", socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT));
  TRY("set an interface up", set_up());
}
