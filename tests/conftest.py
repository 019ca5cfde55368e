"""Networks that several modules' tests explain."""

import pytest
import torch
from torch import nn

from vglab import data, models, train


@pytest.fixture(scope="module")
def wine_network() -> nn.Module:
    """13 measurements, one hidden layer, three grapes; trained."""
    torch.manual_seed(0)
    model = models.MLP((13, 16, 3))
    wine = data.load("wine")
    train.fit(model, wine, optimizer="adam", lr=0.01, epochs=10, device="cpu")
    return model
