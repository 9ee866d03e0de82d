"""Wearing the gate out: slow talkers, floods; and whether honest traffic still passes."""

import errno
import select
import socket
import time

import frames
import hello
import names
from core import SKIPPED, Outcome, reached, refused, silent, trial
from talk import connect, conversation_host

ALL = "none allow internet"


def target(box, name="allowed.test"):
    """An address that may be connected to at this level; a public one where none may."""
    address = names.address_of(box, name) if "world" in box.plan else box.public
    return address if isinstance(address, str) else box.public


def loris(id, title, port, first, drip, levels=ALL):
    @trial(id, title, attack=levels, limit=60.0)
    def slow(box):
        """Begins to speak on many connections and never ends. They must be cut in the end, and
        nobody else may suffer from them meanwhile."""
        address, open_ones = target(box), []
        begun = time.monotonic()
        for _ in range(24):
            try:
                connection = connect(box, address, port)
                connection.sendall(first(box))
                open_ones.append(connection)
            except OSError:
                pass
        if "world" in box.plan and box.level != "none":
            honest, _ = conversation_host(box, address, "allowed.test")
            if honest.what != "reached":
                return Outcome("failed", f"honest traffic does not pass: {honest.how}")
        yield
        patience = box.plan.get("patience", 30)
        while True:
            open_ones = [one for one in open_ones if not is_cut(one, drip)]
            if not open_ones or time.monotonic() > begun + patience:
                break
            time.sleep(0.5)
        seconds = time.monotonic() - begun
        left = len(open_ones)
        for connection in open_ones:
            connection.close()
        return silent(f"{left} of 24 are still open after {seconds:.0f} s") if left else refused(
            f"cut within {seconds:.0f} s")
    return slow


def is_cut(connection, drip):
    """Says one byte more, and looks whether the other side has gone."""
    try:
        connection.settimeout(0.5)
        if drip:
            connection.sendall(drip)
        if select.select([connection], [], [], 0)[0]:
            data = connection.recv(4096)
            if not data or data.startswith(b"HTTP/1.1 4"):
                connection.close()
                return True
        return False
    except OSError:
        connection.close()
        return True


# Where everything is allowed nothing is read: such connections are the server's to end.
loris("loris-tls", "begins many hellos and never ends one", 443,
      lambda box: hello.hello("allowed.test")[:60], b"", "none allow")
loris("loris-tls-drip", "says its hellos a byte at a time", 443,
      lambda box: hello.hello("allowed.test", more=hello.extension(21, bytes(9000)))[:60], b"\0",
      "none allow")
loris("loris-http", "begins many requests and never ends one", 80,
      lambda box: b"GET / HTTP/1.1\r\nHost: allowed.test\r\n", b"", "none allow")
loris("loris-http-drip", "says its requests a byte at a time", 80,
      lambda box: b"GET / HTTP/1.1\r\nHost: allowed.test\r\nX: ", b"y",
      "none allow")
loris("loris-dns", "begins questions over TCP and never ends one", 53,
      lambda box: b"\x01\x00" + bytes(20), b"")


@trial("flood-connections", "opens more connections than it may", attack=ALL, limit=20.0,
       last=True)
def flood(box):
    address, most = target(box), box.plan.get("connections", 256)
    if not most:
        return Outcome(SKIPPED, "no limit is set")
    events, held, refused_ones = select.poll(), {}, 0
    for _ in range(most + 200):
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        if connection.connect_ex((address, 7777)) in (0, errno.EINPROGRESS):
            held[connection.fileno()] = connection
            events.register(connection, select.POLLIN)
        else:
            connection.close()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        for number, _ in events.poll(100):
            events.unregister(number)
            held.pop(number).close()
            refused_ones += 1
    kept = len(held)
    for connection in held.values():
        connection.close()
    if kept > most:
        return reached(f"{kept} open at once, where {most} are allowed")
    return refused(f"{refused_ones} refused, {kept} open at once")


@trial("flood-names", "asks for names faster than it may", attack=ALL, limit=15.0, last=True)
def flood_names(box):
    if not box.plan.get("names_per_second", 64):
        return Outcome(SKIPPED, "no limit is set")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.connect((box.resolver, 53))
        asker.setblocking(False)
        asker.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE
        answered, most = 0, box.plan.get("names_per_second", 64) * 6
        for index in range(most * 3 // 2):
            try:
                asker.send(names.question(f"x{index}.wild.test", names.A))
            except OSError:
                pass
            answered += positive_answers(asker)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            select.select([asker], [], [], 0.1)
            answered += positive_answers(asker)
    if answered > most:
        return reached(f"{answered} names answered")
    return refused(f"{answered} of {most * 3 // 2} answered")


def positive_answers(asker):
    """How many of the answers that have come give what was asked for."""
    count = 0
    try:
        while message := asker.recv(2048):
            answer = names.parse(message)
            count += answer is not None and answer.rcode == 0
    except OSError:
        return count


@trial("flood-syn", "begins connections by hand and forgets them", attack=ALL, quiet=True,
       limit=15.0, last=True)
def flood_syn(box):
    link = frames.Link(box.gateway)
    for index in range(1500):
        source = link.address if index % 2 else f"169.254.{index % 200}.{1 + index % 250}"
        begin = frames.tcp(source, box.public, box.evil.encode(), port=1 + index,
                           source_port=1024 + index, sequence=index)
        link.send("ip", frames.ip(source, box.public, 6, begin))
    return silent("sent")


@trial("flood-datagrams", "sends datagrams as fast as it can", attack=ALL, limit=10.0, last=True)
def flood_datagrams(box):
    told = sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((box.public, 443))
        for _ in range(3000):
            try:
                sender.send(box.evil.encode())
                sent += 1
            except OSError:
                told += 1
    return refused(f"{told} of {sent + told} told so") if told else silent()


@trial("flood-over", "speaks honestly when its floods are over", legitimate="allow internet",
       needs="world", limit=10.0, last=True)
def over(box):
    end = time.monotonic() + 6
    while True:
        address = names.address_of(box, "allowed.test")
        if isinstance(address, str):
            result, _ = conversation_host(box, address, "allowed.test")
            if result.what == "reached":
                return result
        else:
            result = address
        if time.monotonic() > end:
            return result
        time.sleep(0.5)
