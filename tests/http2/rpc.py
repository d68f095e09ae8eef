"""A gRPC service and its client, with a proxy between them.

Says its port, reads the proxy's address, and then asks: one answer, a conversation, an error, a deadline."""

import os
import sys
import threading
from concurrent import futures

import grpc


def say(word):
    """One line in one piece: several threads say something."""
    os.write(1, b"%s\n" % str(word).encode())


class Service(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/test.Echo/One": grpc.unary_unary_rpc_method_handler(self.one),
            "/test.Echo/Talk": grpc.stream_stream_rpc_method_handler(self.talk),
            "/test.Echo/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/test.Echo/Count": grpc.unary_stream_rpc_method_handler(self.count),
            "/test.Echo/Never": grpc.unary_unary_rpc_method_handler(self.never),
        }.get(details.method)

    def one(self, message, context):
        context.set_trailing_metadata((("x-length", str(len(message))),))
        return message

    def talk(self, messages, context):
        for message in messages:
            yield b"you said " + message

    def fail(self, message, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

    def count(self, message, context):
        for number in range(int(message)):
            yield b"%d" % number

    def never(self, message, context):
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(20)
        say("gone")
        return b""


def main():
    server = grpc.server(futures.ThreadPoolExecutor(16), handlers=[Service()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    say(port)
    address = sys.stdin.readline().strip()
    options = [("grpc.default_authority", "app.test"), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options) as channel:
        one = channel.unary_unary("/test.Echo/One")
        message, call = one.with_call(b"hello", timeout=10)
        assert message == b"hello" and call.code() == grpc.StatusCode.OK
        assert ("x-length", "5") in call.trailing_metadata(), call.trailing_metadata()
        large = bytes(range(256)) * 4000
        assert one(large, timeout=10) == large

        # Each word only after the last was answered: neither way is held back.
        answered = threading.Semaphore(1)

        def words():
            for number in range(20):
                assert answered.acquire(timeout=10)
                yield b"%d" % number
        heard = []
        for answer in channel.stream_stream("/test.Echo/Talk")(words(), timeout=10):
            heard.append(answer)
            answered.release()
        assert heard == [b"you said %d" % number for number in range(20)], heard

        try:
            channel.unary_unary("/test.Echo/Fail")(b"", timeout=10)
            raise AssertionError("it went well")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND and error.details() == "no such thing", error

        count = channel.unary_stream("/test.Echo/Count")
        assert len(list(count(b"500", timeout=10))) == 500

        with futures.ThreadPoolExecutor(16) as pool:
            all = list(pool.map(lambda number: one(b"%d" % number, timeout=10), range(200)))
        assert all == [b"%d" % number for number in range(200)]

        try:
            channel.unary_unary("/test.Echo/Never")(b"", timeout=0.2)
            raise AssertionError("it went well")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    say("done")
    sys.stdin.readline()
    server.stop(None)


main()
