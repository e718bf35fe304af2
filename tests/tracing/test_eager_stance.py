"""The eager stance of passes that overlap."""

import pytest
import torch

from thinned.tracing.eager_stance import eager_stance


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_the_last_of_overlapping_passes_puts_the_stance_back():
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(lambda x: x + 1, backend=backend)
    first, second = eager_stance(), eager_stance()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert compiled(torch.ones(2)).tolist() == [2, 2]
    assert graphs == []
    second.__exit__(None, None, None)
    assert compiled(torch.ones(2)).tolist() == [2, 2]
    assert len(graphs) == 1
