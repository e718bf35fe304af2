"""A convolutional network on scikit-learn's digits that Lightning trains.

``thinned study --data examples.digits:examples --network examples.digits:network --train
examples.lightning_digits:train --out runs/lightning_digits``
"""

import logging

import lightning
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from thinned import TrainingRun

EPOCHS = 15
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


class Classifier(lightning.LightningModule):
    """The network of the study, with its loss, its optimizer, and a validation loss for each epoch."""

    def __init__(self, network: nn.Module, run: TrainingRun) -> None:
        super().__init__()
        self.network, self.run = network, run
        self.losses: list[torch.Tensor] = []

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The loss of a batch."""
        x, y = batch
        return F.cross_entropy(self.network(x), y)

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Keep the loss of each example."""
        x, y = batch
        self.losses.append(F.cross_entropy(self.network(x), y, reduction="none"))

    def on_validation_epoch_end(self) -> None:
        """Report the mean. Lightning counts epochs from 0."""
        self.run.report(self.current_epoch + 1, float(torch.cat(self.losses).mean()))
        self.losses.clear()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW with the weight decay of the arm."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=self.run.weight_decay)


def train(network: nn.Module, run: TrainingRun) -> None:
    """Train the network that is passed; what it is after the last epoch is scored."""
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="auto",
        devices=1,
        default_root_dir=run.folder,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = DataLoader(run.training, batch_size=32, shuffle=True)
    trainer.fit(Classifier(network, run), batches, DataLoader(run.validation, batch_size=256))
