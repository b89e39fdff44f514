"""What `deploy/` holds: the Ansible role, the log's way to Kafka, the webhook's way through a proxy.

The parts that need Ansible are skipped where it is not on the PATH; `.ci/run` puts it there.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from email_orchestrator.log import SERVICE, set_up_logging
from email_orchestrator.settings import SECRETS, Settings, load_settings
from email_orchestrator.web.webhook import MAX_BODY
from email_orchestrator.web.webhook import PATH as WEBHOOK

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "deploy"
PLAYBOOK = DEPLOY / "ansible"
ROLE = PLAYBOOK / "roles" / "email_orchestrator"
SHELL = ROLE / "files" / "email-orchestrator"
yaml: Any = pytest.importorskip("yaml", reason="PyYAML is not installed")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def run(program: str, *arguments: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs in the playbook's folder, keeping what it writes in a temporary one."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not on the PATH: pip install ansible-core ansible-lint")
    own = {"HOME": str(tmp_path), "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_LOCALHOST_WARNING": "0", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [found, *arguments], cwd=PLAYBOOK, env={**os.environ, **own}, capture_output=True, text=True, timeout=120
    )


def test_the_playbook_is_sound(tmp_path: Path) -> None:
    done = run("ansible-playbook", "-i", "inventory.example.yml", "--syntax-check", "site.yml", tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr


def test_ansible_lint_has_nothing_to_say(tmp_path: Path) -> None:
    done = run("ansible-lint", "--offline", "--strict", "--profile", "production", "-q", ".", tmp_path=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


SETTINGS = {
    "EMAIL_ADDRESS": "me@example.com",
    "YOUR_PHONE_NUMBER": "+61491570156",
    "EMAIL_FROM_NAME": 'Jane "J" $Doe \\o/ #1',
    "EMAIL_SIGNATURE": "Kind regards\nJane",
    "SKIP_SENDERS": ["a@example.com", "@example.net"],
    "QUOTE_ORIGINAL": True,
    "POLL_INTERVAL": 45,
}


@pytest.fixture
def environment_file(tmp_path: Path) -> Path:
    """The file of settings that the role writes for SETTINGS; Ansible run twice changes it once."""
    file = tmp_path / "environment"
    task = f"src={ROLE / 'templates' / 'environment.j2'} dest={file}"
    given = json.dumps({"email_orchestrator_settings": SETTINGS})
    command = ("localhost", "-c", "local", "-m", "ansible.builtin.template", "-a", task, "-e", given)
    runs = [run("ansible", *command, tmp_path=tmp_path) for _ in range(2)]
    assert [done.returncode for done in runs] == [0, 0], runs[0].stdout + runs[0].stderr
    assert ["CHANGED" in done.stdout for done in runs] == [True, False]
    return file


def expected() -> Mapping[str, object]:
    return {
        "email_from_name": 'Jane "J" $Doe \\o/ #1',
        "email_signature": "Kind regards\nJane",
        "skip_senders": frozenset({"a@example.com", "@example.net"}),
        "quote_original": True,
        "poll_interval": 45,
    }


def test_settings_arrive_as_they_were_given(environment_file: Path) -> None:
    settings = load_settings(environment_file, environ={"EMAIL_PASSWORD": "secret-secret"})
    assert {name: getattr(settings, name) for name in expected()} == expected()


def test_settings_arrive_as_they_were_given_through_systemd_too(environment_file: Path) -> None:
    """systemd and `--env-file` read one file, each in its own way."""
    environment = {"EMAIL_PASSWORD": "secret-secret"}
    for line in environment_file.read_text().splitlines():
        name, equals, quoted = line.partition("=")
        if equals and not line.startswith("#"):
            # systemd.exec(5), EnvironmentFile=: in double quotes a backslash escapes " \ ` and $.
            environment[name] = re.sub(r'\\(["\\`$])', r"\1", quoted.removeprefix('"').removesuffix('"'))
    settings = load_settings(environ=environment)
    assert {name: getattr(settings, name) for name in expected()} == expected()


def test_the_role_installs_the_unit_of_this_project() -> None:
    assert (ROLE / "files" / "email-orchestrator.service").samefile(TOP / "email-orchestrator.service")


def test_the_role_knows_every_secret() -> None:
    assert tuple(load(ROLE / "vars" / "main.yml")["email_orchestrator_secret_names"]) == SECRETS


def test_the_example_names_settings_that_there_are() -> None:
    given = load(PLAYBOOK / "inventory.example.yml")["email_auto_reply"]["vars"]
    assert set(given["email_orchestrator_secrets"]) <= set(SECRETS)
    names = {name.upper() for name in Settings.__dataclass_fields__}
    assert set(given["email_orchestrator_settings"]) <= names - set(SECRETS)


def test_with_the_settings_of_the_example_the_gateway_beside_it_is_let_in() -> None:
    given = load(PLAYBOOK / "inventory.example.yml")["email_auto_reply"]["vars"]
    listed = given["email_orchestrator_settings"] | dict.fromkeys(given["email_orchestrator_secrets"], "x" * 32)
    text = {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in listed.items()}
    settings = load_settings(environ=text)
    assert settings.sms_webhook_signing_key
    for address in ("127.0.0.1", "::1"):
        assert any(ip_address(address) in network for network in settings.sms_webhook_allow_from)


def all_tasks() -> Iterator[dict[str, Any]]:
    for file in sorted((ROLE / "tasks").glob("*.yml")):
        yield from load(file)


def test_what_a_broken_off_play_changed_is_not_forgotten_by_the_next() -> None:
    """A handler that was notified, and a result that was registered, are gone with a play that fails after it."""
    assert not (ROLE / "handlers").exists()
    assert not [task["name"] for task in all_tasks() if "notify" in task or "is changed" in str(task.get("when"))]


CHANGES: dict[str, Callable[[Path], object]] = {
    "a setting": lambda top: (top / "etc/email-orchestrator/environment").write_text("A=2"),
    "a secret": lambda top: (top / "etc/credstore/email-orchestrator.API_TOKEN").write_text("new"),
    "a secret that was removed": lambda top: (top / "etc/credstore/email-orchestrator.API_TOKEN").unlink(),
    "the unit": lambda top: (top / "etc/systemd/system/email-orchestrator.service").write_text("[Unit]"),
    "the program": lambda top: (top / "opt/email-orchestrator/lib/program.py").write_text("new"),
    "a service that does not run": lambda top: (top / "run/credentials/email-orchestrator.service").rmdir(),
    "only what Python keeps for itself": lambda top: (top / "opt/email-orchestrator/lib/program.pyc").write_text(""),
    "nothing": lambda top: None,
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_service_is_restarted_for_whatever_is_newer_than_it(tmp_path: Path, change: str) -> None:
    (task,) = (task for task in all_tasks() if task["name"] == "Look for anything newer than what runs")
    files = ["etc/email-orchestrator/environment", "etc/credstore/email-orchestrator.API_TOKEN"]
    files += ["etc/systemd/system/email-orchestrator.service", "opt/email-orchestrator/lib/program.py"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")
    started = tmp_path / "run/credentials/email-orchestrator.service"
    started.mkdir(parents=True)
    for path in tmp_path.rglob("*"):
        os.utime(path, (1000, 1000))
    os.utime(started, (2000, 2000))
    CHANGES[change](tmp_path)
    home = load(ROLE / "vars" / "main.yml")["email_orchestrator_home"]
    words = [word.replace("{{ email_orchestrator_home }}", home) for word in task["ansible.builtin.command"]["argv"]]
    done = subprocess.run(
        [f"{tmp_path}{word}" if word.startswith("/") else word for word in words], capture_output=True, text=True
    )
    restarted = done.returncode != 0 or done.stdout != ""
    assert restarted == (change not in ("nothing", "only what Python keeps for itself"))


def test_secrets_are_never_shown_or_readable() -> None:
    tasks = {task["name"]: task for task in all_tasks()}
    assert tasks["Write the secrets"]["no_log"] is True
    assert tasks["Write the secrets"]["ansible.builtin.copy"]["mode"] == "0600"


def test_the_shell_command_hands_over_every_secret() -> None:
    text = SHELL.read_text(encoding="utf-8")
    assert f"for name in {' '.join(SECRETS)}; do" in text
    assert SHELL.stat().st_mode & stat.S_IXUSR


def test_the_shell_command_passes_on_words_and_exit_code_as_they_are(tmp_path: Path) -> None:
    typed = ["edit", "7", 'make it "shorter", $please: $100 ${OFF} $$', "two\nlines\n", "", "\\ *"]
    fake = tmp_path / "systemd-run"
    fake.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\nexit 75\n")
    fake.chmod(0o755)
    done = subprocess.run(
        [SHELL, *typed],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 75
    words = done.stdout.split("\0")[:-1]
    program = words.index("/opt/email-orchestrator/bin/email-orchestrator")
    # systemd.service(5): a dollar that begins no variable is written twice.
    assert words[program + 1 :] == [word.replace("$", "$$") for word in typed]
    assert "--property=LoadCredential=API_TOKEN:email-orchestrator.API_TOKEN" in words[:program]
    assert "--setenv=NO_COLOR=1" in words[:program]


@pytest.mark.parametrize("name", ["journal.yml", "file.yml"])
def test_the_log_is_shipped_under_the_name_of_the_service(name: str) -> None:
    (shipped,) = load(DEPLOY / "filebeat" / name)
    assert shipped["fields"] == {"service": SERVICE}
    assert shipped["fields_under_root"] is True
    assert load(DEPLOY / "filebeat" / "filebeat.example.yml")["output.kafka"]["topic"] == "docker_logs"


def test_what_systemd_says_of_the_service_is_shipped_too() -> None:
    """A crash or a missed watchdog stands in the journal under systemd's own unit: a match by field leaves it out."""
    (journal,) = load(DEPLOY / "filebeat" / "journal.yml")
    assert journal["units"] == ["email-orchestrator.service"]
    assert "include_matches" not in journal


