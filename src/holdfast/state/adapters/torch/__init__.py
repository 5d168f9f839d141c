"""torch: tensors, also sparse and nested ones, its random generators, its sizes, element types and devices."""

import torch

from ..values import Value as _Value
from ._generator import Generator as _Generator
from ._memory import make_tensor as _make_tensor
from ._proof import proof_of_module, proof_of_optimizer
from ._sharded import Sharded as _Sharded
from ._sharded import address_of, is_sharded, local_of, sharded_as, spread_as, token_of, version_of
from ._tensors import NESTED as _NESTED
from ._tensors import SPARSE as _SPARSE
from ._tensors import Tensor as _Tensor
from ._tensors import is_expanded

_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}

ADAPTERS = (
    _Sharded(),
    _Tensor(),
    _SPARSE,
    _NESTED,
    _Generator(),
    _Value(torch.Size, list, torch.Size),
    _Value(torch.dtype, str, _DTYPES.__getitem__),
    _Value(torch.device, str, torch.device),
)
MAKERS = {"torch": _make_tensor}

__all__ = [
    "ADAPTERS",
    "MAKERS",
    "address_of",
    "is_expanded",
    "is_sharded",
    "local_of",
    "proof_of_module",
    "proof_of_optimizer",
    "sharded_as",
    "spread_as",
    "token_of",
    "version_of",
]
