"""What exactness depends on besides the state: versions, devices, thread counts, numeric switches.

Recorded with every checkpoint and compared at resume, so that a run that cannot resume bit for bit says
so, and why. Only loaded modules are asked; nothing is imported.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final

from ._version import __version__

GRAD_MODE: Final = "torch grad mode"
_AUTOCAST: Final = ("cpu", "cuda")
_WORTH_NAMING = ("numpy", "torch", "sklearn", "pandas", "jax", "keras", "lightning", "transformers")


def versions() -> dict[str, str]:
    """Versions of Holdfast, Python, and the frameworks that are loaded."""
    found = {"holdfast": __version__, "python": platform.python_version()}
    for name in _WORTH_NAMING:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            found[name] = str(version)
    return found


def environment() -> dict[str, str]:
    """Devices and switches that decide the bits of a result, as texts by name."""
    found = {"cpu": _cpu(), "hash seed": os.environ.get("PYTHONHASHSEED", "random")}
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG"):
        if variable in os.environ:
            found[variable] = os.environ[variable]
    torch = sys.modules.get("torch")
    if torch is not None:
        found |= _of_torch(torch)
    return found


def switches() -> dict[str, str]:
    """What a script or a `with` statement sets for the code that runs in it, as texts by name: of this thread, at this place."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return {}
    kernels = torch.backends.cuda
    found = (  # at every step, so that texts are only made once
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        tuple([torch.is_autocast_enabled(each) and torch.get_autocast_dtype(each) for each in _AUTOCAST]),
        _default_device(torch),
        (kernels.flash_sdp_enabled(), kernels.mem_efficient_sdp_enabled(), kernels.math_sdp_enabled()),
        torch._C._get_mkldnn_enabled(),
    )
    return dict(_switches(*found))


@lru_cache(maxsize=64)
def _switches(
    grad: bool,
    inference: bool,
    autocast: tuple[Any, ...],
    device: str,
    kernels: tuple[bool, ...],
    mkldnn: bool,
) -> dict[str, str]:
    flash, memory_efficient, math = map(_on, kernels)
    casts = [f"{each} {dtype}" for each, dtype in zip(_AUTOCAST, autocast, strict=True) if dtype]
    return {
        GRAD_MODE: _on(grad),
        "torch inference mode": _on(inference),
        "torch autocast": ", ".join(casts) or "off",
        "torch default device": device,
        "torch attention kernels": f"flash={flash}, memory-efficient={memory_efficient}, math={math}",
        "torch oneDNN": _on(mkldnn),
    }


def set_grad_mode(saved: Mapping[str, str]) -> bool:
    """Let torch record gradients, or not, as `switches` found it; returns whether that was another mode."""
    torch: Any = sys.modules.get("torch")
    if torch is None or saved.get(GRAD_MODE) in (None, _on(torch.is_grad_enabled())):
        return False
    torch.set_grad_enabled(saved[GRAD_MODE] == "on")
    return True


def differences(saved: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One sentence for each name whose value is not what it was; names that only one side has are skipped."""
    return [
        f"{name} was {saved[name]} and is {now[name]}"
        for name in saved
        if name in now and saved[name] != now[name]
    ]


@cache
def git_commit() -> str | None:
    """The commit of the working directory's git repository, if there is one."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def _tf32_of(cudnn: Any) -> str:
    """By the older switch; by those of single operators where a script has set these, after which torch refuses to tell it."""
    try:
        return str(cudnn.allow_tf32)
    except RuntimeError:
        names = ("conv", "rnn")
        return ", ".join(
            f"{name} {getattr(getattr(cudnn, name, None), 'fp32_precision', '?')}" for name in names
        )


def _of_torch(torch: Any) -> dict[str, str]:
    found = {
        "torch threads": str(torch.get_num_threads()),
        "torch deterministic": str(torch.are_deterministic_algorithms_enabled()),
        "torch default dtype": str(torch.get_default_dtype()),
        "torch matmul precision": torch.get_float32_matmul_precision(),
        "cudnn": f"deterministic={torch.backends.cudnn.deterministic}, benchmark={torch.backends.cudnn.benchmark}",
        "cudnn use": f"enabled={torch.backends.cudnn.enabled}, tf32={_tf32_of(torch.backends.cudnn)}",
    }
    if torch.cuda.is_initialized():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        found["gpu"] = ", ".join(names)
    return found


def _default_device(torch: Any) -> str:
    if (
        not torch._C._len_torch_function_stack()
    ):  # it is one of its entries; to ask for it costs more than all else
        return "cpu"
    return str(torch.get_default_device())


def _on(is_on: bool) -> str:
    return "on" if is_on else "off"


@cache
def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
