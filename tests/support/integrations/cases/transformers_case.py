"""transformers' Trainer: dropout, shuffling, masks drawn while batches are collated, accumulation, evaluation, early stopping."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
import torch._dynamo  # which the first optimizer imports, for seconds
import transformers
from transformers import (
    EarlyStoppingCallback,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from holdfast import Checkpointing
from holdfast.integrations.transformers import hold
from tests.support.integrations.acceptance import Ended

NEEDS = ("transformers", "accelerate")

transformers.logging.set_verbosity_error()
warnings.filterwarnings("ignore", module="transformers|accelerate|torch")


class Beats(TrainerCallback):
    def __init__(self, beat: Callable[[], None]) -> None:
        self.beat = beat

    def on_step_begin(self, args, state, control, **more):
        self.beat()


def collate(samples):
    """As collators for masked models do: which letters are hidden is drawn anew each time."""
    ids = torch.tensor(samples)
    return {"input_ids": torch.where(torch.rand(ids.shape) < 0.1, 0, ids), "labels": ids}


def trainer(directory: Path, *callbacks: TrainerCallback, **options) -> Trainer:
    transformers.set_seed(3)
    sizes = {"vocab_size": 20, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    numbers = torch.randint(0, 20, (56, 8), generator=torch.Generator().manual_seed(0)).tolist()
    settings = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-3,
        "logging_steps": 4,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "metric_for_best_model": "loss",
        "load_best_model_at_end": False,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **options,
    }
    return Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(directory), **settings),
        train_dataset=numbers[:50],
        eval_dataset=numbers[50:],
        data_collator=collate,
        callbacks=[EarlyStoppingCallback(3), *callbacks],
    )


def train(directory: Path, policy: Checkpointing, beat: Callable[[], None]) -> Ended:
    made = trainer(directory, Beats(beat))
    made.remove_callback(transformers.trainer_callback.PrinterCallback)
    held = hold(made, checkpointing=policy)
    made.train(resume_from_checkpoint=True)
    return Ended(held.state_digest(), held.last_resume)
