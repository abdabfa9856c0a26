"""k8s/: objects that the API takes, commands that exist, numbers and names that agree, base, overlay and Ray alike."""

from __future__ import annotations

import copy
import shlex
import shutil

import kubernetes_validate
import pytest
import yaml

from tests.docker.recipes import DOCKER, expanded, of_ours, only, parsed, rendered
from tests.docker.test_images import pins  # noqa: F401 - a fixture

K8S = DOCKER / "k8s"
JOBS = ("avprep", "avfinalize", "avtrain")
VERSIONS = ("1.31", kubernetes_validate.latest_version())
RAY_OVERLAY = {
    "apiVersion": "kustomize.config.k8s.io/v1beta1",
    "kind": "Kustomization",
    "resources": ["../../base"],
    "components": ["../../numbers", "../../ray"],
    "configMapGenerator": [
        {
            "name": "av",
            "behavior": "merge",
            "literals": ["PARTITIONS=6", "MANIFEST=/clips/x.csv", "DATASET=/datasets/x"],
        }
    ],
    "generatorOptions": {"disableNameSuffixHash": True},
    "images": [{"name": "avprep-ray", "newName": "here/avprep-ray", "newTag": "7"}],
}


@pytest.fixture(scope="module", params=["base", "overlays/vggsound"])
def objects(request):
    return rendered(K8S / request.param)


@pytest.fixture(scope="module")
def with_ray(tmp_path_factory):
    """What an overlay comes to that takes Ray, as README.md tells to write it."""
    folder = shutil.copytree(K8S, tmp_path_factory.mktemp("k8s") / "k8s")
    mine = folder / "overlays" / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(RAY_OVERLAY))
    return rendered(mine)


def pods(every):
    """(job, spec of its pods) of each Job."""
    return [(job, job["spec"]["template"]["spec"]) for job in every if job["kind"] == "Job"]


def containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"]]


def environment(every):
    return {**only(every, "ConfigMap", "av")["data"], "JOB_COMPLETION_INDEX": "0"}


def words_of(container, values):
    """The whole command line of a container."""
    return expanded([*container["command"], *container.get("args", [])], values)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_api_takes_every_object(objects, version):
    assert [one["metadata"]["name"] for one in objects if one["kind"] == "Job"] == sorted(JOBS)
    for one in objects:
        kubernetes_validate.validate(one, version, strict=True)


def test_commands_are_those_of_the_programs(objects):
    values = environment(objects)
    found = {}
    for _, pod in pods(objects):
        for container in containers(pod):
            if words := of_ours(words_of(container, values)):
                found[container["name"]] = parsed(words)
    assert set(found) == {"prep", "finalize", "plan", "train"}
    assert found["prep"]["partition"] == f"0/{values['PARTITIONS']}"
    (trained,) = found["train"]["dataset"]
    folders = {str(found["prep"]["out"]), str(found["finalize"]["dataset_dir"]), str(trained)}
    assert folders == {values["DATASET"]}
    shared = found["plan"].keys() & found["train"].keys()
    assert {"dataset", "strategy", "batch_size", "epochs", "seed"} <= shared
    assert {key: found["plan"][key] for key in shared} == {key: found["train"][key] for key in shared}
    assert found["plan"]["world_size"] == int(values["RANKS"])


