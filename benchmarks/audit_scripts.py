"""Correct training scripts in the styles that people write, for the rules that read source."""

import re

__all__ = ["SCRIPTS"]

_TEXTS = {
    "functions": """
def train(args, model, device, train_loader, optimizer, epoch):
    model.train()
    for batch_idx, (data, target) in enumerate(train_loader):
        data, target = data.to(device), target.to(device)
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()

def test(model, device, test_loader):
    model.eval()
    test_loss = 0
    with torch.no_grad():
        for data, target in test_loader:
            output = model(data.to(device))
            test_loss += F.nll_loss(output, target.to(device), reduction="sum").item()
    print(test_loss / len(test_loader.dataset))

def main():
    model = Net().to(device)
    optimizer = optim.Adadelta(model.parameters(), lr=args.lr)
    for epoch in range(1, args.epochs + 1):
        train(args, model, device, train_loader, optimizer, epoch)
        test(model, device, test_loader)
""",
    "one loop": """
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for epoch in range(20):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in val_loader:
            correct += (model(x).argmax(1) == y).sum().item()
    print(epoch, correct / len(val_set))
""",
    "trainer": """
class Trainer:
    def __init__(self, model, loaders, config):
        self.model = model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.lr)
        self.loaders = loaders

    def _run_epoch(self, epoch):
        self.model.train()
        for source, targets in self.loaders["train"]:
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(source), targets)
            loss.backward()
            self.optimizer.step()

    def _validate(self):
        self.model.eval()
        losses = []
        with torch.no_grad():
            for source, targets in self.loaders["val"]:
                losses.append(F.cross_entropy(self.model(source), targets).item())
        return sum(losses) / len(losses)

    def train(self, max_epochs):
        for epoch in range(max_epochs):
            self._run_epoch(epoch)
            print(epoch, self._validate())
""",
    "decorator": """
@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    hits = total = 0
    for images, labels in loader:
        hits += (model(images).argmax(dim=1) == labels).sum().item()
        total += len(labels)
    return hits / total

for epoch in range(num_epochs):
    model.train()
    for images, labels in train_loader:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    acc = evaluate(model, test_loader)
""",
    "inference mode": """
def valid_step(model, batch):
    x, y = batch
    return loss_fn(model(x), y)

for epoch in tqdm(range(EPOCHS)):
    model.train()
    for batch in train_dataloader:
        X, y = batch
        y_pred = model(X)
        loss = loss_fn(y_pred, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        for X, y in test_dataloader:
            test_pred = model(X)
            test_loss = loss_fn(test_pred, y)
""",
    "graph": """
def train():
    model.train()
    optimizer.zero_grad()
    out = model(data.x, data.edge_index)
    loss = F.cross_entropy(out[data.train_mask], data.y[data.train_mask])
    loss.backward()
    optimizer.step()
    return float(loss)

@torch.no_grad()
def test():
    model.eval()
    pred = model(data.x, data.edge_index).argmax(dim=-1)
    return [int((pred[mask] == data.y[mask]).sum()) / int(mask.sum()) for mask in (data.val_mask, data.test_mask)]

for epoch in range(1, 201):
    loss = train()
    val_acc, test_acc = test()
""",
    "phases": """
def train_model(model, criterion, optimizer, scheduler, num_epochs=25):
    for epoch in range(num_epochs):
        for phase in ["train", "val"]:
            if phase == "train":
                model.train()
            else:
                model.eval()
            running_loss = 0.0
            for inputs, labels in dataloaders[phase]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                running_loss += loss.item() * inputs.size(0)
""",
    "estimate": """
@torch.no_grad()
def estimate_loss():
    out = {}
    model.eval()
    for split in ["train", "val"]:
        losses = torch.zeros(eval_iters)
        for k in range(eval_iters):
            X, Y = get_batch(split)
            logits, loss = model(X, Y)
            losses[k] = loss.item()
        out[split] = losses.mean()
    model.train()
    return out

while True:
    if iter_num % eval_interval == 0:
        losses = estimate_loss()
    X, Y = get_batch("train")
    logits, loss = model(X, Y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    optimizer.zero_grad(set_to_none=True)
    iter_num += 1
    if iter_num > max_iters:
        break
""",
    "accelerate": """
model, optimizer, train_dataloader, eval_dataloader = accelerator.prepare(model, optimizer, train_dl, eval_dl)
for epoch in range(num_epochs):
    model.train()
    for step, batch in enumerate(train_dataloader):
        outputs = model(**batch)
        accelerator.backward(outputs.loss)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    for step, batch in enumerate(eval_dataloader):
        with torch.no_grad():
            outputs = model(**batch)
        predictions = outputs.logits.argmax(dim=-1)
        metric.add_batch(predictions=predictions, references=batch["labels"])
""",
    "fit": """
def fit(epochs, model, loss_func, opt, train_dl, valid_dl):
    for epoch in range(epochs):
        model.train()
        for xb, yb in train_dl:
            loss_batch(model, loss_func, xb, yb, opt)
        model.eval()
        with torch.no_grad():
            losses, nums = zip(*[loss_batch(model, loss_func, xb, yb) for xb, yb in valid_dl])
        print(epoch, np.sum(np.multiply(losses, nums)) / np.sum(nums))

def loss_batch(model, loss_func, xb, yb, opt=None):
    loss = loss_func(model(xb), yb)
    if opt is not None:
        loss.backward()
        opt.step()
        opt.zero_grad()
    return loss.item(), len(xb)
""",
    "imagenet": """
def train(train_loader, model, criterion, optimizer, epoch, args):
    losses = AverageMeter("Loss", ":.4e")
    model.train()
    for i, (images, target) in enumerate(train_loader):
        output = model(images.cuda(args.gpu, non_blocking=True))
        loss = criterion(output, target)
        losses.update(loss.item(), images.size(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

def validate(val_loader, model, criterion, args):
    def run_validate(loader):
        with torch.no_grad():
            for i, (images, target) in enumerate(loader):
                output = model(images)
                losses.update(criterion(output, target).item(), images.size(0))

    losses = AverageMeter("Loss", ":.4e")
    model.eval()
    run_validate(val_loader)
    return losses.avg

def main_worker(gpu, args):
    for epoch in range(args.start_epoch, args.epochs):
        train(train_loader, model, criterion, optimizer, epoch, args)
        acc1 = validate(val_loader, model, criterion, args)
""",
    "distillation": """
teacher.eval()
optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
for epoch in range(args.epochs):
    student.train()
    for images, labels in train_loader:
        with torch.no_grad():
            target = teacher(images)
        logits = student(images)
        loss = F.cross_entropy(logits, labels) + kd(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    student.eval()
    with torch.no_grad():
        accuracy = sum((student(x).argmax(1) == y).sum().item() for x, y in val_loader)
""",
    "translation": """
def train_epoch(model, optimizer):
    model.train()
    losses = 0
    for src, tgt in train_dataloader:
        logits = model(src, tgt[:-1, :])
        optimizer.zero_grad()
        loss = loss_fn(logits.reshape(-1, logits.shape[-1]), tgt[1:, :].reshape(-1))
        loss.backward()
        optimizer.step()
        losses += loss.item()
    return losses / len(list(train_dataloader))

def evaluate(model):
    model.eval()
    losses = 0
    for src, tgt in val_dataloader:
        logits = model(src, tgt[:-1, :])
        loss = loss_fn(logits.reshape(-1, logits.shape[-1]), tgt[1:, :].reshape(-1))
        losses += loss.item()
    return losses / len(list(val_dataloader))

for epoch in range(1, NUM_EPOCHS + 1):
    train_loss = train_epoch(transformer, optimizer)
    val_loss = evaluate(transformer)
""",
    "steps": """
model = nn.DataParallel(UNet(3, 1)).cuda()
optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
while num_iterations < max_num_iterations:
    for inputs, targets in loaders["train"]:
        model.train()
        output = model(inputs)
        loss = dice_loss(output, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        num_iterations += 1
        if num_iterations % validate_after == 0:
            model.eval()
            with torch.no_grad():
                scores = [dice(model(x), y).item() for x, y in loaders["val"]]
            scheduler.step(np.mean(scores))
""",
    "policy": """
class Agent:
    def __init__(self, env):
        self.policy = Policy(env.observation_space.shape[0], env.action_space.n)
        self.optimizer = optim.Adam(self.policy.parameters(), lr=1e-2)

    def evaluate(self, env, episodes=10):
        self.policy.eval()
        total = 0.0
        with torch.no_grad():
            for _ in range(episodes):
                state, done = env.reset(), False
                while not done:
                    action = self.policy(torch.as_tensor(state)).argmax().item()
                    state, reward, done, _ = env.step(action)
                    total += reward
        return total / episodes

    def learn(self, env):
        for episode in range(1000):
            self.policy.train()
            loss = self.rollout(env)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if episode % 50 == 0:
                print(self.evaluate(env))
""",
}
_HEAD = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"


def _renamed(text: str, name: str) -> str:
    return re.sub(r"\b(?<!\.)model\b(?!=)", name, text)


#: scripts by name, each also with another name for its model where that is a variable
SCRIPTS: dict[str, str] = {name: _HEAD + text for name, text in _TEXTS.items()}
SCRIPTS |= {
    f"{name}, {other}": _HEAD + _renamed(text, other)
    for (name, text), other in zip(
        _TEXTS.items(), ["net", "classifier", "encoder", "network", "unet"] * 3, strict=False
    )
    if re.search(r"(?<!\.)\bmodel\b", text)
}
