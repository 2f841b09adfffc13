"""Pages that are generated from the code, and the code they are generated from."""

import ast
import inspect

import msgspec

from gateway import config, errors

ERROR_CLASSES = {
    name: kind.http_status for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.GatewayError)
}


def settings_of(section, place=""):
    for field in msgspec.structs.fields(section):
        kind = field.type
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from settings_of(kind, f"{place}{field.name}.")
        else:
            yield f"{place}{field.name}", kind


def test_configuration_page_is_what_the_settings_say(tree):
    """docs/configuration.md is up to date (`make docs`)."""
    assert tree.text("docs/configuration.md") == config.render_documentation()


def test_every_setting_is_explained():
    """Every setting has an explanation beside it, in a sentence."""
    unexplained = [
        name
        for name, kind in settings_of(config.Settings)
        if not getattr(msgspec.inspect.type_info(kind), "extra_json_schema", {}).get("description", "").strip().endswith(".")
    ]
    assert unexplained == []


def test_every_setting_has_an_effect(tree):
    """Every setting is read by a module that is given the settings."""
    given = {path for path, name in tree.imports() if name == "gateway.config"}
    read = {node.attr for path, module in tree.modules() if path in given for node in ast.walk(module) if isinstance(node, ast.Attribute)}
    assert [name for name, _ in settings_of(config.Settings) if name.rsplit(".", maxsplit=1)[-1] not in read] == []


def test_error_page_is_what_the_codes_say(tree):
    """docs/errors.md is up to date (`make docs`) and holds every code."""
    assert tree.text("docs/errors.md") == errors.render_documentation()
    assert set(errors.CODES) == set(errors.ErrorCode)


def test_codes_are_raised_with_the_status_the_page_promises(tree):
    """Wherever an error is made, its class has one of the statuses that the page gives for its code."""
    made = []
    for path, module in tree.modules():
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERROR_CLASSES and node.args:
                code = node.args[0]
                if isinstance(code, ast.Attribute) and isinstance(code.value, ast.Name) and code.value.id == "ErrorCode":
                    made.append((path, errors.ErrorCode[code.attr], ERROR_CLASSES[node.func.id]))
    assert len(made) > 20
    assert [(path, code.value, status) for path, code, status in made if status not in errors.CODES[code].statuses] == []


def test_every_metric_is_fed(tree):
    """No metric is declared that nothing counts: a series that stays at zero says something false."""
    declared = {
        target.id
        for node in ast.parse(tree.text("gateway/telemetry.py")).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in {"ClosedCounter", "ClosedHistogram"}
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    used = {
        node.func.value.id
        for _, module in tree.modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"add", "observe"}
        if isinstance(node.func.value, ast.Name)
    }
    assert declared
    assert declared - used == set()
