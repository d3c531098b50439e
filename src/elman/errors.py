"""The errors that a user is meant to read.

Every error that is a user's to mend is an :class:`ElmanError`: one or two sentences that say what was wrong, where, and
what would work. The command line prints the sentence and exits with :attr:`ElmanError.exit_code`.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class ElmanError(Exception):
    """Base of all errors that a user can mend; its text is complete as it stands."""

    exit_code = 1


class MisuseError(ElmanError):
    """The request itself cannot be carried out: a bad argument, file or recurrence (exit code 2)."""

    exit_code = 2


class FailureError(ElmanError):
    """The request was sound, but carrying it out failed: full disk, exploded loss, damaged run (exit code 1)."""

    exit_code = 1


class CancelledError(FailureError):
    """Somebody asked for the work to stop before it was done."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library where it is used.

    Args:
        module: the module to import, such as ``"matplotlib"``.
        extra: the extra of the ``elman`` distribution that brings it.

    Returns:
        The imported module.

    Raises:
        MisuseError: the library is not installed; the text names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MisuseError(
            f"This needs {module.partition('.')[0]}, which is not installed ({error}). "
            f"Install it with: pip install 'elman[{extra}]'"
        ) from error
