"""Connects to port 80 of what is named, and prints what the server there says it is."""

import socket
import sys

try:
    s = socket.create_connection((sys.argv[1], 80), 5)
    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    print(s.makefile().read().split("\n")[-2])
except OSError as error:
    print(type(error).__name__, error)
