"""Tries what a workload must not reach through its network: a name and 0 where it got through, or the errno.

Arguments: the address of another sandbox, a name of the host's in the abstract namespace."""

import errno
import socket
import struct
import subprocess
import sys

other, name = sys.argv[1:3]
socket.setdefaulttimeout(3)


def attack(name, attempt):
    try:
        attempt()
        found = 0
    except subprocess.CalledProcessError as error:
        found = errno.EPERM if b"not permitted" in error.stderr else error.returncode or 255
    except TimeoutError:
        found = errno.ETIMEDOUT
    except OSError as error:
        found = error.errno or 255
    print(name, found, flush=True)


def tcp(address, port, family=socket.AF_INET):
    def attempt():
        socket.socket(family, socket.SOCK_STREAM).connect((address, port))

    return attempt


def udp(address, port, family=socket.AF_INET, size=1):
    def attempt():
        one = socket.socket(family, socket.SOCK_DGRAM)
        one.connect((address, port))
        one.send(b"x" * size)
        one.recv(100)

    return attempt


def send(address, port, family=socket.AF_INET, protocol=0, options=()):
    """A packet that has left is through: nobody has to answer."""

    def attempt():
        one = socket.socket(family, socket.SOCK_DGRAM, protocol)
        for option in options:
            one.setsockopt(*option)
        one.sendto(b"x" * 16, (address, port))

    return attempt


def echo(address, family, protocol, kind):
    """A question of ping(8) without privilege."""

    def attempt():
        one = socket.socket(family, socket.SOCK_DGRAM, protocol)
        one.connect((address, 0))
        one.send(struct.pack(">BBHHH", kind, 0, 0, 0, 1))
        one.recv(100)

    return attempt


def unix(path):
    def attempt():
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(path)

    return attempt


def kind(family, kind, protocol):
    return lambda: socket.socket(family, kind, protocol)


def run(*words):
    return lambda: subprocess.run(words, check=True, capture_output=True)


def spoofed():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT
    one.bind(("10.99.1.77", 0))
    one.sendto(b"spoofed", ("10.99.1.2", 5000))


def raw():
    return kind(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01"


def dns():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect(("10.99.1.2", 53))
    one.send(query)
    one.recv(512)


def dns_by_tcp():
    one = socket.create_connection(("10.99.1.2", 53))
    one.send(struct.pack(">H", len(query)) + query)


SIX = socket.AF_INET6
attack("TCP", tcp("10.99.1.2", 80))
attack("another address", tcp("10.99.2.2", 80))
attack("another port", tcp("10.99.1.2", 8080))
attack("IPv6", tcp("fd99:1::2", 80, SIX))
attack("mapped address", tcp("::ffff:10.99.2.2", 80, SIX))
attack("UDP", udp("10.99.1.2", 5000))
attack("UDP by IPv6", udp("fd99:1::2", 5000, SIX))
attack("fragments", udp("10.99.1.2", 5000, size=4000))
attack("DNS", dns)
attack("DNS by TCP", dns_by_tcp)
attack("metadata", tcp("169.254.169.254", 80))
attack("the host", tcp("10.99.1.1", 7000))
attack("the host by IPv6", tcp("fd99:1::1", 7000, SIX))
attack("another sandbox", tcp(other, 7001))
attack("abstract socket of the host", unix(b"\0" + name.encode()))
attack("docker.sock", unix("/run/docker.sock"))
attack("system bus", unix("/run/dbus/system_bus_socket"))
attack("raw socket", raw())
attack("raw ICMPv6 socket, for router advertisements", kind(SIX, socket.SOCK_RAW, 58))
attack("packet socket", kind(socket.AF_PACKET, socket.SOCK_RAW, 0))
attack("flush the rules", run("/usr/sbin/nft", "flush", "ruleset"))
attack("add an address", run("/usr/sbin/ip", "addr", "add", "10.99.1.9/32", "dev", "lo"))
attack("spoofed source", spoofed)
UDP_LITE = 136
VSOCK, XDP = 40, 44
# Through an address that is not allowed to one that may be: a loose source route, and a routing header (RFC 8754).
by_way_of = bytes([131, 7, 4, *socket.inet_aton("10.99.1.2"), 0])
segments = socket.inet_pton(SIX, "fd99:1::2") + socket.inet_pton(SIX, "fd99:2::2")
routing_header = bytes([0, 4, 4, 1, 1, 0, 0, 0]) + segments
attack("UDP-Lite", send("10.99.1.2", 5000, protocol=UDP_LITE))
attack("UDP-Lite by IPv6", send("fd99:1::2", 5000, SIX, UDP_LITE))
attack("MPTCP", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect(("10.99.1.2", 443)))
attack("ICMP", echo("10.99.1.2", socket.AF_INET, 1, 8))
attack("ICMPv6", echo("fd99:1::2", SIX, 58, 128))
attack("multicast", send("224.0.0.251", 5353))
attack("multicast by IPv6", send("ff05::fb", 5353, SIX))
attack("broadcast", send("255.255.255.255", 68, options=[(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)]))
attack("source route", send("10.99.2.2", 5000, options=[(socket.IPPROTO_IP, socket.IP_OPTIONS, by_way_of)]))
attack("routing header", send("fd99:1::2", 5000, SIX, options=[(41, 57, routing_header)]))
attack("socket of virtual machines", kind(VSOCK, socket.SOCK_STREAM, 0))
attack("XDP socket", kind(XDP, socket.SOCK_RAW, 0))
connect = "exec 3<>/dev/tcp/10.99.1.2/80"
attack("a namespace of its own", run("/usr/bin/unshare", "-Urn", "/bin/bash", "-c", connect))
