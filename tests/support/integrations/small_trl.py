"""Trainings of TRL that end within seconds: a Llama of a few numbers, and words that mean nothing."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import datasets
import tokenizers
import transformers
import trl
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

datasets.disable_progress_bars()
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
WORDS = ["<pad>", "<eos>", "<unk>", *(f"w{index}" for index in range(29))]
COMMON = {
    "per_device_train_batch_size": 2,
    "num_train_epochs": 1,
    "learning_rate": 1e-2,
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
    "logging_steps": 2,
    "save_strategy": "no",
}


def tokenizer() -> PreTrainedTokenizerFast:
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side="left", **special)


def model() -> LlamaForCausalLM:
    transformers.set_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    more: dict[str, Any] = {"num_key_value_heads": 2, "max_position_embeddings": 64, "attention_dropout": 0.1}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=32, **sizes, **more, pad_token_id=0, eos_token_id=1, bos_token_id=1)
    )


def words(number: int, seed: int, rows: int = 16) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(f"w{draw.randrange(29)}" for _ in range(number)) for _ in range(rows)]


def sft(directory: Path, *, as_stream: bool = False, **options: Any) -> transformers.Trainer:
    data: Any = datasets.Dataset.from_dict({"text": words(8, 0)})
    args = trl.SFTConfig(str(directory), **{**COMMON, "max_length": 16, **options})
    data = data.to_iterable_dataset(num_shards=2) if as_stream else data
    return trl.SFTTrainer(model(), args, train_dataset=data, processing_class=tokenizer())


def dpo(directory: Path, **options: Any) -> transformers.Trainer:
    columns = {"prompt": words(4, 0), "chosen": words(4, 1), "rejected": words(4, 2)}
    args = trl.DPOConfig(str(directory), **{**COMMON, "max_length": 16, **options})
    data = datasets.Dataset.from_dict(columns)
    return trl.DPOTrainer(
        model(), ref_model=model(), args=args, train_dataset=data, processing_class=tokenizer()
    )


def grpo(directory: Path, **options: Any) -> transformers.Trainer:
    place = directory.parent / "model"
    model().save_pretrained(place)
    transformers.set_seed(0)
    started = LlamaForCausalLM.from_pretrained(place)
    sizes = {"max_completion_length": 4, "num_generations": 2, "steps_per_generation": 2, "num_iterations": 2}
    args = trl.GRPOConfig(str(directory), **{**COMMON, **sizes, "beta": 0.1, **options})
    data = datasets.Dataset.from_dict({"prompt": words(4, 0, rows=6)})
    return trl.GRPOTrainer(
        started, reward_funcs=reward, args=args, train_dataset=data, processing_class=tokenizer()
    )


def reward(completions: list[str], **_: Any) -> list[float]:
    return [len(each) + random.random() for each in completions]
