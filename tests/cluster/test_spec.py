import contextlib
import json
import pickle
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope.cluster.confidential import names_a_secret
from kaleidoscope.cluster.schema import cluster_schema
from kaleidoscope.cluster.spec import ClusterSpec, Host, SecretVariables, WorkerGroup, as_host, load_spec, spec_from
from kaleidoscope.errors import RecipeError


@pytest.fixture
def load(tmp_path):
    def load(text, name="cluster.yaml"):
        (tmp_path / name).write_text(text, "utf-8")
        return load_spec(tmp_path / name)

    return load


# What is in the file, and what the answer says: line, place, and what to do.
BROKEN = {
    "the kind misspelt": (
        "kind: kubernets\nworkers: {cpu: {}}",
        r":1: kind: expected .*\(local, ssh, kubernetes\); got 'kubernets'\. Did you mean 'kubernetes'",
    ),
    "no kind": ("workers: {cpu: {}}", r":1: expected the key 'kind', too"),
    "the key kind misspelt": ("knd: local\nworkers: {cpu: {}}", r":1: knd: unknown\. Did you mean 'kind'"),
    "no groups": ("kind: local\nworkers: {}", r":2: workers: expected groups of workers by name, at least one"),
    "workers misspelt": ("kind: local\nworker: {cpu: {}}", r":2: worker: unknown\. Did you mean 'workers'"),
    "a number misspelt": (
        "kind: local\nworkers:\n  cpu:\n    mx: 4",
        r":4: workers\.cpu\.mx: unknown\. Did you mean 'max'\? Known here: min, max, cpus",
    ),
    "a number that is a text": (
        "kind: local\nworkers:\n  cpu: {max: four}",
        r":3: workers\.cpu\.max: expected a whole number of at least 1; got 'four'",
    ),
    "less than none": (
        "kind: local\nworkers: {cpu: {min: -1}}",
        r"cpu\.min: expected a whole number of at least 0; got -1",
    ),
    "more at least than at most": (
        "kind: local\nworkers:\n  cpu: {max: 2}\n  gpu:\n    min: 3\n    max: 2",
        r":5: workers\.gpu\.min: expected at most max, which is 2; got 3",
    ),
    "memory without a unit": (
        "kind: local\nworkers: {cpu: {memory: 8}}",
        r"workers\.cpu\.memory: expected a size with its unit, such as '8GiB'; got 8",
    ),
    "memory in an odd unit": ("kind: local\nworkers: {cpu: {memory: 8 gigs}}", r"such as '8GiB'; got '8 gigs'"),
    "a group in capitals": (
        "kind: local\nworkers:\n  GPU: {max: 1}",
        r":3: workers\.GPU: expected a name of at most 30 lower-case letters, digits and '-'; got 'GPU'",
    ),
    "a resource of text": (
        "kind: local\nworkers:\n  gpu:\n    resources: {GPU: one}",
        r":4: workers\.gpu\.resources\.GPU: expected a number above 0: how much of it a worker has; got 'one'",
    ),
    "a toleration misspelt": (
        "kind: kubernetes\nworkers:\n  gpu:\n    tolerations:\n    - {operater: Exists}\nkubernetes: {image: a}",
        r":5: workers\.gpu\.tolerations\[0\]\.operater: unknown\. Did you mean 'operator'",
    ),
    "an effect misspelt": (
        "kind: kubernetes\nworkers: {gpu: {tolerations: [{effect: NoSchedul}]}}\nkubernetes: {image: a}",
        r":2: workers\.gpu\.tolerations\[0\]\.effect: .*; got 'NoSchedul'\. Did you mean 'NoSchedule'",
    ),
    "Kubernetes without a part of its own": (
        "kind: kubernetes\nworkers: {cpu: {}}",
        r":1: expected the key 'kubernetes', too: where in Kubernetes",
    ),
    "Kubernetes without an image": (
        "kind: kubernetes\nworkers: {cpu: {}}\nkubernetes:\n  imag: a",
        r":4: kubernetes\.imag: unknown\. Did you mean 'image'",
    ),
    "a node selector in camel case": (
        "kind: kubernetes\nworkers: {cpu: {nodeSelector: {a: b}}}\nkubernetes: {image: a}",
        r":2: workers\.cpu\.nodeSelector: unknown\. Did you mean 'node_selector'",
    ),
    "a label that is a number": (
        "kind: kubernetes\nworkers: {cpu: {labels: {cost-centre: 42}}}\nkubernetes: {image: a}",
        r"workers\.cpu\.labels\.cost-centre: expected a text, in quotation marks if it looks like a number; got 42",
    ),
    "a secret without its key": (
        "kind: kubernetes\nworkers: {cpu: {}}\nkubernetes:\n  image: a\n  secrets:\n  - {secret: aws, env: A}",
        r":6: kubernetes\.secrets\[0\]: expected the key 'key', too: a key of the Secret",
    ),
    "no hosts": (
        "kind: ssh\nworkers: {cpu: {}}\nssh: {hosts: []}",
        r":3: ssh\.hosts: expected a list of at least one host",
    ),
    "a host misspelt": (
        "kind: ssh\nworkers: {cpu: {}}\nssh:\n  hosts:\n  - desk1\n  - host: desk2\n    usr: anna",
        r":7: ssh\.hosts\[1\]\.usr: unknown\. Did you mean 'user'",
    ),
    "a host that is a number": (
        "kind: ssh\nworkers: {cpu: {}}\nssh: {hosts: [7]}",
        r"ssh\.hosts\[0\]: expected a host's name",
    ),
    "a host with a group that is not there": (
        "kind: ssh\nworkers: {cpu: {}, gpu: {}}\nssh:\n  hosts:\n  - host: desk1\n    workers: {gpus: 1}",
        r":6: ssh\.hosts\[0\]\.workers\.gpus: no such group\. Did you mean 'gpu'\? Known: cpu, gpu",
    ),
    "a host twice": ("kind: ssh\nworkers: {cpu: {}}\nssh: {hosts: [a, a]}", r"ssh\.hosts\[1\]: 'a' is there twice"),
    "the operator's own group": (
        "kind: kubernetes\nworkers:\n  cpu: {}\n  default: {max: 2}\nkubernetes: {image: a}",
        r":4: workers\.default: expected another name, such as 'cpu': Dask's operator makes a group of this name",
    ),
    "a text for the hosts": (
        "kind: ssh\nworkers: {cpu: {}}\nssh: {hosts: desk1}",
        r":3: ssh\.hosts: expected a list of at least one host, such as \[desk1, .*; got 'desk1'",
    ),
    "a host with a password": (
        "kind: ssh\nworkers: {cpu: {}}\nssh: {hosts: ['anna:swordfish@desk1']}",
        r":3: ssh\.hosts\[0\]: .*SSH keys",
    ),
    "a host with an odd port": (
        "kind: ssh\nworkers: {cpu: {}}\nssh: {hosts: ['desk1:ssh']}",
        r":3: ssh\.hosts\[0\]: expected a host such as desk1, .*; got 'desk1:ssh'",
    ),
    "a host with a port beyond all": (
        "kind: ssh\nworkers: {cpu: {}}\nssh: {hosts: ['desk1:65536']}",
        r":3: ssh\.hosts\[0\]: expected a port, from 1 to 65535, after the host; got 'desk1:65536'",
    ),
    "an IPv6 address that is none": (
        "kind: ssh\nworkers: {cpu: {}}\nssh: {hosts: ['2001:db8::1:65536']}",
        r":3: ssh\.hosts\[0\]: expected a host such as .*\[::1\]:2222; got '2001:db8::1:65536'",
    ),
    "a host that says two ports": (
        "kind: ssh\nworkers: {cpu: {}}\nssh: {hosts: [{host: 'a:22', port: 23}]}",
        r":3: ssh\.hosts\[0\]: expected port once; the host says 22, port says 23: leave one out",
    ),
    "a host twice, once with its port beside it": (
        "kind: ssh\nworkers: {cpu: {}}\nssh: {hosts: ['a:22', {host: a, port: 22}]}",
        r"ssh\.hosts\[1\]: 'a:22' is there twice",
    ),
    "a scheduler with an odd port": (
        "kind: ssh\nworkers: {cpu: {}}\nssh: {hosts: [a], scheduler: 'a:ssh'}",
        r":3: ssh\.scheduler: expected a host such as",
    ),
    "a port beyond all": (
        "kind: ssh\nworkers: {cpu: {}}\nssh: {hosts: [{host: a, port: 65536}]}",
        r"ssh\.hosts\[0\]\.port: expected a port, from 1 to 65535; got 65536",
    ),
    "a stagger alone": (
        "kind: local\nworkers: {cpu: {stagger: 5 m}}",
        r"workers\.cpu\.stagger: expected a lifetime, too",
    ),
    "a later version": (
        "kaleidoscope: 2\nkind: local\nworkers: {cpu: {}}",
        r":1: kaleidoscope: expected the version 1; got 2",
    ),
    "a list": ("- kind: local", r":1: expected a cluster such as .*; got a list"),
    "no YAML": ("kind: [local", r":1: not YAML or JSON"),
    "a key twice": ("kind: local\nkind: ssh", r":2: the key 'kind' is there twice"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_answered_with_line_place_and_what_to_do(load, name):
    text, message = BROKEN[name]
    with pytest.raises(RecipeError, match=r"cluster\.yaml.*" + message):
        load(text)


def test_a_password_of_a_host_is_not_repeated():
    for hosts in ("anna:swordfish@desk1", ["anna:sword/fish@desk1"], [{"host": "anna:sword@fish@desk1"}]):
        with pytest.raises(RecipeError, match="SSH keys") as refused:
            spec_from({"kind": "ssh", "workers": {"cpu": None}, "ssh": {"hosts": hosts}}, "here")
        assert "fish" not in str(refused.value)
    with pytest.raises(RecipeError, match="only SSH keys are used") as refused:
        as_host("anna:swordfish@desk1")
    assert "swordfish" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("desk1", Host("desk1")),
        ("anna@desk1", Host("desk1", user="anna")),
        ("desk1:2222", Host("desk1", port=2222)),
        ("anna@desk1:2222", Host("desk1", user="anna", port=2222)),
        ("anna@corp.example@desk1", Host("desk1", user="anna@corp.example")),
        ("127.0.0.1:22", Host("127.0.0.1", port=22)),
        ("::1", Host("::1")),
        ("[::1]", Host("::1")),
        ("[::1]:22", Host("::1", port=22)),
        ("anna@[fe80::1%eth0]:22", Host("fe80::1%eth0", user="anna", port=22)),
        ("::1:22", Host("::1:22")),
    ],
)
def test_a_host_is_understood_as_ssh_users_write_it(text, host):
    content = {"kind": "ssh", "workers": {"cpu": None}, "ssh": {"hosts": [text]}}
    assert spec_from(content, "here").ssh.hosts == (host,)
    content["ssh"]["hosts"] = [{"host": text}]
    assert spec_from(content, "here").ssh.hosts == (host,)


