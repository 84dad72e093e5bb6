"""Which broken handshakes mean something."""

from tollkeeper.gate.remedies import remedy_for
from tollkeeper.identity.peer import Peer
from tollkeeper.proxy.distrust import UNSAID_TIMES, Distrust, line
from tollkeeper.proxy.stages import Counters

HOST, LOCAL = "api.openai.com", "127.0.0.1"
NODE = Peer(uid=0, pid=42, command="node")
SAID, UNSAID = (
    "The client does not trust the proxy's certificate for x (bad certificate)",
    "The client disconnected during the handshake.",
)


def test_a_client_that_says_so_is_told_of_at_once() -> None:
    counters = Counters()
    Distrust(counters).failed(HOST, LOCAL, Peer(uid=0, pid=7, command="curl"), SAID)
    (found,) = counters.untrusting_clients.values()
    assert line(found).startswith("curl (pid 7) refuses our certificate for api.openai.com: its calls fail.")
    assert "CURL_CA_BUNDLE" in line(found)
    assert counters.untrusting_hosts == {HOST: 1}


def test_one_dropped_handshake_is_no_proof_but_two_are_a_sign() -> None:
    counters = Counters()
    watch = Distrust(counters)
    watch.failed(HOST, LOCAL, NODE, UNSAID)
    assert counters.untrusting_clients == {}
    for _ in range(UNSAID_TIMES):
        watch.failed(HOST, LOCAL, NODE, UNSAID)
    (found,) = counters.untrusting_clients.values()
    assert (found["client"], found["count"], found["said"]) == ("node", UNSAID_TIMES + 1, False)


def test_a_handshake_that_succeeds_takes_back_what_was_dropped_in_silence() -> None:
    counters = Counters()
    watch = Distrust(counters)
    for _ in range(UNSAID_TIMES):
        watch.failed(HOST, LOCAL, NODE, UNSAID)
    watch.worked(HOST, LOCAL, NODE)
    watch.failed(HOST, LOCAL, NODE, UNSAID)
    assert counters.untrusting_clients == {}
    assert counters.untrusting_hosts == {}


def test_a_client_that_nobody_could_look_up_is_not_told_of_where_the_host_is_reached() -> None:
    counters = Counters()
    watch = Distrust(counters)
    watch.worked(HOST, LOCAL, NODE)
    for _ in range(5):
        watch.failed(HOST, LOCAL, None, UNSAID)
    assert counters.untrusting_clients == {}
    watch.failed(HOST, LOCAL, None, SAID)
    assert [one["client"] for one in counters.untrusting_clients.values()] == ["a client of this machine"]


def test_a_client_that_said_so_stays_even_when_another_of_that_name_trusts_us() -> None:
    counters = Counters()
    watch = Distrust(counters)
    watch.failed(HOST, LOCAL, NODE, SAID)
    watch.worked(HOST, LOCAL, NODE)
    assert len(counters.untrusting_clients) == 1


def test_a_client_from_elsewhere_is_named_by_its_address() -> None:
    counters = Counters()
    Distrust(counters).failed(HOST, "10.1.2.3", None, SAID)
    assert line(next(iter(counters.untrusting_clients.values()))).startswith("a client at 10.1.2.3 refuses")


def test_no_number_of_clients_and_hosts_grows_without_bound() -> None:
    counters = Counters()
    watch = Distrust(counters)
    for number in range(1_500):
        watch.failed(f"host-{number}", LOCAL, Peer(uid=0, pid=number, command=f"program-{number}"), SAID)
        watch.failed(f"quiet-{number}", LOCAL, NODE, UNSAID)
        watch.worked(f"fine-{number}", LOCAL, NODE)
    assert len(counters.untrusting_clients) == 200
    assert len(counters.untrusting_hosts) == 1_000


def test_each_runtime_has_its_own_remedy() -> None:
    paste = {
        name: remedy_for(name).paste("bundle.pem", "root.pem")
        for name in ("node", "python3.12", "java", "/usr/bin/git", "some-go")
    }
    assert paste["node"] == "export NODE_EXTRA_CA_CERTS='root.pem'"
    assert paste["python3.12"] == "export SSL_CERT_FILE='bundle.pem' REQUESTS_CA_BUNDLE='bundle.pem'"
    assert paste["java"].startswith("keytool -importcert")
    assert paste["/usr/bin/git"] == "export GIT_SSL_CAINFO='bundle.pem'"
    assert paste["some-go"] == "export SSL_CERT_FILE='bundle.pem'"
