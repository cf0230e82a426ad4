"""Who imports whom, and what a robot's computer must not need."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import surefoot

ROOT = Path(surefoot.__file__).parent
LAYERS = ("models", "hardware", "sim", "control", "deploy", "cli")
WORKSTATION = "deploy.workstation."  # what is in it may simulate and learn
PLANT_TYPES = {"hardware.interface", "hardware.plant"}

MODULES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for layer in LAYERS
    for path in (ROOT / layer).rglob("*.py")
)


def allowed(module: str) -> set[str]:
    """The layers that a module may import from, besides its own."""
    layer = module.split(".")[0]
    if module.startswith(WORKSTATION):
        return {"models", "hardware", "sim", "control"}
    return {
        "models": set(),
        "hardware": {"models"},
        "sim": {"models", "hardware"},
        "control": {"models"},
        "deploy": {"models", "hardware"},
        "cli": {"models", "hardware", "sim", "control", "deploy"},
    }[layer]


def imports(module: str) -> set[str]:
    """Modules of this package that a module imports, wherever in its text: `deploy.log`, …"""
    path = ROOT / (module.replace(".", "/") + ".py")
    package = module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            stem = node.module.split(".") if node.module else []
            if node.level:
                stem = ["surefoot", *package[: len(package) - node.level + 1], *stem]
            # `from ..sim import walk` names a module, `from ..sim.walk import WalkEnv` a thing.
            names = [".".join([*stem, alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            words = name.split(".")
            if words[0] != "surefoot":
                continue
            while len(words) > 1 and not _is_module(words[1:]):
                words.pop()
            found.add(".".join(words[1:]))
    return found - {""}


def _is_module(words: list[str]) -> bool:
    path = ROOT.joinpath(*words)
    return path.with_suffix(".py").is_file() or path.is_dir()


def test_the_parser_of_imports_sees_what_is_there():
    found = imports("deploy.workstation.export")
    assert {"models.errors", "models.observation", "models.task", "deploy.contract"} <= found
    assert imports("models.errors") == set()
    assert len(MODULES) > 40


@pytest.mark.parametrize("module", MODULES)
def test_no_import_runs_backwards(module: str):
    layer = module.split(".")[0]
    for imported in imports(module):
        other = imported.split(".")[0]
        if other in LAYERS and other != layer:
            assert other in allowed(module), f"{module} imports {imported}"
        if layer == "sim" and other == "hardware":
            assert imported in PLANT_TYPES, f"{module} imports {imported}"
        if layer == "deploy" and not module.startswith(WORKSTATION):
            assert not imported.startswith(WORKSTATION), f"{module} imports {imported}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_inside_the_package_are_relative(module: str):
    path = ROOT / (module.replace(".", "/") + ".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "surefoot" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").split(".")[0] != "surefoot"


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(['#', *sys.modules]))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(run.stdout.partition("#\n")[2].split())


def test_the_robots_half_needs_no_simulator_and_no_learner():
    modules = [
        f"surefoot.{module}"
        for module in MODULES
        if module.split(".")[0] in ("models", "hardware", "deploy")
        and not module.startswith((WORKSTATION, "hardware.emulated"))
        and not module.endswith("__init__")
    ]
    loaded = loaded_by(f"import {', '.join(modules)}")
    assert {"surefoot.deploy.loop", "onnxruntime", "serial", "mcap"} <= loaded
    assert not {"torch", "onnx", "mujoco", "gymnasium", "matplotlib", "imageio"} & loaded


@pytest.mark.parametrize("verb", ["deploy", "log"])
def test_the_robots_verbs_need_no_simulator_and_no_learner(verb: str):
    loaded = loaded_by(f"import surefoot.cli.{verb}")
    assert not {"torch", "onnx", "mujoco", "gymnasium", "matplotlib", "imageio"} & loaded


def test_control_knows_no_simulator():
    loaded = loaded_by("import surefoot.control.train, surefoot.control.checkpoint")
    assert "torch" in loaded
    assert not {name for name in loaded if name.startswith(("surefoot.sim", "surefoot.deploy"))}


@pytest.mark.parametrize("words", [["--help"], ["--version"], [], ["nonsense"]])
def test_without_a_verb_no_verb_is_imported(words: list[str]):
    loaded = loaded_by(f"from surefoot.__main__ import main; main({words!r})")
    assert "surefoot.__main__" in loaded
    assert not {name for name in loaded if name.startswith("surefoot.cli")}
    assert not {"torch", "mujoco", "onnxruntime", "numpy"} & loaded


def test_a_verb_imports_its_own_module_only():
    from surefoot.__main__ import VERBS

    loaded = loaded_by("from surefoot.__main__ import main; main(['log', 'info', '/missing'])")
    assert loaded & {f"surefoot.cli.{verb}" for verb in VERBS} == {"surefoot.cli.log"}


# --- what is packed ---------------------------------------------------------------------------

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PYPROJECT["tool"]["setuptools"]["packages"]
PACKAGE_DATA = PYPROJECT["tool"]["setuptools"]["package-data"]


def test_every_package_is_listed():
    folders = {path.parent for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
    packages = {".".join(("surefoot", *folder.relative_to(ROOT).parts)) for folder in folders}
    assert packages | {"surefoot"} == set(PACKAGES)
    for folder in folders:
        assert (folder / "__init__.py").is_file()


def test_every_data_file_is_packed():
    endings = ("*.toml", "*.xml", "*.onnx", "*.stl", "*.obj", "*.json", "*.csv", "*.png")
    for layer in LAYERS:
        for ending in endings:
            for path in (ROOT / layer).rglob(ending):
                package = ".".join(("surefoot", *path.parent.relative_to(ROOT).parts))
                patterns = PACKAGE_DATA.get(package, [])
                assert any(path.match(pattern) for pattern in patterns), path
    assert (ROOT / "models/quadruped/robot.toml").is_file()


def test_verbs_and_their_modules_are_the_same():
    pytest.importorskip("torch")
    from surefoot.__main__ import VERBS

    for verb in VERBS:
        module = importlib.import_module(f"surefoot.cli.{verb}")
        assert hasattr(module, "Arguments") or callable(module.arguments_for)
        assert callable(module.run)
