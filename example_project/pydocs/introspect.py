"""Read the documentation of Python packages from a running interpreter.

Importing every module of a package can print, warn, open windows or end the process, so
it happens in a child process: :func:`read_docs` starts this very file as a script, which
needs nothing but the standard library, and reads what it found as one JSON document.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
import types
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import packages_distributions
from types import ModuleType
from typing import Any

STANDARD_LIBRARY = "stdlib"
"""The name that stands for all modules of the standard library."""

TIMEOUT = 600.0
"""Time limit of the child process, in seconds."""

# Modules that open a browser or a window, need another platform, or document nothing.
# fmt: off
SKIPPED = frozenset((
    "antigravity", "distutils", "encodings", "idlelib", "lib2to3", "msilib", "msvcrt", "nt",
    "ntpath", "nturl2path", "posix", "posixpath", "pydoc_data", "rlcompleter", "this",
    "tkinter", "turtle", "turtledemo", "winreg", "winsound",
))
# fmt: on
SKIPPED_PARTS = frozenset({"test", "tests", "testing", "conftest", "migrations", "setup"})
SIGNATURE = re.compile(r"[\w.]+\(.*\)(\s*->\s*.*)?")
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
ROUTINES = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.MethodType,
)
PROPERTIES = (
    property,
    functools.cached_property,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
BOILERPLATE = re.compile(
    r"Alias for field number|Structure/Union member|An enumeration\.$|\*\*DEPR"
)
SIMPLE_DEFAULTS = (type(None), bool, int, float, str, bytes)
MAX_SIGNATURE = 300
MAX_DEFAULT = 40


class UnknownPackageError(Exception):
    """No package of this name is installed."""


class UnreadablePackageError(Exception):
    """Nothing could be read from the package."""


@dataclass(frozen=True)
class Doc:
    """The documentation of one module, class, function, method or property."""

    qualified_name: str
    module: str
    kind: str
    signature: str
    summary: str
    docstring: str
    package: str


def read_docs(package: str) -> list[Doc]:
    """Everything public and documented in a package, ordered by qualified name.

    Args:
        package: A package or module by its import name, or :data:`STANDARD_LIBRARY`.

    Raises:
        UnknownPackageError: It is not installed.
        UnreadablePackageError: It could not be imported, took longer than
            :data:`TIMEOUT`, or documents nothing.
    """
    if package != STANDARD_LIBRARY and not _is_installed(package):
        raise UnknownPackageError(_unknown(package))
    command = [sys.executable, "-P", "-X", "utf8", "-W", "ignore", __file__, package]
    environment = {
        name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
    }
    try:
        found = subprocess.run(
            command, env=environment, capture_output=True, timeout=TIMEOUT, check=True
        )
        docs = [Doc(**entry) for entry in json.loads(found.stdout)]
    except subprocess.TimeoutExpired:
        raise UnreadablePackageError(
            f"Importing the modules of {package!r} took longer than {TIMEOUT:.0f} seconds."
        ) from None
    except (subprocess.CalledProcessError, ValueError):
        raise UnreadablePackageError(
            f"The modules of {package!r} end the interpreter that imports them."
        ) from None
    if not docs:
        raise UnreadablePackageError(
            f"{package!r} cannot be imported, or has nothing public with a docstring."
        )
    return docs


def _is_installed(package: str) -> bool:
    top = package.partition(".")[0]
    if not package.replace(".", "_").isidentifier():
        return False
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _unknown(package: str) -> str:
    wanted = package.lower().replace("-", "_")
    imports = [
        import_name
        for import_name, distributions in packages_distributions().items()
        if wanted in (name.lower().replace("-", "_") for name in distributions)
    ]
    public = sorted(name for name in imports if not name.startswith("_"))
    if public:
        return f"{package!r} is a distribution; name what it imports as: {', '.join(public)}."
    return (
        f"No package {package!r} is installed for {sys.executable}. Give the name that an "
        f"import statement uses, and install it first."
    )


def collect(package: str) -> list[Doc]:
    """The same as :func:`read_docs`, in this process: for the child only."""
    seen: set[int] = set()
    docs: dict[str, Doc] = {}
    modules = sorted(_modules(package), key=lambda pair: (pair[0].count("."), pair[0]))
    for module_name, module in modules:
        for doc in _doc(module_name, module_name, "module", module, package):
            docs.setdefault(doc.qualified_name, doc)
        for name, member in _public_members(module):
            if id(member) in seen:  # the same object under a second name
                continue
            seen.add(id(member))
            for doc in _describe(module_name, name, member, package):
                docs.setdefault(doc.qualified_name, doc)
    return sorted(docs.values(), key=lambda doc: doc.qualified_name)


def _modules(package: str) -> Iterator[tuple[str, ModuleType]]:
    names: Iterable[str] = [package]
    if package == STANDARD_LIBRARY:
        names = sorted(sys.stdlib_module_names - SKIPPED)
        yield "os.path", os.path
    for name in names:
        if not name.startswith("_"):
            yield from _walk(name)


def _walk(name: str) -> Iterator[tuple[str, ModuleType]]:
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit):  # another platform, a missing library, a script
        return
    yield name, module
    for child in sorted(
        pkgutil.iter_modules(getattr(module, "__path__", ())), key=lambda c: c.name
    ):
        if not child.name.startswith("_") and child.name not in SKIPPED_PARTS:
            yield from _walk(f"{name}.{child.name}")


def _public_members(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield what a module exports, and what it defines under a public name."""
    exported = set(map(str, getattr(module, "__all__", ())))
    for name in sorted(exported | set(vars(module))):
        try:
            member = getattr(module, name)
            if name.startswith("_") or _kind(member) not in ("class", "function"):
                continue
            if name in exported or _is_at_home(member, module):
                yield name, member
        except Exception:  # a lazy object that wants settings, a missing attribute
            continue


