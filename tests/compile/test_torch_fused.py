"""What torch's kernels need beside what the engine's own tests show."""

from __future__ import annotations

import torch

import elman
from elman.compile import frozen_weights


def test_frozen_weights_are_put_together_once_and_forgotten_afterwards() -> None:
    layer = elman.nn.Recurrent("lstm", 3, 4)
    x = torch.randn(1, 2, 3)
    with torch.no_grad():
        before = layer(x)[0]
    with frozen_weights():
        assert torch.equal(layer(x)[0], before)
        assert torch.equal(layer(x)[0], before)
    with torch.no_grad():
        layer.parameter("Wi").add_(1.0)
        after = layer(x)[0]
    assert not torch.equal(after, before)
    with frozen_weights():
        assert torch.equal(layer(x)[0], after)
