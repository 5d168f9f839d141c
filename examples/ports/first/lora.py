"""Low-rank adapters on a frozen classifier, in the manner of a peft fine-tuning script.

    python lora.py REPORT    # the final weights and numbers go to REPORT, as JSON

The base stands for a pretrained transformer; the task is to tell whether most tokens are small.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

import holdfast

num_epochs, batch_size, gradient_accumulation_steps, warmup_steps, lr = 5, 16, 4, 8, 5e-3


class LoraLinear(nn.Module):
    """A frozen linear layer and a trained low-rank change of it."""

    def __init__(self, base, r=4, lora_alpha=8, lora_dropout=0.05):
        super().__init__()
        self.base, self.scaling, self.dropout = base, lora_alpha / r, nn.Dropout(lora_dropout)
        self.lora_A = nn.Parameter(torch.empty(r, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x):
        return self.base(x) + self.dropout(x) @ self.lora_A.T @ self.lora_B.T * self.scaling


class Classifier(nn.Module):
    def __init__(self, vocab=12, length=10, width=32):
        super().__init__()
        self.token, self.position = nn.Embedding(vocab, width), nn.Embedding(length, width)
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.classifier = nn.Linear(width, 2)

    def forward(self, tokens):
        x = self.token(tokens) + self.position(torch.arange(tokens.shape[1]))
        x = x + nn.functional.scaled_dot_product_attention(self.query(x), x, self.value(x))
        return self.classifier((x + self.mlp(x)).mean(1))


def get_peft_model(model, target_modules=("query", "value", "0", "2"), modules_to_save=("classifier",)):
    """Freeze it, and put adapters around the layers of these names."""
    model.requires_grad_(False)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if name in modules_to_save:
                child.requires_grad_(True)
            elif name in target_modules:
                setattr(module, name, LoraLinear(child))
    return model


def lists(n):
    tokens = torch.randint(12, (n, 10))
    return TensorDataset(tokens, (tokens < 6).sum(1).gt(5).long())


@torch.no_grad()
def evaluate(model, dataloader):
    model.eval()
    right = sum(int((model(tokens).argmax(-1) == labels).sum()) for tokens, labels in dataloader)
    return right / len(dataloader.dataset)


torch.manual_seed(42)
torch.set_num_threads(1)
train_dataloader = DataLoader(lists(600), shuffle=True, batch_size=batch_size)
eval_dataloader = DataLoader(lists(300), batch_size=100)
model = get_peft_model(Classifier())
trainable = [p for p in model.parameters() if p.requires_grad]
print(f"trainable: {sum(p.numel() for p in trainable)} of {sum(p.numel() for p in model.parameters())}")

updates_per_epoch = math.ceil(len(train_dataloader) / gradient_accumulation_steps)
num_training_steps = num_epochs * updates_per_epoch
optimizer = torch.optim.AdamW(trainable, lr=lr)


def cosine(step):
    if step < warmup_steps:
        return step / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (num_training_steps - warmup_steps)))


lr_scheduler = LambdaLR(optimizer, cosine)
best_accuracy, completed_steps = 0.0, 0
epoch_losses, learning_rates = [], []

with holdfast.Run("runs/lora", {"model": model, "optimizer": optimizer}) as run:
    for epoch in run.epochs(num_epochs):
        model.train()
        total_loss = 0.0
        for step, (tokens, labels) in enumerate(run.batches(train_dataloader)):
            loss = nn.functional.cross_entropy(model(tokens), labels)
            total_loss += loss.item()
            (loss / gradient_accumulation_steps).backward()
            if (step + 1) % gradient_accumulation_steps == 0 or step == len(train_dataloader) - 1:
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
                completed_steps += 1
                learning_rates.append(lr_scheduler.get_last_lr()[0])
        epoch_losses.append(total_loss / len(train_dataloader))
        accuracy = evaluate(model, eval_dataloader)
        best_accuracy = max(best_accuracy, accuracy)
        print(
            f"epoch {epoch}: train loss {epoch_losses[-1]:.4f}, accuracy {accuracy:.3f}, best {best_accuracy:.3f}"
        )

weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.state_dict().values())).hexdigest()
report = {"weights": weights, "best_accuracy": best_accuracy, "completed_steps": completed_steps}
report |= {"epoch_losses": epoch_losses, "learning_rates": learning_rates}
Path(sys.argv[1]).write_text(json.dumps(report))
