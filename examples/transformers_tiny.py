"""A tiny GPT-2, made from a config, learns to count by ones, twos and threes with transformers' Trainer; a few seconds, no network.

    python examples/transformers_tiny.py          # kill it whenever you like, and run it again

Needs holdfast[transformers]. `hold` is the line that makes it resume bit for bit.
"""

from __future__ import annotations

import argparse
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed
from transformers.utils import logging

from holdfast import Checkpointing
from holdfast.integrations.transformers import hold

logging.set_verbosity_error()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--directory", default="runs/transformers_tiny")
    directory = arguments.parse_args().directory

    set_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=16, n_positions=12, n_embd=64, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
        )
    )
    counted = [
        [(start + step * place) % 16 for place in range(12)] for start in range(16) for step in (1, 2, 3)
    ]
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=directory,
            num_train_epochs=60,
            per_device_train_batch_size=16,
            learning_rate=5e-3,
            logging_steps=40,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=[{"input_ids": text, "labels": text} for text in counted],
    )
    policy = Checkpointing(save_on="batch_end", every_n=10, max_to_keep=2)
    held = hold(trainer, checkpointing=policy)
    trainer.train(resume_from_checkpoint=True)
    if held.last_resume is not None:
        print(f"resumed from {held.last_resume.record.name}: {held.last_resume.verdict}")
    text = torch.tensor([[1, 3, 5, 7]])
    written = model.generate(text, max_new_tokens=8, do_sample=False, pad_token_id=0)[0].tolist()
    print(f"it counts {written}  state digest {held.state_digest()[:16]}")


if __name__ == "__main__":
    main()
