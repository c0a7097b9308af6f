"""A router of version 6 that says so every half second, as `radvd` does: its interface, until it is killed."""

import socket
import struct
import sys
import time

interface = sys.argv[1]
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)
raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
to = ("ff02::1", 0, 0, socket.if_nametoindex(interface))
while True:
    # RFC 4861, 4.2: hop limit 64, no flags, a lifetime of half an hour.
    try:
        raw.sendto(struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), to)
    except OSError:
        pass  # The link-local address is not there yet.
    time.sleep(0.5)
