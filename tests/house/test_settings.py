"""Settings: where they come from, what is refused, and when the gateway will not start."""

import msgspec
import pytest

from gateway.config import Settings, SettingsError, load_settings, render_documentation
from gateway.config_safety import check_settings, require_safe

PRODUCTION = {"profile": "production"}


def written(tmp_path, text):
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return path


def settings(document):
    return msgspec.convert(document, Settings)


def test_nothing_given_is_a_safe_development_gateway():
    """Without file and environment the gateway is a development one on loopback, and nothing is unsafe."""
    loaded = load_settings(None, {})
    assert (loaded.profile, loaded.server.host) == ("development", "127.0.0.1")
    assert check_settings(loaded) == ()


def test_environment_wins_over_the_file(tmp_path):
    """A variable overrides the file's value, as the kind of value that the setting has."""
    path = written(tmp_path, '[server]\nport = 1\nhost = "::1"\n[models]\nenabled = ["x"]\n[cds.thresholds]\nx = 0.2\n')
    environ = {
        "GATEWAY_CONFIG": str(path),
        "GATEWAY__SERVER__PORT": "9000",
        "GATEWAY__MODELS__ENABLED": "a, b",
        "GATEWAY__SERVER__OPENAPI": "true",
        "GATEWAY__SERVER__DEADLINE_REST_S": "2.5",
        "HOME": "x",
    }
    loaded = load_settings(None, environ)
    assert (loaded.server.port, loaded.server.host, loaded.server.openapi, loaded.server.deadline_rest_s) == (9000, "::1", True, 2.5)
    assert loaded.models.enabled == ("a", "b")
    assert loaded.cds.thresholds == {"x": 0.2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1", "unknown setting 'server.prot'; did you mean 'port'?"),
        ("[sever]\nport = 1", "unknown setting 'sever'; did you mean 'server'?"),
        ("proflie = 'production'", "unknown setting 'proflie'; did you mean 'profile'?"),
        ("zzz = 1", "unknown setting 'zzz'"),
        ("[server]\nport = '80'", "Expected `int`, got `str` - at `$.server.port`"),
        ("[server]\nport = 70000", "at `$.server.port`"),
        ("[fhir]\nbatch = 'often'", "at `$.fhir.batch`"),
        ("[audit]\nwait_s_max = 0", "at `$.audit.wait_s_max`"),
        ("server = 1", "at `$.server`"),
        ("[server", "not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(tmp_path, text, words):
    """An unknown key, a wrong kind or a value out of range is refused, and the text says where and what was meant."""
    with pytest.raises(SettingsError) as raised:
        load_settings(written(tmp_path, text), {})
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GATEWAY__SERVER__PROT", "1", "unknown setting; did you mean 'port'?"),
        ("GATEWAY__SERVR__PORT", "1", "there is no section [servr]; did you mean 'server'?"),
        ("GATEWAY__SERVER", "1", "unknown setting"),
        ("GATEWAY__", "1", "unknown setting"),
        ("GATEWAY__SERVER__PORT", "many", "Expected `int`"),
        ("GATEWAY__CDS__THRESHOLDS", "x", "a table can only be set in the file"),
        ("GATEWAY__CDS__THRESHOLDS__X", "1", "a table can only be set in the file"),
    ],
)
def test_a_mistake_in_the_environment_is_named_with_its_variable(variable, value, words):
    """A variable that means nothing is refused like a key of the file."""
    with pytest.raises(SettingsError) as raised:
        load_settings(None, {variable: value})
    assert variable in str(raised.value)
    assert words in str(raised.value)


def test_a_missing_file_is_refused(tmp_path):
    """A file that was named must be there."""
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "absent.toml", {})


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"server": {"host": "0.0.0.0"}}, "server.host"),  # noqa: S104 - the unsafe value under test
        ({"fhir": {"base_url": "http://ehr.example/fhir"}}, "fhir.base_url is not https"),
        ({"fhir": {"base_url": "ftp://ehr.example/fhir"}}, "fhir.base_url is not an http or https address"),
        ({"fhir": {"base_url": "https://user:secret@ehr.example/fhir"}}, "fhir.base_url holds a user"),
        (PRODUCTION, "no identities are configured"),
        (PRODUCTION, "audit.key_file is the default"),
        ({**PRODUCTION, "audit": {"key_file": "var/other.json"}}, "audit.key_file lies on the database's device"),
        ({**PRODUCTION, "clock": {"offset_days": 1}}, "clock.offset_days"),
        ({**PRODUCTION, "server": {"openapi": True}}, "server.openapi"),
        ({**PRODUCTION, "fhir": {"base_url": "http://127.0.0.1/fhir"}}, "fhir.base_url is not https"),
    ],
)
def test_unsafe_settings_refuse_to_start(document, words):
    """What would expose patients, or spoil every age of a value, is a reason not to start; no secret is repeated."""
    with pytest.raises(SettingsError) as raised:
        require_safe(settings(document))
    assert words in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "document",
    [
        {"fhir": {"base_url": "http://127.0.0.1:8080/fhir"}},
        {"fhir": {"base_url": "https://ehr.example/fhir"}},
        {"clock": {"offset_days": 3650}},
        {"server": {"openapi": True, "host": "::1"}},
    ],
)
def test_development_allows_what_harms_nobody(document):
    """On loopback, under the development profile, trying out is allowed; in production none of these starts."""
    require_safe(settings(document))
    with pytest.raises(SettingsError):
        require_safe(settings({**document, "profile": "production"}))


def test_the_page_shows_every_default():
    """The generated page lists a setting of each kind with its default."""
    page = render_documentation()
    for row in ("| `port` | whole number | `8000` |", "| `openapi` | true or false | `false` |", "| `enabled` | list of text | none |"):
        assert row in page
