"""Says frames to a proxy, byte for byte, and looks at what comes back.

frames.py [tls:]ADDRESS:PORT SCENARIO...: each scenario is a function of this file, with a connection of its own."""

import select
import socket
import ssl
import struct
import sys
import time

from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NO_ERROR, PROTOCOL, INTERNAL, FLOW, REFUSED, CANCEL, CALM = 0, 1, 2, 3, 7, 8, 11
DEADLINE = 20.0
GET = [(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")]


class Closed(Exception):
    pass


class Connection:
    def __init__(self, address, settings=b"", preface=True):
        host, port = address.removeprefix("tls:").rsplit(":", 1)
        self.address = address
        self.socket = socket.create_connection((host, int(port)), DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.startswith("tls:"):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2", "http/1.1"])
            self.socket = context.wrap_socket(self.socket, server_hostname="app.test")
            assert self.socket.selected_alpn_protocol() == "h2"
        self.unread = b""
        self.encoder, self.decoder = Encoder(), Decoder()
        self.answers = {}
        self.resets = {}
        self.goaways = []
        self.pings = []
        if preface:
            self.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def send(self, data):
        self.socket.sendall(data)

    def try_send(self, data):
        """Whether it was taken: whoever has had enough may have gone."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def pour(self, rounds):
        """Sends one after the other until it is told to stop, or cannot."""
        for data in rounds:
            try:
                while len(self.unread) >= 9 or select.select([self.socket], [], [], 0)[0]:
                    self.step()
                    if self.goaways:
                        return
            except Closed:
                return
            if not self.try_send(data):
                return

    def next(self):
        """The next frame: kind, flags, stream, payload."""
        while len(self.unread) < 9 or len(self.unread) < 9 + self.length():
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed()
            self.unread += data
        length = self.length()
        _, kind, flags, stream = struct.unpack(">3sBBI", self.unread[:9])
        payload, self.unread = self.unread[9:9 + length], self.unread[9 + length:]
        return kind, flags, stream & 0x7FFFFFFF, payload

    def length(self):
        return int.from_bytes(self.unread[:3], "big")

    def step(self):
        """Takes one frame in."""
        kind, flags, stream, payload = self.next()
        answer = self.answers.setdefault(stream, {"body": b"", "ended": False, "heads": []})
        if kind == HEADERS:
            answer["heads"].append(dict(self.decoder.decode(payload)))
            answer["status"] = int(answer["heads"][0].get(":status", 0))
        elif kind == DATA:
            answer["body"] += payload
        elif kind == RESET:
            self.resets[stream] = struct.unpack(">I", payload)[0]
        elif kind == SETTINGS and not flags & ACK:
            self.try_send(frame(SETTINGS, ACK, 0))
        elif kind == PING:
            if flags & ACK:
                self.pings.append(payload)
            else:
                self.try_send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaways.append(struct.unpack(">II", payload[:8]))
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            answer["ended"] = True
        return kind, flags, stream, payload

    def until(self, what, seconds=DEADLINE):
        """Takes frames in until something is so."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "too late: %r %r" % (self.answers, self.resets)
            self.step()

    def ask(self, stream, fields, body=None, more=b"", ends=True):
        block = self.encoder.encode(fields, huffman=False) + more
        flags = END_HEADERS | (END_STREAM if body is None and ends else 0)
        data = frame(HEADERS, flags, stream, block)
        if body is not None:
            data += frame(DATA, END_STREAM if ends else 0, stream, body)
        self.send(data)

    def answer(self, stream):
        def there():
            return stream in self.resets or self.answers.get(stream, {}).get("ended")
        self.until(there)
        return self.answers.get(stream), self.resets.get(stream)

    def ok(self, stream):
        """The connection serves on."""
        self.ask(stream, GET)
        answer, reset = self.answer(stream)
        assert answer and answer["status"] == 200 and answer["ended"] and reset is None, (answer, reset)
        return answer

    def ends(self, *reasons):
        """It is ended, for one of these reasons."""
        try:
            end = time.monotonic() + DEADLINE
            while time.monotonic() < end:
                self.step()
            raise AssertionError("it goes on")
        except Closed:
            pass
        last = self.goaways[-1][1] if self.goaways else None
        assert last in reasons, self.goaways


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name, value):
    """A field as it is, whatever is in it."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def replaced(**others):
    return [(name, others.get(name[1:], value)) for name, value in GET if others.get(name[1:], 0) is not None]


# --- what is asked, and answered ---------------------------------------------------------------

def plain(address):
    """One after the other, and several at once."""
    c = Connection(address)
    for stream in range(1, 20, 2):
        answer = c.ok(stream)
        assert answer["body"] == b"hello", answer
    for stream in range(21, 221, 2):
        c.ask(stream, GET)
    for stream in range(21, 221, 2):
        answer, _ = c.answer(stream)
        assert answer["status"] == 200 and answer["body"] == b"hello"


def one_byte_at_a_time(address):
    c = Connection(address, preface=False)
    data = PREFACE + frame(SETTINGS, 0, 0)
    data += frame(HEADERS, END_HEADERS | END_STREAM, 1, c.encoder.encode(GET, huffman=False))
    for at in range(len(data)):
        c.send(data[at:at + 1])
    answer, _ = c.answer(1)
    assert answer["status"] == 200


def malformed(address):
    """Each is refused: with a status, with a reset, or with the connection."""
    long = ("x", "y" * 40000)
    cases = [
        (GET, literal(b"x", b"a\r\nb")),
        (GET, literal(b"x", b"a\nGET /evil HTTP/1.1")),
        (GET, literal(b"x", b"a\0b")),
        (GET, literal(b"x\r\ny", b"z")),
        (GET, literal(b"X-Upper", b"z")),
        (GET, literal(b"", b"z")),
        (GET, literal(b"x y", b"z")),
        (GET, literal(b"x:y", b"z")),
        (GET, literal(b"x", b" y")),
        (GET, literal(b"x", b"y ")),
        (GET + [("connection", "close")], b""),
        (GET + [("keep-alive", "timeout=1")], b""),
        (GET + [("proxy-connection", "close")], b""),
        (GET + [("transfer-encoding", "chunked")], b""),
        (GET + [("upgrade", "h2c")], b""),
        (GET + [("http2-settings", "AAMAAABk")], b""),
        (GET + [("te", "gzip")], b""),
        (GET + [("te", "trailers, gzip")], b""),
        (GET + [(":path", "/twice")], b""),
        (GET + [("x", "y"), (":authority", "other.test")], b""),
        ([("x", "y")] + GET, b""),
        (GET + [(":unknown", "x")], b""),
        (GET + [(":status", "200")], b""),
        (GET + [("host", "other.test")], b""),
        (GET + [("host", "app.test"), ("host", "app.test")], b""),
        (GET + [("content-length", "5")], b""),
        (GET + [("content-length", "x")], b""),
        (GET + [("content-length", "0"), ("content-length", "1")], b""),
        (replaced(path=None), b""),
        (replaced(path=""), b""),
        (replaced(path="no-slash"), b""),
        (replaced(path="*"), b""),
        (replaced(path="http://other.test/"), b""),
        (replaced(path="/a b"), b""),
        (replaced(path="/a\r\nX: y"), b""),
        (replaced(path="/\x7f"), b""),
        (replaced(path="/\x80"), b""),
        (replaced(method=None), b""),
        (replaced(method="get"), b""),
        (replaced(method="GE T"), b""),
        (replaced(method="TRACE"), b""),
        (replaced(method="CONNECT"), b""),
        (replaced(method="CONNECT", path=None, scheme=None), b""),
        (replaced(scheme=None), b""),
        (replaced(scheme="ftp"), b""),
        (replaced(authority=None), b""),
        (replaced(authority=""), b""),
        (replaced(authority="user@app.test"), b""),
        (replaced(authority="app.test/path"), b""),
        (replaced(authority="app.test\r\nX: y"), b""),
        (replaced(authority="a b"), b""),
        (GET + [long], b""),
        (GET + [("f%d" % n, "v") for n in range(200)], b""),
        (replaced(path="/" + "a" * 9000), b""),
        (GET + [("expect", "something")], b""),
    ]
    c = Connection(address)
    stream = 1
    for fields, more in cases:
        block = c.encoder.encode(fields, huffman=False) + more
        pieces = [block[at:at + 16000] for at in range(0, len(block), 16000)]
        for at, piece in enumerate(pieces):
            kind = CONTINUATION if at else HEADERS
            flags = (END_HEADERS if at == len(pieces) - 1 else 0) | (0 if at else END_STREAM)
            c.send(frame(kind, flags, stream, piece))
        try:
            answer, reset = c.answer(stream)
        except Closed:
            # What cannot be a field at all is wrong for all streams.
            assert c.goaways and c.goaways[-1][1] == PROTOCOL, (fields[:8], more, c.goaways)
            c, stream = Connection(address), 1
            continue
        refused = reset == PROTOCOL or 400 <= answer["status"] < 500
        assert refused, (fields[:8], more, answer, reset)
        c.ok(stream + 2)
        stream += 4


def lengths(address):
    """A body that is not as long as it was said to be is never taken for whole."""
    c = Connection(address)
    post = replaced(method="POST", path="/cut") + [("content-length", "5")]
    for at, body in enumerate([b"abc", b"abcdefg"]):
        stream = 1 + 4 * at
        c.ask(stream, post, body)
        answer, reset = c.answer(stream)
        assert reset == PROTOCOL or answer["status"] == 400, (answer, reset)
        c.ok(stream + 2)
    c.ask(11, post, b"abc")
    c.answer(11)
    # One that is taken back is no whole one either.
    c.ask(13, post, b"abc", ends=False)
    c.send(frame(RESET, 0, 13, struct.pack(">I", CANCEL)))
    c.ok(15)


def bodies(address):
    """`/echo` answers with the body: measured, open, padded, in pieces, with fields behind it."""
    c = Connection(address)
    echo = replaced(method="POST", path="/echo")
    c.ask(1, echo + [("content-length", "3")], b"abc")
    assert c.answer(1)[0]["body"] == b"abc"
    c.ask(3, echo, b"abc")
    assert c.answer(3)[0]["body"] == b"abc"
    c.ask(5, echo)
    assert c.answer(5)[0]["body"] == b""
    c.ask(7, echo, b"abc", ends=False)
    c.send(frame(DATA, PADDED, 7, b"\x04def" + b"\0" * 4))
    c.send(frame(HEADERS, END_HEADERS | END_STREAM, 7, c.encoder.encode([("x-sum", "7"), ("host", "evil")])))
    answer = c.answer(7)[0]
    assert answer["body"] == b"abcdef" and answer["heads"][0]["x-trailers"] == "x-sum: 7", answer
    large = bytes(range(256)) * 800
    c.ask(9, echo, b"", ends=False)
    left = {"stream": 1 << 18, "connection": 1 << 19}

    def room():
        while min(left.values()) < 16384:
            kind, _, stream, payload = c.step()
            if kind == WINDOW:
                left["stream" if stream else "connection"] += struct.unpack(">I", payload)[0]
            if kind == DATA:
                c.send(frame(WINDOW, 0, 0, struct.pack(">I", max(len(payload), 1))))
                c.send(frame(WINDOW, 0, 9, struct.pack(">I", max(len(payload), 1))))
    for at in range(0, len(large), 16384):
        room()
        piece = large[at:at + 16384]
        c.send(frame(DATA, END_STREAM if at + 16384 >= len(large) else 0, 9, piece))
        for key in left:
            left[key] -= len(piece)
    while not c.answers.get(9, {}).get("ended"):
        kind, _, _, payload = c.step()
        if kind == DATA and payload:
            c.send(frame(WINDOW, 0, 0, struct.pack(">I", len(payload))))
            c.send(frame(WINDOW, 0, 9, struct.pack(">I", len(payload))))
    assert c.answers[9]["body"] == large


def answers(address):
    """HEAD, interim answers, no content, fields behind a body, fields about the connection."""
    c = Connection(address)
    c.ask(1, replaced(method="HEAD"))
    answer = c.answer(1)[0]
    assert answer["body"] == b"" and answer["heads"][0]["content-length"] == "5", answer
    c.ask(3, replaced(path="/none"))
    assert c.answer(3)[0]["status"] == 204
    c.ask(5, replaced(path="/trailers") + [("te", "trailers")])
    answer = c.answer(5)[0]
    assert answer["body"] == b"abc" and answer["heads"][-1] == {"grpc-status": "0"}, answer
    c.ask(7, replaced(path="/hints"))
    answer = c.answer(7)[0]
    assert answer["heads"][0][":status"] == "103" and answer["heads"][1][":status"] == "200", answer
    c.ask(9, replaced(path="/hop"))
    head = c.answer(9)[0]["heads"][0]
    assert "connection" not in head and "keep-alive" not in head and "upgrade" not in head, head
    c.ask(11, replaced(authority="unknown.test"))
    assert c.answer(11)[0]["status"] == 404
    c.ask(13, replaced(path="/cut"))
    answer, reset = c.answer(13)
    # Never as if it were whole; with another proxy behind, it may not have begun.
    cut = reset == INTERNAL and not (answer or {}).get("ended")
    assert cut or answer["status"] == 502, (answer, reset)
    c.ok(15)


def cookies(address):
    c = Connection(address)
    c.ask(1, replaced(path="/cookie") + [("cookie", "a=1"), ("cookie", "b=2")])
    assert c.answer(1)[0]["body"] == b"a=1; b=2"


def too_many_streams(address):
    """More than may be at once are refused, and none of them is lost to the others."""
    c = Connection(address)
    c.until(lambda: 0 in c.answers)
    for stream in range(1, 301, 2):
        c.ask(stream, replaced(path="/slow"))
    c.until(lambda: len(c.resets) == 50)
    assert set(c.resets.values()) == {REFUSED}
    assert min(c.resets) == 201


# --- what is too much --------------------------------------------------------------------------

def flood(address, data, rounds, *reasons):
    c = Connection(address)
    c.ok(1)
    c.pour([data] * rounds)
    c.ends(*reasons)
    Connection(address).ok(1)


def ping_flood(address):
    flood(address, frame(PING, 0, 0, b"x" * 8) * 100, 100, CALM)


def settings_flood(address):
    flood(address, frame(SETTINGS, 0, 0) * 100, 100, CALM)


def priority_flood(address):
    flood(address, frame(PRIORITY, 0, 3, struct.pack(">IB", 0, 1)) * 100, 100, CALM)


def unknown_flood(address):
    flood(address, frame(0xFA, 0, 0, b"x") * 100, 100, CALM)


def window_flood(address):
    flood(address, frame(WINDOW, 0, 0, struct.pack(">I", 1)) * 100, 100, CALM)


def empty_data_flood(address):
    c = Connection(address)
    c.ask(1, replaced(method="POST", path="/echo"), b"", ends=False)
    c.pour([frame(DATA, 0, 1) * 100] * 100)
    c.ends(CALM)


def empty_data(address):
    """As some libraries write it: more in the life of a connection than the one below bears, and no flood."""
    c = Connection(address)
    for stream in range(1, 101, 2):
        nothing = frame(DATA, 0, stream)
        c.ask(stream, replaced(method="POST", path="/echo"), b"", ends=False)
        c.send(nothing * 3 + frame(DATA, 0, stream, b"abc") + nothing[:5])
        c.send(nothing[5:] + nothing * 3 + frame(DATA, END_STREAM, stream))
        answer, reset = c.answer(stream)
        assert answer["status"] == 200 and answer["body"] == b"abc" and reset is None, (answer, reset)
    assert not c.goaways
    c.ok(101)


def tiny_data_flood(address):
    """Into a body that nobody takes: each frame would cost more than it holds."""
    c = Connection(address)
    c.ask(1, replaced(method="POST", authority="deaf.test"), b"", ends=False)
    sent = 0
    while sent < 60000 and c.try_send(frame(DATA, 0, 1, b"x") * 100):
        sent += 100
    Connection(address).ok(1)


def continuation_flood(address):
    c = Connection(address)
    c.send(frame(HEADERS, END_STREAM, 1, c.encoder.encode(GET, huffman=False)))
    c.pour([frame(CONTINUATION, 0, 1, literal(b"x", b"y" * 100) * 10)] * 2000)
    c.ends(CALM, PROTOCOL)
    c = Connection(address)
    c.send(frame(HEADERS, END_STREAM, 1, c.encoder.encode(GET, huffman=False)))
    c.pour([frame(CONTINUATION, 0, 1)] * 2000)
    c.ends(CALM, PROTOCOL)


def rapid_reset(address):
    """Asked and taken back, again and again."""
    c = Connection(address)

    def rounds():
        for stream in range(1, 40000, 20):
            data = b""
            for more in range(0, 20, 2):
                data += frame(HEADERS, END_HEADERS | END_STREAM, stream + more, c.encoder.encode(replaced(path="/slow")))
                data += frame(RESET, 0, stream + more, struct.pack(">I", CANCEL))
            yield data
    c.pour(rounds())
    c.ends(CALM)
    Connection(address).ok(1)


def silent(address):
    """Takes back what has been answered and is silent, says so, and goes during another."""
    c = Connection(address)
    c.ask(1, replaced(path="/events"))
    c.until(lambda: c.answers.get(1, {}).get("heads"))
    c.send(frame(RESET, 0, 1, struct.pack(">I", CANCEL)))
    print("left", flush=True)
    sys.stdin.readline()
    c.ask(3, replaced(path="/events"))
    c.until(lambda: c.answers.get(3, {}).get("heads"))


def made_to_reset(address):
    """Has the proxy reset what it has begun on, by what is wrong behind it."""
    c = Connection(address)

    def rounds():
        for stream in range(1, 10000, 2):
            head = c.encoder.encode(replaced(path="/slow"))
            data = frame(HEADERS, END_HEADERS | END_STREAM, stream, head)
            yield data + frame(WINDOW, 0, stream, struct.pack(">I", 0))
    c.pour(rounds())
    c.ends(CALM, PROTOCOL, FLOW)
    Connection(address).ok(1)


def table_bomb(address):
    """A large field, named by its number again and again."""
    c = Connection(address)
    c.ask(1, GET + [("x", "y" * 3000)])
    c.answer(1)
    at = c.encoder.header_table.search(b"x", b"y" * 3000)[0]
    block = c.encoder.encode(GET) + bytes([0x80 | at]) * 16000
    c.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, block[:16384]))
    try:
        answer, reset = c.answer(3)
        assert reset is not None or answer["status"] == 431, (answer, reset)
    except Closed:
        assert c.goaways, "it says why"
    Connection(address).ok(1)


def wrong_frames(address):
    """What nobody may send ends the connection, and says why."""
    for data in [
        frame(HEADERS, END_HEADERS | END_STREAM, 2, b"\x82"),
        frame(HEADERS, END_HEADERS | END_STREAM, 0, b"\x82"),
        frame(DATA, 0, 0, b"x"),
        frame(DATA, 0, 5, b"x"),
        frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
        frame(SETTINGS, 0, 1),
        frame(SETTINGS, 0, 0, b"x"),
        frame(PING, 0, 0, b"x"),
        frame(PUSH, END_HEADERS, 1, b"\0\0\0\2\x82"),
        frame(WINDOW, 0, 0, struct.pack(">I", 0)),
        frame(WINDOW, 0, 0, struct.pack(">I", 0x7FFFFFFF)),
        frame(RESET, 0, 0, struct.pack(">I", 0)),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff"),
        struct.pack(">I", 1 << 20)[1:] + b"\0\0\0\0\0\1",
    ]:
        c = Connection(address)
        c.until(lambda: 0 in c.answers)
        c.try_send(data)
        try:
            while True:
                c.step()
        except Closed:
            pass
        assert c.goaways and c.goaways[-1][1] != NO_ERROR, (data, c.goaways)


def slow_head(address):
    """A head that does not end is not waited for."""
    c = Connection(address)
    c.ok(1)
    c.send(frame(HEADERS, END_STREAM, 3, c.encoder.encode(GET, huffman=False)))
    try:
        while True:
            c.step()
    except Closed:
        pass


def idle(address):
    """Without a request for too long: it is told, and closed."""
    c = Connection(address)
    c.ok(1)
    c.ends(NO_ERROR)
    assert [last for last, _ in c.goaways] == [0x7FFFFFFF, 1], c.goaways


def no_window(address):
    """Who grants no room for an answer is not waited for; others are served."""
    c = Connection(address, settings=struct.pack(">HI", 4, 0))
    c.ask(1, GET)
    _, reset = c.answer(1)
    assert reset is not None
    c.ask(3, replaced(method="HEAD"))
    assert c.answer(3)[0]["status"] == 200


def exact_window(address):
    """An answer ends where the room for it does."""
    c = Connection(address, settings=struct.pack(">HI", 4, 3))
    for stream, path in [(1, "/trailers"), (3, "/chunked")]:
        c.ask(stream, replaced(path=path) + [("te", "trailers")])
        answer, reset = c.answer(stream)
        assert answer["body"] == b"abc" and reset is None, (answer, reset)


def deaf(address):
    """Who asks on and on, and reads nothing, is let go."""
    c = Connection(address, settings=struct.pack(">HI", 4, 0x7FFFFFFF))
    c.send(frame(WINDOW, 0, 0, struct.pack(">I", 0x7FFF0000)))
    for stream in range(1, 41, 2):
        c.ask(stream, replaced(path="/large"))
    # Not a byte is read until it has ended.
    end = time.monotonic() + DEADLINE
    while c.try_send(frame(PING, ACK, 0, b"x" * 8)):
        assert time.monotonic() < end, "it is waited for"
        time.sleep(0.05)


def drained(address):
    """Says when it is served; told to drain, what has begun is finished and what comes then is refused or served."""
    c = Connection(address)
    c.ok(1)
    c.ask(3, replaced(path="/later"))
    print("ready", flush=True)
    c.until(lambda: c.goaways)
    assert c.goaways == [(0x7FFFFFFF, NO_ERROR)], c.goaways
    c.ask(5, GET)
    sys.stdin.readline()
    answer, _ = c.answer(3)
    assert answer["body"] == b"later", answer
    answer, _ = c.answer(5)
    assert answer["body"] == b"hello", "what came before the second word is served"
    try:
        while True:
            c.step()
    except Closed:
        pass
    assert c.goaways == [(0x7FFFFFFF, NO_ERROR), (5, NO_ERROR)], c.goaways


def websocket(address):
    """RFC 8441: an extended CONNECT becomes an upgrade."""
    c = Connection(address)
    c.until(lambda: 0 in c.answers)
    ask = replaced(method="CONNECT", path="/socket") + [
        (":protocol", "websocket"), ("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")]
    ask = [field for field in ask if field[0][0] == ":"] + [field for field in ask if field[0][0] != ":"]
    c.ask(1, ask, ends=False)
    c.until(lambda: c.answers.get(1, {}).get("heads"))
    head = c.answers[1]["heads"][0]
    assert head[":status"] == "200" and head["sec-websocket-protocol"] == "chat", head
    assert "sec-websocket-accept" not in head and "upgrade" not in head, head
    text = b"\x81\x85" + b"\0\0\0\0" + b"hello"
    c.send(frame(DATA, 0, 1, text[:4]))
    c.send(frame(DATA, 0, 1, text[4:]))
    c.until(lambda: c.answers[1]["body"] == b"\x81\x05hello")
    c.ok(3)
    close = b"\x88\x82" + b"\0\0\0\0" + struct.pack(">H", 1000)
    c.send(frame(DATA, END_STREAM, 1, close))
    c.answer(1)
    assert c.answers[1]["body"] == b"\x81\x05hello\x88\x02" + struct.pack(">H", 1000), c.answers[1]
    c.ask(5, [field for field in ask if field[0] != ":protocol"], ends=False)
    assert c.answer(5)[0] is None or c.answer(5)[0].get("status", 400) >= 400
    c.ok(7)


def no_websocket(address):
    """RFC 8441, 5: 2xx would say that it is open, and the app does not know of any."""
    c = Connection(address)
    c.until(lambda: 0 in c.answers)
    ask = replaced(method="CONNECT") + [(":protocol", "websocket"), ("sec-websocket-version", "13")]
    ask = [field for field in ask if field[0][0] == ":"] + [field for field in ask if field[0][0] != ":"]
    c.ask(1, ask, ends=False)
    c.until(lambda: c.answers.get(1, {}).get("heads"))
    assert c.answers[1]["heads"][0][":status"] == "501", c.answers[1]
    c.ok(3)


def main():
    address, *scenarios = sys.argv[1:]
    for name in scenarios:
        try:
            globals()[name](address)
        except BaseException:
            print("in %s:" % name, file=sys.stderr)
            raise


if __name__ == "__main__":
    main()
