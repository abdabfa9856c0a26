"""One Kubernetes Job a step, made like those of docker/k8s: their images, volumes, guards and rules of failure.

Jobs that need no other of those left are a wave; a wave is applied when the one before it is complete, so that no pod
holds a GPU while it waits. Each Job names in an annotation the ones that it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jinja2 import Environment, StrictUndefined

from avprep.shared import configs
from avprep.shared.errors import UserError
from avtrain.reproduce.tables.matrix import Matrix, Step

PARTITIONS, TRAINING_GPUS = 8, 4
MOUNTS = ("/clips", "/datasets", "/runs")
LONGEST_NAME = 54  # with a digest of 8 digits it is a label of DNS

JOB = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ job.name }}
  annotations:
    avtrain/needs:{% if job.needs %} >-
{%- for name in job.needs %}
      {{ name }}
{%- endfor %}{% else %} ""{% endif %}
spec:
{%- if job.partitions %}
  completionMode: Indexed
  completions: {{ job.partitions }}
  parallelism: {{ job.partitions }}
{%- endif %}
  backoffLimit: 12
  podFailurePolicy:
    rules:
      - action: FailJob
        onExitCodes: {operator: In, values: [2]}
      - action: Ignore
        onExitCodes: {operator: In, values: [75]}
      - action: Ignore
        onPodConditions:
          - {type: DisruptionTarget, status: "True"}
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 300
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 1000
        runAsGroup: 1000
        fsGroup: 1000
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {type: RuntimeDefault}
{%- if job.gpus %}
      tolerations:
        - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
{%- endif %}
{%- if job.awaits %}
      initContainers:
        # The first partition writes the plan, the others wait for it, ten minutes at most.
        - name: await-plan
          image: avprep
          command:
            - sh
            - -c
            - |
              [ "$JOB_COMPLETION_INDEX" = 0 ] && exit
              for _ in $(seq 120); do [ -e "$PLAN" ] && exit; sleep 5; done
          env:
            - name: PLAN
              value: {{ job.awaits | tojson }}
          securityContext: &guarded
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          resources:
            requests: {cpu: 100m, memory: 64Mi}
            limits: {memory: 64Mi}
          volumeMounts:
            - {name: datasets, mountPath: /datasets, readOnly: true}
            - {name: runs, mountPath: /runs, readOnly: true}
{%- endif %}
      containers:
        - name: step
          image: {{ job.image }}
          command:
{%- for word in job.command %}
            - {{ word | tojson }}
{%- endfor %}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          resources:
            requests: {cpu: "{{ job.cores }}", memory: {{ job.gibibytes }}Gi}
            limits: {memory: {{ 2 * job.gibibytes }}Gi{% if job.gpus %}, nvidia.com/gpu: "{{ job.gpus }}"{% endif %}}
          volumeMounts:
            - {name: clips, mountPath: /clips, readOnly: true}
            - {name: datasets, mountPath: /datasets}
            - {name: runs, mountPath: /runs}
            - {name: tmp, mountPath: /tmp}
            - {name: shared-memory, mountPath: /dev/shm}
      volumes:
        - name: clips
          persistentVolumeClaim: {claimName: avclips, readOnly: true}
        - name: datasets
          persistentVolumeClaim: {claimName: avdatasets}
        - name: runs
          persistentVolumeClaim: {claimName: avruns}
        - name: tmp
          emptyDir: {sizeLimit: 20Gi}
        - name: shared-memory
          emptyDir: {medium: Memory, sizeLimit: 8Gi}
"""
WAVE = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
{%- for job in jobs %}
  - {{ job.name }}.yaml
{%- endfor %}
components:
  - ../cluster
"""
EDITED = "cluster/kustomization.yaml"  # which whoever runs the jobs fills in
CLUSTER = """\
# What differs from cluster to cluster, for all jobs. The claims are those of docker/k8s/base/storage.yaml.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
namespace: av
images:
  - {name: avprep, newName: registry.example.com/avprep, newTag: "0.1.0"}
  - {name: avtrain, newName: registry.example.com/avtrain, newTag: "0.1.0"}
"""
SUBMIT = """\
#!/usr/bin/env bash
# {{ table }}: applies a wave of jobs when the one before it is complete. Edit cluster/kustomization.yaml first. Run
# again, it goes on: a job that is complete stays so. It ends with 1 where a job has failed; its log has the reason.
set -euo pipefail
cd "$(dirname "$0")"
NAMESPACE=${NAMESPACE:-av}