def test_pods_partitions_and_gpus_agree(objects):
    values = {name: text for name, text in environment(objects).items() if text.isdecimal()}
    prep, train = (only(objects, "Job", name)["spec"] for name in ("avprep", "avtrain"))
    assert prep["completions"] == prep["parallelism"] == int(values["PARTITIONS"])
    assert train["completions"] == train["parallelism"] == int(values["NODES"])
    (container,) = train["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == values["GPUS"]
    assert int(values["RANKS"]) == int(values["NODES"]) * int(values["GPUS"])
    assert prep["completionMode"] == train["completionMode"] == "Indexed"
    (container,) = prep["template"]["spec"]["containers"]
    (workers,) = (int(word) for before, word in zip(container["args"], container["args"][1:]) if before == "--workers")  # noqa: B905
    assert container["resources"]["requests"]["cpu"] == str(workers)
    assert container["resources"]["requests"]["memory"] == f"{1.5 * workers:.0f}Gi"


def test_the_machines_of_a_run_meet_at_the_name_that_the_service_gives(objects):
    job, service = only(objects, "Job", "avtrain"), only(objects, "Service", "avtrain")
    pod = job["spec"]["template"]["spec"]
    (port,) = service["spec"]["ports"]
    values = environment(objects)
    name, nodes, gpus, endpoint, run, *rest = words_of(pod["containers"][0], values)
    assert (name, nodes, gpus, run) == ("train-node", values["NODES"], values["GPUS"], values["RUN"])
    assert endpoint == f"{job['metadata']['name']}-0.{service['metadata']['name']}:{port['port']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    assert str(parsed(rest)["run"]) == run


def test_claims_volumes_and_config_maps_are_there(objects):
    names = {kind: {one["metadata"]["name"] for one in objects if one["kind"] == kind} for kind in ("ConfigMap",)}
    claims = {one["metadata"]["name"] for one in objects if one["kind"] == "PersistentVolumeClaim"}
    for _, pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        used = set()
        for container in containers(pod):
            mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
            assert set(mounts.values()) <= set(volumes)
            used |= set(mounts.values())
            for word in words_of(container, environment(objects)):
                for folder in ("/clips", "/datasets", "/runs"):
                    assert not word.removeprefix("--run=").startswith(f"{folder}/") or mounts[folder] == folder[1:]
            for source in container["envFrom"]:
                assert (
                    source.get("secretRef", {}).get("optional") or source["configMapRef"]["name"] in names["ConfigMap"]
                )
        assert used == set(volumes)
        wanted = {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v}
        assert wanted <= claims
        for name in wanted:
            assert volumes[name.removeprefix("av")]["persistentVolumeClaim"]["claimName"] == name


def guarded(pod):
    """The user is that of the images, the root read-only and /tmp a volume, wherever a program of ours runs."""
    assert pod["securityContext"]["runAsNonRoot"]
    for container in containers(pod):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert container["name"] == "await-plan" or "/tmp" in {one["mountPath"] for one in container["volumeMounts"]}
    return pod["securityContext"]["runAsUser"] == 1000


def test_pods_are_guarded(objects):
    assert all(guarded(pod) for _, pod in pods(objects))


def test_mistakes_of_the_user_are_not_repeated_and_interruptions_cost_no_try(objects):
    for job, pod in pods(objects):
        assert pod["restartPolicy"] == "Never"
        actions = {}
        for rule in job["spec"]["podFailurePolicy"]["rules"]:
            for code in rule.get("onExitCodes", {}).get("values", ["lost"]):
                actions[code] = rule["action"]
        interruptible = {} if job["metadata"]["name"] == "avfinalize" else {75: "Ignore"}
        assert actions == {2: "FailJob", "lost": "Ignore"} | interruptible
        assert job["spec"].get("suspend", False) == (job["metadata"]["name"] != "avprep")


def test_a_checkpoint_has_time_to_be_written(objects):
    script = (DOCKER / "train-node").read_text()
    pod = only(objects, "Job", "avtrain")["spec"]["template"]["spec"]
    waited = int(script.partition("SHUTDOWN_TIMEOUT:-")[2].partition("}")[0])
    assert waited < pod["terminationGracePeriodSeconds"]
    memory = next(volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shared-memory")
    assert memory["medium"] == "Memory"


def test_ray_replaces_both_jobs(with_ray, pins):  # noqa: F811 - the fixture
    assert [one["metadata"]["name"] for one in with_ray if one["kind"] == "Job"] == ["avtrain"]
    spec = only(with_ray, "RayJob", "avprep")["spec"]
    found = parsed(shlex.split(spec["entrypoint"]))
    assert (found["executor"], found["address"]) == ("ray", "auto")
    assert (str(found["manifest_file"]), str(found["out"])) == ("/clips/x.csv", "/datasets/x")
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == str(pins["ray"])
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == 6
    for group in (workers, cluster["headGroupSpec"]):
        pod = copy.deepcopy(group["template"]["spec"])
        assert guarded(pod)
        assert pod["containers"][0]["image"] == "here/avprep-ray:7"
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": pod}
        kubernetes_validate.validate(whole, VERSIONS[-1], strict=True)
