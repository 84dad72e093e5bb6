"""The first day of somebody new, command by command in one shell: a policy, a proxy in the background, a call, its dollars, the end."""

import os
import subprocess
import sys
from pathlib import Path

from e2e.harness import ADDON, proxy_environment
from tollkeeper.cli.demo_provider import FakeProvider

CALL = """
import json, urllib.request
question = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "What does this cost?"}]}
headers = {"content-type": "application/json", "authorization": "Bearer sk-test"}
request = urllib.request.Request("https://api.openai.com/v1/chat/completions", json.dumps(question).encode(), headers)
assert urllib.request.urlopen(request, timeout=60).status == 200
"""
DAY = """
tollkeeper() { "$PYTHON" -m tollkeeper.cli.entry "$@"; }
trap 'tollkeeper stop' EXIT
tollkeeper init --day "20 USD" --mode enforce --zone UTC
tollkeeper start --port 0
eval "$(tollkeeper env --shell bash)"
echo "= status"; tollkeeper status
"$PYTHON" call.py
eval "$(tollkeeper env --shell bash --unset)"
echo "= report"; until tollkeeper report --by model --csv | grep -q gpt-4o-mini; do sleep 0.1; done; tollkeeper report --by model
echo "= tail"; tollkeeper tail -n 1
echo "= budget"; tollkeeper budget list
echo "= top"; tollkeeper top --once
trap - EXIT
echo "= stop"; tollkeeper stop
echo "= after"; tollkeeper status || echo "code $?"
echo "proxy variables: ${HTTPS_PROXY-none}"
"""


def test_from_a_policy_to_the_first_metered_dollar_and_back(provider: FakeProvider, tmp_path: Path) -> None:
    (tmp_path / "call.py").write_text(CALL)
    home = tmp_path / "home"
    environment = {**proxy_environment(home, provider), "PYTHON": sys.executable, "PYTHONPATH": str(ADDON), "COLUMNS": "120"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", DAY],
        cwd=tmp_path,
        env={**environment, "HOME": str(tmp_path), "NO_PROXY": "", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    said = dict(part.split("\n", 1) for part in done.stdout.split("= ")[1:])
    assert "enforce" in said["status"].splitlines()[0]
    assert "gpt-4o-mini" in said["report"]
    assert "$0.0" in said["tail"]
    assert "day" in said["budget"]
    assert "of $20.00" in said["top"]
    assert "not running" in said["after"]
    assert "code 3" in said["after"]
    assert "proxy variables: none" in said["after"]
    assert not (home / "proxy.json").exists()
