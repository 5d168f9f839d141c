"""Putting what was saved into the variables of the frames on the stack."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from .. import state
from ..errors import CheckpointDamagedError, StateMismatchError
from ..records import Object
from ._baseline import Baseline
from ._frames import Scope
from ._held import HELD
from ._kinds import (
    is_array,
    is_data,
    is_frozen_data,
    is_module,
    is_own_container,
    is_rng,
    is_tensor,
    is_value,
    on_device,
    set_attribute,
)
from ._looks.flags import flags_of, set_flags
from ._looks.gradients import holder_of
from ._made.making import made_like, resized
from ._saved import Saved, lost_in
from ._shared.adapted import Adapted
from ._shared.buffers import fit_buffers
from ._shared.keyed import BY_ID, filled, held_in
from ._shared.memory import fill_expanded
from ._shared.places import HANDED, elements_of, root_of_text
from ._shared.putting import Objects, share, without_source
from ._shared.sharing import MOST, TOO_MANY, roots_in_common
from ._walk import Slot, Walk


def put_back(
    saved: Saved, scopes: list[Scope], walk: Walk, objects: Objects
) -> tuple[dict[str, Any], dict[str, str]]:
    """Put into these scopes what was saved of them: what is there now by `scope/key`, and what failed, and why.

    `walk`: one that has not begun.
    """
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    slots: dict[str, Slot] = {}
    late: list[str] = []  # of which there is nothing now; of a tensor that is to come, there will be
    shared = saved.facts.shared
    if len(shared) > MOST:  # more than a save notes
        failed |= dict.fromkeys(map(root_of_text, shared), TOO_MANY)
        shared = {}
    places = {root_of_text(each): each for each in [*shared, *shared.values()]}
    for scope in scopes:
        keys = [*saved.nodes.get(scope.name, ()), *_keys_in(saved.facts.same, scope)]
        keys = [*dict.fromkeys([*keys, *_keys_in(places, scope), *_keys_in(saved.facts.flags, scope)])]
        roots = {key.partition(".")[0] for key in keys}
        there = {name: value for name, value in scope.variables().items() if name in roots}
        found = {slot.key: slot for slot in walk.slots(scope, there)}
        for key in keys:
            slot = found.get(key) or _new_slot(key, scope, walk)
            if slot is None:
                late.append(f"{scope.name}/{key}")
            else:
                slots[f"{scope.name}/{key}"] = slot
    failed |= without_source(shared, objects)
    crowded = roots_in_common({path: slot.value for path, slot in slots.items()}, objects.handed)
    entire = {root_of_text(target) for target in shared if not elements_of(target)}  # put by `_share`
    for path, slot in slots.items():
        scope, _, key = path.partition("/")
        if (
            path in failed
            or path in entire
            or path in saved.facts.same
            or key not in saved.nodes.get(scope, ())
            or is_tensor(slot.owner)
        ):
            continue
        try:
            put = _put_by_object if path in saved.facts.keyed else _put_anew if path in crowded else _put
            put = _put_into_factory if path in saved.facts.factory else put
            done[path] = put(slot, path, saved.nodes[scope][key], saved, scopes, objects)
        except Exception as err:  # the variable's own code, or a class that is another one now
            failed[path] = f"{type(err).__name__}: {err}"
    here = {scope.name for scope in scopes}
    for target, source in shared.items():
        path = root_of_text(target)
        try:
            if path in failed or not (path.startswith(HANDED) or path.partition("/")[0] in here):
                continue
            share(target, source, slots, done, objects.handed)
        except Exception as err:  # there is no such place now
            failed[path] = (
                f"what it shares with {root_of_text(source)} is not there now ({type(err).__name__}: {err})"
            )
    for path, first in saved.facts.same.items():
        if path in slots and first in done:
            slots[path].put(done[first])
            done[path] = done[first]
    for path, text in saved.facts.flags.items():
        if path in slots and path not in failed:
            try:
                set_flags(done.setdefault(path, slots[path].value), text)
            except Exception as err:  # it is another object now
                failed[path] = f"which of its tensors learn ({type(err).__name__}: {err})"
    there = {path: slot.value for path, slot in slots.items()} | done
    for path, slot in slots.items():
        scope, _, key = path.partition("/")
        if is_tensor(slot.owner) and path not in failed and key in saved.nodes.get(scope, ()):
            try:
                done[path] = _put_on_tensor(slot, path, saved, scopes, there, objects)
            except Exception as err:  # a gradient of another shape
                failed[path] = f"{type(err).__name__}: {err}"
    for path in late:
        scope, _, key = path.partition("/")
        holder = holder_of(path.rpartition(".")[0], there)
        if is_tensor(holder) and key in saved.nodes.get(scope, ()):
            done[path] = _rebuilt(path, saved.nodes[scope][key], saved, scopes)
            setattr(holder, key.rpartition(".")[2], done[path])
        else:
            failed[path] = "there is nothing of this name now"
    return {path: value for path, value in done.items() if path not in failed}, failed


def _put_on_tensor(
    slot: Slot, path: str, saved: Saved, scopes: list[Scope], values: Mapping[str, Any], objects: Objects
) -> Any:
    """What a tensor carries, when it is known which tensor is there now."""
    scope, _, key = path.partition("/")
    node = saved.nodes[scope][key]
    above, _, name = path.rpartition(".")
    holder = holder_of(above, values)
    if holder is None or holder is slot.owner:
        return _put(slot, path, node, saved, scopes, objects)
    now = _rebuilt(path, node, saved, scopes)
    setattr(holder, name, now)
    return now


def put_objects(
    saved: Saved, scopes: list[Scope], make_walk: Callable[[], Walk], objects: Objects
) -> tuple[dict[str, Any], dict[str, str]]:
    """Let variables name the objects again that they named, and others that are like those made in the loop, as `put_back` does with
    values; to be done before it.

    From the outside inwards: whose attribute it is, what is above decides. What refers to others waits for these.
    """
    done: dict[str, Any] = {}
    facts = saved.facts
    made = {path: text for path, text in facts.made.items() if text}  # of the others what is saved says all
    waiting = dict.fromkeys([*facts.held, *made, *facts.objects], "")
    while waiting:
        walk, found = make_walk(), dict[str, tuple[Slot, Any]]()
        for scope in scopes:
            keys = _keys_in(waiting, scope)
            roots = {key.partition(".")[0] for key in keys}
            there = {name: each for name, each in scope.variables().items() if name in roots}
            by_key = {slot.key: slot for slot in walk.slots(scope, there)}
            for key in keys:
                path, slot = f"{scope.name}/{key}", by_key.get(key) or _new_slot(key, scope, walk)
                if _is_below_one(path, waiting):
                    continue
                try:
                    if slot is None:
                        raise LookupError("there is nothing of this name now")
                    found[path] = slot, _object_at(path, slot, saved, objects)
                except LookupError as err:
                    waiting[path] = str(err)
                except Exception as err:  # of the object's own, which is copied
                    waiting[path] = f"{type(err).__name__}: {err}"
        for path, (slot, value) in found.items():
            try:
                if slot.value is not value:
                    slot.put(value)
                done[path] = value
                del waiting[path]
            except Exception as err:  # the owner's own code
                waiting[path] = f"{type(err).__name__}: {err}"
        if not found.keys() & done.keys():
            break
    return done, {path: why or "what it belongs to could not be put back" for path, why in waiting.items()}


def _object_at(path: str, slot: Slot, saved: Saved, objects: Objects) -> Any:
    facts, before = saved.facts, saved.made.get(path)  # what was made in the outer loop
    if before is not None and path not in facts.held:
        return before
    if path in facts.held:
        later = _names_below(path, (*facts.held, *facts.made, *facts.objects))
        made = resized(slot.value, facts.held[path], later)
        if type(before) is type(made) and before is not made and not isinstance(made, tuple):
            made = _refilled(before, made)  # at all its places
    elif path in facts.made:
        scope, _, key = path.partition("/")
        paths = [*saved.nodes.get(scope, ()), *(_keys_in(facts.objects, Scope(scope, None, {})))]
        made = made_like(facts.made[path], objects.called, _names_below(key, paths))
    else:
        return objects.called(facts.objects[path], slot.value)
    saved.made[path] = made
    return made


def _names_below(path: str, paths: Iterable[str]) -> set[str]:
    """Of these paths the ends of those that are within this one."""
    above = f"{path}."
    return {each.removeprefix(above) for each in paths if each.startswith(above)}


def _is_below_one(path: str, waiting: Mapping[str, str]) -> bool:
    """Whether something that it is in is still to be put there."""
    while "." in path:
        path = path.rpartition(".")[0]
        if path in waiting:
            return True
    return False


def take_back(baseline: Baseline, slots: Callable[[], Iterable[tuple[Scope, Slot]]]) -> dict[str, str]:
    """After a rollback: what had not changed by then is what it was when the loop began; what cannot be, and why."""
    failed: dict[str, str] = {}
    for scope, slot in slots():
        first = baseline.named_by(scope, slot) if slot.way == "named" else None
        if (
            first is not None
            and (not slot.is_handed or is_data(slot.value))
            and (value := first.get()) is not slot.value
        ):
            if value is None or first.is_like(slot.value):
                continue  # what they hold is looked at below
            slot.put(value)
    for scope, slot in slots():
        before = baseline.of(scope, slot)
        if slot.way in ("opaque", "named") or before is None:
            continue
        if not baseline.has_changed(scope, slot):
            if before.flags != flags_of(slot.value):
                set_flags(slot.value, before.flags)
            continue
        if before.is_scalar:
            slot.put(before.scalar)
        else:
            failed[f"{scope.name}/{slot.key}"] = "it changed only after that checkpoint"
    return failed


def _new_slot(key: str, scope: Scope, walk: Walk) -> Slot | None:
    """For a variable, or an attribute, that is not there yet."""
    above, _, name = key.rpartition(".")
    if not above:
        return Slot(key, "data", None, lambda new: scope.put(name, new))
    holder = walk.holders.get(above)
    if holder is None:  # a parameter, which had no attribute yet
        module, _, parameter = above.rpartition(".")
        holder = getattr(walk.holders.get(module), parameter, None)
    return None if holder is None else Slot(key, "data", None, partial(set_attribute, holder, name), holder)


def _keys_in(same: Mapping[str, str], scope: Scope) -> list[str]:
    return [path.removeprefix(f"{scope.name}/") for path in same if path.startswith(f"{scope.name}/")]


def _put_by_object(
    slot: Slot, path: str, node: Any, saved: Saved, scopes: list[Scope], objects: Objects
) -> Any:
    made = _rebuilt(path, node, saved, scopes)
    keys = [objects.called(each) for each in made["keys"]]
    live = held_in(slot.value)
    by_id, is_new = saved.facts.keyed[path] == BY_ID, path in saved.facts.rebound
    now = filled(live, made, keys, by_id=by_id, is_new=is_new)
    if now is not live:
        slot.put(now)
    return now


def _put_into_factory(slot: Slot, path: str, node: Any, saved: Saved, scopes: list[Scope], _: Objects) -> Any:
    live, now = slot.value, _rebuilt(path, node, saved, scopes)
    if type(live) is not defaultdict:
        raise TypeError(f"a defaultdict was saved, here is a {type(live).__name__}")
    live.clear()
    live.update(now)
    return live


def _put_anew(slot: Slot, path: str, node: Any, saved: Saved, scopes: list[Scope], objects: Objects) -> Any:
    """As `_put`, with new items: those that are there have other places, too, and may not be the ones that were here."""
    live = slot.value
    if path in saved.facts.rebound or type(live) not in (list, dict, deque, OrderedDict, defaultdict):
        return _put(slot, path, node, saved, scopes, objects)
    try:
        return _refilled(live, _rebuilt(path, node, saved, scopes))
    except TypeError:  # only what is there says of which types they are
        return _put(slot, path, node, saved, scopes, objects)


def _refilled(live: Any, now: Any) -> Any:
    """The same container with these items."""
    if isinstance(live, list | deque) and isinstance(now, list | deque):
        live.clear()
        live.extend(now)
    elif isinstance(live, dict | set) and isinstance(now, type(live)):
        live.clear()
        live.update(now)  # type: ignore[arg-type]
    else:
        raise TypeError(f"a {type(now).__name__} was saved, here is a {type(live).__name__}")
    return live


def _put(slot: Slot, path: str, node: Any, saved: Saved, scopes: list[Scope], _: Objects) -> Any:
    if saved.facts.made.get(path) == "" and not isinstance(slot.value, Adapted):
        slot.put(now := _rebuilt(path, node, saved, scopes))
        return now
    if path in saved.facts.protocol and isinstance(slot.value, Adapted):
        now = slot.value.restored(saved.source, node, is_new=path in saved.facts.rebound)
        if now is not slot.value.held:
            slot.put(now)
        return now
    if path in saved.facts.protocol:
        now = state.rebuild(saved.source, node)
        if is_module(slot.value):
            fit_buffers(slot.value, now)
        slot.value.load_state_dict(now)
        return slot.value
    is_the_same = path not in saved.facts.rebound or slot.value is saved.put.get(path)
    if is_the_same and _is_mutable(slot.value):
        return _fill(slot, path, node, saved, scopes)
    if is_frozen_data(slot.value) and not (isinstance(node, Object) and _is_called(node.type, slot.value)):
        raise TypeError(f"something else was saved, here is a {type(slot.value).__name__}")
    value = saved.put[path] = _new(slot, path, node, saved, scopes)
    slot.put(value)
    return value


def _is_called(name: str, value: Any) -> bool:
    """Whether a class of this name was saved, and this is one."""
    return name.rpartition(".")[2] == type(value).__name__


def _is_mutable(value: Any) -> bool:
    kinds = (dict, list, set, deque, np.ndarray)
    return (
        is_array(value)
        or is_rng(value)
        or is_value(value)
        or isinstance(value, kinds)
        or is_own_container(value)
    )


def _fill(slot: Slot, path: str, node: Any, saved: Saved, scopes: list[Scope]) -> Any:
    """The same object as before, with what was saved in it."""
    live = slot.value
    try:
        if path in saved.facts.named:
            raise StateMismatchError([])  # which of them there are, the live object does not say
        now = state.restore(saved.source, {"": live}, tree={"": node}, verify="streaming").value[""]
    except (StateMismatchError, CheckpointDamagedError):
        now = _rebuilt(path, node, saved, scopes)
        if is_array(live) and fill_expanded(live, now):
            return live
        with contextlib.suppress(TypeError):
            return _refilled(live, now)
    if now is not live:
        slot.put(now)
    return now


def _new(slot: Slot, path: str, node: Any, saved: Saved, scopes: list[Scope]) -> Any:
    """A new value; what is there now says of which type it is, where only that can say so."""
    named = saved.facts.named.get(path)
    says = named == type(slot.value).__name__ if named else not (is_array(slot.value) or slot.value is None)
    if says:
        try:
            template = copy.deepcopy(slot.value)
            return state.restore(saved.source, {"": template}, tree={"": node}, verify="streaming").value[""]
        except Exception:
            return _rebuilt(path, node, saved, scopes)
    return _rebuilt(path, node, saved, scopes)


def _rebuilt(path: str, node: Any, saved: Saved, scopes: list[Scope]) -> Any:
    named = saved.facts.named.get(path)
    # Of named tuples the script has the class, which is looked for below.
    lost = lost_in(node, named)
    if lost is not None:
        raise TypeError(f"a {lost.type} was saved, and there is none here to be filled")
    value = state.rebuild(saved.source, node)
    device = saved.facts.devices.get(path)
    if device is not None:
        value = on_device(value, device)
    if named is not None:
        value = _with_named_tuples(value, _class_called(named, scopes))
    return value


def _class_called(name: str, scopes: list[Scope]) -> Any:
    """The script's own class of named tuples of this name: looked for in its variables, never imported."""
    for scope in scopes:
        variables = list(scope.variables().values())
        if scope.name == HELD:
            variables = [each for one in variables for each in _globals_of(type(one))]
        for each in variables:
            if isinstance(each, type) and issubclass(each, tuple) and each.__name__ == name:
                return each
    raise TypeError(f"named tuples {name!r} were saved, and there is no such class here")


def _globals_of(kind: type) -> list[Any]:
    """Of the module in which a class is defined."""
    return list(vars(sys.modules.get(kind.__module__, sys)).values())


def _with_named_tuples(value: Any, kind: Any) -> Any:
    if isinstance(value, dict):
        for key, each in value.items():
            value[key] = kind._make(each)
        return value
    if isinstance(value, deque):
        return deque(map(kind._make, value), value.maxlen)
    if isinstance(value, list):
        return [kind._make(each) for each in value]
    return kind._make(value)