@given(st.text() | st.text("a1:@[]%./-"))
def test_any_text_is_a_host_or_refused(text):
    with contextlib.suppress(RecipeError):
        assert as_host(text).host


def test_all_that_is_wrong_is_said_at_once_in_the_order_of_the_file(load):
    with pytest.raises(RecipeError) as refused:
        load("kind: loca\nworkers:\n  cpu: {mx: 1}\n  gpu: {memory: 3}\nssh: {host: [a]}")
    assert re.findall(r":(\d): ([\w.]+)", str(refused.value)) == [
        ("1", "kind"),
        ("3", "workers.cpu.mx"),
        ("4", "workers.gpu.memory"),
        ("5", "ssh.host"),
    ]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"cannot read the cluster's file .*none\.yaml"):
        load_spec(tmp_path / "none.yaml")


POD = "kind: kubernetes\nworkers:\n  cpu: {%s}\nkubernetes: {image: a}"
K8S = "kind: kubernetes\nworkers: {cpu: }\nkubernetes: {image: a, %s}"
VALID = [
    ("kind: local\nworkers: {cpu: }", lambda spec: spec.workers == {"cpu": WorkerGroup("cpu")}),
    (
        "kind: local\nworkers: {cpu: {max: 4}}",
        lambda spec: (spec.workers["cpu"].min, spec.workers["cpu"].max) == (0, 4),
    ),
    (
        "kind: local\nworkers: {cpu: {min: 3}}",
        lambda spec: (spec.workers["cpu"].min, spec.workers["cpu"].max) == (3, 3),
    ),
    ("kind: local\nworkers: {cpu: {cpus: 4}}", lambda spec: spec.workers["cpu"].threads == 4),
    ("kind: local\nworkers: {cpu: {cpus: 0.5}}", lambda spec: spec.workers["cpu"].threads == 1),
    ("kind: local\nworkers: {cpu: {cpus: 4, threads: 1}}", lambda spec: spec.workers["cpu"].threads == 1),
    ("kind: local\nworkers: {cpu: {memory: 2GiB}}", lambda spec: spec.workers["cpu"].memory == 2 * 2**30),
    ("kind: local\nworkers: {cpu: {memory: 1.5 GB}}", lambda spec: spec.workers["cpu"].memory == 1_500_000_000),
    ("kind: local\nworkers: {cpu: {memory: 512Mi}}", lambda spec: spec.workers["cpu"].memory == 512 * 2**20),
    (
        "kind: local\nname: try\ndashboard: false\nenv: {A: b}\nworkers: {gpu: {resources: {GPU: 1}, env: {C: d}}}",
        lambda spec: (
            (spec.name, spec.dashboard, spec.env) == ("try", False, {"A": "b"})
            and (spec.workers["gpu"].resources, spec.workers["gpu"].env) == ({"GPU": 1}, {"C": "d"})
        ),
    ),
    (
        '{"kaleidoscope": 1, "kind": "local", "workers": {"a-1": {"lifetime": "2 hours", "stagger": "5 m"}}}',
        lambda spec: (spec.workers["a-1"].lifetime, spec.workers["a-1"].stagger) == (7200, 300),
    ),
    ("kind: ssh\nworkers: {cpu: }\nssh: {hosts: [a, b]}", lambda spec: spec.ssh.hosts == (Host("a"), Host("b"))),
    (
        """
        {kind: ssh, workers: {cpu: , gpu: }, ssh: {hosts: [{host: a, workers: {cpu: 2, gpu: 0}, user: u, port: 22,
         key: k, python: p, folder: f, threads: 2, memory: 1GiB, address: 10.0.0.1}]}}
        """,
        lambda spec: spec.ssh.hosts == (Host("a", {"cpu": 2, "gpu": 0}, "10.0.0.1", "u", 22, "k", "p", "f", 2, 2**30),),
    ),
    (
        "kind: ssh\nworkers: {cpu: }\nssh: {hosts: [a], scheduler: b, scheduler_port: 86, known_hosts: h, tls: false}",
        lambda spec: (spec.ssh.scheduler, spec.ssh.scheduler_port, spec.ssh.tls) == ("b", 86, False),
    ),
    (
        "kind: local\nworkers: {cpu: {node_selector: {a: b}, spot: true}}\nkubernetes: {image: a}\nssh: {hosts: [a]}",
        lambda spec: spec.kind == "local" and spec.kubernetes.image == "a" and spec.ssh.hosts == (Host("a"),),
    ),
    (POD % "node_selector: {a: b}, spot: true, image: c", lambda spec: spec.workers["cpu"].node_selector == {"a": "b"}),
    (
        POD % "tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]",
        lambda spec: spec.workers["cpu"].tolerations[0]["operator"] == "Exists",
    ),
    (
        POD % "pod: {volumes: [{name: a, secret: {secretName: b}}], hostNetwork: false}",
        lambda spec: spec.workers["cpu"].pod["volumes"][0]["secret"] == {"secretName": "b"},
    ),
    (
        K8S % "namespace: ml, image_pull_secrets: [registry], image_pull_policy: Always",
        lambda spec: (spec.kubernetes.namespace, spec.kubernetes.image_pull_secrets) == ("ml", ("registry",)),
    ),
    (
        K8S % "service_account: {name: augment, annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::1:role/a'}}",
        lambda spec: spec.kubernetes.service_account.annotations["eks.amazonaws.com/role-arn"].endswith("role/a"),
    ),
    (
        K8S % "secrets: [aws, {secret: hub, key: token, env: HF_TOKEN}]",
        lambda spec: spec.kubernetes.secrets == (SecretVariables("aws"), SecretVariables("hub", "token", "HF_TOKEN")),
    ),
    (
        K8S % "scheduler: {cpus: 2, memory: 4GiB, labels: {a: b}}",
        lambda spec: (spec.kubernetes.scheduler.cpus, spec.kubernetes.scheduler.memory) == (2, 4 * 2**30),
    ),
    (K8S % "scheduler: {}", lambda spec: spec.kubernetes.scheduler.memory == 2 * 2**30),
]


