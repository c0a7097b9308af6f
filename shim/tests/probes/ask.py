"""Asks the sandbox's own resolver, and the server that is named, what a workload might; prints the reply's code and the
number of its answers."""

import socket
import struct
import sys

OWN, OTHER = "127.0.0.1", sys.argv[1]


def ask(server, name, kind, tcp=False):
    question = b"".join(bytes([len(label)]) + label for label in name) + b"\0" + struct.pack(">HH", kind, 1)
    query = struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0) + question
    try:
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        s.settimeout(5)
        s.connect((server, 53))
        s.sendall(struct.pack(">H", len(query)) + query if tcp else query)
        reply = s.recv(4096)
        reply = reply[2:] if tcp else reply
        return reply[3] & 15, struct.unpack(">H", reply[6:8])[0]
    except OSError as error:
        return type(error).__name__


A = [b"a", b"test"]
print("permitted:", ask(OWN, A, 1), ask(OWN, A, 1, True))
print("other types:", ask(OWN, A, 16), ask(OWN, A, 65), ask(OWN, A, 255))
print("other names:", ask(OWN, [b"x" * 63, b"y" * 60, b"evil", b"example"], 16), ask(OWN, [b"data", b"a", b"test"], 1))
print("strange labels:", ask(OWN, [b"a.test"], 1), ask(OWN, [b"a\0", b"test"], 1))
print("another server:", ask(OTHER, A, 1), ask(OTHER, A, 1, True))
print("private addresses:", ask(OWN, [b"rebound", b"test"], 1), ask(OWN, [b"rebound", b"test"], 28))
print("cut:", ask(OWN, [b"cut", b"test"], 1, True))
