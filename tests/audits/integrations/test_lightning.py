"""The callback for Lightning."""

import pytest
import torch
from torch import nn

import thinned


class Always(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, labels=None):
        logits = nn.functional.dropout(self.linear(x), 0.5) @ torch.ones(4, 2)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_the_lightning_callback():
    lightning = pytest.importorskip("lightning")

    class Task(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Always()

        def training_step(self, batch, _):
            return self.net(batch[0], batch[1])["loss"]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    data = torch.utils.data.TensorDataset(torch.randn(8, 4), torch.zeros(8, dtype=torch.long))
    callback = thinned.audits.lightning_callback()
    trainer = lightning.Trainer(
        max_steps=2, callbacks=[callback], logger=False, enable_checkpointing=False, accelerator="cpu"
    )
    with pytest.warns(UserWarning, match="TD101 error"):
        trainer.fit(Task(), torch.utils.data.DataLoader(data, 4))
    assert callback.first.result.codes() >= {"TD101"}