def test_a_log_of_few_lines_is_shipped_at_once_and_a_rotated_one_to_its_end() -> None:
    (file,) = load(DEPLOY / "filebeat" / "file.yml")
    assert file["file_identity.native"] is None
    assert file["prospector.scanner.fingerprint.enabled"] is False
    log = "/var/log/email-orchestrator/service.log"
    assert file["paths"] == [log, f"{log}.1"]
    assert "delaycompress" in (TOP / "docs" / "operating.md").read_text(encoding="utf-8")


def test_what_is_dropped_on_the_way_is_in_the_log(tmp_path: Path) -> None:
    """The keys that the inputs take for granted are those that the log writes."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        set_up_logging("INFO", "json", tmp_path / "service.log", [])
        logging.getLogger("email_orchestrator.test").info("hello")
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)
    entry = json.loads((tmp_path / "service.log").read_text())
    assert {"@timestamp", "message", "service.name"} <= set(entry)
    # RFC 3339, the only form in which Filebeat takes it over.
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry["@timestamp"])


def test_only_the_webhook_is_reachable_through_the_proxy() -> None:
    http = load(DEPLOY / "traefik" / "email-orchestrator.yml")["http"]
    (router,) = http["routers"].values()
    assert f"Path(`{WEBHOOK}`)" in router["rule"]
    assert "Host(" in router["rule"]
    assert "Method(`POST`)" in router["rule"]
    assert "tls" in router
    (limit,) = http["middlewares"].values()
    assert limit["buffering"]["maxRequestBodyBytes"] == MAX_BODY
