"""Asks the resolver for as many names as it can for three seconds, and holds connections open besides."""

import socket
import struct
import time

held = [socket.create_connection(("127.0.0.1", 53)) for _ in range(100)]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("127.0.0.1", 53))
number, end = 0, time.time() + 3
while time.time() < end:
    number += 1
    header = struct.pack(">HHHHHH", number & 65535, 256, 1, 0, 0, 0)
    s.send(header + bytes([30]) + b"%030d" % number + b"\x04evil\0\0\x10\0\x01")
