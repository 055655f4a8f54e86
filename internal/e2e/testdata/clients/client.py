"""Calls a node as grpcio does, with messages made by hand.

client.py HOST:PORT [CA.pem]: over TLS if an authority is given. Prints "ok CASE"
for each case, and ends with an error at the first that fails.
"""
import sys

import grpc

RLS = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
CHECK = "/headgate.v1.DecisionService/Check"
OK, OVER_LIMIT = 1, 2  # also ALLOWED and DENIED
BURST, CROWD = 100, 150


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(key, value):
    return field(1, key.encode()) + field(2, value.encode())


def rls(key, value):
    return field(1, b"edge") + field(2, field(1, entry(key, value)))


def check(key, value):
    return field(1, b"edge") + field(2, entry(key, value))


def same(case, got, want):
    if got != want:
        sys.exit(f"{case}: got {got!r}, want {want!r}")
    print("ok", case, flush=True)


def code(answer):
    assert answer[0] == 8, answer  # field 1, a varint, comes first
    return answer[1]


def refused(call):
    try:
        call()
    except grpc.RpcError as e:
        return e.code(), bool(e.details())
    return None


def main(address, authority=None):
    if authority:
        with open(authority, "rb") as f:
            channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(f.read()))
    else:
        channel = grpc.insecure_channel(address)
    ask = {path: channel.unary_unary(path) for path in (RLS, CHECK, CHECK + "Nothing")}
    limits, decide = ask[RLS], ask[CHECK]
    user = "python-tls" if authority else "python"

    same("allowed", code(limits(rls("user", user + "-1"), timeout=10)), OK)
    same("denied", code(limits(rls("user", "mallory"), timeout=10)), OVER_LIMIT)
    same("native allowed", code(decide(check("user", user + "-2"), timeout=10)), OK)
    same("native denied", code(decide(check("user", "mallory"), timeout=10)), OVER_LIMIT)
    metadata = (("x-text", "a"), ("x-bytes-bin", b"\x00\xff"), ("authorization", "Bearer x"))
    answer, call = limits.with_call(rls("user", "mallory"), timeout=10, metadata=metadata)
    same("metadata", (code(answer), call.code()), (OVER_LIMIT, grpc.StatusCode.OK))
    large = rls("user", "mallory") + field(1000, bytes(500_000))
    same("large message", code(limits(large, timeout=10)), OVER_LIMIT)
    too_large = rls("user", "mallory") + field(1000, bytes(1_100_000))
    same("too large message", refused(lambda: limits(too_large, timeout=10)), (grpc.StatusCode.RESOURCE_EXHAUSTED, True))
    same("gzip", code(limits(large, timeout=10, compression=grpc.Compression.Gzip)), OVER_LIMIT)
    same("error", refused(lambda: limits(b"", timeout=10)), (grpc.StatusCode.INVALID_ARGUMENT, True))
    same("unknown method", refused(lambda: ask[CHECK + "Nothing"](b"", timeout=10)), (grpc.StatusCode.UNIMPLEMENTED, True))
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=0.5)
    same("stream", code(next(watch)), 1)  # SERVING, and then nothing until
    # Both ends know the deadline; the health service calls it CANCELLED.
    ended = refused(lambda: next(watch))[0]
    same("deadline", ended in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED), True)
    calls = [limits.future(rls("user", user + "-crowd"), timeout=10) for _ in range(CROWD)]
    codes = [code(c.result()) for c in calls]
    same("crowd", (codes.count(OK), codes.count(OVER_LIMIT)), (BURST, CROWD - BURST))


main(*sys.argv[1:])
