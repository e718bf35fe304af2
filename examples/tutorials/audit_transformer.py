"""
Audit and fix a transformer
===========================

Dropout mistakes raise no error. A network that drops in evaluation, or never in training, still runs, and is only a
little worse. The audit runs a model once in training and twice in evaluation mode, and says what its dropout did.
"""

import torch
from torch import nn
from torch.nn import functional as F

import thinned

torch.manual_seed(0)


# %%
# A small transformer, with four mistakes that are found in published code: can you see them?


class Block(nn.Module):
    """Attention and a feed-forward part, each on a residual branch."""

    def __init__(self, width: int, heads: int, p: float) -> None:
        super().__init__()
        self.heads, self.p = heads, p
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(p)
        self.drop_residual = nn.Dropout(p)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what has the shape of ``x``, ``(N, T, width)``."""
        q, k, v = self.qkv(self.first(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=self.p)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.drop(self.down(F.dropout(self.up(self.second(x)).relu(), 0.1)))


class Classifier(nn.Module):
    """Token ids ``(N, T)`` to the logits of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 32)
        self.blocks = nn.Sequential(Block(32, 4, 0.1), Block(32, 4, 0.1))
        self.head = nn.Linear(32, 3)
        self.drop_logits = nn.Dropout(0.1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits, ``(N, 3)``."""
        return self.drop_logits(self.head(self.blocks(self.words(ids)).mean(1)))


model = Classifier()
ids = torch.randint(100, (8, 12))

# %%
# The symptom, for those who look: in evaluation mode the same words give another answer each time.

model.eval()
print((model(ids) - model(ids)).abs().max().item())

# %%
# The audit finds them. Each finding has the line, what was measured, why it matters, and what to write instead.

result = thinned.audit(model, ids)
for finding in result:
    print(finding.code, finding.severity, finding.module, "-", finding.message)

# %%
# The whole text of one finding:

print(result[0])

# %%
# ``fix=True`` repairs in place what is safe to repair, audits again, and lists what it did: for a model whose source is
# somebody else's, or for today.

repaired = thinned.audit(model, ids, fix=True)
for repair in repaired.fixed:
    print("repaired:", repair)
for finding in repaired:
    print("left:", finding.code, finding.module, "-", finding.fix)

# %%
# The source is yours to change, and ``finding.fix`` is the line to write. Functions follow the mode, the residual
# dropout is called, and the logits are left alone. Parameters keep their names, so that the trained weights load.


class FixedBlock(Block):
    """The same block as it was meant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what has the shape of ``x``, ``(N, T, width)``."""
        q, k, v = self.qkv(self.first(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=self.p if self.training else 0.0)
        x = x + self.drop_residual(self.out(attended.transpose(1, 2).flatten(2)))
        return x + self.drop(self.down(F.dropout(self.up(self.second(x)).relu(), 0.1, self.training)))


class FixedClassifier(Classifier):
    """The same classifier without dropout on its output."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(FixedBlock(32, 4, 0.1), FixedBlock(32, 4, 0.1))
        del self.drop_logits

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return logits, ``(N, 3)``."""
        return self.head(self.blocks(self.words(ids)).mean(1))


fixed = FixedClassifier()
fixed.load_state_dict(model.state_dict())
print(thinned.audit(fixed, ids))
fixed.eval()
print((fixed(ids) - fixed(ids)).abs().max().item())

# %%
# The same in CI, as annotations of the lines of a pull request: :doc:`/howto/ci`. All rules: :doc:`/audit`.
