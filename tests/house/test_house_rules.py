"""Small rules of the house that no ready tool checks."""

import ast
import re
import subprocess
import sys
import tomllib

import pytest

FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 400
PARAMETERS_MAX = 6
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "core", "base", "misc", "tools"}
LOG_METHODS = {"debug", "info", "warning", "error", "critical", "exception"}
# Loaded by name, not by import: uvicorn's loop and parser.
NAMED_ONLY = {"httptools"}
TOP_LEVEL = {
    *("CHANGELOG.md", "Dockerfile", "LICENSE", "Makefile", "README.md", "deploy", "docs"),
    *("fixtures", "gateway", "models", "pyproject.toml", "requirements.lock", "tests"),
}
MODULE_OF = {"python-pkcs11": "pkcs11", "prometheus-client": "prometheus_client", "fhir-resources": "fhir"}


def functions(module):
    return (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_functions_and_modules_stay_small(tree):
    """No function is longer than 60 lines or takes more than 6 parameters, no module is longer than 400 lines."""
    found = []
    for path, module in tree.modules():
        if len(tree.text(path).splitlines()) > MODULE_LINES_MAX:
            found.append(path)
        for function in functions(module):
            lines = function.end_lineno - function.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                found.append(f"{path}:{function.name} has {lines} lines")
            names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args) if argument.arg not in {"self", "cls"}]
            if len(names) > PARAMETERS_MAX and not path.startswith("gateway/cli/"):
                found.append(f"{path}:{function.name} takes {len(names)} positional parameters")
    assert found == []


def test_modules_are_named_after_what_they_hold(tree):
    """No module or room has a name that says nothing."""
    assert [path for path, _ in tree.modules() if EMPTY_NAMES & set(path.removesuffix(".py").split("/"))] == []


def test_tests_say_what_holds(tree):
    """Every test has a docstring that is a sentence about behaviour, and every test file has a name of its own."""
    silent, names = [], []
    for path in sorted((tree.root / "tests").rglob("test_*.py")):
        names.append(path.name)
        for function in functions(ast.parse(path.read_text(encoding="utf-8"))):
            said = ast.get_docstring(function) or ""
            if function.name.startswith("test_") and not said.rstrip().endswith((".", "?", "!")):
                silent.append(f"{path.relative_to(tree.root)}:{function.name}")
    assert silent == []
    assert len(names) == len(set(names))


def test_log_events_are_literals(tree):
    """What is logged as an event is a literal: nothing is formatted into it."""
    found = []
    for path, module in tree.modules():
        for node in ast.walk(module):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOG_METHODS):
                continue
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in {"log", "_log", "logger"}:
                event = node.args[0] if node.args else None
                if not (isinstance(event, ast.Constant) and isinstance(event.value, str)):
                    found.append(f"{path}:{node.lineno}")
    assert found == []


def test_models_are_data(tree):
    """The package names no model but in its published scores: adding a model touches no code."""
    names = sorted(manifest.parents[1].name for manifest in tree.root.glob("models/*/*/manifest.toml"))
    assert names
    pattern = re.compile(rf"(?<![A-Za-z0-9_-])({'|'.join(map(re.escape, names))})(?![A-Za-z0-9_-])")
    found = []
    for path, module in tree.modules():
        if path.startswith("gateway/scores/"):
            continue
        spoken = {id(node.body[0].value) for node in ast.walk(module) if _has_docstring(node)}
        for node in ast.walk(module):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken and pattern.search(node.value):
                found.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.Name) and node.id.lower() in names:
                found.append(f"{path}:{node.lineno}")
    assert found == []


def _has_docstring(node):
    holds = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return holds and ast.get_docstring(node) is not None


def test_what_is_imported_is_declared_and_what_is_declared_is_imported(tree):
    """The dependencies of the package are the packages it imports, no more and no less."""
    project = tomllib.loads(tree.text("pyproject.toml"))["project"]
    lines = [*project["dependencies"], *(line for extra in ("cpu", "aws", "pkcs11") for line in project["optional-dependencies"][extra])]
    declared = {re.split(r"[<>=;!~ \[]", line)[0] for line in lines}
    declared = {MODULE_OF.get(name, name) for name in declared}
    imported = {name.split(".")[0] for _, name in tree.imports()} - set(sys.stdlib_module_names) - {"gateway"}
    assert imported - declared == set()
    assert declared - imported == NAMED_ONLY


def tracked(tree):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=tree.root, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: what is tracked is not known")
    return [tree.root / name for name in listed.stdout.decode().split("\0") if name]


def test_the_top_level_is_the_agreed_one(tree):
    """Whoever opens the repository sees the agreed names and dot files, nothing else."""
    names = {path.relative_to(tree.root).parts[0] for path in tracked(tree)}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL


def test_no_tracked_file_names_a_machine_or_a_registry(tree):
    """Nothing in the repository depends on, or tells about, the machine it was made on or the index it was built from."""
    hosts = (
        "pypi" + ".org",
        "files.python" + "hosted.org",
        "registry.npm" + "js.org",
        "repo1.maven" + ".org",
        "proxy.golang" + ".org",
        "--index" + "-url",
    )
    pattern = re.compile(rb"(?<![\w.])/(?:(?:work|root)/\w|home/\w+/)|" + b"|".join(re.escape(host.encode()) for host in hosts))
    allowed = {"Makefile"}  # names the option that keeps index addresses out of the lock
    found = []
    for path in tracked(tree):
        name = path.relative_to(tree.root).as_posix()
        if path.is_file() and name not in allowed and pattern.search(path.read_bytes()):
            found.append(name)
    assert found == []


@pytest.mark.parametrize("lock", ["requirements.lock", "deploy/requirements-runtime.lock"])
def test_locks_pin_every_package_by_hash(tree, lock):
    """Every requirement is one exact version with at least one hash, and no address of an index."""
    requirements = re.split(r"\n(?=[a-z0-9])", tree.text(lock).split("\n", 2)[2])
    for requirement in requirements:
        assert re.match(r"[a-z0-9.-]+==\S+( ; .+)? \\\n    --hash=sha256:[0-9a-f]{64}", requirement), requirement.splitlines()[0]
    assert "http" not in {line.split("==")[0] for line in tree.text(lock).splitlines()}
    assert "://" not in tree.text(lock)


def test_runtime_lock_is_a_part_of_the_whole_lock(tree):
    """The image runs the very versions that were tested."""

    def pins(lock):
        return {line.removesuffix(" \\") for line in tree.text(lock).splitlines() if "==" in line}

    assert pins("deploy/requirements-runtime.lock") < pins("requirements.lock")


def test_links_in_the_documents_lead_somewhere(tree):
    """Every relative link in README and docs/ points to a file that exists."""
    pages = [tree.root / "README.md", *sorted((tree.root / "docs").rglob("*.md"))]
    broken = [
        f"{page.relative_to(tree.root)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []
