"""`holdfast check` kills and resumes a script that was just ported; it proves it exact, or names what is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast as holdfast_package
from holdfast.cli._output.exit import VERDICTS
from tests.support.preloaded import preloaded
from tests.support.verdicts import WITHOUT_VARIABLES

# Numbers alone, so that a start takes a fraction of a second. What a test adds stands at its place.
SCRIPT = """
import itertools
import os
import numpy as np
import holdfast

class Schedule:
    def __init__(self):
        self.factor = 1.0
    def step(self):
        self.factor *= 0.9
    def state_dict(self):
        return {"factor": self.factor}
    def load_state_dict(self, state):
        self.factor = state["factor"]

holdfast.rng.seed_everything(SEED)
weights = np.zeros(8)
parts = {"weights": weights}
BEFORE
with holdfast.Run("runs/mine", parts, variables="off") as run:
    for epoch in run.epochs(100):
        for batch in run.batches([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]):
            weights += np.random.normal(size=8) * batch
            BODY
"""


@pytest.fixture(autouse=True)
def fast_starts() -> Iterator[None]:
    with preloaded("numpy").of_check():
        yield


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(*, before: str = "", body: str = "pass", seed: str = "0") -> list[str]:
    text = SCRIPT.replace("BEFORE", before).replace("BODY", body).replace("SEED", seed)
    Path("train.py").write_text(text)
    return [sys.executable, "train.py"]


def checked(holdfast, command: list[str], *options: object, code: int) -> dict:
    done = holdfast("check", "--seed", 1, "--json", *options, "--", *command)
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def named(report: dict) -> list[str]:
    return [finding["name"] for finding in report["findings"] if finding["is_seen"]]


@pytest.mark.medium
def test_a_right_port_is_proved_to_be_exact_and_leaves_nothing_behind(work, holdfast):
    schedule = script(
        before="schedule = Schedule(); parts['schedule'] = schedule",
        body="weights *= schedule.factor; schedule.step()",
    )
    report = checked(holdfast, schedule, code=0)
    assert (report["same"], report["outcome"], report["verdict"]) == (True, "same", "proved")
    assert (report["resumed"], report["findings"], len(report["kills"])) == (WITHOUT_VARIABLES, [], 2)
    assert report["kills"][0]["resumes_from"]
    assert report["compared"] > 12
    assert sorted(os.listdir()) == ["train.py"], "not even the script's own directory was made"


@pytest.mark.medium
def test_it_says_when_no_epoch_ended_and_kills_after_the_end_of_one(work, holdfast):
    command = script(body="factor *= 0.5 if run.batch == 6 else 1; weights *= factor", before="factor = 1.0")
    report = checked(holdfast, command, "--steps", 6, code=0)
    assert not report["ends_epoch"]
    done = holdfast("check", "--steps", 6, "--", *command)
    assert "no epoch ended in these steps" in done.stdout
    report = checked(holdfast, command, "--steps", 24, "--every", 8, code=8)
    assert report["ends_epoch"]
    assert named(report) == ["factor"]


@pytest.mark.medium
def test_the_script_s_own_checkpoints_are_neither_used_nor_touched(work, holdfast):
    command = script()
    own = work / "runs/mine/train_epoch0.ckpt.mml"
    own.mkdir(parents=True)
    (own / "record.json").write_text("not one")
    report = checked(holdfast, command, code=0)
    assert report["same"]
    assert [path.name for path in work.rglob("*") if path.is_file()] == ["train.py", "record.json"]


@pytest.mark.medium
def test_what_it_saves_at_does_not_depend_on_the_script_s_policy(work, holdfast):
    command = script()
    rare = "run = holdfast.Run('runs/mine', parts, variables='off', checkpointing=holdfast.Checkpointing(save_on='phase_end', max_to_keep=1))"
    text = (
        Path("train.py")
        .read_text()
        .replace('with holdfast.Run("runs/mine", parts, variables="off") as run:', f"{rare}\nwith run:")
    )
    Path("train.py").write_text(text)
    assert checked(holdfast, command, "--steps", 6, "--every", 2, code=0)["compared"] == 8


@pytest.mark.parametrize(
    ("before", "body", "name", "kind"),
    [
        ("count = 0", "count += 1; weights /= 1 + count", "count", "number"),
        ("hidden = np.zeros(8)", "hidden = 0.5 * hidden + weights; weights -= hidden", "hidden", "array"),
        ("h = (np.zeros(8), 0)", "h = (h[0] + weights, 0); weights -= 0.1 * h[0]", "h", "array"),
        ("nearby = np.random.normal(size=8)", "weights += nearby; nearby = np.random.normal(size=8)", "nearby", "array"),
        ("schedule = Schedule()", "weights *= schedule.factor; schedule.step()", "schedule", "object"),
        ("losses = []", "losses.append(float(weights[0])); weights -= sum(losses)", "losses", "variable"),
    ],
)  # fmt: skip
def test_a_variable_that_was_not_handed_over_is_named(before, body, name, kind, work, holdfast):
    report = checked(holdfast, script(before=before, body=body), code=8)
    assert (report["outcome"], report["verdict"]) == ("differs", "not exact")
    assert "weights" in report["differing"]
    first = report["findings"][0]
    assert (first["name"], first["kind"], first["is_seen"]) == (name, kind, True)
    assert named(report) == [name]


@pytest.mark.medium
def test_variables_that_the_run_saves_are_proved_to_come_back(work, holdfast):
    command = script(
        before="count = 0; hidden = np.zeros(8)",
        body="count += 1; hidden = hidden + count; weights -= hidden",
    )
    Path("train.py").write_text(Path("train.py").read_text().replace(', variables="off"', ""))
    report = checked(holdfast, command, code=0)
    assert (report["verdict"], report["resumed"], report["findings"]) == ("proved", "exact", [])


@pytest.mark.medium
def test_an_iterator_that_the_run_itself_names_is_named(work, holdfast):
    command = script(before="factors = (i / 10 for i in itertools.count())", body="weights *= next(factors)")
    Path("train.py").write_text(Path("train.py").read_text().replace(', variables="off"', ""))
    report = checked(holdfast, command, code=8)
    assert report["resumed"] == "exact but for: factors"
    assert [each["name"] for each in report["findings"]] == ["factors"]


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("h = np.zeros(8)", "h"),
        ("h = iter(range(10**6))", "h"),
        ("h = Schedule()", "h"),
    ],
)
def test_what_is_lost_is_named_even_where_these_few_steps_did_not_need_it(before, name, work, holdfast):
    move = "h = h + 1" if "zeros" in before else "next(h)" if "iter" in before else "h.step()"
    body = f"{move}; weights += 0 if run.step < 50 else np.sum(h)"
    report = checked(holdfast, script(before=before, body=body), code=8)
    assert (report["outcome"], report["at"], report["differing"]) == ("differs", None, [])
    assert named(report) == [name]
    assert "the state was the same in these steps" in report["why"]


COUNTS = [
    ("shown = 0", "shown += 1", "shown", "number"),
    ("seen = []", "seen.append(batch)", "seen", "variable"),
    ("count = 0", "count += 1; weights *= 2 if count > 50 else 1", "count", "number"),
]


@pytest.mark.medium
@pytest.mark.parametrize(("before", "body", "name", "kind"), COUNTS)
def test_a_count_for_the_log_is_named_and_no_difference(before, body, name, kind, work, holdfast):
    """All states are equal; whether later steps need it only the script's author knows, so it is not proved either."""
    command = script(before=before, body=body)
    report = checked(holdfast, command, code=11)
    assert (report["same"], report["outcome"], report["verdict"]) == (True, "same", "exact but for")
    assert (report["at"], report["differing"], report["compared"] > 12) == (None, [], True)
    assert [(each["name"], each["kind"]) for each in report["findings"]] == [(name, kind)]
    done = holdfast("check", "--", *command)
    assert f"named    {name} ({kind})" in done.stdout
    assert "run.ignore" in done.stdout
    assert f"starts from scratch in the resumed script: {name}" in done.stderr


