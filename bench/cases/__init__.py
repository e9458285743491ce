"""The cases by name, in the order of README.md. Each yields its lines: one for each database and variant."""

from collections.abc import Callable, Iterator, Mapping

from bench.cases import appends, footprint, growth, large, latency, product, reading, steps, through_http, verifying
from bench.line import Line
from bench.setting import Setting

Case = Callable[[Setting], Iterator[Line]]

CASES: Mapping[str, Case] = {
    "chain": steps.chain,
    "hundred": steps.hundred,
    "http": through_http.through_http,
    "append": appends.append,
    "queue": steps.queue,
    "fan": steps.fan,
    "latency": latency.latency,
    "fold": reading.fold,
    "replay": reading.replay,
    "catch-up": reading.catch_up,
    "rebuild": reading.rebuild,
    "product": product.product,
    "large": large.large,
    "server": footprint.server,
    "cli": footprint.cli,
    "verify": verifying.verify,
    "growth": growth.growth,
}
