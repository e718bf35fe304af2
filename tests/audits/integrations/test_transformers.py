"""The callback for the Trainer of transformers."""

import pytest
import torch
from torch import nn

from thinned.audits import trainer_callback


class Always(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, labels=None):
        logits = nn.functional.dropout(self.linear(x), 0.5) @ torch.ones(4, 2)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_the_trainer_callback(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    data = [{"x": torch.randn(4), "labels": torch.tensor(1)} for _ in range(8)]
    options = {"per_device_train_batch_size": 4, "max_steps": 2, "report_to": [], "use_cpu": True, "disable_tqdm": True}
    arguments = transformers.TrainingArguments(str(tmp_path), **options)
    callback = trainer_callback()
    trainer = transformers.Trainer(Always(), arguments, train_dataset=data, callbacks=[callback])
    with pytest.warns(UserWarning, match="TD101 error") as caught:
        trainer.train()
    assert len([w for w in caught if "dropout findings" in str(w.message)]) == 1
    assert callback.first.result.codes() >= {"TD101"}
