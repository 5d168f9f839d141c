"""What modules keep for themselves: plain attributes, tensors that are no buffers, buffers that are not persistent; and which tensors are frozen.

No `state_dict` has them. The updates that an average of weights has counted, or a buffer that a forward pass adds to,
decide what comes next all the same; so those that have changed since the training began are saved with its position.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, final

import torch
from torch import nn

from ... import paths
from ..._wording import a
from ...plain_attributes import PlainAttributes
from ...state import Attributes as HandedByAttributes
from ...state.adapters.torch import address_of, token_of
from ...state.adapters.torch_nn import can_learn, unwrapped

_PLUMBING: Final = frozenset(vars(nn.Module()))
_MAX_ITEMS: Final = 1_000  # a longer container holds data
_MAX_BYTES: Final = 16 << 20  # a larger tensor that is no buffer is taken for a cache
Token = tuple[int, int, int]
_Own: TypeAlias = tuple[str, nn.Module, dict[str, Any]]


@final
class Attributes:
    """Of the modules among `objects`, in dicts and lists too; and which modules became others; of tensors there whether they learn.

    `but`: names of attributes that are the framework's.
    """

    def __init__(self, objects: Mapping[str, Any], but: Collection[str] = ()) -> None:
        self._objects = objects
        self._modules = dict(_modules(objects))
        self._classes_at_first = self._classes()
        self._but = _PLUMBING | frozenset(but)
        self._plain = PlainAttributes(self._modules, self._but)
        own = self._own()
        self._at_first = {path: token_of(tensor) for path, (_, _, tensor) in self._tensors(own).items()}
        self._flags_at_first = {
            path: each.requires_grad for path, each in self._leaves(own) if can_learn(each)
        }
        self._lists_at_first = {path: [*map(token_of, tensors)] for path, tensors in self._lists(own).items()}

    def get_state(self) -> dict[str, Any]:
        """Those that have changed; tensors are live, not copies. Empty if none has."""
        own = self._own()
        tensors = {
            path: tensor.detach()
            for path, (_, _, tensor) in self._tensors(own).items()
            if self._at_first.get(path) != token_of(tensor)
        }
        lists = {
            path: [tensor.detach() for tensor in tensors]
            for path, tensors in self._lists(own).items()
            if self._lists_at_first.get(path) != [*map(token_of, tensors)]
        }
        classes = dict(self._classes().items() - self._classes_at_first.items())
        flags = {
            path: each.requires_grad
            for path, each in self._leaves(own)
            if self._flags_at_first.get(path) != each.requires_grad and can_learn(each)
        }
        found = {"plain": self._plain.get_state(), "tensors": tensors, "lists": lists, "classes": classes}
        found |= {"requires_grad": flags}
        return found if any(found.values()) else {}

    def set_state(self, saved: Mapping[str, Any]) -> list[str]:
        """Put them back; a sentence for each module that is not here, or of another class."""
        plain, tensors, lists = (saved.get(kind, {}) for kind in ("plain", "tensors", "lists"))
        self._plain.set_state(plain)
        live = self._tensors(self._own())
        with torch.no_grad():
            for path, value in tensors.items():
                owner, _, name = path.rpartition("/")
                if path in live:
                    _fill(*live[path], value)
                elif owner in self._modules and not _is_registered(self._modules[owner], name):
                    vars(self._modules[owner])[name] = torch.as_tensor(value).clone()
        leaves = {path: each for path, each in self._leaves(self._own()) if can_learn(each)}
        for path in leaves.keys() & saved.get("requires_grad", {}).keys():
            leaves[path].requires_grad_(bool(saved["requires_grad"][path]))
        for path, values in lists.items():
            owner, _, name = path.rpartition("/")
            if owner in self._modules:
                vars(self._modules[owner])[name] = [torch.as_tensor(value).clone() for value in values]
        owners = dict.fromkeys([*plain, *(path.rpartition("/")[0] for path in (*tensors, *lists))])
        now = self._classes()
        return [
            f"attributes of the module {each!r} were saved, and it is not here"
            for each in owners
            if each not in self._modules
        ] + [
            f"the module {path!r} had become {a(then)}, and is {a(now[path]) if path in now else 'not there'} as the script begins"
            for path, then in saved.get("classes", {}).items()
            if now.get(path) != then
        ]

    def _classes(self) -> dict[str, str]:
        """The name of the class of each module, by path."""
        return {path: type(each).__name__ for path, each in _modules(self._objects)}

    def _own(self) -> list[_Own]:
        """Each module with its path, and its attributes but for those that all modules have."""
        but = self._but
        return [
            (path, module, {name: value for name, value in vars(module).items() if name not in but})
            for path, module in self._modules.items()
        ]

    def _leaves(self, own: Sequence[_Own]) -> list[tuple[str, torch.Tensor]]:
        """Parameters, buffers and attributes of modules, and other tensors that were handed over."""
        of_modules = [
            (f"{path}/{name}", each)
            for path, module, attributes in own
            for held in (module._parameters, module._buffers, attributes)
            for name, each in held.items()
            if isinstance(each, torch.Tensor) and name not in self._but
        ]
        return [*of_modules, *_bare_tensors(self._objects)]

    def _tensors(self, own: Sequence[_Own]) -> dict[str, tuple[dict[str, Any], str, torch.Tensor]]:
        """By path the dict that holds it, its name there, and itself."""
        found = {
            f"{path}/{name}": (holder, name, value)
            for path, module, attributes in own
            for holder, name, value in _unsaved(module, attributes)
            if value.layout == torch.strided and value.numel() * value.element_size() <= _MAX_BYTES
        }
        if not found:
            return found
        shared = {
            address_of(tensor)
            for module in self._modules.values()
            for tensor in (*module._parameters.values(), *_persistent(module))
            if tensor is not None
        }
        return {path: each for path, each in found.items() if address_of(each[2]) not in shared}

    def _lists(self, own: Sequence[_Own]) -> dict[str, list[torch.Tensor]]:
        """Attributes that are lists of tensors, as metrics have that keep all they have seen; none that is too large."""
        return {
            f"{path}/{name}": value
            for path, _, attributes in own
            for name, value in attributes.items()
            if isinstance(value, list)
            and value
            and all(isinstance(each, torch.Tensor) and not isinstance(each, nn.Parameter) for each in value)
            and sum(each.numel() * each.element_size() for each in value) <= _MAX_BYTES
        }


def _modules(objects: Mapping[str, Any]) -> Iterator[tuple[str, nn.Module]]:
    """Each module, once, by its path."""
    seen: set[int] = set()

    def below(value: Any, path: str) -> Iterator[tuple[str, nn.Module]]:
        match value:
            case nn.Module():
                for name, module in unwrapped(value).named_modules():
                    if id(module) not in seen:
                        seen.add(id(module))
                        yield paths.child(path, name) if name else path, module
            case dict():
                for inner, each in paths.entries(path, value):
                    yield from below(each, inner)
            case list() | tuple() if len(value) <= 64:
                for index, each in enumerate(value):
                    yield from below(each, paths.item(path, index))

    yield from below(dict(objects), "")


def _bare_tensors(objects: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Those that no module holds, by path: in containers, and in attributes of objects that were handed over by these."""
    seen: dict[int, Any] = {}  # kept alive, so that ids stay their own

    def below(value: Any, path: str, *, by_attributes: bool) -> Iterator[tuple[str, torch.Tensor]]:
        if isinstance(value, str | bytes | int | float | None) or id(value) in seen:
            return
        seen[id(value)] = value
        inside: list[tuple[str, Any]] = []
        match value:
            case torch.Tensor():
                yield path, value
            case nn.Module():
                pass
            case dict() if len(value) <= _MAX_ITEMS:
                inside = [*paths.entries(path, value)]
            case list() | tuple() if len(value) <= _MAX_ITEMS:
                inside = [(paths.item(path, index), each) for index, each in enumerate(value)]
            case HandedByAttributes():
                by_attributes, inside = True, [(path, value.of)]
            case _ if by_attributes and type(value).__module__.partition(".")[0] != "torch":
                own = getattr(value, "__dict__", {})
                inside = [(paths.child(path, name), each) for name, each in own.items()]
        for inner, each in inside:
            yield from below(each, inner, by_attributes=by_attributes)

    for name, each in objects.items():
        yield from below(each, paths.child("", name), by_attributes=False)


def _is_registered(module: nn.Module, name: str) -> bool:
    """Whether it is a parameter or buffer here; it was something else where weights are pruned or reparametrised."""
    return name in module._parameters or name in module._buffers


def _persistent(module: nn.Module) -> Iterator[Any]:
    return (each for name, each in module._buffers.items() if name not in module._non_persistent_buffers_set)


def _unsaved(
    module: nn.Module, attributes: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], str, torch.Tensor]]:
    buffers: Any = module._buffers
    for name in module._non_persistent_buffers_set:
        if isinstance(buffers.get(name), torch.Tensor):
            yield buffers, name, buffers[name]
    for name, value in attributes.items():
        if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
            yield vars(module), name, value


def _fill(holder: dict[str, Any], name: str, live: torch.Tensor, value: Any) -> None:
    value = torch.as_tensor(value)
    if (live.shape, live.dtype) == (value.shape, value.dtype) and live.is_leaf:
        live.copy_(value)
    else:
        holder[name] = value.to(live.device, copy=True)
