"""A CI job in one namespace: the sidecar under a user of its own, the job under another, and no way out but the sidecar."""

import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.harness import ADDON
from tollkeeper.cli.ci_state import changeable_program
from transparent import lab as labs
from transparent.lab import AI_V4, AI_V6, JOB_RANGE, JOB_UID, MAIN, OTHER_HOST, OTHER_V4, PROXY_UID, Lab, LedgerView
from transparent.test_around import CURL

GITHUB = {
    "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/app", "GITHUB_RUN_ID": "17", "GITHUB_JOB": "test",
    "GITHUB_WORKFLOW": "nightly", "GITHUB_REF": "refs/pull/5/merge", "GITHUB_BASE_REF": "main", "GITHUB_HEAD_REF": "feature",
}  # fmt: skip
ANYWHERE = ("--any-installation",) if changeable_program() else ()
"""A checkout that does not belong to root, as in some CI systems."""
POLICY = """
schema = 1
mode = "enforce"
on_fault = "closed"
on_ledger_error = "closed"
unknown_model = "refuse"
[budget.run]
amount = "0.05 USD"
window = "run"
"""


@dataclass
class JobInCi:
    """What a locked job has: its environment, and where the sidecar's own files are (which it must not reach)."""

    lab: Lab
    root: Path
    environment: dict[str, str]
    summary: Path

    def run(self, *command: str, uid: int = JOB_UID) -> labs.subprocess.CompletedProcess[str]:
        return self.lab.client.run(*command, uid=uid, environment=self.environment, seconds=90)

    @property
    def pid(self) -> int:
        return int(json.loads((self.root / "proxy.json").read_text())["pid"])


def exported(text: str) -> dict[str, str]:
    """The variables of ``ci start``'s output."""
    return dict(
        line.removeprefix("export ").replace("'", "").split("=", 1) for line in text.splitlines() if line.startswith("export ")
    )


