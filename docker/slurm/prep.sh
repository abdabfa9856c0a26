#!/usr/bin/env bash
# Clips to shards: an array job, one partition a task, and a job that joins them once all have ended well.
#   docker/slurm/prep.sh            on a login node submits both; the same command resumes what is there
# What stands below is all there is to set; a variable of the environment wins.
set -euo pipefail

MANIFEST=${MANIFEST:-$HOME/clips/manifest.csv}
DATASET=${DATASET:-$HOME/datasets/my-data} # on a file system that all nodes share
PARTITIONS=${PARTITIONS:-8}
CORES=${CORES:-16}                          # of a task
MEMORY_A_CORE=${MEMORY_A_CORE:-2G}
HOURS=${HOURS:-12}
SUBMIT_OPTIONS=${SUBMIT_OPTIONS:-}          # such as: --account=mine --partition=cpu
BUILD_OPTIONS=${BUILD_OPTIONS:-}            # such as: --frame-codec jpeg
ENVIRONMENT=${ENVIRONMENT:-$HOME/av/bin}    # folder of the commands avprep and avtrain
LOGS=${LOGS:-$PWD/logs}

export MANIFEST DATASET PARTITIONS BUILD_OPTIONS ENVIRONMENT
PATH=$ENVIRONMENT:$PATH

if [[ -z ${AV_STAGE:-} ]]; then
    command -v avprep >/dev/null || { echo "There is no avprep in ENVIRONMENT=$ENVIRONMENT." >&2; exit 2; }
    mkdir -p "$LOGS"
    read -ra options <<<"$SUBMIT_OPTIONS"
    array=$(sbatch --parsable "${options[@]}" --job-name=avprep --array="0-$((PARTITIONS - 1))" \
        --ntasks=1 --cpus-per-task="$CORES" --mem-per-cpu="$MEMORY_A_CORE" --time="$HOURS:00:00" \
        --requeue --signal=TERM@180 --open-mode=append --output="$LOGS/prep-%A_%a.log" \
        --export=ALL,AV_STAGE=build "$0")
    joined=$(sbatch --parsable "${options[@]}" --job-name=avfinalize --dependency="afterok:${array%%;*}" \
        --kill-on-invalid-dep=yes --ntasks=1 --cpus-per-task=1 --mem=8G --time=2:00:00 \
        --output="$LOGS/finalize-%j.log" --export=ALL,AV_STAGE=finalize "$0")
    echo "submitted: avprep ${array%%;*}, $PARTITIONS tasks; avfinalize ${joined%%;*} after them; logs in $LOGS"
    exit
fi

if [[ $AV_STAGE == finalize ]]; then
    exec avprep finalize "$DATASET"
fi

# Locks of folders do not reach across the nodes of NFS: the first partition writes the plan, the others wait for it,
# ten minutes at most.
if [[ $SLURM_ARRAY_TASK_ID != 0 ]]; then
    for _ in {1..600}; do
        [[ -e $DATASET/plan/build.json ]] && break
        sleep 1
    done
fi

trap : TERM # of a preemption: the step is told as well, and ends with a code of its own
read -ra build <<<"$BUILD_OPTIONS"
code=0
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" avprep build-shards "$MANIFEST" --out "$DATASET" \
    --partition "$SLURM_ARRAY_TASK_ID/$PARTITIONS" --workers "$SLURM_CPUS_PER_TASK" "${build[@]}" || code=$?
if [[ $code == 75 ]]; then # interrupted, such as by the end of its time
    # Not by SLURM_JOB_ID: one of the tasks has the id of the array, by which all would be requeued.
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
