"""transformers: a Trainer of the script's own class."""

import outside
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from holdfast.integrations.transformers import hold

logging.set_verbosity_error()


class Scaled(Trainer):
    def compute_loss(self, *args, **options):
        return super().compute_loss(*args, **options) * outside.factor()


set_seed(0)
shape = {"vocab_size": 20, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
model = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0))
texts = torch.randint(0, 20, (16, 8)).tolist()
args = TrainingArguments(
    output_dir="runs/tiny",
    num_train_epochs=5,
    per_device_train_batch_size=4,
    logging_strategy="no",
    report_to=[],
    use_cpu=True,
    disable_tqdm=True,
    dataloader_pin_memory=False,
)
trainer = Scaled(
    model=model, args=args, train_dataset=[{"input_ids": each, "labels": each} for each in texts]
)
trainer.remove_callback(PrinterCallback)
hold(trainer)
trainer.train()
