"""A word-level LSTM with truncated backpropagation, in the manner of PyTorch's word_language_model example.

    python word_language_model.py REPORT    # the final weights and numbers go to REPORT, as JSON

There is no optimizer: plain SGD, whose learning rate falls when the validation loss stops falling.
"""

import hashlib
import json
import math
import sys
import time
from pathlib import Path

import torch
from torch import nn

import holdfast

bptt, batch_size, eval_batch_size = 12, 8, 4
emsize, nhid, nlayers, dropout, clip, log_interval = 32, 48, 2, 0.2, 0.25, 20
epochs, lr = 6, 20.0

torch.manual_seed(1111)
torch.set_num_threads(1)


def corpus(num_words, num_types=40):
    """Words of a random Markov chain: each is followed by one of four others."""
    draw = torch.Generator().manual_seed(0)
    following = torch.randint(num_types, (num_types, 4), generator=draw)
    words = [0]
    for choice in torch.randint(4, (num_words,), generator=draw).tolist():
        words.append(int(following[words[-1], choice]))
    return torch.tensor(words)


def batchify(data, bsz):
    nbatch = data.size(0) // bsz
    return data[: nbatch * bsz].view(bsz, -1).t().contiguous()


class RNNModel(nn.Module):
    def __init__(self, ntoken):
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(ntoken, emsize)
        self.rnn = nn.LSTM(emsize, nhid, nlayers, dropout=dropout)
        self.decoder = nn.Linear(nhid, ntoken)

    def forward(self, tokens, hidden):
        output, hidden = self.rnn(self.drop(self.encoder(tokens)), hidden)
        return self.decoder(self.drop(output)).flatten(0, 1), hidden

    def init_hidden(self, bsz):
        return torch.zeros(nlayers, bsz, nhid), torch.zeros(nlayers, bsz, nhid)


def repackage_hidden(h):
    """Cut it off from its history."""
    return tuple(v.detach() for v in h)


def get_batch(source, i):
    seq_len = min(bptt, len(source) - 1 - i)
    return source[i : i + seq_len], source[i + 1 : i + 1 + seq_len].flatten()


def evaluate(data_source):
    model.eval()
    total_loss = 0.0
    hidden = model.init_hidden(eval_batch_size)
    with torch.no_grad():
        for i in range(0, data_source.size(0) - 1, bptt):
            data, targets = get_batch(data_source, i)
            output, hidden = model(data, hidden)
            total_loss += len(data) * criterion(output, targets).item()
    return total_loss / (len(data_source) - 1)


def train():
    model.train()
    total_loss = 0.0
    start_time = time.time()
    hidden = model.init_hidden(batch_size)
    for batch, i in enumerate(run.batches(range(0, train_data.size(0) - 1, bptt))):
        data, targets = get_batch(train_data, i)
        hidden = repackage_hidden(hidden)
        model.zero_grad()
        output, hidden = model(data, hidden)
        loss = criterion(output, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(p.grad, alpha=-lr)
        total_loss += loss.item()
        if batch % log_interval == 0 and batch > 0:
            cur_loss = total_loss / log_interval
            ms = (time.time() - start_time) * 1000 / log_interval
            print(f"| epoch {epoch} | batch {batch} | lr {lr:.2f} | ms {ms:.1f} | loss {cur_loss:.3f}")
            curve.append(cur_loss)
            total_loss = 0.0
            start_time = time.time()


words = corpus(7000)
train_data, val_data = batchify(words[:6000], batch_size), batchify(words[6000:], eval_batch_size)
model = RNNModel(ntoken=40)
criterion = nn.CrossEntropyLoss()
curve = []
best_val_loss = None

with holdfast.Run("runs/word_language_model", {"model": model}) as run:
    for epoch in run.epochs(epochs):
        train()
        val_loss = evaluate(val_data)
        print(f"| end of epoch {epoch} | valid loss {val_loss:.3f} | valid ppl {math.exp(val_loss):.2f}")
        if best_val_loss is None or val_loss < best_val_loss - 0.02:
            best_val_loss = val_loss
        else:
            lr /= 4.0

weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.state_dict().values())).hexdigest()
report = {"weights": weights, "best_val_loss": best_val_loss, "lr": lr, "curve": curve}
Path(sys.argv[1]).write_text(json.dumps(report))
