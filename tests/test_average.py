"""The moving average of the weights."""

from __future__ import annotations

import torch
from torch import nn

from probpose.inference.training.schedule import moving_average


def test_average_follows_the_ramped_recursion() -> None:
    linear, norm = nn.Linear(2, 3), nn.BatchNorm1d(3)
    model = nn.Sequential(linear, norm)
    average = moving_average(model, 0.9)
    expected = linear.weight.detach().clone()
    for update in range(40):
        with torch.no_grad():
            linear.weight.add_(torch.randn(3, 2))
        model(torch.randn(8, 2))
        average.update_parameters(model)
        decay = min(0.9, (1 + update) / (10 + update)) if update else 0.0
        expected = decay * expected + (1 - decay) * linear.weight.detach()
    state = average.module.state_dict()
    torch.testing.assert_close(state["0.weight"], expected)
    assert not torch.equal(state["1.running_mean"], norm.state_dict()["running_mean"])
    assert torch.equal(state["1.num_batches_tracked"], norm.state_dict()["num_batches_tracked"])