def _is_at_home(member: Any, module: ModuleType) -> bool:
    """Return whether a member belongs to a module that does not say what it exports: defined
    there, behind it in a private module, or gathered by a package from its modules."""
    owner = str(getattr(member, "__module__", None) or module.__name__)
    if owner == module.__name__:
        return True
    top, home = owner.partition(".")[0], module.__name__.partition(".")[0]
    is_private = any(part.startswith("_") for part in owner.split("."))
    return top.lstrip("_") == home and (is_private or hasattr(module, "__path__"))


def _kind(member: Any) -> str:
    # By the type, not with isinstance: asking a lazy object for its class can run code.
    kind = type(member)
    if issubclass(kind, type):
        return "class"
    if issubclass(kind, ROUTINES):
        return "function"
    return "property" if issubclass(kind, PROPERTIES) else ""


def _describe(module: str, name: str, member: Any, package: str) -> Iterator[Doc]:
    prefix = f"{module}.{name}"
    kind = _kind(member)
    yield from _doc(prefix, module, kind, member, package)
    if kind == "class":
        for own_name in sorted(vars(member)):
            own = vars(member)[own_name]
            if type(own) in (staticmethod, classmethod):
                own = own.__func__
            own_kind = {"function": "method", "property": "property"}.get(_kind(own), "")
            if own_kind and not own_name.startswith("_"):
                yield from _doc(f"{prefix}.{own_name}", module, own_kind, own, package, member)


def _doc(
    name: str, module: str, kind: str, member: Any, package: str, owner: type | None = None
) -> Iterator[Doc]:
    text = _docstring(member, kind, name, owner)
    if not text:
        return
    signature = "" if kind in ("module", "property") else _signature(member)
    # Functions written in C often open with their signature instead of a sentence.
    first, _, rest = text.partition("\n")
    if SIGNATURE.fullmatch(first):
        signature, rest = signature or first[first.index("(") :], rest.strip()
    else:
        rest = text
    summary = " ".join(re.split(r"\n\s*\n", rest, maxsplit=1)[0].split())
    if summary and not BOILERPLATE.match(summary):
        yield Doc(name, module, kind, signature[:MAX_SIGNATURE], summary, text, package)


def _docstring(member: Any, kind: str, name: str, owner: type | None) -> str:
    """The member's own docstring, or the one a method or property inherits."""
    text = vars(member).get("__doc__") if kind == "class" else getattr(member, "__doc__", None)
    if not text and owner is not None:
        own_name = name.rpartition(".")[2]
        inherited = [vars(base)[own_name] for base in owner.__mro__ if own_name in vars(base)]
        text = next((a.__doc__ for a in inherited if getattr(a, "__doc__", None)), None)
    if not isinstance(text, str):
        return ""
    text = ADDRESS.sub("", inspect.cleandoc(text)).replace("\x00", "")
    return text.encode("utf-8", "replace").decode()


def _signature(member: Any) -> str:
    """Return the signature with simple defaults only: others differ from run to run, or hold
    private data, such as the environment."""
    try:
        signature = inspect.signature(member)
    except Exception:
        return ""
    parameters = []
    for parameter in signature.parameters.values():
        default = parameter.default
        if default is not parameter.empty and not (
            isinstance(default, SIMPLE_DEFAULTS) and len(repr(default)) <= MAX_DEFAULT
        ):
            parameter = parameter.replace(default=...)
        parameters.append(parameter.replace(annotation=parameter.empty))
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty)).replace(
        "Ellipsis", "..."
    )


def main() -> None:
    """Print the documents of the package named on the command line."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        # Whatever the imports print, also from C, must not mix with the answer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        warnings.simplefilter("ignore")
        docs = collect(sys.argv[1])
        json.dump([asdict(doc) for doc in docs], answer)
    os._exit(0)  # without the exit handlers of everything that was imported


if __name__ == "__main__":
    main()
