"""What is applied to Kubernetes, held against its own schemas and those of Dask's operator."""

import copy
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from packaging.requirements import Requirement

pytest.importorskip("dask_kubernetes")
pytest.importorskip("kubernetes_validate")

from fake_kubernetes.schemas import Custom, definitions, errors_of_builtin
from kubernetes_files import FILES, GPU, a_file

from kaleidoscope.cli import cli, main
from kaleidoscope.cluster.manifests import as_yaml, manifests
from kaleidoscope.cluster.pods import kubernetes_of
from kaleidoscope.cluster.spec import ClusterSpec, Kubernetes, WorkerGroup, spec_from
from kaleidoscope.errors import RecipeError

EXAMPLES = Path(__file__).parents[2] / "examples" / "kubernetes"


@pytest.fixture(scope="module")
def customs():
    return {one["spec"]["names"]["kind"]: Custom(one) for one in definitions()}


def spec_of(content):
    return spec_from(content, "here")


def errors_of(documents, customs):
    """Return what is wrong with what is applied, and with what the operator makes of it."""
    errors = []
    for document in documents:
        kind = document["kind"]
        found = customs[kind].errors(document) if kind in customs else errors_of_builtin(document)
        errors += [f"{kind}: {error}" for error in found]
        for made in what_the_operator_makes(document):
            errors += [f"{made['kind']} of {kind}: {error}" for error in errors_of_builtin(made)]
    return errors


def what_the_operator_makes(document):
    from dask_kubernetes.operator.controller.controller import (
        build_scheduler_deployment_spec,
        build_scheduler_service_spec,
        build_worker_deployment_spec,
    )

    name, labels = document["metadata"]["name"], document["metadata"].get("labels", {})
    if document["kind"] == "DaskCluster":
        scheduler = document["spec"]["scheduler"]
        yield build_scheduler_deployment_spec(name, scheduler["spec"], scheduler["metadata"]["annotations"], labels)
        yield build_scheduler_service_spec(name, scheduler["service"], {}, labels)
    elif document["kind"] == "DaskWorkerGroup":
        worker = document["spec"]["worker"]
        annotations = worker["metadata"]["annotations"]
        cluster = document["spec"]["cluster"]
        yield build_worker_deployment_spec(name, "default", cluster, "0" * 10, worker["spec"], annotations, labels)


def pods_of(documents):
    """Return the pods' specifications: the scheduler's, and each group's."""
    (cluster,) = [one for one in documents if one["kind"] == "DaskCluster"]
    groups = [one for one in documents if one["kind"] == "DaskWorkerGroup"]
    scheduler = cluster["spec"]["scheduler"]["spec"]
    return scheduler, {one["metadata"]["name"]: one["spec"]["worker"]["spec"] for one in groups}


def container_of(pod):
    (container,) = pod["containers"]
    return container


@pytest.mark.parametrize("name", FILES)
def test_what_is_rendered_is_valid_to_the_letter(name, customs, tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(FILES[name], sort_keys=False))
    result = CliRunner().invoke(cli, ["cluster", "render", str(file)])
    assert result.exit_code == 0, result.output
    documents = list(yaml.safe_load_all(result.output))
    assert documents == manifests(spec_of(FILES[name]))
    assert errors_of(documents, customs) == []


