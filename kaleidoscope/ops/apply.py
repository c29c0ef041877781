"""Any function of an array as an op."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, op

if TYPE_CHECKING:
    from numpy.typing import NDArray


@op
class Apply(Op):
    """A function of an array, of your own or another library's.

    It gets a copy of the pixels, shape (H, W, C), and returns as many of the same dtype. It must be importable, so that
    workers find it and a recipe can name it, and deterministic: what it draws itself is not recorded. It leaves pixels
    in their places, as labels stay in theirs: what moves pixels is an op of its own (see docs/own-ops.md).

    Parameters
    ----------
    fn : callable or str
        The function, or its dotted name such as ``"scipy.ndimage:laplace"``; stored as the name.
    resources : mapping of str to float
        What a worker must have to run it, such as ``{"GPU": 1}``, by the names that workers are started with. The tree
        is cut there: what comes before and after it runs on any worker.

    Examples
    --------
    >>> Apply(np.invert)
    Apply('numpy:invert')
    >>> Apply(np.invert, resources={"GPU": 1})
    Apply('numpy:invert', resources={'GPU': 1})
    """

    fn: str | Callable[[NDArray[Any]], NDArray[Any]]
    resources: Mapping[str, float] = field(default_factory=dict, hash=False)

    short_name = "apply"

    def __post_init__(self) -> None:
        """Replace the function by its name.

        Raises
        ------
        RecipeError
            If it cannot be imported by it: a lambda, or one defined inside a function or a notebook. If its
            resources are no amounts above 0.
        """
        if callable(self.fn):
            object.__setattr__(self, "fn", _name_of(self.fn))
        elif not isinstance(self.fn, str) or self.fn.count(":") != 1:
            raise RecipeError(f"Apply({self.fn!r}): expected a function or its name, such as 'package.module:function'")
        fields.amounts(self, "resources", expected="names of resources and how much of each, such as {'GPU': 1}")

    def __repr__(self) -> str:
        """Write it as it would be typed."""
        needs = f", resources={dict(self.resources)!r}" if self.resources else ""
        return f"Apply({self.fn!r}{needs})"

    def function(self) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """Import the function.

        Raises
        ------
        OpError
            If it is not there.
        """
        module, _, name = str(self.fn).partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise OpError(f"Apply({self.fn!r}): cannot import it: {error}") from error
        return found  # type: ignore[no-any-return]

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Call the function.

        Raises
        ------
        OpError
            If it raises, or returns something else than pixels of the same shape and dtype.
        """
        function = self.function()
        try:
            result = function(src.copy())
        except (Exception, SystemExit) as error:  # one that gives up by sys.exit() must not end a worker
            raise OpError(f"Apply({self.fn!r}) raised {type(error).__name__}: {error}") from error
        if isinstance(result, np.ndarray) and result.ndim == 2 and out.shape[2] == 1:
            result = result[..., np.newaxis]
        if not isinstance(result, np.ndarray) or result.shape != out.shape or result.dtype != out.dtype:
            came = f"{result.shape} {result.dtype}" if isinstance(result, np.ndarray) else type(result).__name__
            raise OpError(
                f"Apply({self.fn!r}): expected {out.shape} {out.dtype} to come back, got {came}; let the function "
                f"return the shape it was given, .astype({out.dtype.name!r})"
            )
        np.copyto(out, result)


def _name_of(function: Callable[..., Any]) -> str:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if isinstance(function, np.ufunc):
        module, name = "numpy", function.__name__
    text = f"{module}:{name}"
    try:
        found: Any = importlib.import_module(str(module))
        for part in str(name).split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        found = None
    if found is not function or module == "__main__":
        raise RecipeError(
            f"Apply({function!r}): expected a function that workers can import: put it into a module of its own"
        )
    return text
