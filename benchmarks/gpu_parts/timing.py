"""Device time of calls, from CUDA graphs that are replayed in turns."""

import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch

__all__ = ["Case", "Result", "buffers", "measure"]

Call = Callable[[int], object]  # takes the number of the buffer to work on
_L2 = 128 << 20  # bytes; more than any cache holds
_GRAPH_BYTES = 1 << 31  # traffic of one graph: about a millisecond


class Case(NamedTuple):
    """One row: calls on the same tensors; the first is ours."""

    part: str
    name: str
    elements: int
    bytes_per_element: float  # the least that has to be moved
    calls: dict[str, Call]
    buffers: int = 1


class Result(NamedTuple):
    """Median microseconds of each call, and the share of the device's bandwidth that ours attains."""

    part: str
    name: str
    elements: int
    bytes_per_element: float
    microseconds: dict[str, float]

    def line(self) -> str:
        """The row, with ratios to ours."""
        ours, *peers = self.microseconds
        mine = self.microseconds[ours]
        rate = self.elements * self.bytes_per_element / mine / 1e6
        cells = [f"{mine:9.1f} us {rate:5.2f} TB/s"]
        cells += [f"{name} {self.microseconds[name]:.1f} ({self.microseconds[name] / mine:.2f}x)" for name in peers]
        return f"{self.part:9s} {self.name:38s} {' | '.join(cells)}"


def buffers(nbytes: int) -> int:
    """How many sets of tensors to rotate, so that none of them is still in the cache."""
    return max(1, min(64, -(-_L2 // max(nbytes, 1))))


def _graph(call: Call, count: int, repeats: int) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for i in range(min(count, 3)):
            call(i)  # compiles, and fills caches of allocations
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(repeats):
            call(i % count)
    return graph


def measure(case: Case, rounds: int = 9) -> Result:
    """Time a case; each figure is the median of replays, in which the calls take turns."""
    traffic = case.elements * case.bytes_per_element
    repeats = int(max(1, min(200, _GRAPH_BYTES // traffic)))
    repeats = max(repeats, min(case.buffers, 64))
    graphs = {name: _graph(call, case.buffers, repeats) for name, call in case.calls.items()}
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(rounds):
        for name, graph in graphs.items():
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            times[name].append(start.elapsed_time(end) * 1000 / repeats)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    return Result(case.part, case.name, case.elements, case.bytes_per_element, medians)
