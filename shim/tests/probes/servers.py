"""Servers of a small world: DNS on port 53, UDP and TCP, from a zone in a file that the test changes; and on port 80 one
that says to whoever connects under which address it was reached."""

import json
import socket
import struct
import sys
import threading

ZONE, ASKED = sys.argv[1:]
TYPES = {"A": 1, "CNAME": 5, "TXT": 16, "AAAA": 28}


def wire(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def record(owner, kind, seconds, value):
    data = {
        "A": lambda: socket.inet_pton(socket.AF_INET, value),
        "AAAA": lambda: socket.inet_pton(socket.AF_INET6, value),
        "CNAME": lambda: wire(value),
        "TXT": lambda: bytes([len(value)]) + value.encode(),
    }[kind]()
    return wire(owner) + struct.pack(">HHIH", TYPES[kind], 1, seconds, len(data)) + data


def answer(query, transport):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    (kind,) = struct.unpack(">H", query[at + 1 : at + 3])
    name = ".".join(labels)
    with open(ASKED, "a") as asked:
        asked.write(f"{name} {kind} {transport}\n")
    with open(ZONE) as file:
        found = json.load(file).get(name.lower())
    question = query[12 : at + 5]
    if found is None:
        return query[:2] + b"\x81\x83" + struct.pack(">HHHH", 1, 0, 0, 0) + question
    if found == "cut" and transport == "udp":
        return query[:2] + b"\x83\x80" + struct.pack(">HHHH", 1, 0, 0, 0) + question
    if found == "cut":
        found = [[name, "A", 5, f"203.0.113.{last}"] for last in range(1, 60)]
    records = [record(*one) for one in found if one[1] == "CNAME" or TYPES[one[1]] == kind]
    return query[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, len(records), 0, 0) + question + b"".join(records)


def udp():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 53))
    while True:
        query, peer = server.recvfrom(2048)
        local = answer(query, "udp")
        server.sendto(local, peer)


def tcp():
    server = socket.create_server(("0.0.0.0", 53))
    while True:
        connection, _ = server.accept()
        query = connection.recv(2048)
        if query:
            reply = answer(query[2:], "tcp")
            connection.sendall(struct.pack(">H", len(reply)) + reply)
        connection.close()


def web(family, address):
    server = socket.create_server((address, 80), family=family, backlog=64)
    while True:
        connection, _ = server.accept()
        connection.settimeout(0.2)
        try:
            connection.recv(4096)
        except OSError:
            pass
        body = connection.getsockname()[0].encode() + b"\n"
        head = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\nContent-Type: text/plain\r\n\r\n" % len(body)
        connection.sendall(head + body)
        connection.close()


for target, arguments in [(udp, ()), (tcp, ()), (web, (socket.AF_INET, "0.0.0.0")), (web, (socket.AF_INET6, "::"))]:
    threading.Thread(target=target, args=arguments, daemon=True).start()
threading.Event().wait()
