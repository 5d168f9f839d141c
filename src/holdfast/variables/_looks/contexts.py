"""Which `with` statements let every exception pass, so that what stands after one is done only if its body was.

The source does not tell what a context manager does, so only well-known ones count, also those that a variable was given.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

_KNOWN: Final = frozenset(
    {
        *("open", "closing", "nullcontext", "redirect_stdout", "redirect_stderr", "catch_warnings", "chdir"),
        *(
            "TemporaryDirectory",
            "NamedTemporaryFile",
            "TemporaryFile",
            "Lock",
            "RLock",
            "Semaphore",
            "Condition",
        ),
        *("ThreadPoolExecutor", "ProcessPoolExecutor", "Pool", "Popen", "socket", "ZipFile", "localcontext"),
        *("no_grad", "enable_grad", "inference_mode", "set_grad_enabled", "autocast", "device", "stream"),
        *("set_detect_anomaly", "detect_anomaly", "profile", "record_function", "save_on_cpu", "sdpa_kernel"),
        *("saved_tensors_hooks", "fork_rng", "cached", "no_sync", "join", "set_default_device"),
        *("accumulate", "main_process_first", "local_main_process_first", "unwrap_model_for_generation"),
        *(
            "average_parameters",
            "ema_scope",
            "disable_adapter",
            "GradientTape",
            "scope",
            "name_scope",
            "as_default",
        ),
        *(
            "errstate",
            "printoptions",
            "option_context",
            "parallel_backend",
            "parallel_config",
            "config_context",
        ),
        *(
            "default_device",
            "default_matmul_precision",
            "disable_jit",
            "debug_nans",
            "Mesh",
            "use_mesh",
            "named_scope",
        ),
        *("tqdm", "trange", "SummaryWriter", "start_run", "init", "Live", "Progress", "status", "Run"),
    }
)
"""By the last part of its name."""


def passing(tree: ast.AST) -> list[ast.With | ast.AsyncWith]:
    """The `with` statements of this tree of which that is known."""
    given: dict[str, list[ast.expr]] = {}
    statements: list[ast.With | ast.AsyncWith] = []
    for node in ast.walk(tree):
        match node:
            case ast.Assign():
                for target in node.targets:
                    given.setdefault(ast.unparse(target), []).append(node.value)
            case ast.With() | ast.AsyncWith():
                statements.append(node)
            case _:
                continue
    return [each for each in statements if all(_passes(item.context_expr, given) for item in each.items)]


def _passes(expression: ast.expr, given: dict[str, list[ast.expr]]) -> bool:
    if isinstance(expression, ast.IfExp):
        return _passes(expression.body, given) and _passes(expression.orelse, given)
    if isinstance(expression, ast.Call):
        return _last(expression.func) in _KNOWN
    values = given.get(ast.unparse(expression), [])
    calls = [part for value in values for part in _choices(value)]
    return bool(calls) and all(isinstance(each, ast.Call) and _last(each.func) in _KNOWN for each in calls)


def _choices(value: ast.expr) -> Iterator[ast.expr]:
    if isinstance(value, ast.IfExp):
        yield from _choices(value.body)
        yield from _choices(value.orelse)
    else:
        yield value


def _last(function: ast.expr) -> str:
    match function:
        case ast.Attribute():
            return function.attr
        case ast.Name():
            return function.id
        case _:
            return ""
