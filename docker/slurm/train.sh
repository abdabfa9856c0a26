#!/usr/bin/env bash
# A training run on several machines, requeued until it is done.
#   docker/slurm/train.sh           on a login node submits it; the same command resumes a run
# What stands below is all there is to set; a variable of the environment wins.
set -euo pipefail

DATASET=${DATASET:-$HOME/datasets/my-data}
RUN=${RUN:-$HOME/runs/soft-positive}        # both on file systems that all nodes share
STRATEGY=${STRATEGY:-soft-positive}
BATCH_SIZE=${BATCH_SIZE:-309}
EPOCHS=${EPOCHS:-100}
TRAIN_OPTIONS=${TRAIN_OPTIONS:-}            # others of pretrain, such as: --precision bf16
NODES=${NODES:-2}
GPUS=${GPUS:-8}                             # of a node
CORES=${CORES:-64}                          # of a node
MEMORY=${MEMORY:-256G}                      # of a node
HOURS=${HOURS:-24}
PORT=${PORT:-29400}
SUBMIT_OPTIONS=${SUBMIT_OPTIONS:-}          # such as: --account=mine --partition=gpu
ENVIRONMENT=${ENVIRONMENT:-$HOME/av/bin}    # folder of the commands avtrain and torchrun
RECIPES=${RECIPES:-$(cd "$(dirname "$0")/.." && pwd)}
LOGS=${LOGS:-$PWD/logs}
DEVICE=${DEVICE:-cuda}

export DATASET RUN STRATEGY BATCH_SIZE EPOCHS TRAIN_OPTIONS NODES GPUS PORT ENVIRONMENT RECIPES DEVICE
PATH=$ENVIRONMENT:$PATH

if [[ -z ${AV_STAGE:-} ]]; then
    command -v avtrain >/dev/null || { echo "There is no avtrain in ENVIRONMENT=$ENVIRONMENT." >&2; exit 2; }
    mkdir -p "$LOGS"
    read -ra options <<<"$SUBMIT_OPTIONS"
    [[ $DEVICE == cpu ]] || options+=(--gpus-per-node="$GPUS")
    job=$(sbatch --parsable "${options[@]}" --job-name=avtrain --nodes="$NODES" --ntasks-per-node=1 \
        --cpus-per-task="$CORES" --mem="$MEMORY" --time="$HOURS:00:00" \
        --requeue --signal=TERM@300 --open-mode=append --output="$LOGS/train-%j.log" \
        --export=ALL,AV_STAGE=train "$0")
    echo "submitted: avtrain ${job%%;*}; log in $LOGS/train-${job%%;*}.log"
    exit
fi

# Mistakes in the settings or the dataset end here.
srun --nodes=1 --ntasks=1 --cpus-per-task=1 avtrain plan "$DATASET" --strategy "$STRATEGY" \
    --batch-size "$BATCH_SIZE" --epochs "$EPOCHS" --world-size "$((NODES * GPUS))"

trap : TERM # of a preemption: the step is told as well, and ends with a code of its own
read -ra train <<<"$TRAIN_OPTIONS"
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
code=0
srun --nodes="$NODES" --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=0 \
    "$RECIPES/train-node" "$NODES" "$GPUS" "${hosts[0]}:$PORT" "$RUN" \
    avtrain pretrain "$DATASET" --run="$RUN" --device="$DEVICE" --strategy="$STRATEGY" \
    --batch-size="$BATCH_SIZE" --epochs="$EPOCHS" "${train[@]}" || code=$?
if [[ $code == 75 ]]; then # interrupted with a checkpoint, such as by the end of its time
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