@pytest.mark.medium
def test_a_count_that_the_run_is_told_to_ignore_is_proved_and_noted(work, holdfast):
    command = script(before="shown = 0", body="shown += 1")
    text = Path("train.py").read_text().replace(', variables="off"', "")
    Path("train.py").write_text(text.replace("as run:", "as run:\n    run.ignore('shown')"))
    report = checked(holdfast, command, code=0)
    assert (report["verdict"], report["findings"], report["left"]) == ("proved", [], ["shown"])
    assert "left to the script: shown" in holdfast("check", "--", *command).stdout


@pytest.mark.medium
def test_a_count_that_is_ignored_and_decides_something_is_the_cause_all_the_same(work, holdfast):
    command = script(before="shown = 0", body="shown += 1; weights /= 1 + shown")
    text = Path("train.py").read_text().replace(', variables="off"', "")
    Path("train.py").write_text(text.replace("as run:", "as run:\n    run.ignore('shown')"))
    report = checked(holdfast, command, code=8)
    assert report["outcome"] == "differs"
    assert named(report) == ["shown"]


def test_what_is_written_before_it_is_read_again_is_no_part_of_the_run(work, holdfast):
    body = "loss = weights.sum(); best = batch; weights -= 0.1 * loss * best"
    assert checked(holdfast, script(before="loss = best = 0.0", body=body), code=0)["findings"] == []