def test_there_are_twenty_files():
    assert len(FILES) == 20


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda pod: pod.update(nodeSelektor={}), "nodeSelektor"),
        (lambda pod: pod["containers"][0].update(imgae="x"), "imgae"),
        (lambda pod: pod["containers"][0]["resources"]["limits"].update({"nvidia.com/gpu": 1}), "nvidia.com/gpu"),
        (lambda pod: pod["containers"][0]["env"].append({"name": "N", "value": 1}), "value"),
        (lambda pod: pod["securityContext"].update(runAsUser="root"), "runAsUser"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_checks_find_what_is_wrong(break_it, said, customs):
    documents = copy.deepcopy(manifests(spec_of(FILES["two-groups"])))
    break_it(pods_of(documents)[1]["kaleidoscope-gpu"])
    assert said in "\n".join(errors_of(documents, customs))


@pytest.mark.parametrize("name", FILES)
def test_no_pod_may_more_than_it_needs(name):
    scheduler, groups = pods_of(manifests(spec_of(FILES[name])))
    for pod in (scheduler, *groups.values()):
        container = container_of(pod)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert container["resources"]["requests"] == container["resources"]["limits"]
        written = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {variable["value"] for variable in container["env"] if variable["name"] in ("HOME", "TMPDIR")} <= written


def test_gpus_are_asked_for_by_the_groups_that_have_them():
    scheduler, groups = pods_of(manifests(spec_of(FILES["two-groups"])))
    asked = {name: container_of(pod)["resources"]["limits"].get("nvidia.com/gpu") for name, pod in groups.items()}
    assert asked == {"kaleidoscope-cpu": None, "kaleidoscope-gpu": "1"}
    assert "nvidia.com/gpu" not in container_of(scheduler)["resources"]["limits"]
    gpu = groups["kaleidoscope-gpu"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in gpu["tolerations"]
    words = container_of(gpu)["args"]
    assert words[words.index("--resources") + 1] == "GPU=1"
    assert "tolerations" not in groups["kaleidoscope-cpu"]


def test_a_part_of_a_gpu_is_refused():
    with pytest.raises(RecipeError, match=r"workers\.gpu\.resources\.GPU: .*whole GPUs; got 0\.5"):
        manifests(spec_of(a_file({"gpu": {"resources": {"GPU": 0.5}}})))


def test_commands_are_those_that_dask_has():
    scheduler, groups = pods_of(manifests(spec_of(FILES["spot"])))
    assert container_of(scheduler)["args"][:4] == ["dask", "scheduler", "--host", "0.0.0.0"]  # noqa: S104 - in a pod
    words = container_of(groups["kaleidoscope-cpu"])["args"]
    assert words[:4] == ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"]
    assert words[words.index("--lifetime") + 1] == "21600s"
    assert words[words.index("--lifetime-stagger") + 1] == "1800s"


def test_workers_retire_before_they_end():
    pod = pods_of(manifests(spec_of(FILES["least"])))[1]["kaleidoscope-cpu"]
    command = container_of(pod)["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["python", "-m", "kaleidoscope.cluster.retire"]
    assert pod["terminationGracePeriodSeconds"] > 60


def test_spot_nodes_are_tolerated_by_groups_that_say_so_only():
    def tolerated(pod):
        return "cloud.google.com/gke-spot" in [one.get("key") for one in pod.get("tolerations", ())]

    scheduler, groups = pods_of(manifests(spec_of(a_file({"cpu": None, "cheap": {"spot": True}}))))
    assert {name: tolerated(pod) for name, pod in groups.items()} == {
        "kaleidoscope-cpu": False,
        "kaleidoscope-cheap": True,
    }
    assert not tolerated(scheduler)


def test_groups_begin_with_their_least_and_the_operators_own_group_is_empty():
    documents = manifests(spec_of(a_file({"cpu": {"min": 2, "max": 4}, "gpu": GPU})))
    replicas = {one["metadata"]["name"]: one["spec"]["worker"]["replicas"] for one in documents}
    assert replicas == {"kaleidoscope": 0, "kaleidoscope-cpu": 2, "kaleidoscope-gpu": 0}


def test_secrets_are_named_and_never_rendered():
    container = container_of(pods_of(manifests(spec_of(FILES["secrets"])))[0])
    assert container["envFrom"] == [{"secretRef": {"name": "s3"}}]
    reference = {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
    assert reference in container["env"]


def test_the_value_of_a_secret_is_refused_wherever_it_comes_from():
    with pytest.raises(RecipeError, match="looks like the value of a secret") as from_file:
        spec_of(a_file({"cpu": {"env": {"API_TOKEN": "hunter2-hunter2"}}}))
    group = WorkerGroup("cpu", env={"API_TOKEN": "hunter2-hunter2"})
    spec = ClusterSpec("kubernetes", {"cpu": group}, kubernetes=Kubernetes("image"))
    with pytest.raises(RecipeError, match="looks like the value of a secret") as from_python:
        manifests(spec)
    assert "hunter2" not in str(from_file.value) + str(from_python.value)


def test_a_users_own_fields_are_laid_over():
    scheduler, groups = pods_of(manifests(spec_of(FILES["own-fields"])))
    pod = groups["kaleidoscope-cpu"]
    assert (pod["priorityClassName"], scheduler["priorityClassName"]) == ("low", "high")
    assert pod["securityContext"]["runAsUser"] == 2000
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["dnsPolicy"] == scheduler["dnsPolicy"] == "ClusterFirst"


def test_rendering_is_the_same_each_time():
    spec = spec_of(FILES["placed"])
    assert as_yaml(manifests(spec)) == as_yaml(manifests(spec))


BROKEN = {
    "local": ({"kind": "local", "workers": {"cpu": None}}, "kind is 'local'"),
    "misspelt": ({**FILES["least"], "wrokers": {}}, "wrokers: unknown. Did you mean 'workers'?"),
    "the-operators-group": (a_file({"default": None}), "workers.default: expected another name"),
    "a-secret-in-args": (
        a_file({"cpu": {"pod": {"initContainers": [{"name": "a", "args": ["--password=swordfish"]}]}}}),
        "workers.cpu.pod.initContainers[0].args[0]: looks like the value of a secret",
    ),
    "half-a-gpu": (a_file({"gpu": {"resources": {"GPU": 0.5}}}), "whole GPUs"),
}


@pytest.mark.parametrize(
    ("command", "broken"),
    [
        *((command, broken) for command in ("render", "up", "down") for broken in BROKEN),
        *((command, broken) for command in ("status", "logs") for broken in BROKEN if broken != "half-a-gpu"),
    ],
)
def test_a_file_that_makes_no_sense_ends_every_command(command, broken, tmp_path, capsys):
    content, said = BROKEN[broken]
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit) as ended:
        main(lambda: cli(["cluster", command, str(file)]))
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert "swordfish" not in shown.out + shown.err


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("cluster-*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_valid(path, customs):
    spec = spec_from(yaml.safe_load(path.read_text()), path.name)
    assert errors_of(manifests(spec), customs) == []
    others = [one for other in EXAMPLES.glob("manifests/*.yaml") for one in yaml.safe_load_all(other.read_text())]
    assert others
    assert [error for one in others for error in errors_of_builtin(one)] == []
    assert {one["metadata"]["namespace"] for one in others if one["kind"] != "Namespace"} == {
        kubernetes_of(spec).namespace
    }


def test_the_image_has_what_the_package_needs_pinned():
    packages = tomllib.loads((EXAMPLES.parents[1] / "pyproject.toml").read_text())["project"]["dependencies"]
    lines = [line for line in (EXAMPLES / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line for line in lines)
    pinned = dict(line.split("==") for line in lines)
    for needed in map(Requirement, packages):
        assert needed.specifier.contains(pinned[needed.name.lower()]), needed


def test_the_image_runs_as_the_user_that_pods_have():
    lines = (EXAMPLES / "Dockerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert all(re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base) for base in bases), "pinned to the patch release"
    user = pods_of(manifests(spec_of(FILES["least"])))[0]["securityContext"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in lines
