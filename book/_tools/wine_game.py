"""Store the game of four players that the interactive figure of the chapter on SHAP begins with.

    python book/_tools/wine_game.py

A network learns to tell three grapes by four measurements of their wine. The game is what its
logit of the predicted class is worth, for one wine, when some measurements are the wine's and the
others come from a background: the mean over its rows.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vglab import data, initialization, models, train

FILE = Path(__file__).resolve().parents[1] / "_static" / "play" / "wine-game.json"
FEATURES = ("alcohol", "flavanoids", "color_intensity", "proline")


def question() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The trained network, the wine ``[1, 4]`` and the background ``[8, 4]``."""
    wine = data.load("wine")
    columns = [wine.feature_names.index(name) for name in FEATURES]
    four = data.from_arrays(wine.x_train[:, columns], wine.y_train)
    net = initialization.initialize(models.MLP((4, 16, 3)), "he", seed=0)
    train.fit(net, four, optimizer="adam", epochs=20, seed=0)
    return net.eval(), four.x_test[:1], four.x_train[:8]


def game() -> dict[str, Any]:
    """Players, class and the value of each coalition; bit i of its number is player i."""
    net, x, background = question()
    masks = (torch.arange(16)[:, None] >> torch.arange(4) & 1).bool()
    with torch.no_grad():
        target = int(net(x).argmax())
        mixed = torch.where(masks[:, None], x, background)
        values = net(mixed.flatten(0, 1))[:, target].view(16, -1).double().mean(1)
    return {
        "players": list(FEATURES),
        "class": target,
        "values": [round(value, 6) for value in values.tolist()],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(game()) + "\n", encoding="utf-8")