@pytest.mark.parametrize(("text", "holds"), VALID, ids=[text for text, _ in VALID])
def test_a_file_is_read_as_it_is_meant(load, text, holds):
    spec = load(text)
    assert isinstance(spec, ClusterSpec)
    assert holds(spec)
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_the_file_in_the_documentation_is_one(load):
    text = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text("utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert [load(block).kind for block in blocks if "kind:" in block] == ["ssh"]


class TestSecrets:
    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("env: {AWS_SECRET_ACCESS_KEY: swordfish}", "env.AWS_SECRET_ACCESS_KEY"),
            ("workers: {cpu: {env: {HF_TOKEN: swordfish}}}", "workers.cpu.env.HF_TOKEN"),
            ("workers: {cpu: {env: {PROXY: 'http://me:swordfish@proxy'}}}", "workers.cpu.env.PROXY"),
            ("workers: {cpu: {env: {WHO: AKIASWORDFISH7EXAMPL}}}", "workers.cpu.env.WHO"),
            ("workers: {cpu: {annotations: {db-password: swordfish}}}", "workers.cpu.annotations.db-password"),
            (
                "workers: {cpu: {pod: {containers: [{env: [{name: API_KEY, value: swordfish}]}]}}}",
                "workers.cpu.pod.containers[0].env[0].value",
            ),
            ("ssh: {hosts: [{host: a, password: swordfish}]}", "ssh.hosts[0].password"),
            ("ssh: {hosts: [{host: a, key: '-----BEGIN OPENSSH PRIVATE KEY-----swordfish'}]}", "ssh.hosts[0].key"),
            ("ssh: {hosts: ['anna:swordfish@desk1']}", "ssh.hosts[0]"),
            ("ssh: {hosts: 'anna:swordfish@desk1'}", "ssh.hosts"),
            ("ssh: {hosts: [{host: a, user: 'anna:swordfish'}]}", "ssh.hosts[0].user"),
            ("kubernetes: {image: a, secrets: ['AKIASWORDFISH7EXAMPL']}", "kubernetes.secrets[0]"),
            ("kubernetes: {image: x, secrets: ['AWS_SECRET_ACCESS_KEY=swordfish']}", "kubernetes.secrets[0]"),
            (
                "env: {AZURE: 'DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c3dvcmRmaXNo=='}",
                "env.AZURE",
            ),
            ("workers: {cpu: {env: {BLOB: 'https://a.example/b?sv=2020&sig=swordfish'}}}", "workers.cpu.env.BLOB"),
            ("workers: {cpu: {env: {HEADER: 'Authorization: Bearer swordfish'}}}", "workers.cpu.env.HEADER"),
            ("workers: {cpu: {env: {HEADER: 'Bearer swordfish'}}}", "workers.cpu.env.HEADER"),
            ("workers: {cpu: {env: {S3_KEY: swordfish}}}", "workers.cpu.env.S3_KEY"),
            ("workers: {cpu: {env: {ACCESS_KEY: swordfish}}}", "workers.cpu.env.ACCESS_KEY"),
            ('workers: {cpu: {env: {CONFIG: \'{"password": "swordfish"}\'}}}', "workers.cpu.env.CONFIG"),
            ("workers: {cpu: {env: {DB_PASSWORD: 5550123}}}", "workers.cpu.env.DB_PASSWORD"),
            ("workers: {cpu: {pod: {containers: [{args: [a, --password=swordfish]}]}}}", ".args[1]"),
            ("workers: {cpu: {pod: {containers: [{args: [--token, swordfish]}]}}}", ".args[1]"),
            ("workers: {cpu: {pod: {containers: [{args: ['run --token swordfish']}]}}}", ".args[0]"),
            ("kubernetes: {image: 'anna:swordfish@registry.example/augment'}", "kubernetes.image"),
            ("kubernetes: {image: 'https://anna:swordfish@registry.example/augment'}", "kubernetes.image"),
        ],
    )
    def test_a_value_is_refused_and_not_shown(self, load, text, place):
        with pytest.raises(
            RecipeError, match=rf":2: \S*{re.escape(place)}: looks like the value of a secret"
        ) as refused:
            load(f"kind: local\n{text}")
        assert not re.search("swordfish|c3dvcmRmaXNo|5550123", str(refused.value).lower())

    @pytest.mark.parametrize(
        ("kind", "text", "helps"),
        [
            ("local", "env: {DB_PASSWORD: swordfish}", "export the variable"),
            ("ssh", "env: {DB_PASSWORD: swordfish}", "where the hosts have it already"),
            ("ssh", "ssh: {hosts: ['anna:swordfish@desk1']}", "ssh-copy-id"),
            ("kubernetes", "env: {DB_PASSWORD: swordfish}", "put it into a Kubernetes Secret .* kubernetes\\.secrets"),
            ("kubernets", "env: {DB_PASSWORD: swordfish}", "where the machines already have it"),
        ],
    )
    def test_what_is_advised_instead_helps_where_the_cluster_runs(self, load, kind, text, helps):
        with pytest.raises(RecipeError, match=helps) as refused:
            load(f"kind: {kind}\n{text}")
        assert ("Kubernetes Secret" in str(refused.value)) == (kind == "kubernetes")

    @pytest.mark.parametrize(
        ("secrets", "said"),
        [
            ("['DB=swordfish']", r"\.secrets\[0\]: expected the name of a Secret"),
            (
                "[{secret: db, key: pw, env: 'DB=swordfish'}]",
                r"\.secrets\[0\]\.env: expected the name of an environment",
            ),
            ("[{secret: 'sword fish', key: pw, env: DB}]", r"\.secrets\[0\]\.secret: expected the name of a Secret"),
            ("[{secret: db, key: 7101, env: DB}]", r"\.secrets\[0\]\.key: expected a key of the Secret"),
            ("[{secret: db, key: pw, env: DB, swordfish: 7101}]", r"\.secrets\[0\]\.swo\.\.\.: unknown"),
            ("[{secret: db, key: pw, envv: DB}]", r"\.secrets\[0\]\.envv: unknown\. Did you mean 'env'"),
            ("swordfish", r"\.secrets: expected a list of Secrets"),
            ("[7101]", r"\.secrets\[0\]: expected the name of a Secret"),
        ],
    )
    def test_what_is_wrong_among_secrets_is_not_repeated(self, load, secrets, said):
        with pytest.raises(RecipeError, match=r":3: kubernetes" + said) as refused:
            load(f"kind: kubernetes\nworkers: {{cpu: }}\nkubernetes: {{image: x, secrets: {secrets}}}")
        assert not re.search("sword.?fish|7101", str(refused.value))

    @pytest.mark.parametrize(
        "text",
        [
            "hunter2wJalrXUtn: x",
            "env: {wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY: x}",
            "env: {DB=wJalrXUtn: x}",
            "workers: {cpu: }\nkubernetes: {image: x, namespace: hunter2wJalrXUtnFEMI}",
        ],
    )
    def test_what_is_long_and_random_is_shortened(self, load, text):
        with pytest.raises(RecipeError, match=r"(unknown|expected)") as refused:
            load(f"kind: local\n{text}")
        assert "wJalrXUtn" not in str(refused.value)

    @pytest.mark.parametrize(
        "text",
        [
            "env: {AWS_WEB_IDENTITY_TOKEN_FILE: /var/run/token, AWS_PROFILE: lab, KEYBOARD: de}",
            "env: {FROM_THE_POD_TOKEN: $(OTHER)}",
            "env: {EMPTY_TOKEN: ''}",
            "env: {AWS_ACCESS_KEY_ID: AKIASWORDFISH7EXAMPL, SORT_KEY_COLUMN: name, SORT_KEY: name, KEY: a}",
            "env: {SSL_KEY: /etc/tls/tls.key}",
            "env: {DATABASE: 'postgres://me:$(DB_PASSWORD)@db', HEADER: 'Authorization: Bearer $(HUB_TOKEN)'}",
            "workers: {cpu: {pod: {containers: [{args: [--token-file=/a, --password=$(PW), --token, $(HUB), a=b]}]}}}",
            "workers: {cpu: {pod: {containers: [{command: [sh, -c, 'run --token \"$HUB\" --n=4 && echo ok']}]}}}",
            "workers: {cpu: {pod: {topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname}]}}}",
            "workers: {cpu: {resources: {TOKENS: 4}, annotations: {contact: 'mailto:anna@example.org'}}}",
            "kubernetes: {image: 'python:3.12@sha256:0123456789abcdef'}",
            "kubernetes: {image: 'registry.example:5000/me/augment:1@sha256:0123456789abcdef'}",
            "ssh: {hosts: ['anna@desk1:2222', '::1']}",
            "ssh: {hosts: [{host: a, key: ~/.ssh/lab}], known_hosts: hosts.txt}",
        ],
    )
    def test_names_and_files_are_let_through(self, load, text):
        load(f"kind: local\n{text}" if text.startswith("workers") else f"kind: local\nworkers: {{cpu: }}\n{text}")

    @given(st.text())
    def test_any_name_is_judged(self, name):
        assert isinstance(names_a_secret(name), bool)


class TestSchema:
    def test_is_published_as_it_is(self):
        published = Path(__file__).parents[2] / "docs" / "cluster.schema.json"
        assert json.loads(published.read_text("utf-8")) == cluster_schema(), "run docs/make_cluster_schema.py"

    def test_is_a_schema(self):
        jsonschema.Draft202012Validator.check_schema(cluster_schema())

    def test_describes_every_value(self):
        def values(schema):
            yield schema
            for inner in [*schema.get("properties", {}).values(), *schema.get("oneOf", ())]:
                yield from values(inner)
            for name in ("items", "additionalProperties", "propertyNames"):
                if isinstance(schema.get(name), dict):
                    yield from values(schema[name])

        assert [
            one
            for one in values(cluster_schema())
            if not one.get("description") and one.get("type") != "null" and "oneOf" not in one
        ] == []


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["kind", "workers", "ssh", "kubernetes", "env", "name", "hosts", "cpu", "min"])


@given(PLAIN | st.dictionaries(KEYS, PLAIN | st.dictionaries(KEYS, PLAIN)))
def test_any_values_are_read_or_refused(content):
    with contextlib.suppress(RecipeError):
        spec_from(content, "here")
