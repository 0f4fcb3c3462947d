"""Requests of an embedder and nothing else, from as many threads as are to be in flight: what
the same client and server reach. Prints what it measured as JSON; ``providers.py`` calls this.

python benchmarks/run_requests.py OPTIONS TEXTS
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ai_migration.embedders.openai import OpenAIEmbedder

WORDS = "light red running shoe with a soft sole and a mesh upper for warm days on the road "


def main() -> None:
    """Send them all, after one that opens the client."""
    options, count = json.loads(sys.argv[1]), int(sys.argv[2])
    embedder = OpenAIEmbedder(**options)
    texts = [f"name: Product {number}\ndescription: {WORDS * 3}" for number in range(count)]
    size = embedder.max_batch_size
    requests = [texts[start : start + size] for start in range(0, count, size)]
    embedder.request(requests[0])
    with ThreadPoolExecutor(embedder.concurrency) as executor:
        start = time.perf_counter()
        for answer in executor.map(embedder.request, requests):
            assert len(answer.vectors)
        seconds = time.perf_counter() - start
    print(json.dumps({"rows": count, "seconds": seconds, "wal_bytes": 0, "peak_memory": 0}))


if __name__ == "__main__":
    main()
