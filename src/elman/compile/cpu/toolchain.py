"""From the text of LLVM IR to machine code in this process."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

from elman.compile.cpu import store
from elman.compile.cpu.target import Target, initialise


def compile_object(source: str, target: Target) -> bytes:
    """Compile LLVM IR.

    Args:
        source: the text of a module; its triple and data layout are set here.
        target: what to compile for; need not be this machine.

    Returns:
        A relocatable object file (ELF).

    Raises:
        RuntimeError: the IR is malformed; a defect of its generator.
    """
    machine = _machine(target)
    return machine.emit_object(_optimised(source, machine))


def assembly(source: str, target: Target) -> str:
    """As :func:`compile_object`, as assembly text for people and tests to read."""
    machine = _machine(target)
    return machine.emit_assembly(_optimised(source, machine))


def _machine(target: Target) -> llvm.TargetMachine:
    initialise()
    # Position-independent code in the small model: constants are reached relative to the instruction, and the linker
    # in this process puts a stub before each call that leaves the object, however far it goes.
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="small"
    )


def _optimised(source: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    # A context of its own: the global one keeps every type and constant that it ever saw.
    module = llvm.parse_assembly(source, llvm.create_context())
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    # What should be a vector is one already.
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_interleaving = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


class Code:
    """Machine code, loaded until the process ends: nobody can know what still holds an address of it.

    Each object is a library of its own, so that equal names in two of them do not meet. What an object declares but
    does not define (``expf``, ``memset``) is looked up in the process.

    Args:
        image: an object file for this machine.
    """

    _loaded = 0

    def __init__(self, image: bytes) -> None:
        with _lock:
            Code._loaded += 1
            self._library = f"elman{Code._loaded}"
            builder = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
            # A tracker that is dropped unloads its code; one that is detached does not.
            builder.link(_linker(), self._library).detach()
        self._addresses: dict[str, int] = {}

    def address(self, name: str) -> int:
        """Where a function begins.

        Args:
            name: the function's name in the IR.

        Raises:
            RuntimeError: the code has no such function, or some function in it calls what this process lacks.
        """
        if name not in self._addresses:
            with _lock:
                tracker = _linker().lookup(self._library, name)
                self._addresses[name] = tracker[name]
                tracker.detach()
        return self._addresses[name]


def load_code(key: str, source: Callable[[], str], target: Target) -> Code:
    """The machine code that belongs to a key: from this process, from the disk, or compiled.

    Args:
        key: says all that decides about the source, beside this package's own code.
        source: gives the IR; called only if it must be compiled.
        target: what to compile for; must be this machine or less.

    Raises:
        RuntimeError: the IR is malformed.
    """
    key = f"{_generator()} {key}"
    code = _codes.get((key, target))
    if code is None:
        with _lock:
            code = _codes.get((key, target))
            if code is None:
                code = _codes[key, target] = Code(_image(key, source, target))
    return code


@cache
def _generator() -> str:
    """A digest of the code that writes IR: with another one nothing that was compiled before counts."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*here.glob("*.py"), *(here.parent.parent / "equations").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _image(key: str, source: Callable[[], str], target: Target) -> bytes:
    image = store.read(key, target)
    if image is None:
        image = compile_object(source(), target)
        store.write(key, target, image)
    return image


def _linker() -> llvm.LLJIT:
    if not _linkers:
        initialise()
        # JITLink lays an object's parts side by side, so that they reach each other wherever the block lies.
        _linkers.append(llvm.create_lljit_compiler(use_jit_link=True, suppress_errors=True))
    return _linkers[0]


_codes: dict[tuple[str, Target], Code] = {}
_linkers: list[llvm.LLJIT] = []
# One lock for all: LLVM works for one thread at a time anyway. It is held over a fork, lest the child inherit it locked
# by a thread that it does not have.
_lock = threading.RLock()
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
