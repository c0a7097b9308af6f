"""Packets of many protocols, made by whoever is root over the network that they leave, and what of them arrives.

`send ALLOWED4 ALLOWED6 REFUSED4 REFUSED6`: sends every packet, each with its name in it, and at last `end 4` and `end 6`.
`see FILE INTERFACE`: writes the names that come by."""

import re
import socket
import struct
import sys
import time

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
# Protocols that no rule names: IGMP, IP in IP, IPv6 in IP, GRE, ESP, SCTP, DCCP, UDP-Lite, and one for experiments.
OTHERS = {"igmp": 2, "ipip": 4, "6in4": 41, "gre": 47, "esp": 50, "sctp": 132, "dccp": 33, "udplite": 136, "253": 253}


def mark(name):
    return f"mark:{name};".encode()


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Way:
    """From here to an address."""

    def __init__(self, to):
        self.six = ":" in to
        self.family = socket.AF_INET6 if self.six else socket.AF_INET
        self.to = to
        with socket.socket(self.family, socket.SOCK_DGRAM) as one:
            one.connect((to, 9))
            self.source = one.getsockname()[0]
        self.addresses = b"".join(socket.inet_pton(self.family, one) for one in (self.source, to))

    def udp(self, name, port=5000, size=0):
        data = mark(name).ljust(size, b".")
        header = struct.pack(">HHHH", 40000, port, 8 + len(data), 0)
        pseudo = self.addresses + struct.pack(">IHH", 8 + len(data), 0, UDP)
        return header[:6] + struct.pack(">H", checksum(pseudo + header + data)) + data

    def packet(self, protocol, data, offset=0, more=False):
        """A whole packet, or a fragment of one of version 4."""
        if self.six:
            return struct.pack(">IHBB", 6 << 28, len(data), protocol, 64) + self.addresses + data
        flags = offset // 8 | (0x2000 if more else 0)
        return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(data), 77, flags, 64, protocol, 0) + self.addresses + data

    def send(self, packet):
        with socket.socket(self.family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(packet, (self.to, 0))

    def raw(self, protocol, data, hops=None):
        with socket.socket(self.family, socket.SOCK_RAW, protocol) as raw:
            if hops and self.six:
                raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
            raw.sendto(data, (self.to, 0))

    def datagram(self, name, port=5000, size=0):
        with socket.socket(self.family, socket.SOCK_DGRAM) as one:
            one.sendto(mark(name).ljust(size, b"."), (self.to, port))


def option_header(following):
    """Hop-by-hop or destination options with nothing but padding."""
    return bytes([following, 0, 1, 4, 0, 0, 0, 0])


def routing_header(following, final):
    return bytes([following, 2, 4, 0, 0, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, final)


def fragment_header(following, offset, more):
    return struct.pack(">BBHI", following, 0, offset | more, 4711)


def protocols(label, way):
    """What is neither TCP nor UDP."""
    version = 6 if way.six else 4
    echo = lambda name: struct.pack(">BBHHH", 128 if way.six else 8, 0, 0, 7, 1) + mark(name)
    name = f"{label} echo {version}"
    data = echo(name)
    if not way.six:
        data = data[:2] + struct.pack(">H", checksum(data)) + data[4:]
    yield name, lambda: way.raw(ICMP6 if way.six else ICMP, data)
    for word, number in OTHERS.items():
        name = f"{label} {word} {version}"
        yield name, lambda number=number, name=name: way.raw(number, b"\x45" + b"\0" * 23 + mark(name))
    if way.six:
        for word, number in (("solicitation", 135), ("advertisement", 136)):
            name = f"{label} {word} 6"
            target = socket.inet_pton(way.family, way.to)
            text = struct.pack(">BBHI", number, 0, 0, 0) + target + mark(name)
            yield name, lambda text=text: way.raw(ICMP6, text, hops=255)


def datagrams(label, way, port):
    """UDP in every wrapping."""
    version = 6 if way.six else 4
    one = lambda name, act: (f"{label} {name} {version}", lambda: act(f"{label} {name} {version}"))
    yield one("datagram", lambda name: way.datagram(name, port))
    yield one("large datagram", lambda name: way.datagram(name, port, 4000))
    yield one("raw datagram", lambda name: way.send(way.packet(UDP, way.udp(name, port))))

    def fragments(name):
        whole = way.udp(name, port, 64)
        way.send(way.packet(UDP, whole[:8], 0, True))
        way.send(way.packet(UDP, whole[8:], 8))

    def fragments6(name):
        whole = way.udp(name, port, 64)
        way.send(way.packet(FRAGMENT, fragment_header(UDP, 0, 1) + whole[:8]))
        way.send(way.packet(FRAGMENT, fragment_header(UDP, 8, 0) + whole[8:]))

    yield one("fragments", fragments6 if way.six else fragments)
    if way.six:
        headers = {
            "hop-by-hop options": (HOP_BY_HOP, option_header(UDP)),
            "destination options": (DESTINATION, option_header(UDP)),
            "two headers": (DESTINATION, option_header(ROUTING) + routing_header(UDP, way.to)),
            "one fragment": (FRAGMENT, fragment_header(UDP, 0, 0)),
        }
        for word, (first, header) in headers.items():
            yield one(word, lambda name, first=first, header=header: way.send(way.packet(first, header + way.udp(name, port))))


def error_about(permitted, way):
    """An ICMP error that quotes a permitted connection, to somebody else."""
    with socket.socket(permitted.family, socket.SOCK_DGRAM) as one:
        one.bind((permitted.source, 40001))
        one.sendto(b"a connection", (permitted.to, 5000))
        quoted = permitted.packet(UDP, struct.pack(">HHHH", 40001, 5000, 20, 0))
        # As if the other side's answer could not be delivered.
        swapped = quoted[:12] + quoted[16:20] + quoted[12:16] + struct.pack(">HHHH", 5000, 40001, 20, 0)
        text = struct.pack(">BBHI", 3, 3, 0, 0) + swapped + mark("refused error 4")
        way.raw(ICMP, text[:2] + struct.pack(">H", checksum(text)) + text[4:])


def send(allowed4, allowed6, refused4, refused6):
    packets = []
    for label, addresses in (("allowed", (allowed4, allowed6)), ("refused", (refused4, refused6))):
        for way in map(Way, addresses):
            packets += [*protocols(label, way), *datagrams(label, way, 5000)]
            if label == "allowed":
                packets += datagrams("another port", way, 5001)
    packets.append(("refused error 4", lambda: error_about(Way(allowed4), Way(refused4))))
    for name, act in packets:
        try:
            act()
        except OSError as error:
            print(name, error.errno)
        # Within what routers send of errors, and queues hold before a neighbour is known.
        time.sleep(0.002)
    for version, to in ((4, allowed4), (6, allowed6)):
        Way(to).datagram(f"end {version}")


def see(path, interface):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    tap.bind((interface, 0))
    with open(path, "a") as file:
        print("ready", file=file, flush=True)
        while True:
            for name in re.findall(rb"mark:([a-z0-9 -]+);", tap.recv(70000)):
                print(name.decode(), file=file, flush=True)


{"send": send, "see": see}[sys.argv[1]](*sys.argv[2:])
