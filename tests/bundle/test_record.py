"""A record is what was written, or it is refused; it is written last, and ends with its own digest."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from holdfast.bundle._format.record import decode_record, encode_record
from holdfast.errors import CheckpointDamagedError, FormatVersionError, UsageError
from holdfast.records import CheckpointRecord, FileEntry, Moment
from tests.support.bundle_cases import draft

ID = "0123456789abcdef" * 2
DIGEST = "f" * 64
COMPLETE = replace(
    draft(reason="every 2nd epoch_end", metrics={"loss": 0.25, "nan": math.nan}, versions={"numpy": "2"}),
    id=ID,
    tree=FileEntry(f"{ID}.json", 10, DIGEST),
    packs=(FileEntry(f"{ID}.0.safetensors", 4096, DIGEST), FileEntry(f"{'a' * 32}.7.safetensors", 1, DIGEST)),
)

counts = st.integers(0, 2**63 - 1)
texts = st.text(max_size=20)
records = st.builds(
    replace,
    st.just(COMPLETE),
    kind=st.sampled_from(["train", "experiment"]),
    moment=st.builds(
        Moment,
        run=texts,
        hook=texts,
        phase=st.none() | texts,
        epoch=st.none() | counts,
        batch=st.none() | counts,
        step=counts,
    ),
    seq=counts,
    parent=st.none() | st.just(ID),
    metrics=st.dictionaries(texts, st.floats()),
    reason=texts,
    durability=st.sampled_from(["full", "process"]),
    environment=st.dictionaries(texts, texts),
    commit=st.none() | texts,
    blocked_s=st.floats(0, 1e9),
    bytes_captured=counts,
    details=st.dictionaries(
        texts,
        st.recursive(
            st.none() | st.booleans() | counts | st.floats() | texts,
            lambda facts: st.lists(facts) | st.dictionaries(texts.filter(lambda key: key != "f"), facts),
            max_leaves=8,
        ),
    ),
)


@pytest.mark.medium
@given(records)
def test_a_record_comes_back_as_it_was(record: CheckpointRecord):
    assert repr(decode_record(encode_record(record), "here")) == repr(record)


@pytest.mark.parametrize("key", ["f", "%f", "%%f", "%", ""])
def test_a_mapping_that_looks_like_a_float_comes_back(key: str):
    details = {"options": {key: 1.5}, "more": {key: {key: float("nan")}}, "text": {key: "7ff8000000000000"}}
    found = decode_record(encode_record(replace(COMPLETE, details=details)), "here")
    assert repr(found.details) == repr(details)


def test_it_ends_with_the_digest_of_every_byte_before():
    data = encode_record(COMPLETE)
    body, found, end = data.rpartition(b',"digest":"')
    assert found
    assert end == blake3(body).hexdigest().encode() + b'"}'


def test_a_cut_at_any_length_and_a_flip_of_any_bit_is_damage():
    data = encode_record(COMPLETE)
    for length in range(len(data)):
        with pytest.raises(CheckpointDamagedError):
            decode_record(data[:length], "here")
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(CheckpointDamagedError):
            decode_record(bytes(flipped), "here")


@pytest.mark.parametrize("data", [b"", b"\n", b"{}", b"\0" * 4096, b"PK\x03\x04"])
def test_what_was_never_a_record_is_damaged(data):
    with pytest.raises(CheckpointDamagedError, match=r"its record is (empty|cut or foreign)"):
        decode_record(data, "here")


def forged(**changes: Any) -> bytes:
    """A record with other fields and a digest that fits."""
    content = msgspec.json.decode(encode_record(COMPLETE)) | changes
    del content["digest"]
    body = msgspec.json.encode({name: value for name, value in content.items() if value is not ...})[:-1]
    return body + b',"digest":"%s"}' % blake3(body).hexdigest().encode()


@pytest.mark.parametrize(
    "changes",
    [{"more": 1}, {"seq": ...}, {"seq": -1}, {"seq": True}, {"seq": 1.0}, {"seq": "1"}, {"seq": 2**63},
     {"id": "x"}, {"id": ID.upper()}, {"name": ""}, {"kind": "other"}, {"parent": "x"}, {"format": 0},
     {"format": "1"}, {"durability": "none"}, {"metrics": {"a": 1}}, {"metrics": {"a": {"f": "zz"}}},
     {"versions": {"a": 1}}, {"environment": []}, {"blocked_s": "1"}, {"reason": "x" * 65537}, {"moment": {}},
     {"moment": {"hook": "h", "phase": None, "epoch": -1, "batch": None, "step": 0}},
     {"moment": {"hook": "h", "phase": None, "epoch": 1, "batch": None, "step": 0, "more": 1}},
     {"tree": {"name": "../x.json", "size": 1, "digest": DIGEST}},
     {"tree": {"name": f"{ID}.0.safetensors", "size": 1, "digest": DIGEST}},
     {"tree": {"name": f"{ID}.json", "size": 1, "digest": "F" * 64}},
     {"packs": [{"name": f"{ID}.0.safetensors\n", "size": 1, "digest": DIGEST}]},
     {"packs": [{"name": f"{ID}.0.safetensors", "size": 1, "digest": DIGEST}] * 2},
     {"packs": [{"name": f"{ID}.{n}.safetensors", "size": 1, "digest": DIGEST} for n in range(5000)]}],
    ids=lambda changes: str(changes)[:40],
)  # fmt: skip
def test_a_record_with_a_fitting_digest_is_still_checked(changes):
    with pytest.raises(CheckpointDamagedError, match="its record is malformed"):
        decode_record(forged(**changes), "here")


@pytest.mark.parametrize("changes", [{"format": 3}, {"format": 9, "something": "new"}])
def test_a_newer_format_is_refused_by_name(changes):
    with pytest.raises(FormatVersionError, match="Install a newer one") as caught:
        decode_record(forged(**changes), "here")
    assert caught.value.found == changes["format"]


@pytest.mark.parametrize("facts", [{"reason": "x" * 70_000}, {"seq": 2**64}])
def test_a_record_that_readers_would_refuse_is_not_written(facts):
    with pytest.raises(UsageError, match="checkpoint 'best' cannot be saved"):
        encode_record(replace(COMPLETE, **facts))


def test_text_that_is_no_unicode_is_written_as_it_is_shown():
    texts = {
        "reason": "caf\udce9",
        "versions": {"\ud800": "\ud801"},
        "details": {"at": ["\udcff", {"\ud800": 1}]},
    }
    found = decode_record(encode_record(replace(COMPLETE, **texts)), "place")
    assert found.reason == r"caf\udce9"
    assert found.versions == {r"\ud800": r"\ud801"}
    assert found.details == {"at": [r"\udcff", {r"\ud800": 1}]}
