"""The settings: where values come from, what is refused, and the annotated file that lists them all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from gateway.errors import ConfigError
from gateway.settings import Settings, load
from publisher.options import MAX_PARTITIONS

ETC = Path(__file__).parents[2] / "etc"
SECRET = "topsecret-" * 4
WEAK = "weaksecret"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("GATEWAY_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.yaml"


def refusal(path: Path | None = None, **overrides: Any) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        load(path, **overrides)
    return refused.value


# Where values come from


def test_defaults_are_enough() -> None:
    settings = load()
    assert (settings.mode, settings.listen.port, settings.log.retention_s) == ("production", 8889, 600)


def test_file_wins_over_defaults(file: Path) -> None:
    file.write_text("listen: {port: 9000}")
    settings = load(file)
    assert (settings.listen.port, settings.listen.backlog) == (9000, 4096)


def test_environment_wins_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("listen: {port: 9000, host: 127.0.0.1}")
    monkeypatch.setenv("GATEWAY_LISTEN__PORT", "9001")
    settings = load(file)
    assert (settings.listen.port, settings.listen.host) == (9001, "127.0.0.1")


def test_overrides_win_over_the_file(file: Path) -> None:
    file.write_text("listen: {port: 9000, host: 127.0.0.1}")
    settings = load(file, listen={"port": 9002})
    assert (settings.listen.port, settings.listen.host) == (9002, "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("GATEWAY_REDIS__URL", "redis://r:1/0", lambda s: s.redis_url == "redis://r:1/0"),
        ("GATEWAY_AUTH__SECRET", SECRET, lambda s: s.auth.secret.get_secret_value() == SECRET),
        ("GATEWAY_LISTEN__HOST", "::1", lambda s: s.listen.host == "::1"),
        ("GATEWAY_HTTP__PORT", "1", lambda s: s.http.port == 1),
        ("GATEWAY_INSTANCE__ID", "gw-1", lambda s: s.instance_id == "gw-1"),
        ("GATEWAY_LOG__RETENTION_S", "60", lambda s: s.log.retention_s == 60),
        ("GATEWAY_LISTEN__ORIGINS", '["https://a.b"]', lambda s: s.listen.origins == ("https://a.b",)),
        ("GATEWAY_MODE", "dev", lambda s: s.mode == "dev"),
        ("gateway_listen__port", "7", lambda s: s.listen.port == 7),
        ("GATEWAY_POLICY__SUBSCRIBE", '[{"allow":"nobody"}]', lambda s: s.policy.subscribe[0].allow == "nobody"),
    ],
)
def test_variable_is_read(monkeypatch: pytest.MonkeyPatch, name: str, value: str, read: Any) -> None:
    monkeypatch.setenv(name, value)
    assert read(load())


def test_empty_file_says_nothing(file: Path) -> None:
    file.write_text("# nothing yet\n")
    assert load(file) == load()


@pytest.mark.parametrize("text", ["listen:\nlog: ~\n", "handlers:\ntemplates:\n"])
def test_section_without_settings_has_its_defaults(file: Path, text: str) -> None:
    file.write_text(text)
    assert load(file) == load()


def test_section_without_settings_has_what_dev_mode_opens(file: Path) -> None:
    file.write_text("mode: dev\nlisten:\n")
    assert load(file) == load(mode="dev")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().listen.port = 1


def test_instance_is_named_after_host_and_port() -> None:
    assert re.fullmatch(r"[^.]+-8889", load().instance_id)


# Dev mode


def test_dev_mode_opens_what_is_not_set(file: Path) -> None:
    file.write_text("mode: dev")
    settings = load(file)
    assert (settings.listen.host, settings.listen.origins) == ("127.0.0.1", ("*",))
    assert [rule.allow for rule in settings.policy.send_to_user] == ["anyone"]


def test_dev_mode_respects_what_is_set(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("mode: dev\npolicy: {subscribe: [{allow: nobody}]}")
    monkeypatch.setenv("GATEWAY_LOGGING__FORMAT", "json")
    settings = load(file)
    assert settings.policy.subscribe[0].allow == "nobody"
    assert settings.logging.format == "json"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_dev_mode_listens_on_loopback(host: str) -> None:
    assert load(mode="dev", listen={"host": host}).listen.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.evil.org", ""])
def test_dev_mode_listens_nowhere_else(host: str) -> None:
    refused = refusal(mode="dev", listen={"host": host})
    assert refused.setting == "listen.host"
    assert "loopback" in str(refused)


# What is refused


@pytest.mark.parametrize(
    ("text", "setting", "alternatives"),
    [
        ("listen: {prt: 1}", "listen.prt", "host, port, backlog"),
        ("listn: {port: 1}", "listn", "mode, state_dir, listen"),
        ("policy: {subscribe: [{allow: anyone, patern: x}]}", "policy.subscribe.0.patern", "pattern, allow"),
        ("policy: {join: []}", "policy.join", "join_group, send_to_group"),
    ],
)
def test_unknown_key_is_refused_with_those_there_are(file: Path, text: str, setting: str, alternatives: str) -> None:
    file.write_text(text)
    refused = refusal(file)
    assert refused.setting == setting
    assert alternatives in str(refused)


@pytest.mark.parametrize(
    ("name", "setting", "alternatives"),
    [
        ("GATEWAY_LISTEN__PRT", "listen.prt", "host, port, backlog"),
        ("GATEWAY_LISTN__PORT", "listn.port", "mode, state_dir, listen"),
        ("GATEWAY_PORT", "port", "mode, state_dir, listen"),
        ("gateway_listn__port", "listn.port", "mode, state_dir, listen"),
        ("GATEWAY_LISTEN__PORT__X", "listen.port__x", "host, port, backlog"),
    ],
)
def test_unknown_variable_is_refused_with_the_settings_there_are(
    monkeypatch: pytest.MonkeyPatch, name: str, setting: str, alternatives: str
) -> None:
    monkeypatch.setenv(name, "1")
    refused = refusal()
    assert refused.setting == setting
    assert name in str(refused)
    assert alternatives in str(refused)


@pytest.mark.parametrize(
    ("overrides", "setting"),
    [
        ({"mode": "test"}, "mode"),
        ({"state_dir": "/"}, "state_dir"),
        ({"listen": {"port": 65_536}}, "listen.port"),
        ({"listen": {"port": "http"}}, "listen.port"),
        ({"listen": None}, "listen"),
        ({"listen": {"port": True}}, "listen.port"),
        ({"log": {"retention_s": True}}, "log.retention_s"),
        ({"instance": {"id": "a b"}}, "instance.id"),
        ({"redis": {"url": "http://x"}}, "redis.url"),
        ({"redis": {"timeout_s": 0}}, "redis.timeout_s"),
        ({"auth": {"algorithms": ["none"]}}, "auth.algorithms.0"),
        ({"auth": {"algorithms": []}}, "auth.algorithms"),
        ({"auth": {"leeway_s": 31}}, "auth.leeway_s"),
        ({"log": {"partitions": 0}}, "log.partitions"),
        ({"log": {"partitions": MAX_PARTITIONS + 1}}, "log.partitions"),
        ({"log": {"retention_s": float("inf")}}, "log.retention_s"),
        ({"log": {"retention_s": float("nan")}}, "log.retention_s"),
        ({"limits": {"messages_per_s": float("inf")}}, "limits.messages_per_s"),
        ({"limits": {"messages_burst": 0.5}}, "limits.messages_burst"),
        ({"heartbeat": {"timeout_s": 25}}, "heartbeat.timeout_s"),
        ({"policy": {"subscribe": [{"allow": "everyone"}]}}, "policy.subscribe.0"),
        ({"policy": {"subscribe": [{"pattern": "", "allow": "anyone"}]}}, "policy.subscribe.0.pattern"),
        ({"policy": {"subscribe": [{"pattern": "x"}]}}, "policy.subscribe.0.allow"),
        ({"logging": {"level": "loud"}}, "logging.level"),
    ],
)
def test_wrong_value_is_refused_with_the_settings_name(overrides: dict[str, Any], setting: str) -> None:
    assert refusal(**overrides).setting == setting


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listen: 7", "listen: is one value; give several by their names: tls_certificate"),
        ("templates: 7", "templates: is one value; give each template by its name"),
        ("policy: {join_group: anyone}", "policy.join_group: is not a list; each of its items has: pattern, allow"),
        ("policy: {join_group: [anyone]}", "policy.join_group.0: is one value; give several by their names: pattern"),
        ("listen: {origins: x}", 'listen.origins: is not a list, such as ["a", "b"]'),
        ("listen: {port: on}", "listen.port: is a number, not true or false"),
    ],
)
def test_what_is_expected_is_said_in_our_words(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    assert str(refusal(file)).startswith(said)


def test_one_value_for_a_section_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LISTEN", "1")
    assert str(refusal()).startswith(
        "listen: GATEWAY_LISTEN is one value for a whole section: use GATEWAY_LISTEN__NAME"
    )


def test_number_may_be_text_in_the_environment_but_not_a_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LISTEN", '{"port": true, "backlog": "7"}')
    assert str(refusal()) == "listen.port: is a number, not true or false"


@pytest.mark.parametrize("path", ["/abc", "/1/2", "/-1", "//0", "/%30x"])
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_database_that_is_no_number_is_refused(scheme: str, path: str) -> None:
    refused = refusal(redis={"url": f"{scheme}://127.0.0.1:7711{path}"})
    assert str(refused) == "redis.url: what follows the host is the database's number: redis://127.0.0.1:6379/0"


@pytest.mark.parametrize(
    "url", ["redis://r", "redis://r/", "redis://r/3", "redis://r/3?db=4", "unix:///run/redis.sock?db=1"]
)
def test_url_with_a_database_is_taken(url: str) -> None:
    assert load(redis={"url": url}).redis_url == url


def test_list_that_is_too_short_for_a_wrong_item_is_one_problem() -> None:
    assert "\n" not in str(refusal(auth={"algorithms": ["none"]}))


def test_every_problem_is_told(file: Path) -> None:
    file.write_text("listen: {port: 0x, prt: 1}\nmode: x")
    assert [line.partition(":")[0] for line in str(refusal(file)).splitlines()] == ["mode", "listen.port", "listen.prt"]


@pytest.mark.parametrize(
    ("listen", "http"),
    [("0.0.0.0", None), ("127.0.0.1", "0.0.0.0"), ("::", "127.0.0.1"), ("localhost", "127.0.0.1"), ("a.b", "a.b")],
)
def test_one_port_for_two_is_refused_by_both_names(listen: str, http: str | None) -> None:
    settings = load(listen={"host": listen, "port": 9000}, http={"host": http, "port": 9000})
    with pytest.raises(ConfigError, match=r"http\.port: is 9000, as listen\.port is, on the same address"):
        settings.refuse_one_port_for_two()


@pytest.mark.parametrize(
    "overrides",
    [
        {"listen": {"port": 9000}},
        {"listen": {"port": 0}, "http": {"port": 0}},
        {"listen": {"port": 9000}, "http": {"port": 9000, "enabled": False}},
        {"listen": {"port": 9000, "host": "10.0.0.1"}, "http": {"port": 9000, "host": "10.0.0.2"}},
        {"listen": {"port": 9000}, "http": {"port": 9000, "host": "::1"}},
    ],
)
def test_ports_that_are_not_one_are_taken(overrides: dict[str, Any]) -> None:
    load(**overrides).refuse_one_port_for_two()


@pytest.mark.parametrize("name", ["secret", "previous_secret"])
@pytest.mark.parametrize("secret", ["", WEAK, "x" * 31])
def test_short_secret_is_refused(name: str, secret: str) -> None:
    refused = refusal(auth={name: secret})
    assert refused.setting == f"auth.{name}"
    assert "32 bytes" in str(refused)


def test_secret_is_measured_in_bytes() -> None:
    assert load(auth={"secret": "ü" * 16}).auth.secret is not None


@pytest.mark.parametrize(
    ("name", "value", "setting"),
    [
        ("GATEWAY_LISTEN__ORIGINS", "https://a.b", "listen.origins"),
        ("GATEWAY_AUTH__PUBLIC_KEYS", '["unclosed', "auth.public_keys"),
        ("GATEWAY_POLICY__SUBSCRIBE", "anyone", "policy.subscribe"),
        ("GATEWAY_LISTEN", "9000", "listen"),
        ("GATEWAY_LISTEN", "{", "listen"),
    ],
)
def test_malformed_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, setting: str) -> None:
    monkeypatch.setenv("GATEWAY_MODE", "production")
    monkeypatch.setenv(name, value)
    assert refusal().setting == setting


# Files


@pytest.mark.parametrize(
    "text",
    [
        b"listen: {port: 1",
        b"a: b: c",
        b"\tlisten:",
        b"listen: *nothing",
        b"listen: !!python/object:os.system {}",
        b"\xff\xfe\xff",
        b"a: 2024-99-99",
        b"\x00",
        b"---\na: 1\n---\nb: 2\n",
        b"- listen",
        b"listen",
        b"7",
        b"1: 2",
        b"[a]: 2",
    ],
)
def test_file_that_is_no_mapping_in_yaml_is_refused_by_its_name(file: Path, text: bytes) -> None:
    file.write_bytes(text)
    assert refusal(file).setting == str(file)


@pytest.mark.parametrize(
    ("text", "name", "line"),
    [
        ("listen: {port: 1}\nmode: dev\nlisten: {host: a}\n", "listen", 3),
        ("listen:\n  port: 1\n  port: 1\n", "listen.port", 3),
        ("policy: {subscribe: [{allow: anyone, allow: token}]}", "policy.subscribe.0.allow", 1),
    ],
)
def test_what_stands_twice_is_refused_by_its_name(file: Path, text: str, name: str, line: int) -> None:
    file.write_text(text)
    assert str(refusal(file)) == f"{name}: stands twice in {file}, again in line {line}"


def test_alias_is_not_its_anchor_twice(file: Path) -> None:
    file.write_text("policy: {subscribe: &open [{allow: anyone}], add_tag: *open}")
    assert load(file).policy.add_tag == load(file).policy.subscribe


def test_file_that_is_nested_too_deep_is_refused_by_its_name(file: Path) -> None:
    file.write_text("[" * 5_000)
    assert refusal(file).setting == str(file)


def test_variable_that_is_nested_too_deep_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_POLICY__JOIN_GROUP", "[" * 60_000)
    assert refusal().setting == "policy.join_group"


def test_variable_without_a_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_", "1")
    assert refusal().setting == "GATEWAY_"


def test_place_of_a_yaml_error_is_told(file: Path) -> None:
    file.write_text("listen:\n  port: 1\n bad: 2\n")
    assert "line 3" in str(refusal(file))


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    refused = refusal(tmp_path / name)
    assert refused.setting == str(tmp_path / name)
    assert "cannot be read" in str(refused)


# Secrets


def secrets_in(text: str) -> list[str]:
    return [word for word in ("topsecret", WEAK) if word in text]


def test_secrets_are_not_in_the_repr() -> None:
    settings = load(auth={"secret": SECRET, "previous_secret": SECRET}, redis={"url": f"redis://:{SECRET}@r/0"})
    assert secrets_in(repr(settings) + str(settings) + str(settings.model_dump()) + settings.model_dump_json()) == []


@pytest.mark.parametrize(
    "text",
    [
        f"auth: {{secret: {WEAK}}}",
        f"auth: {{secret: [{SECRET}]}}",
        f"auth: {{secret: {{{SECRET}: 1}}}}",
        f"auth: {{previous_secret: {WEAK}, leeway_s: 99}}",
        f"auth: {{secret: {SECRET}}}\nmode: x",
        f'auth:\n  secret: "{SECRET}\n',
        f"auth:\n  secret: *{SECRET}\n",
        f"auth:\n  secret: !{SECRET} x\n",
        f"auth:\n  secret: {SECRET}: x\n",
        f"auth:\n  secret: @{SECRET}\n",
        f"redis: {{url: 'http://:{SECRET}@r/0'}}",
        f"redis: {{url: 'redis://:{SECRET}@r:port/0'}}",
        f"redis: [{SECRET}]",
        f"auth: {SECRET}",
    ],
)
def test_secrets_of_a_file_are_not_in_a_refusal(file: Path, text: str) -> None:
    file.write_text(text)
    refused = refusal(file)
    assert secrets_in(f"{refused} {refused!r} {refused.__context__ if not refused.__suppress_context__ else ''}") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_AUTH__SECRET", WEAK),
        ("GATEWAY_AUTH", SECRET),
        ("GATEWAY_AUTH", f'{{"secret": "{WEAK}"}}'),
        ("GATEWAY_AUTH__PUBLIC_KEYS", SECRET),
        ("GATEWAY_AUTH__SECRT", SECRET),
        ("GATEWAY_REDIS__URL", f"redis://:{SECRET}@r:port/0"),
    ],
)
def test_secrets_of_the_environment_are_not_in_a_refusal(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert secrets_in(str(refusal())) == []


# The annotated file


def options(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each option's dotted name and default."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from options(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default


OPTIONS = dict(options(Settings))


def flattened(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        for option, inner in value.items() if isinstance(value, dict) and value else [(None, value)]:
            flat[name if option is None else f"{name}.{option}"] = inner
    return flat


@pytest.fixture(scope="module")
def annotated() -> dict[str, Any]:
    return flattened(yaml.safe_load((ETC / "gateway.yaml").read_text(encoding="utf-8")))


def comments() -> dict[str, str]:
    """Return, for each option of the annotated file, the comment above it."""
    found: dict[str, str] = {}
    section = comment = ""
    for line in (ETC / "gateway.yaml").read_text(encoding="utf-8").splitlines():
        setting = re.match(r"( {0,2})([a-z_]+):", line)
        if line.lstrip().startswith("#"):
            comment += line.strip("# ") + " "
        elif setting is not None:
            section = section if setting[1] else setting[2]
            found[f"{section}.{setting[2]}" if setting[1] else section] = comment
            comment = ""
        else:
            comment = ""
    return found


def test_annotated_file_is_what_the_defaults_are() -> None:
    assert load(ETC / "gateway.yaml") == load()


@pytest.mark.parametrize("option", OPTIONS)
def test_annotated_file_has_every_option(annotated: dict[str, Any], option: str) -> None:
    assert option in annotated


def test_annotated_file_has_no_other_option(annotated: dict[str, Any]) -> None:
    assert set(annotated) == set(OPTIONS)


def test_annotated_file_says_the_defaults(annotated: dict[str, Any]) -> None:
    values = flattened(load().model_dump(mode="json"))
    assert annotated == values


@pytest.mark.parametrize("option", OPTIONS)
def test_annotated_file_explains_every_option(option: str) -> None:
    comment = comments()[option]
    assert comment.strip().endswith("."), "a sentence stands above it"
    for ending, unit in (("_s", "second"), ("_bytes", "bytes")):
        if option.endswith(ending):
            assert unit in comment or option == "limits.messages_per_s"


@pytest.mark.parametrize("name", sorted(path.name for path in ETC.glob("*.yaml")))
def test_file_of_ours_loads(name: str) -> None:
    assert isinstance(load(ETC / name), Settings)


def test_file_for_development_is_in_dev_mode() -> None:
    assert load(ETC / "gateway.dev.yaml").mode == "dev"


@pytest.mark.parametrize(
    "name", ["GATEWAY_SERVICE_PORT", "GATEWAY_SERVICE_PORT_HTTP", "GATEWAY_PORT", "GATEWAY_PORT_8889_TCP_ADDR"]
)
def test_what_kubernetes_says_of_a_service_called_gateway_is_no_setting(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv(name, "tcp://10.0.0.1:8889")
    assert load() == Settings()