@contextlib.contextmanager
def started(lab: Lab) -> Iterator[JobInCi]:
    """``ci start --lock`` as root; its rules and its proxy are gone afterwards."""
    folder = lab.folder / f"job-{os.urandom(3).hex()}"
    folder.mkdir(mode=0o755)
    root, summary = folder / "home", folder / "summary.md"
    (folder / "policy.toml").write_text(POLICY)
    environment = {
        **labs.base_environment(),
        **GITHUB,
        "TOLLKEEPER_HOME": str(root),
        "SSL_CERT_FILE": str(lab.trust),
        "GITHUB_STEP_SUMMARY": str(summary),
    }
    done = lab.client.run(
        *MAIN, "ci", "start", "--policy", str(folder / "policy.toml"), "--lock", "--job-user", str(JOB_UID), "--proxy-user", str(PROXY_UID),
        "--job-user", "{}-{}".format(*JOB_RANGE), "--allow-host", OTHER_HOST, "--shell", "bash", *ANYWHERE,
        opened=True, environment=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bundle = folder / "public-bundle.pem"
    variables = exported(done.stdout)
    bundle.write_bytes(Path(variables["SSL_CERT_FILE"]).read_bytes() + lab.trust.read_bytes())
    unproxied = {name: value for name, value in variables.items() if "proxy" not in name.lower()}
    yield JobInCi(
        lab,
        root,
        {**environment, **unproxied, "SSL_CERT_FILE": str(bundle), "CURL_CA_BUNDLE": str(bundle), "HOME": "/tmp"},
        summary,
    )
    labs.sh("ip", "netns", "exec", lab.client.name, *MAIN, "transparent", "down")
    if (root / "proxy.json").exists():
        pid = int(json.loads((root / "proxy.json").read_text())["pid"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def job(lab: Lab) -> Iterator[JobInCi]:
    """A job of the test's own, to be killed or finished."""
    with started(lab) as found:
        yield found


@pytest.fixture(scope="class")
def standing(lab: Lab) -> Iterator[JobInCi]:
    """One job for tests that leave it as it is."""
    with started(lab) as found:
        yield found


class TestAStandingLock:
    """What a locked job can do, and what it cannot."""

    def test_every_way_that_verify_knows_is_closed_to_the_job(self, standing: JobInCi) -> None:
        done = standing.run(*MAIN, "ci", "verify", "--json")
        found = json.loads(done.stdout)
        outcomes = {way["way"]: (way["outcome"], way["detail"]) for way in found["ways"]}
        assert all(outcome == "closed" for outcome, _ in outcomes.values()), outcomes
        assert found["closed"]
        assert done.returncode == 0
        assert len(outcomes) >= 15

    @pytest.mark.parametrize(
        "command",
        [
            ("kill", "-9", "{pid}"), ("kill", "-STOP", "{pid}"), ("cat", "{root}/policy.toml"), ("ls", "{root}"),
            ("cat", "{root}/proxy.json"),
            ("sh", "-c", "find {root} -name mitmproxy-ca.pem | grep ."), ("sh", "-c", "echo x > {root}/ledger.db"),
            ("nft", "flush", "ruleset"),
            ("iptables", "-t", "nat", "-F"), ("ip", "link", "set", "c0", "down"), ("ip", "route", "add", "20.0.0.0/8", "via", "10.99.1.1"),
            ("unshare", "-n", "true"), ("setpriv", "--reuid", str(PROXY_UID), "true"), ("nsenter", "-t", "{pid}", "-m", "true"),
            ("sh", "-c", "cat /proc/{pid}/environ"), ("sh", "-c", "ls -l /proc/{pid}/fd | grep ."),
        ],
    )  # fmt: skip
    def test_the_job_cannot_touch_the_sidecar_or_its_rules(self, standing: JobInCi, command: tuple[str, ...]) -> None:
        done = standing.run(*(word.format(pid=standing.pid, root=standing.root) for word in command))
        assert done.returncode != 0, done.stdout
        assert '"chat.completion"' in standing.run(*CURL).stdout

    @pytest.mark.parametrize("uid", [JOB_UID, *JOB_RANGE])
    @pytest.mark.parametrize(("host", "port"), [(AI_V4, 22), (AI_V4, 9443), (OTHER_V4, 53), (AI_V6, 443)])
    def test_no_user_id_that_the_job_can_have_gets_past_the_sidecar(
        self, standing: JobInCi, uid: int, host: str, port: int
    ) -> None:
        """A user namespace gives it the ids of /etc/subuid; and a relay may listen on the port of DNS."""
        standing.lab.servers.seen.clear()
        script = f"import socket; socket.create_connection(('{host}', {port}), 5).sendall(b'x')"
        done = standing.run(labs.sys.executable, "-c", script, uid=uid)
        assert port == 443 or done.returncode != 0
        assert not [found for found in standing.lab.servers.seen if found[1] in {labs.CLIENT_V4, labs.CLIENT_V6}]

    def test_others_of_the_machine_are_not_caught(self, standing: JobInCi) -> None:
        certificate, _ = labs.tls_answer(
            standing.lab.client, (OTHER_V4, 443), OTHER_HOST, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None
        )
        assert certificate == standing.lab.servers.other.server_der

    def test_the_job_cannot_send_udp_or_icmp_past_the_sidecar(self, standing: JobInCi) -> None:
        script = (
            "import socket\nfor port in (443, 80, 123, 4433):\n"
            f"    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(60); s.connect(('{AI_V4}', port))\n"
            "    try:\n        s.send(b'x'); s.recv(10); print('answered', port)\n"
            "    except OSError as error: print(type(error).__name__)\n"
        )
        done = standing.run(labs.sys.executable, "-c", script)
        assert done.stdout.split()
        assert set(done.stdout.split()) <= {"ConnectionRefusedError", "PermissionError", "OSError"}, done.stdout + done.stderr


def test_a_connection_from_before_the_lock_is_of_no_use_after_it(lab: Lab) -> None:
    script = (
        "import socket, sys\n"
        f"relay = socket.create_connection(('{OTHER_V4}', {labs.RELAY_PORT}), 60); relay.settimeout(5)\n"
        "for line in sys.stdin:\n"
        "    try:\n"
        "        relay.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); print(relay.recv(12).decode(), flush=True)\n"
        "    except OSError as error: print(type(error).__name__, flush=True)\n"
    )
    command = lab.client.command(labs.sys.executable, "-c", script, uid=JOB_UID)
    pipes = {"stdin": labs.subprocess.PIPE, "stdout": labs.subprocess.PIPE, "text": True, "bufsize": 1}
    if shutil.which("nft"):  # a machine with containers tracks connections already; here it must be asked to
        tracking = (
            "table inet tracked {\n chain c {\n type filter hook output priority 10;\n ct state established accept\n }\n}\n"
        )
        labs.sh("ip", "netns", "exec", lab.client.name, "nft", "-f", "-", text=tracking)
    with labs.subprocess.Popen(command, env=labs.base_environment(), **pipes) as early:
        early.stdin.write("before\n")
        assert early.stdout.readline() == "HTTP/1.1 200\n"
        with started(lab):
            early.stdin.write("after\n")
            assert early.stdout.readline() != "HTTP/1.1 200\n"
        early.stdin.close()
    if shutil.which("nft"):
        labs.sh("ip", "netns", "exec", lab.client.name, "nft", "delete", "table", "inet", "tracked")


def test_verify_names_what_is_open_where_nothing_is_locked(job: JobInCi) -> None:
    labs.sh("ip", "netns", "exec", job.lab.client.name, *MAIN, "transparent", "down")
    done = job.run(*MAIN, "ci", "verify", "--json")
    still_open = {way["way"] for way in json.loads(done.stdout)["ways"] if way["outcome"] == "OPEN"}
    assert done.returncode == 24
    assert {"direct, IPv4", "direct, IPv6", "bare address, no SNI", "other ports", "plain HTTP"} <= still_open


def subordinate(job: JobInCi) -> tuple[str, str]:
    """What verify finds when /etc/subuid gives the job's user ids: the file, and its user, only in its own view of the disk."""
    subuid, passwd = job.root.with_name("subuid"), job.root.with_name("passwd")
    subuid.write_text(f"runner:{JOB_RANGE[0]}:{JOB_RANGE[1] - JOB_RANGE[0] + 1}\n")
    passwd.write_text(f"root:x:0:0::/:/bin/sh\nrunner:x:{JOB_UID}:{JOB_UID}::/:/bin/sh\n")
    script = (
        'mount --bind "$1" /etc/subuid && mount --bind "$2" /etc/passwd && shift 2 && '
        f'exec setpriv --reuid {JOB_UID} --regid {JOB_UID} --clear-groups "$@"'
    )
    done = job.lab.client.run(
        "sh", "-c", script, "sh", str(subuid), str(passwd), *MAIN, "ci", "verify", "--json", opened=True, environment=job.environment
    )  # fmt: skip
    assert done.stdout, done.stderr
    (found,) = (way for way in json.loads(done.stdout)["ways"] if way["way"] == "subordinate user ids")
    return found["outcome"], found["detail"]


@pytest.mark.skipif(
    not shutil.which("newuidmap") or not Path("/etc/subuid").exists(),
    reason="SKIPPED, NOT PROVED HERE: needs newuidmap and /etc/subuid (apt-get install uidmap)",
)
def test_the_ids_of_a_user_namespace_are_tried_and_held_while_the_lock_is_on(job: JobInCi) -> None:
    outcome, detail = subordinate(job)
    if "no user namespace" in detail or "may be allowed" in detail:
        pytest.skip(f"SKIPPED, NOT PROVED HERE: {detail}")
    assert (outcome, detail) == ("closed", f"as user {JOB_RANGE[0]}: caught and metered")
    labs.sh("ip", "netns", "exec", job.lab.client.name, *MAIN, "transparent", "down")
    assert subordinate(job) == ("OPEN", f"as user {JOB_RANGE[0]}: {AI_V4} answered with a certificate of its own")


def test_a_call_is_metered_and_the_summary_tells_of_it(job: JobInCi) -> None:
    job.run(*MAIN, "ci", "step", "unit tests")
    answer = job.run(*CURL)
    assert '"chat.completion"' in answer.stdout, answer.stderr
    done = job.lab.client.run(*MAIN, "ci", "finish", "--fail-on", "all", "--json", environment=job.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout.splitlines()[-1])
    assert document["total"]["calls"] == 1
    assert document["total"]["cost_nanousd"] > 0
    assert [(step["step"], step["calls"]) for step in document["by_step"]] == [("(before the first step)", 0), ("unit tests", 1)]
    assert document["job"]["pull_request"] == "5"
    assert "unit tests" in job.summary.read_text()
    (entry,) = LedgerView(job.root / "ledger.db").entries("settle")
    assert (entry["subject"], entry["project"], entry["assurance"]) == ("github:acme/app", "acme/app", "claimed")
    assert entry["os_user"] == f"uid:{JOB_UID}", "the kernel knows whose a caught connection is"


def test_a_killed_sidecar_leaves_no_way_out(job: JobInCi) -> None:
    os.kill(job.pid, signal.SIGKILL)
    for flags in (
        ("-4",),
        ("-6",),
        ("-k", "--connect-to", f"::{AI_V4}:443"),
        ("--noproxy", "*"),
        ("--http1.1", "--connect-to", f"::[{AI_V6}]:443"),
    ):
        done = job.run(*CURL, *flags)
        assert done.returncode == 7, (flags, done.stderr)


def test_a_job_that_may_not_touch_the_sidecar_still_gets_its_summary_once_root_has_settled(job: JobInCi) -> None:
    assert '"chat.completion"' in job.run(*CURL).stdout
    refused = job.run(*MAIN, "ci", "finish", "--json", "--output", "/tmp")
    assert refused.returncode == 3
    assert "belongs to another user" in refused.stderr
    for _ in range(2):
        settled = job.lab.client.run(*MAIN, "ci", "settle", environment=job.environment)
        assert settled.returncode == 0, settled.stderr
    done = job.run(*MAIN, "ci", "finish", "--json", "--output", f"/tmp/tollkeeper-out-{os.getpid()}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["total"]["calls"] == 1
    shutil.rmtree(f"/tmp/tollkeeper-out-{os.getpid()}")


def test_a_locked_job_is_not_started_where_the_job_could_swap_its_folder(lab: Lab) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chown(folder, JOB_UID, JOB_UID)
        done = lab.client.run(
            *MAIN, "ci", "start", "--lock", "--job-user", str(JOB_UID), "--proxy-user", str(PROXY_UID), *ANYWHERE,
            opened=True, environment={**labs.base_environment(), **GITHUB, "TOLLKEEPER_HOME": f"{folder}/home"},
        )  # fmt: skip
    assert done.returncode == 3
    assert "others than root could replace it" in done.stderr


def test_a_lock_whose_program_the_job_could_change_is_no_lock(lab: Lab) -> None:
    """Root runs it to settle, and the sidecar loads parts of it later."""
    with tempfile.TemporaryDirectory(dir=lab.folder) as folder:
        program = Path(shutil.copytree(ADDON, Path(folder) / "addon", ignore=shutil.ignore_patterns("__pycache__")))
        os.chown(program / "tollkeeper" / "cli", JOB_UID, JOB_UID)
        environment = {**labs.base_environment(), **GITHUB, "TOLLKEEPER_HOME": f"{folder}/home", "PYTHONPATH": str(program)}
        words = (*MAIN, "ci", "start", "--lock", "--job-user", str(JOB_UID), "--proxy-user", str(PROXY_UID))
        done = lab.client.run(*words, opened=True, environment=environment)
    assert done.returncode == 3, done.stderr
    assert "others than root could change the program" in done.stderr
    assert "--any-installation" in done.stderr


def test_a_new_start_after_a_kill_says_what_happened_and_loses_no_row(job: JobInCi) -> None:
    assert '"chat.completion"' in job.run(*CURL).stdout
    ledger = LedgerView(job.root / "ledger.db")
    ledger.wait(lambda view: len(view.ended()) == 1, "the call is settled")
    os.kill(job.pid, signal.SIGKILL)
    done = job.lab.client.run(*MAIN, "ci", "finish", "--fail-on", "none", "--json", environment=job.environment)
    assert "gone before the job's end" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["total"]["calls"] == 1


def test_a_used_up_budget_fails_the_job_with_its_own_exit_code(job: JobInCi) -> None:
    dear = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "six words make some eight tokens " * 3000}]})
    refused = job.run(*CURL[:-1], dear)
    assert "budget" in refused.stdout, refused.stdout + refused.stderr
    done = job.lab.client.run(*MAIN, "ci", "finish", "--fail-on", "over,refused", environment=job.environment)
    assert done.returncode == 20, done.stdout + done.stderr
    assert "::error title=Tollkeeper (over)::" in done.stdout
