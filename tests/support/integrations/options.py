"""What a policy may say, and where it works: the table in `docs/integrations/README.md`, and what is refused early.

As a script, this file prints the table.
"""

from __future__ import annotations

from typing import Any

REFUSABLE: dict[str, dict[str, Any]] = {
    'on_divergence="rollback"': {"on_divergence": "rollback"},
    'snapshot="lazy"': {"snapshot": "lazy"},
    "exclude": {"exclude": ["**/nothing-of-this-name"]},
    "thin_after": {"thin_after": 2},
    'save_on="epoch_end"': {"save_on": "epoch_end"},
    'save_on="batch_start"': {"save_on": "batch_start"},
    'mode="memory"': {"mode": "memory"},
}
"""What not every place can do, and how to ask for it."""

_GO = 'on_divergence="rollback"'
_HANDED_OVER = {'snapshot="lazy"', "exclude", "thin_after"}
_BOOSTING = {*_HANDED_OVER, _GO, 'save_on="epoch_end"', 'save_on="batch_start"', 'mode="memory"'}
_KERAS = {_GO, 'snapshot="lazy"', "thin_after", 'mode="memory"'}
REFUSED: dict[str, set[str]] = {
    "accelerate": {'mode="memory"'},
    "jax": {'mode="memory"'},
    "keras_jax": _KERAS,
    "keras_torch": _KERAS,
    "lightgbm": _BOOSTING,
    "lightning": {*_HANDED_OVER, 'mode="memory"'},
    "modularml": {_GO},
    "sklearn": {'mode="memory"'},
    "stable_baselines3": {_GO, 'snapshot="lazy"', 'save_on="epoch_end"', 'mode="memory"'},
    "torch": {'mode="memory"'},
    "transformers": {*_HANDED_OVER, 'save_on="batch_start"', 'mode="memory"'},
    "xgboost": _BOOSTING,
}
"""By the name of the case."""

_COLUMNS = {
    "`Run`, accelerate": "torch",
    "Lightning": "lightning",
    "transformers": "transformers",
    "Keras": "keras_torch",
    "XGBoost, LightGBM": "xgboost",
    "stable-baselines3": "stable_baselines3",
    "ModularML": "modularml",
}
_EVERYWHERE = (
    "`when` (`Every`, `Seconds`, `Overhead`, `MeanTimeBetweenFailures`), `every_n`",
    "`request()`, `touch DIR/save-now`",
    "`save_on_exception`, `save_on_preemption`",
    "`max_to_keep`, `keep` (`KeepLast`, `KeepBest`, `KeepEvery`, `MaxBytes`)",
    '`on_divergence="warn"` and `"stop"`',
    "`on_saved`, `write`",
)


def allowed(case: str) -> dict[str, Any]:
    """All together of what can be refused and is not, where a case saves at the ends of batches."""
    asked = [options for name, options in REFUSABLE.items() if name not in REFUSED[case]]
    return {
        name: value for options in asked for name, value in options.items() if name not in ("save_on", "mode")
    }


def table() -> str:
    lines = [f"| | {' | '.join(_COLUMNS)} |", "|---|" + "---|" * len(_COLUMNS)]
    lines += [f"| {each} |" + " yes |" * len(_COLUMNS) for each in _EVERYWHERE]
    for option in REFUSABLE:
        cells = ["refused" if option in REFUSED[case] else "yes" for case in _COLUMNS.values()]
        lines.append(f"| `{option}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