@pytest.mark.medium
def test_what_changes_late_is_lost_in_a_second_kill(work, holdfast):
    command = script(before="late = 0.0", body="late += run.epoch == 1 and run.batch > 0; weights += late")
    report = checked(holdfast, command, code=8)
    assert (named(report), len(report["kills"])) == (["late"], 2), (
        "at the first kill it was as the script makes it"
    )


def test_an_enumerate_that_begins_again_is_named(work, holdfast):
    command = script(body="weights *= 0.5 if index % 3 == 0 else 1")
    text = (
        Path("train.py")
        .read_text()
        .replace("for batch in run.batches(", "for index, batch in counted(run.batches(")
    )
    text = text.replace("0.7]):", "0.7])):").replace(
        "weights = np", "def counted(it):\n    yield from enumerate(it)\nweights = np"
    )
    Path("train.py").write_text(text)
    report = checked(holdfast, command, code=8)
    assert ("index", "index") in [(each["name"], each["kind"]) for each in report["findings"]]


def test_an_attribute_of_the_script_s_own_object_is_named(work, holdfast):
    before = "class Trainer: pass\ntrainer = Trainer(); trainer.step = 0"
    report = checked(
        holdfast, script(before=before, body="trainer.step += 1; weights /= trainer.step"), code=8
    )
    assert named(report) == ["trainer.step"]
    [finding] = report["findings"]
    assert int(finding["then"]) > int(finding["now"]) == 0


@pytest.mark.parametrize(
    ("before", "is_seen"),
    [
        ("factors = (i / 10 for i in itertools.count())", True),
        ("factors = iter(np.linspace(1, 2, 1000).tolist())", True),
        ("factors = itertools.cycle([0.1, 0.2, 0.3])", False),
    ],
)
def test_an_iterator_from_before_the_loop_is_named(before, is_seen, work, holdfast):
    command = script(
        before=f"{before}; unused = iter([1]); never = (i for i in [1])", body="weights *= next(factors)"
    )
    text = Path("train.py").read_text()
    Path("train.py").write_text(text + "print(next(unused), next(never))")
    report = checked(holdfast, command, code=8)
    [found] = report["findings"]
    assert (found["name"], found["kind"], found["is_seen"]) == ("factors", "iterator", is_seen)
    assert "run.batches(loader)" in found["hint"]


HELD_ELSEWHERE = """
class Part:
    def __init__(self):
        self.gen, self.count = (i / 10 for i in itertools.count()), 0

class Trainer(list):
    calls = 0
    def __init__(self):
        super().__init__()
        self.part, self.mean = Part(), 0.0

def stepper():
    number = 0
    def step(default=[0]):
        nonlocal number
        number += 1
        default[0] += 1
        step.calls += 1
        return number, default[0], step.calls
    step.calls = 0
    return step

import mine
step = stepper()
held = [[Trainer()]]  # a list of lists stands for a framework
def act(what):
    trainer = held[0][0]
    if what == "generator": return next(trainer.part.gen)
    if what == "attribute": trainer.mean = trainer.mean / 2 + 1; return trainer.mean
    if what == "class": Trainer.calls += 1; return Trainer.calls
    if what == "function": return sum(step())
    if what == "module": mine.count += 1; return mine.count
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("generator", {"held.0.0.part.gen"}),
        ("attribute", {"held.0.0.mean"}),
        ("class", {"Trainer.calls"}),
        ("function", {"step.number", "step.calls", "step.default 0"}),
        ("module", {"mine.count"}),
    ],
)
def test_what_is_held_out_of_the_loop_s_sight_is_named(what, names, work, holdfast):
    (work / "mine.py").write_text("count = 0\n")
    command = script(before=HELD_ELSEWHERE, body=f"weights += act({what!r})")
    report = checked(holdfast, command, code=8)
    assert set(named(report)) == names


def test_the_only_object_of_a_class_is_looked_into_wherever_it_is(work, holdfast):
    before = """
