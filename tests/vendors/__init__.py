"""A loopback HTTP server that plays the embedding APIs of vendors, with their faults.

In a test::

    with serving(OpenAIVendor()) as server:
        server.plan(Fault(Kind.THROTTLED, retry_after="7"), ANSWER)
        ...
        assert server.seen.requests[0].texts == ["red shoes"]

In a process of its own, for benchmarks and tests of several processes::

    python -m tests.vendors.server --latency 0.05 --throttle 0.3 --fail 0.05

prints its URL; ``GET /_seen`` there answers what it has seen, as JSON.
"""
