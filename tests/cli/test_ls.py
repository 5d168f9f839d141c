"""`holdfast ls` shows every checkpoint from its record alone, the newest last."""

import json
import os
from pathlib import Path

from holdfast.records import Moment


def names(output: str) -> list[str]:
    """The first column, without the header and what stands below the table."""
    return [line.split()[0] for line in output.partition("\n\n")[0].splitlines()[1:]]


def test_checkpoints_are_listed_with_the_newest_last(experiment, holdfast):
    for name in ("pretrain/z", "b", "deep/er/a"):
        experiment.save(name)
    shown = holdfast("ls", experiment.directory)
    assert shown.exit_code == 0
    assert names(shown.stdout) == ["pretrain/z", "b", "deep/er/a"]


def test_a_row_tells_where_the_run_was_its_metrics_its_sizes_and_why_it_was_saved(experiment, holdfast):
    moment = Moment(run="a" * 32, hook="batch_end", phase="outer/inner", epoch=3, batch=12, step=480)
    metrics = {"loss": 0.123456, "accuracy": 0.9}
    experiment.save("first")
    experiment.save("second", moment=moment, metrics=metrics, reason="every 500th batch_end")
    row = holdfast("ls", experiment.directory).stdout.splitlines()[2]
    for text in ("outer/inner · epoch 3 · batch 12 end", " 480 ", "loss 0.1235, accuracy 0.9"):
        assert text in row
    assert row.endswith("  every 500th batch_end")
    assert " 240 kB " in row  # what it shares with the first


def test_only_records_are_read(experiment, holdfast):
    place = experiment.save("a")
    for file in place.iterdir():
        if file.name != "checkpoint.json":
            file.unlink()
    shown = holdfast("ls", experiment.directory)
    assert names(shown.stdout) == ["a"]
    assert "damaged" not in shown.stdout


def test_damaged_checkpoints_are_listed_with_the_reason_and_counted(experiment, holdfast):
    experiment.save("good")
    for name, content in {"empty": b"", "cut": b'{"format":1'}.items():
        (experiment.save(name) / "checkpoint.json").write_bytes(content)
    (experiment.directory / "bare.ckpt.mml").mkdir()
    shown = holdfast("ls", experiment.directory)
    assert shown.exit_code == 0
    rows = {line.split()[0]: line for line in shown.stdout.splitlines()[1:5]}
    assert "damaged: its record is empty" in rows["empty"]
    assert "damaged: its record is cut or foreign" in rows["cut"]
    assert "damaged: it has no record" in rows["bare"]
    assert "4 checkpoints, 3 damaged" in shown.stdout


def test_the_summary_counts_shared_bytes_once(experiment, holdfast):
    places = [experiment.save(f"epoch{epoch}") for epoch in range(4)]
    files = [file.stat() for place in places for file in place.iterdir()]
    once = sum({file.st_ino: file.st_size for file in files}.values())
    copies = sum(file.st_size for file in files)
    assert copies > 3 * once
    summary = holdfast("ls", experiment.directory).stdout.splitlines()[-1]
    assert f"{once / 1000:.0f} kB on disk" in summary
    assert (
        f"complete copies would take {copies / 1e6:.2f} MB" in summary or f"{copies / 1e3:.0f} kB" in summary
    )


def test_json_has_every_field_of_every_record_one_object_a_line(experiment, holdfast):
    experiment.save("fine", metrics={"loss": 0.5, "worst": float("inf"), "lost": float("nan")})
    broken = experiment.save("broken")
    (broken / "checkpoint.json").write_bytes(b"")
    damaged, fine = map(json.loads, holdfast("ls", experiment.directory, "--json").stdout.splitlines())
    assert damaged == {"path": str(broken), "problem": damaged["problem"]}
    assert "its record is empty" in damaged["problem"]
    assert fine["path"] == str(experiment.directory / "fine.ckpt.mml")
    assert fine["problem"] is None
    assert fine["metrics"] == {"loss": 0.5, "worst": "inf", "lost": "nan"}
    assert fine["moment"]["step"] == 10
    assert fine["size_bytes"] == fine["tree"]["size"] + sum(pack["size"] for pack in fine["packs"])


def test_a_directory_that_is_not_there_is_an_error_and_an_empty_one_is_not(tmp_path, holdfast):
    missing = holdfast("ls", tmp_path / "nowhere")
    assert missing.exit_code == 2
    assert "there is no such directory" in missing.stderr
    empty = holdfast("ls", tmp_path)
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "no checkpoints" in empty.stderr
    assert (holdfast("ls", tmp_path, "--json").stdout, empty.exit_code) == ("", 0)


def test_a_bundle_can_be_listed_alone(experiment, holdfast):
    experiment.save("a")
    place = experiment.save("b")
    assert "1 checkpoint ·" in holdfast("ls", place).stdout


def test_the_working_directory_is_listed_by_default(experiment, holdfast, monkeypatch):
    experiment.save("phase/a")
    monkeypatch.chdir(experiment.directory)
    assert names(holdfast("ls").stdout) == ["phase/a"]


def test_lines_that_go_to_a_file_are_uncut_and_plain(experiment, holdfast):
    moment = Moment(run="a" * 32, hook="epoch_end", phase="p" * 150, epoch=1)
    experiment.save("n" * 150, moment=moment, reason="r" * 150)
    output = holdfast("ls", experiment.directory).stdout
    assert "\x1b" not in output
    for letter in "npr":
        assert letter * 150 in output.splitlines()[1]


def test_links_to_directories_are_not_followed_twice(experiment, holdfast):
    experiment.save("real/a")
    os.symlink("real", experiment.directory / "again")
    assert names(holdfast("ls", experiment.directory).stdout) == ["real/a"]
    assert names(holdfast("ls", Path(experiment.directory, "again")).stdout) == ["a"]


def test_numbers_that_json_lacks_are_strings_wherever_they_stand(experiment, holdfast):
    place = experiment.save("a", details={"elapsed_s": float("inf"), "deep": [{"x": float("nan")}]})
    for line in (
        ["ls", "--json", place.parent],
        ["show", "--json", place],
        ["top", "--once", "--json", place.parent],
    ):
        ended = holdfast(*line)
        assert ended.exit_code == 0, ended.exception
        assert "NaN" not in ended.stdout
        assert "Infinity" not in ended.stdout
        assert '"inf"' in ended.stdout