class Teacher:
    def __init__(self):
        self.mean = 1.0
def made():
    teacher = Teacher()
    np.teachers = [teacher]
made()
"""
    body = "np.teachers[0].mean *= 0.9; weights *= np.teachers[0].mean"
    assert named(checked(holdfast, script(before=before, body=body), code=8)) == ["Teacher.mean"]


@pytest.mark.medium
def test_a_script_that_is_not_seeded_is_proved_from_where_one_of_its_runs_was(work, holdfast):
    report = checked(holdfast, script(seed="os.getpid()"), code=0)
    assert (report["outcome"], report["verdict"], report["is_reproducible"]) == ("same", "proved", False)
    assert report["kills"] == [], "a kill would show nothing"
    assert report["compared"] > 5
    assert "random state numpy" in report["unseeded"]
    done = holdfast("check", "--", *script(seed="os.getpid()"))
    assert "two uninterrupted runs differ, first in random state numpy" in done.stdout


@pytest.mark.medium
def test_what_a_script_loses_that_is_not_seeded_is_named(work, holdfast):
    command = script(seed="os.getpid()", before="count = 0", body="count += 1; weights /= 1 + count")
    report = checked(holdfast, command, code=8)
    assert (report["outcome"], report["verdict"], report["is_reproducible"]) == (
        "differs",
        "not exact",
        False,
    )
    assert named(report) == ["count"]
    assert "seed_everything" in holdfast("check", "--", *command).stdout


@pytest.mark.medium
def test_a_script_that_computes_something_else_each_time_is_only_said_to_be_exact(work, holdfast):
    command = script(body="weights += int.from_bytes(os.urandom(4)) + 1")
    Path("train.py").write_text(Path("train.py").read_text().replace(', variables="off"', ""))
    report = checked(holdfast, command, code=10)
    assert (report["outcome"], report["verdict"]) == ("not reproducible", "exact")
    done = holdfast("check", "--", *command)
    assert "differs from run to run" in done.stderr


@pytest.mark.medium
def test_the_verdict_is_no_better_than_what_the_run_itself_says(work, holdfast):
    command = script(before="ticks = (i for i in itertools.count())", body="next(ticks)")
    Path("train.py").write_text(Path("train.py").read_text().replace(', variables="off"', ""))
    report = checked(holdfast, command, code=8)
    assert named(report) == ["ticks"]
    before = "ticks = itertools.chain(range(10**6))"
    command = script(before=before, body="next(ticks)")
    text = Path("train.py").read_text().replace(', variables="off"', "")
    Path("train.py").write_text(text)
    report = checked(holdfast, command, code=11)
    assert (report["outcome"], report["verdict"]) == ("same", "exact but for")
    assert report["resumed"] == "exact but for: ticks"
    assert "run.ignore" in holdfast("check", "--", *command).stdout
    Path("train.py").write_text(text.replace("as run:", "as run:\n    run.ignore('ticks')"))
    assert checked(holdfast, command, code=0)["verdict"] == "proved"


def test_each_verdict_has_an_exit_code_of_its_own():
    assert list(VERDICTS) == sorted(holdfast_package.Verdict, reverse=True)
    assert len({*VERDICTS.values()}) == len(VERDICTS)


def test_a_time_that_is_measured_is_no_cause(work, holdfast):
    body = "start = time.time(); count += 1; weights /= count"
    report = checked(
        holdfast, script(before="import time; start = time.time(); count = 0", body=body), code=8
    )
    assert named(report) == ["count"]


def test_a_script_that_begins_again_does_not_resume(work, holdfast):
    command = script()
    Path("train.py").write_text(Path("train.py").read_text().replace(", parts,", ", parts, resume=False,"))
    report = checked(holdfast, command, code=8)
    assert report["outcome"] == "does not resume"
    assert "pass resume=True" in report["why"]


def test_a_script_that_fails_when_it_resumes_is_said_to(work, holdfast):
    body = "os.environ['HOLDFAST_DIRECTORY'].endswith('killed') and open('once', 'w').close()"
    command = script(before="if os.path.exists('once'): raise SystemExit('no second time')", body=body)
    report = checked(holdfast, command, code=8)
    assert report["outcome"] == "does not resume"
    assert "ended with exit code 1: no second time" in report["why"]


@pytest.mark.medium
def test_a_failure_can_be_repeated_with_the_command_that_is_printed(work, holdfast):
    command = script(before="count = 0", body="count += 1; weights /= 1 + count")
    done = holdfast("check", "--", *command)
    assert done.exit_code == 8
    [again] = [line for line in done.stdout.splitlines() if line.startswith("again")]
    arguments = again.split()[2:]
    assert arguments[:1] == ["check"]
    assert holdfast(*arguments).stdout == done.stdout


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('no such data')", "fails even uninterrupted, with exit code 1: no such data"),
        ("pass", "saved no checkpoint where it should"),
        ("import holdfast\nwith holdfast.Run('a', {'b': {}}) as run: list(run.steps(2))", "ended after 2 of"),
    ],
)
def test_what_cannot_be_checked_has_an_exit_code_of_its_own(code, said, work, holdfast):
    done = holdfast("check", "--", sys.executable, "-c", code)
    assert done.exit_code == 9
    assert said in done.stderr


def test_what_makes_no_sense_is_refused_before_anything_runs(work, holdfast):
    (work / "there").mkdir()
    (work / "there/file").write_text("mine")
    command = [sys.executable, "-c", "open('ran', 'w')"]
    for options in (["--steps", 8, "--every", 4], ["--directory", "there"]):
        assert holdfast("check", *options, "--", *command).exit_code == 2
    assert not (work / "ran").exists()


@pytest.mark.medium
def test_a_failure_before_a_change_of_the_disk_can_be_repeated(work, holdfast):
    before = """
