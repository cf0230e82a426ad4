"""What people get from `pip install surefoot`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import surefoot

ROOT = Path(surefoot.__file__).parent
LAYERS = ("models", "hardware", "sim", "control", "deploy", "cli")
DATA = (".toml", ".xml", ".onnx")


def contents() -> set[str]:
    """What the tree has for the wheel, as paths in it."""
    paths = list(ROOT.glob("*.py"))
    for layer in LAYERS:
        paths += [p for p in (ROOT / layer).rglob("*") if p.suffix in (".py", *DATA)]
    return {f"surefoot/{path.relative_to(ROOT).as_posix()}" for path in paths}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without the network, from a copy: building leaves things behind."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for path in [*ROOT.glob("*.py"), *ROOT.glob("*.toml"), *ROOT.glob("*.md")]:
        shutil.copy(path, tree)
    for name in (*LAYERS, "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    words = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(tree)]
    run = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_what_the_tree_holds(wheel: Path):
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
        robot = file.read("surefoot/models/quadruped/robot.toml")
    assert names == contents()
    assert {"surefoot/__main__.py", "surefoot/models/quadruped/quadruped.xml"} <= names
    assert not [name for name in names if "test" in name or "pycache" in name]
    assert robot == (ROOT / "models" / "quadruped" / "robot.toml").read_bytes()


@pytest.mark.slow
def test_the_wheel_needs_no_simulator_and_no_learner(wheel: Path):
    with zipfile.ZipFile(wheel) as file:
        (name,) = (n for n in file.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = file.read(name).decode()
        (name,) = (n for n in file.namelist() if n.endswith(".dist-info/entry_points.txt"))
        scripts = file.read(name).decode()
    needed = [
        line.removeprefix("Requires-Dist: ")
        for line in metadata.splitlines()
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    ]
    names = {line.split(">=")[0].split(";")[0].strip() for line in needed}
    assert {"numpy", "onnxruntime", "pyserial", "mcap", "tyro", "rich"} <= names
    assert not {"torch", "mujoco", "gymnasium", "onnx"} & names
    assert "surefoot = surefoot.__main__:main" in scripts


@pytest.mark.slow
def test_the_wheel_works_where_it_is_installed(wheel: Path, tmp_path: Path):
    """Unpacked elsewhere, found before the tree, it knows its robot."""
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "import surefoot; from surefoot.models.robot_file import load_robot; "
        "print(surefoot.__file__, len(load_robot('quadruped').joints))"
    )
    words = [sys.executable, "-c", code]
    run = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=True)
    file_name, joints = run.stdout.split()
    assert Path(file_name).is_relative_to(tmp_path)
    assert joints == "12"