complete() { # complete JOB : returns when it is
    local state
    while true; do
        state=$(kubectl --namespace "$NAMESPACE" get job "$1" \\
            --output jsonpath='{.status.conditions[?(@.status=="True")].type}')
        case $state in
        *Complete*) return ;;
        *Failed*) echo "job $1 has failed: kubectl --namespace $NAMESPACE logs job/$1" >&2; exit 1 ;;
        esac
        sleep 20
    done
}

wave() { # wave FOLDER JOB... : all of them, to their end
    kubectl apply --kustomize "$1"
    local job
    for job in "${@:2}"; do complete "$job"; done
}
{% for wave in waves %}
wave wave-{{ loop.index }}
{%- for job in wave %} \\
    {{ job.name }}
{%- endfor %}
{% endfor -%}
"""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a Job's template is filled with."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    image: str = "avtrain"
    gpus: int = 0
    cores: int = 8
    gibibytes: int = 16
    partitions: int = 0
    awaits: str = ""


def files(whole: Matrix, collect: Sequence[str]) -> dict[str, str]:
    """The files by name: a folder a wave, cluster/kustomization.yaml, submit.sh. Errors: UserError."""
    _check_volumes(whole)
    jobs: dict[str, Job] = {}
    last: dict[str, str] = {}  # job that ends a step, by the step's digest
    for step in whole.steps:
        if not step.is_done:
            needs = tuple(last[need.digest] for need in step.needs if need.digest in last)
            for job in _jobs(step, needs):
                jobs[job.name] = job
                last[step.digest] = job.name
    table = Job(name=_table_name(whole, collect, jobs), command=tuple(collect), needs=tuple(jobs))
    jobs[table.name] = table
    waves = _waves(jobs)
    fill = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False).from_string
    manifests = {"submit.sh": fill(SUBMIT).render(table=whole.settings.table, waves=waves)}
    manifests[EDITED] = CLUSTER
    for number, wave in enumerate(waves, start=1):
        manifests[f"wave-{number}/kustomization.yaml"] = fill(WAVE).render(jobs=wave)
        manifests |= {f"wave-{number}/{job.name}.yaml": fill(JOB).render(job=job) for job in wave}
    return manifests


def _table_name(whole: Matrix, collect: Sequence[str], needs: Iterable[str]) -> str:
    """Of the job that writes the table: another one for other jobs before it."""
    return f"{whole.settings.table}-{configs.digest([*collect, *needs])[:8]}"


def _check_volumes(whole: Matrix) -> None:
    """UserError where a path is in none of the volumes that the pods have."""
    site = whole.site
    given = [*site.roots.values(), site.out, *filter(None, [site.pseudo_weights])]
    for path in map(str, given):
        if not path.startswith(tuple(f"{mount}/" for mount in MOUNTS)):
            raise UserError(
                f"{path} is in no volume of the pods; give paths as they are there, below {', '.join(MOUNTS)}."
            )


def _jobs(step: Step, needs: tuple[str, ...]) -> list[Job]:
    """The Jobs of a step, one after the other: a build has one to join its partitions."""
    name = f"{step.name[:LONGEST_NAME]}-{step.digest[:8]}"
    if step.kind == "build":
        part = ("--partition", f"$(JOB_COMPLETION_INDEX)/{PARTITIONS}", "--workers", "8")
        build = Job(
            name=name,
            needs=needs,
            image="avprep",
            command=(*step.command, *part),
            partitions=PARTITIONS,
            awaits=str(step.folder / "plan" / "build.json"),
        )
        join = ("avprep", "finalize", str(step.folder))
        joined = Job(name=f"join-{name}", needs=(name,), image="avprep", command=join, cores=1, gibibytes=4)
        return [build, joined]
    if step.kind == "pretrain":
        node = ("train-node", "1", str(TRAINING_GPUS), "localhost:29400", str(step.folder))
        command = (*node, *step.command, "--device", "cuda")
        return [Job(name=name, needs=needs, command=command, gpus=TRAINING_GPUS, cores=32, gibibytes=64)]
    if step.kind in ("evaluate", "pseudo-label"):
        return [Job(name=name, needs=needs, command=(*step.command, *step.means), gpus=1)]
    return [Job(name=name, needs=needs, image="avprep", command=step.command, cores=1, gibibytes=4)]


def _waves(jobs: dict[str, Job]) -> list[list[Job]]:
    """Jobs by how many must have been made before them."""
    depth: dict[str, int] = {}
    for name, job in jobs.items():
        depth[name] = 1 + max((depth[need] for need in job.needs), default=-1)
    waves: list[list[Job]] = [[] for _ in range(1 + max(depth.values()))]
    for name, job in jobs.items():
        waves[depth[name]].append(job)
    return waves