from pathlib import Path
here = Path(os.environ["HOLDFAST_DIRECTORY"])
if here.exists() and not list(here.rglob("*.ckpt.mml")):
    raise SystemExit("half made")
"""
    command = script(before=before)
    done = holdfast("check", "--every-event", "--steps", 3, "--seed", 1, "--", *command)
    assert done.exit_code == 8, done.output
    assert "half made" in done.stdout
    [again] = [line for line in done.stdout.splitlines() if line.startswith("again")]
    arguments = again.split()[2:]
    event = int(arguments[arguments.index("--event") + 1])
    assert event >= 1
    repeated = holdfast(*arguments)
    assert (repeated.exit_code, repeated.stdout.splitlines()[-3:]) == (8, done.stdout.splitlines()[-3:])
    assert f"killed before change {event} of the disk" in repeated.stdout


@pytest.mark.slow
def test_it_is_killed_before_every_change_of_the_disk(work, holdfast):
    report = checked(holdfast, script(), "--every-event", "--steps", 4, code=0)
    assert report["event"] > 20
    assert len(report["kills"]) == report["event"] + 2
    assert any(kill["resumes_from"] is None for kill in report["kills"])
    assert len({kill["resumes_from"] for kill in report["kills"]}) >= 3
    assert all(kill["damaged"] == [] for kill in report["kills"])


TORCH = """
import sys
import torch
from torch.utils.data import DataLoader, TensorDataset
import holdfast

torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
loader = DataLoader(TensorDataset(torch.randn(256, 4), torch.randn(256, 1)), batch_size=8, shuffle=True)

def train(x, y):
    loss = (model(x) - y).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()

parts = {"model": model, "optimizer": optimizer}
if "forgets" not in sys.argv:
    parts["scheduler"] = scheduler
data_iter = iter(loader)
with holdfast.Run("runs/mine", parts, variables="watch" if "hooks" in sys.argv else "off") as run:
    if "early" in sys.argv:
        for step in run.steps(30):
            train(*next(data_iter))
    else:
        for epoch in run.epochs(2):
            for x, y in run.batches(loader):
                if "hooks" in sys.argv and run.step == 3:
                    model.register_forward_hook(lambda module, inputs, output: 2 * output)
                train(x, y)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize(
    ("how", "code", "name"),
    [("right", 0, None), ("forgets", 8, "scheduler"), ("early", 8, "data_iter"), ("hooks", 8, "model.hooks")],
)
def test_a_loop_of_torch_is_proved_or_what_it_lacks_is_named(how, code, name, work, holdfast):
    Path("train.py").write_text(TORCH)
    report = checked(holdfast, [sys.executable, "train.py", how], code=code)
    assert name is None or report["findings"][0]["name"] == name
